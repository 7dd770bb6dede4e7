/** A load from its beginning to its end: flows are set up, live for a while, are revoked; every second is looked at. */
import type { Bed, Reading } from "./bed.js";
import { type Figures, figures } from "./measure.js";
import type { Arrival } from "./options.js";
import type { Command } from "./protocol.js";

const LOOK_MS = 1000;
/** The last revocations have this long to arrive. */
const SETTLE_MS = 10_000;
const WARM_UP = 50;
/** Those of the warm-up find no associations, so they come slowly. */
const WARM_UP_AT_ONCE = 10;
/** Most samples that a report holds; of a longer run every second, fourth, … is kept. */
const MOST_SAMPLES = 2048;

export interface Shape {
  /** New flows a second; undefined: as fast as answers come, `window` at a time. */
  readonly rate?: number;
  readonly window: number;
  readonly arrival: Arrival;
  /** How long flows live once all are there: milliseconds. */
  readonly hold: number;
  /** While they live: flows replaced by new ones, and flows that ask for more, a second. */
  readonly replaced: number;
  readonly modified: number;
  /** At the end the receivers revoke them all, at this rate; undefined: they do not. */
  readonly revokeRate?: number;
  /** No phase takes longer: milliseconds. */
  readonly limit: number;
}

/** One second of a run. */
export interface Sample {
  /** Seconds since the start of the run. */
  readonly at: number;
  readonly live: number;
  readonly pairsPerSecond: number;
  /** Shares of a core. */
  readonly router: number;
  readonly senders: number;
  readonly receivers: number;
  /** Milliseconds, of the answers within this sample. */
  readonly p50: number;
  readonly p99: number;
  readonly retransmissions: number;
}

export interface Progress {
  readonly phase: string;
  /** 0 to 1. */
  readonly share: number;
  readonly sample: Sample;
}

export interface LoadReport {
  readonly phases: readonly Figures[];
  readonly samples: readonly Sample[];
  /** It was ended before its time. */
  readonly stopped: boolean;
}

type Paces = Omit<Extract<Command, { do: "pace" }>, "do">[];

export class LoadRun {
  readonly #bed: Bed;
  readonly #shape: Shape;
  readonly #watch: Watch;
  readonly #signal: AbortSignal;
  readonly #phases: Figures[] = [];

  constructor(bed: Bed, shape: Shape, progress: (progress: Progress) => void, signal: AbortSignal) {
    this.#bed = bed;
    this.#shape = shape;
    this.#signal = signal;
    this.#watch = new Watch(bed, progress, signal);
  }

  async run(): Promise<LoadReport> {
    const { flows } = this.#bed.plan;
    await this.#watch.begin();
    await this.#phase("set-up", () => this.#setUp(flows));
    if (this.#shape.hold > 0) await this.#phase("live", () => this.#live(flows));
    if (this.#shape.revokeRate !== undefined) await this.#phase("revoke", () => this.#revoke(flows));
    return { phases: this.#phases, samples: this.#watch.samples, stopped: this.#signal.aborted };
  }

  async #phase(name: string, act: () => Promise<void>): Promise<void> {
    if (this.#signal.aborted) return;
    const before = await this.#bed.read();
    await act();
    this.#phases.push(figures(name, before, await this.#bed.read()));
  }

  async #setUp(flows: number): Promise<void> {
    const { rate, window, arrival, limit } = this.#shape;
    const warm = Math.min(WARM_UP, flows);
    await this.#bed.batch({ deed: "start", first: 0, count: warm, window: WARM_UP_AT_ONCE, limit });
    const [first, among] = [warm, flows - warm];
    if (among === 0) return;
    const began = await this.#bed.read();
    const share = (now: Reading): number => (asked(now) - asked(began)) / among;
    const work =
      rate === undefined
        ? this.#bed.batch({ deed: "start", first, count: among, window, limit })
        : this.#bed.pace({
            deed: "start",
            first,
            among,
            count: among,
            rate,
            arrival,
            choose: "in-turn",
            name: "set-up",
          });
    await this.#watch.during("set-up", work, share, limit);
    await this.#bed.stopPace("set-up");
    // The last ones asked have their answers, or have failed, within the time of two tries.
    await this.#watch.until("set-up", ({ sender }) => sender.underWay === 0, limit);
  }

