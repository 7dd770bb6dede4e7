/**
 * Finds how many pairs a second can be sustained: without a retransmission, without a missed refresh, and with 99 % of
 * the answers within a bound. The rate grows until it is too much, then the limit is halved in between.
 */
import type { Bed } from "./bed.js";
import { type Figures, figures } from "./measure.js";
import type { Arrival } from "./options.js";
import { type Progress, type Sample, Watch } from "./run.js";

export interface RampShape {
  /** Pairs a second at the beginning, and never more than. */
  readonly from: number;
  readonly most: number;
  /** Milliseconds that each rate is held. */
  readonly step: number;
  /** Milliseconds within which 99 % of the answers have to come. */
  readonly p99: number;
  /** Share of the pairs that are new flows in place of others; the rest are refreshes. */
  readonly fresh: number;
  readonly arrival: Arrival;
  /** Milliseconds that all of it may take. */
  readonly limit: number;
}

export interface Step {
  readonly rate: number;
  /** Undefined: it was sustained. */
  readonly failure: string | undefined;
  readonly figures: Figures;
}

export interface RampReport {
  readonly steps: readonly Step[];
  /** The highest rate that was sustained; 0: not even the first. */
  readonly sustained: number;
  /** What held at the rate above it; undefined: nothing up to the highest rate tried. */
  readonly limitedBy: string | undefined;
  readonly samples: readonly Sample[];
}

const GROWTH = 1.5;
/** The limit is known to so much. */
const PRECISE = 1.1;
/** Milliseconds for what is under way to come to its end between two rates. */
const DRAIN = 30_000;
/** Of a second; a tool that is so late offers less than it says. */
const LATE_MS = 250;
/** Of the rate; below that the tool did not offer what it should. */
const OFFERED = 0.95;

export class Ramp {
  readonly #bed: Bed;
  readonly #shape: RampShape;
  readonly #watch: Watch;
  readonly #signal: AbortSignal;
  readonly #steps: Step[] = [];

  constructor(bed: Bed, shape: RampShape, progress: (progress: Progress) => void, signal: AbortSignal) {
    this.#bed = bed;
    this.#shape = shape;
    this.#signal = signal;
    this.#watch = new Watch(bed, progress, signal);
  }

  /** All flows have permission already, and do not refresh by themselves. */
  async run(): Promise<RampReport> {
    const { from, most, limit } = this.#shape;
    const end = performance.now() + limit;
    await this.#watch.begin();
    let good = 0;
    let bad: Step | undefined;
    for (let rate: number | undefined = from; rate !== undefined;) {
      const step = await this.#try(rate);
      if (this.#signal.aborted) break;
      this.#steps.push(step);
      if (step.failure === undefined) good = rate;
      else bad = step;
      rate = performance.now() < end ? next(good, bad?.rate, from, most) : undefined;
    }
    return { steps: this.#steps, sustained: good, limitedBy: bad?.failure, samples: this.#watch.samples };
  }

  async #try(rate: number): Promise<Step> {
    const { fresh, arrival, step } = this.#shape;
    const common = { first: 0, among: this.#bed.plan.flows, arrival } as const;
    const before = await this.#bed.read();
    const refreshing = { ...common, deed: "refresh", choose: "in-turn", name: "refresh" } as const;
    const renewing = { ...common, deed: "leave", choose: "at-random", name: "renew" } as const;
    const work = Promise.all([
      ...(fresh < 1 ? [this.#bed.pace({ ...refreshing, rate: rate * (1 - fresh) })] : []),
      ...(fresh > 0 ? [this.#bed.pace({ ...renewing, rate: rate * fresh })] : []),
    ]);
    await this.#watch.lasting(`${Math.round(rate)} pairs/s`, step);
    await this.#bed.stopPace("refresh");
    await this.#bed.stopPace("renew");
    const paced = await work;
    const behind = Math.max(...paced.map((one) => one.behind));
    const offered = paced.reduce((all, one) => all + one.done, 0) / (step / 1000);
    const measured = figures(`${Math.round(rate)} pairs/s`, before, await this.#bed.read());
    await this.#watch.until("draining", ({ sender }) => sender.underWay === 0, DRAIN);
    return { rate, failure: this.#failureOf(measured, offered / rate, behind), figures: measured };
  }

  #failureOf(measured: Figures, offered: number, behind: number): string | undefined {
    const { retransmissions, refreshes, flows, setUp, refresh } = measured;
    const p99 = Math.max(setUp.p99, refresh.p99);
    if (retransmissions.pbs > 0) return `${retransmissions.pbs} Queries were sent again`;
    if (refreshes.missed > 0) return `${refreshes.missed} refreshes were missed`;
    if (flows.failed + flows.lost > 0) return `${flows.failed + flows.lost} flows got no permission`;
    if (flows.toldToWait > 0) return `${flows.toldToWait} flows were told to wait`;
    if (p99 > this.#shape.p99) return `99 % of the answers took up to ${Math.round(p99)} ms`;
    if (behind > LATE_MS) return `the tool itself was ${Math.round(behind)} ms late`;
    if (offered < OFFERED)
      return `only ${Math.round(offered * 100)} % of the rate could be offered with so many flows`;
    return undefined;
  }
}

function next(good: number, bad: number | undefined, from: number, most: number): number | undefined {
  if (bad === undefined) return good >= most ? undefined : Math.min(most, good * GROWTH);
  if (good === 0) return bad / 2 >= from / 8 ? bad / 2 : undefined;
  return bad / good > PRECISE ? Math.sqrt(good * bad) : undefined;
}
