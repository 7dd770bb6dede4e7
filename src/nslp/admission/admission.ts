/**
 * What a node works on next when there is more than it can do. Three queues, each fair over peers and over the senders
 * behind a peer, stand before the dear part of a message's way (certificate, signature, policy, installation):
 *
 * - what keeps permissions alive, and answers to what this node passed on;
 * - requests with a ticket, which this node turned away before and told to come now;
 * - other new requests.
 *
 * The first goes before the second, the second before the third, and each gets a small share beside those before it, so
 * that nobody can starve it. Whether a new request has to be turned away follows from how long it would wait, and that from
 * how long requests take here at present: no rate is assumed.
 */
import type { Counters } from "../../base/counters.js";
import { FairQueue } from "../../base/fair-queue.js";
import { between, type Random } from "../../base/random.js";
import type { Time } from "../../base/time.js";
import { type Milliseconds, ms, seconds } from "../../base/units.js";
import { BoundedMemory } from "../bounded.js";
import type { Ticket } from "../wire/messages.js";
import type { AdmissionOptions } from "../../authorization/admission.js";
import { Tickets, type TicketSubject } from "./tickets.js";

export type Urgency = "kept" | "returning" | "new";

export interface Job {
  readonly peer: string;
  /** Whose message it says it is. */
  readonly sender: string;
  /** Of serving it: 1 to 5, and more with a list of flows. */
  readonly cost: number;
  readonly about: TicketSubject;
  readonly urgency: Urgency;
  /** Never rejects. */
  run(): Promise<void>;
  /** It is not done. */
  refuse(when: Refusal): void;
}

/** Why, and when to come again. */
export interface Refusal {
  readonly reason: RefusalReason;
  readonly retryAfter: Milliseconds;
  readonly ticket?: Ticket;
}

export type RefusalReason = "source-queue" | "peer-queue" | "long-wait" | "too-late";

/** For pbsctl. */
export interface AdmissionView {
  readonly waiting: Readonly<Record<Urgency, number>>;
  readonly running: number;
  /** How long a new request of somebody who has none waiting would take to be looked at, as far as is known. */
  readonly wait: Milliseconds;
  /** Turned away or given up within the last seconds. */
  readonly busy: boolean;
  /** Bits of the puzzle that goes with a ticket now. */
  readonly puzzle: number;
}

/** Asked by a sender again after 2 s, so what waited longer is done twice. */
const KEPT_PATIENCE = seconds(2);
/** So many go before one of those behind. */
const KEPT_IN_A_ROW = 4;
const RETURNING_IN_A_ROW = 4;
/** What one turn of the event loop may take before others get theirs. */
const TURN = ms(5);
/** What is under way is in no fair order any more: it should not take longer than this in all. */
const UNDER_WAY = ms(50);
/** But the threads want something to do. */
const LEAST_AT_ONCE = 4;
/** Before anything was measured. */
const FIRST_AT_ONCE = 16;
/** Of the time that one request takes: of what it was and what it is now. */
const SMOOTHING = 0.05;
/** A pause of the whole machine says nothing of the next request. */
const SLOWEST = ms(100);
const SHORTEST_RETRY = ms(500);
/** For whoever has too much waiting already. */
const OWN_FAULT_RETRY = seconds(5);
const MOST_PEERS = 4096;
const WINDOW = seconds(1);
const EASIEST_PUZZLE = 8;
const BUSY_FOR = seconds(5);

interface Waiting extends Job {
  readonly since: number;
}

export interface AdmissionParts {
  readonly time: Time;
  readonly random: Random;
  readonly counters: Counters;
  readonly options: AdmissionOptions;
  /** Jobs at a time: as many as keep the threads that verify busy. */
  readonly atOnce: number;
  /** This node's key identity. */
  readonly node: Uint8Array;
}