  async #live(flows: number): Promise<void> {
    const { hold, replaced, modified } = this.#shape;
    const common = { first: 0, among: flows, arrival: this.#shape.arrival, choose: "at-random" } as const;
    const paces: Paces = [];
    if (replaced > 0) paces.push({ ...common, deed: "leave", rate: replaced, name: "replace" });
    if (modified > 0) paces.push({ ...common, deed: "modify", rate: modified, name: "modify" });
    const work = Promise.all(paces.map((pace) => this.#bed.pace(pace)));
    await this.#watch.lasting("live", hold);
    for (const { name } of paces) await this.#bed.stopPace(name);
    await work;
  }

  async #revoke(flows: number): Promise<void> {
    const { revokeRate: rate = 0, limit } = this.#shape;
    await this.#bed.windDown();
    await this.#watch.until("revoke", ({ sender }) => sender.underWay === 0, limit);
    const work = this.#bed.pace({
      deed: "revoke",
      first: 0,
      among: flows,
      count: flows,
      rate,
      arrival: "constant",
      choose: "in-turn",
      name: "revoke",
    });
    await this.#watch.during("revoke", work, ({ sender }) => 1 - sender.live / flows, limit);
    await this.#bed.stopPace("revoke");
    await this.#watch.until("revoke", ({ sender }) => sender.live === 0, SETTLE_MS);
  }
}

function asked({ sender }: Reading): number {
  return sender.pbs["flow.asked"] ?? 0;
}

/** Looks at everything once a second. */
export class Watch {
  readonly #bed: Bed;
  readonly #progress: (progress: Progress) => void;
  readonly #signal: AbortSignal;
  #samples: Sample[] = [];
  #keepEvery = 1;
  #taken = 0;
  #start = 0;
  #last: Reading | undefined;

  constructor(bed: Bed, progress: (progress: Progress) => void, signal: AbortSignal) {
    this.#bed = bed;
    this.#progress = progress;
    this.#signal = signal;
  }

  get samples(): readonly Sample[] {
    return this.#samples;
  }

  async begin(): Promise<void> {
    this.#last = await this.#bed.read();
    this.#start = this.#last.at;
  }

  /** Until the work is done, or its time is over. */
  async during(
    phase: string,
    work: Promise<unknown>,
    share: (now: Reading) => number,
    limit: number,
  ): Promise<void> {
    let done = false;
    const end = work.finally(() => {
      done = true;
    });
    const until = performance.now() + limit;
    while (!done && !this.#signal.aborted && performance.now() < until) {
      await Promise.race([end, this.#pause()]);
      await this.#look(phase, share);
    }
    // What was stopped ends with its process.
    if (!done) end.catch(() => undefined);
  }

  async until(phase: string, test: (now: Reading) => boolean, limit: number): Promise<void> {
    const end = performance.now() + limit;
    while (!this.#signal.aborted && performance.now() < end) {
      if (test(await this.#look(phase, () => 1))) return;
      await this.#pause();
    }
  }

  /** @param duration milliseconds */
  async lasting(phase: string, duration: number): Promise<void> {
    const begun = performance.now();
    while (!this.#signal.aborted && performance.now() - begun < duration) {
      await this.#pause(Math.min(LOOK_MS, begun + duration - performance.now()));
      await this.#look(phase, () => (performance.now() - begun) / duration);
    }
  }

  async #look(phase: string, share: (now: Reading) => number): Promise<Reading> {
    const now = await this.#bed.read();
    const sample = sampleOf(this.#last ?? now, now, this.#start);
    this.#last = now;
    this.#keep(sample);
    this.#progress({ phase, share: Math.min(1, Math.max(0, share(now))), sample });
    return now;
  }

  #keep(sample: Sample): void {
    if (this.#taken++ % this.#keepEvery === 0) this.#samples.push(sample);
    if (this.#samples.length < MOST_SAMPLES) return;
    this.#samples = this.#samples.filter((_, i) => i % 2 === 0);
    this.#keepEvery *= 2;
  }

  #pause(milliseconds = LOOK_MS): Promise<void> {
    return new Promise((resolve) => {
      const stop = (): void => {
        clearTimeout(timer);
        this.#signal.removeEventListener("abort", stop);
        resolve();
      };
      const timer = setTimeout(stop, milliseconds);
      this.#signal.addEventListener("abort", stop);
    });
  }
}

function sampleOf(before: Reading, now: Reading, start: number): Sample {
  const { flows, perSecond, router, cores, setUp, refresh, retransmissions } = figures("", before, now);
  const waited = refresh.count > setUp.count ? refresh : setUp;
  return {
    at: (now.at - start) / 1000,
    live: flows.live,
    pairsPerSecond: Number.isFinite(perSecond) ? perSecond : 0,
    router: Number.isFinite(router.share) ? router.share : 0,
    senders: Number.isFinite(cores.senders) ? cores.senders : 0,
    receivers: Number.isFinite(cores.receivers) ? cores.receivers : 0,
    p50: waited.p50,
    p99: waited.p99,
    retransmissions: retransmissions.pbs,
  };
}
