/** A timer for each of many numbered things, without an object for each: one timer of {@link Time} serves them all. */
import { SlotWheel } from "./slot-wheel.js";
import type { Time, Timer } from "./time.js";
import { type Milliseconds, ms } from "./units.js";

export class SlotTimers {
  readonly #time: Time;
  readonly #wheel: SlotWheel;
  readonly #fire: (thing: number) => void;
  #wake: Timer | undefined;
  #wakeAt = Number.POSITIVE_INFINITY;

  /** @param fire called with a thing whose time has come; it must not throw */
  constructor(time: Time, fire: (thing: number) => void) {
    this.#time = time;
    this.#wheel = new SlotWheel(time.now());
    this.#fire = fire;
  }

  /** Bytes of memory. */
  get memory(): number {
    return this.#wheel.memory;
  }

  set(thing: number, at: Milliseconds): void {
    if (this.#wheel.count === 0) this.#advance();
    this.#wheel.set(thing, at);
    if (at < this.#wakeAt) this.#schedule();
  }

  cancel(thing: number): void {
    this.#wheel.cancel(thing);
    if (this.#wheel.count === 0) this.stop();
  }

  /** Nothing fires until something is set again. */
  stop(): void {
    this.#wake?.cancel();
    this.#wakeAt = Number.POSITIVE_INFINITY;
  }

  #advance(): void {
    this.#wheel.advance(this.#time.now(), this.#fire);
  }

  #schedule(): void {
    const look = this.#wheel.nextLook();
    if (look === undefined || look >= this.#wakeAt) return;
    this.#wake?.cancel();
    this.#wakeAt = look;
    this.#wake = this.#time.after(ms(Math.max(0, look - this.#time.now())), () => {
      this.#wakeAt = Number.POSITIVE_INFINITY;
      this.#advance();
      this.#schedule();
    });
  }
}