export class Admission {
  readonly #parts: AdmissionParts;
  readonly #queues: Readonly<Record<Urgency, FairQueue<Waiting>>>;
  readonly #tickets: Tickets;
  /** Up to when each peer's requests were told to come, so that they come one after the other. */
  readonly #appointments: BoundedMemory<number>;
  #running = 0;
  #keptInARow = 0;
  #returningInARow = 0;
  /** A turn of the event loop is waited for. */
  #paused = false;
  /** Milliseconds for one message of any kind, while others wait; undefined before the first were measured. */
  #each: number | undefined;
  #eachFrom: number | undefined;
  /** Milliseconds for each unit of cost, while new requests wait; undefined before the first were measured. */
  #pace: number | undefined;
  #paceFrom: number | undefined;
  #lateAt = Number.NEGATIVE_INFINITY;
  #busyAt = Number.NEGATIVE_INFINITY;
  #window = { from: 0, served: 0, refused: 0 };
  #puzzle = 0;

  constructor(parts: AdmissionParts) {
    const { time, random, options, node } = parts;
    const queue = () => new FairQueue<Waiting>(options.waiting);
    this.#parts = parts;
    this.#queues = { kept: queue(), returning: queue(), new: queue() };
    this.#tickets = new Tickets(time, random, node);
    this.#appointments = new BoundedMemory(time, MOST_PEERS, ms(2 * options.longestRetry));
  }

  /** How urgent a request is that brings these tickets. */
  urgencyOf(tickets: readonly Ticket[] | undefined, about: TicketSubject): Urgency {
    const own = this.#tickets.own(tickets);
    if (own === undefined) return "new";
    const verdict = this.#tickets.check(own, about);
    this.#parts.counters.count(`ticket.${verdict}`);
    return verdict === "good" ? "returning" : "new";
  }

