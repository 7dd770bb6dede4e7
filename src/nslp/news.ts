/** What goes on, and is left alone, is told again only after a time. */
import type { Time } from "../base/time.js";
import { type Milliseconds, seconds } from "../base/units.js";

const TELL_AGAIN: Milliseconds = seconds(60);

export class News {
  readonly #time: Time;
  #what = "";
  #until = 0;

  constructor(time: Time) {
    this.#time = time;
  }

  /** Whether it is to be told; then it has been. */
  take(what: string): boolean {
    const now = this.#time.now();
    if (this.#what === what && now < this.#until) return false;
    this.#what = what;
    this.#until = now + TELL_AGAIN;
    return true;
  }
}
