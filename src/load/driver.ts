/** Carries commands out on a side: batches as fast as answers come, and paces by the clock. */
import type { Random } from "../base/random.js";
import type { Time } from "../base/time.js";
import type { Milliseconds } from "../base/units.js";
import { Arrivals } from "./pace.js";
import type { BatchResult, Command, Deed, PaceResult } from "./protocol.js";
import { ReceiverSide } from "./receiver.js";
import type { Outcome, SenderSide } from "./sender.js";

type BatchCommand = Extract<Command, { do: "batch" }>;
type PaceCommand = Extract<Command, { do: "pace" }>;

interface Batch {
  readonly command: BatchCommand;
  readonly begun: number;
  next: number;
  /** Flows that it began and that have not come to an end: those that live refresh meanwhile, which is not the batch's. */
  readonly underWay: Set<number>;
  readonly outcomes: Record<Outcome, number>;
  readonly done: (result: BatchResult) => void;
}

interface Pace {
  readonly command: PaceCommand;
  readonly arrivals: Arrivals;
  next: number;
  done: number;
  passedOver: number;
  behind: number;
  readonly finish: (result: PaceResult) => void;
}

/** Flows tried in search of one that is in the right state, before an arrival is passed over. */
const LOOKS = 32;

export class Driver {
  readonly #side: SenderSide | ReceiverSide;
  readonly #time: Time;
  readonly #random: Random;
  #batch: Batch | undefined;
  readonly #paces = new Map<string, Pace>();

  constructor(side: SenderSide | ReceiverSide, time: Time, random: Random) {
    this.#side = side;
    this.#time = time;
    this.#random = random;
    if (!(side instanceof ReceiverSide)) side.whenSettled((index, outcome) => this.#settled(index, outcome));
  }

  /** Resolves with the result of the command, when it has come to its end. */
  carryOut(command: Exclude<Command, { do: "snapshot" }>): Promise<BatchResult | PaceResult | undefined> {
    switch (command.do) {
      case "batch":
        return this.#startBatch(command);
      case "pace":
        return this.#startPace(command);
      case "stop-pace":
        this.#stopPace(command.name);
        return Promise.resolve(undefined);
      case "wind-down":
        if (!(this.#side instanceof ReceiverSide)) this.#side.windDown();
        return Promise.resolve(undefined);
    }
  }

  /** Called every few milliseconds. */
  advance(): void {
    const now = this.#time.now();
    for (const pace of [...this.#paces.values()]) this.#turn(pace, now);
    const batch = this.#batch;
    if (batch !== undefined && now - batch.begun > batch.command.limit) this.#finishBatch(batch);
  }

  #startBatch(command: BatchCommand): Promise<BatchResult> {
    if (this.#batch !== undefined) return Promise.reject(new Error("a batch is under way already"));
    return new Promise((done) => {
      const outcomes = { granted: 0, refused: 0, failed: 0 };
      const begun = this.#time.now();
      this.#batch = { command, begun, next: command.first, underWay: new Set(), outcomes, done };
      this.#fill(this.#batch);
    });
  }

  #fill(batch: Batch): void {
    const { first, count, window, deed } = batch.command;
    while (batch.underWay.size < window && batch.next < first + count) {
      const index = batch.next++;
      // Before it is done: the answer may come at once.
      batch.underWay.add(index);
      if (this.#apply(deed, index, this.#time.now())) continue;
      batch.underWay.delete(index);
      batch.outcomes.failed++;
    }
    if (batch.underWay.size === 0 && batch.next >= first + count) this.#finishBatch(batch);
  }

  #settled(index: number, outcome: Outcome): void {
    const batch = this.#batch;
    if (batch?.underWay.delete(index) !== true) return;
    batch.outcomes[outcome]++;
    this.#fill(batch);
  }

  #finishBatch(batch: Batch): void {
    this.#batch = undefined;
    const { granted, refused } = batch.outcomes;
    const failed = batch.command.count - granted - refused;
    batch.done({ granted, refused, failed, milliseconds: this.#time.now() - batch.begun });
  }

  #startPace(command: PaceCommand): Promise<PaceResult> {
    const { name, rate, arrival, first } = command;
    if (this.#paces.has(name)) return Promise.reject(new Error(`there is a pace "${name}" already`));
    return new Promise((finish) => {
      const arrivals = new Arrivals(rate, arrival, this.#random, this.#time.now());
      const counts = { done: 0, passedOver: 0, behind: 0 };
      this.#paces.set(name, { command, arrivals, next: first, ...counts, finish });
    });
  }

  #turn(pace: Pace, now: Milliseconds): void {
    const { command } = pace;
    const goesOn = pace.arrivals.take(now, (since) => {
      if (this.#one(pace, since)) pace.done++;
      else pace.passedOver++;
      return pace.done + pace.passedOver < (command.count ?? Number.POSITIVE_INFINITY);
    });
    pace.behind = Math.max(pace.behind, pace.arrivals.behind(now));
    if (!goesOn) this.#stopPace(command.name);
  }

  #one(pace: Pace, since: Milliseconds): boolean {
    const { first, among, deed, choose } = pace.command;
    for (let look = 0; look < LOOKS; look++) {
      if (choose === "at-random") pace.next = first + Math.floor(this.#random.fraction() * among);
      const index = pace.next++;
      if (pace.next >= first + among) pace.next = first;
      if (this.#apply(deed, index, since)) return true;
    }
    return false;
  }

  #stopPace(name: string): void {
    const pace = this.#paces.get(name);
    if (pace === undefined) return;
    this.#paces.delete(name);
    const { done, passedOver, behind } = pace;
    pace.finish({ done, passedOver, behind });
  }

  #apply(deed: Deed, index: number, since: Milliseconds): boolean {
    const side = this.#side;
    if (side instanceof ReceiverSide) return deed === "revoke" && side.revoke(index);
    switch (deed) {
      case "start":
        return side.start(index, since);
      case "refresh":
        return side.refresh(index, since);
      case "modify":
        return side.modify(index, since);
      case "leave":
        return side.replace(index, since);
      case "revoke":
        return false;
    }
  }
}