  /** Does it now, or when its turn comes, or refuses it. */
  submit(job: Job): void {
    // As long as there is room for all, nobody queues.
    if (this.#isIdle) return this.#start(job);
    const queue = this.#queues[job.urgency];
    if (job.urgency !== "kept" && this.#waitFor(job) > this.#parts.options.patience)
      return this.#refuse(job, "long-wait");
    const full = queue.push(job.peer, job.sender, { ...job, since: this.#now }, job.cost);
    if (full !== undefined) return this.#refuse(job, full === "member" ? "source-queue" : "peer-queue");
    this.#pump();
  }

  /** Whether something that keeps permissions alive was given up here since then, or waits unseen. */
  lateSince(instant: number): boolean {
    return this.#lateAt >= instant || this.#queues.kept.size > 0;
  }

  view(): AdmissionView {
    const { kept, returning, new: fresh } = this.#queues;
    this.#turnWindow();
    return {
      waiting: { kept: kept.size, returning: returning.size, new: fresh.size },
      running: this.#running,
      wait: ms(Math.round((this.#pace ?? 0) * (fresh.groups + returning.groups))),
      busy: this.#now - this.#busyAt < BUSY_FOR,
      puzzle: this.#puzzle,
    };
  }

  get #now(): number {
    return this.#parts.time.now();
  }

  get #isIdle(): boolean {
    return (
      this.#running < this.#atOnce && !this.#paused && this.#asking === 0 && this.#queues.kept.size === 0
    );
  }

  get #asking(): number {
    return this.#queues.returning.size + this.#queues.new.size;
  }

  get #atOnce(): number {
    const most = this.#parts.atOnce;
    if (this.#each === undefined) return Math.min(most, FIRST_AT_ONCE);
    return Math.min(most, Math.max(LEAST_AT_ONCE, Math.floor(UNDER_WAY / this.#each)));
  }

  #waitFor({ peer, sender, urgency, cost }: Job): number {
    const { returning, new: fresh } = this.#queues;
    const before = urgency === "new" ? returning.size : 0;
    const queue = urgency === "new" ? fresh : returning;
    return (before + queue.ahead(peer, sender)) * cost * (this.#pace ?? 0);
  }

  #pump(): void {
    if (this.#paused) return;
    const until = this.#now + TURN;
    while (this.#running < this.#atOnce) {
      const job = this.#next();
      if (job === undefined) return;
      this.#start(job);
      if (this.#now < until) continue;
      this.#paused = true;
      setImmediate(() => {
        this.#paused = false;
        this.#pump();
      });
      return;
    }
  }

  #start(job: Job): void {
    this.#running++;
    void job.run().finally(() => {
      this.#running--;
      this.#served(job);
      this.#pump();
    });
  }

  /** The next one that has not waited too long. */
  #next(): Waiting | undefined {
    for (;;) {
      const queue = this.#queues[this.#whose()];
      const taken = queue.take();
      if (taken === undefined) return undefined;
      const { item } = taken;
      const patience = item.urgency === "kept" ? KEPT_PATIENCE : 2 * this.#parts.options.patience;
      if (this.#now - item.since <= patience) return item;
      queue.giveBack(taken);
      this.#refuse(item, "too-late");
    }
  }

  #whose(): Urgency {
    const { kept, returning, new: fresh } = this.#queues;
    if (kept.size > 0 && (this.#asking === 0 || this.#keptInARow < KEPT_IN_A_ROW)) {
      this.#keptInARow++;
      return "kept";
    }
    this.#keptInARow = 0;
    if (returning.size > 0 && (fresh.size === 0 || this.#returningInARow < RETURNING_IN_A_ROW)) {
      this.#returningInARow++;
      return "returning";
    }
    this.#returningInARow = 0;
    return "new";
  }

  /** Measures while there is more to do than can be done at once: otherwise the time is that between arrivals. */
  #served({ urgency, cost }: Job): void {
    const now = this.#now;
    this.#turnWindow();
    if (this.#eachFrom !== undefined) this.#each = smoothed(this.#each, now - this.#eachFrom);
    this.#eachFrom = this.#asking + this.#queues.kept.size > 0 ? now : undefined;
    if (urgency === "kept") return;
    this.#window.served++;
    if (this.#paceFrom !== undefined) this.#pace = smoothed(this.#pace, (now - this.#paceFrom) / cost);
    this.#paceFrom = this.#asking > 0 ? now : undefined;
  }

  #refuse(job: Job, reason: RefusalReason): void {
    const { counters } = this.#parts;
    this.#turnWindow();
    counters.count(`busy.${reason}`);
    if (job.urgency === "kept") {
      this.#lateAt = this.#now;
      counters.count("busy.refresh");
    }
    this.#busyAt = this.#now;
    if (reason === "source-queue") return job.refuse({ reason, retryAfter: OWN_FAULT_RETRY });
    if (job.urgency === "kept") return job.refuse({ reason, retryAfter: this.#soon() });
    this.#window.refused++;
    const retryAfter = this.#appointment(job);
    const ticket = this.#tickets.make(job.about, retryAfter, this.#puzzle);
    job.refuse({ reason, retryAfter, ticket });
  }

  #soon(): Milliseconds {
    return ms(between(this.#parts.random, KEPT_PATIENCE, 3 * KEPT_PATIENCE));
  }

  /** When this peer's next request can be served if each of those before comes at its time. */
  #appointment({ peer, cost }: Job): Milliseconds {
    const { random, options } = this.#parts;
    const groups = Math.max(this.#queues.new.groups, this.#queues.returning.groups, 1);
    const earliest = this.#now + SHORTEST_RETRY;
    const next = Math.max(earliest, this.#appointments.get(peer) ?? 0) + cost * (this.#pace ?? 0) * groups;
    const wait = next - this.#now;
    if (wait > options.longestRetry)
      return ms(between(random, options.longestRetry / 2, options.longestRetry));
    this.#appointments.set(peer, next);
    return ms(wait);
  }

  /** Once a second: puzzles get harder as long as more is turned away than is served, and easier otherwise. */
  #turnWindow(): void {
    const passed = this.#now - this.#window.from;
    if (passed < WINDOW) return;
    const { served, refused } = this.#window;
    const hard = refused > served && passed < 2 * WINDOW;
    const easier = this.#puzzle - Math.floor(passed / WINDOW);
    this.#puzzle = hard ? this.#harder() : easier < EASIEST_PUZZLE ? 0 : easier;
    this.#window = { from: this.#now, served: 0, refused: 0 };
  }

  #harder(): number {
    const { puzzle } = this.#parts.options;
    return Math.min(puzzle, Math.max(EASIEST_PUZZLE, this.#puzzle + 1));
  }
}

function smoothed(before: number | undefined, measured: number): number {
  const value = Math.min(measured, SLOWEST);
  return before === undefined ? value : before + SMOOTHING * (value - before);
}
