/** When things are done: so many a second, at even or random (Poisson) distances, or as fast as answers come. */
import type { Random } from "../base/random.js";
import { type Milliseconds, ms } from "../base/units.js";
import type { Arrival } from "./options.js";

/** Most that is done in one turn, so that answers are read in between; what is due above that is late, and counts as such. */
const MOST_AT_ONCE = 256;

/** The instants of an open arrival process. */
export class Arrivals {
  readonly #rate: number;
  readonly #arrival: Arrival;
  readonly #random: Random;
  #next: number;

  /** @param rate a second, above 0 */
  constructor(rate: number, arrival: Arrival, random: Random, now: Milliseconds) {
    this.#rate = rate;
    this.#arrival = arrival;
    this.#random = random;
    this.#next = now + this.#distance();
  }

  /** Calls `each` with the instant of every arrival up to now, as many as fit into a turn; returns false when it has had enough. */
  take(now: Milliseconds, each: (since: Milliseconds) => boolean): boolean {
    for (let taken = 0; taken < MOST_AT_ONCE && this.#next <= now; taken++) {
      if (!each(ms(this.#next))) return false;
      this.#next += this.#distance();
    }
    return true;
  }

  /** How far behind the process is, in milliseconds. */
  behind(now: Milliseconds): number {
    return Math.max(0, now - this.#next);
  }

  #distance(): number {
    const mean = 1000 / this.#rate;
    return this.#arrival === "constant" ? mean : -Math.log(1 - this.#random.fraction()) * mean;
  }
}
