/**
 * Time, passed in wherever it is needed so that every state machine runs under a fake clock.
 *
 * Timers stand in a hierarchical wheel: setting and cancelling are O(1) however many there are, which a daemon
 * with a million flows needs. A timer may fire up to one tick late, never early.
 */
import { SlotWheel, TICK } from "./slot-wheel.js";
import { type Milliseconds, ms } from "./units.js";

/** A timer that was set. Cancelling it twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

export interface Time {
  /** Monotonic: never goes back, does not follow steps of the wall clock. */
  now(): Milliseconds;
  /** Wall clock, for certificates and log lines only; milliseconds since 1970. */
  wall(): number;
  /** Calls `fire` once, no earlier than `delay` from now. */
  after(delay: Milliseconds, fire: () => void): Timer;
}

export { TICK };

class Entry implements Timer {
  /** Undefined once it fired or was cancelled. */
  fire: (() => void) | undefined;
  readonly #wheel: TimerWheel;
  readonly #number: number;

  constructor(wheel: TimerWheel, number: number, fire: () => void) {
    this.#wheel = wheel;
    this.#number = number;
    this.fire = fire;
  }

  cancel(): void {
    if (this.fire === undefined) return;
    this.fire = undefined;
    this.#wheel.cancelled(this.#number);
  }
}

/** The wheel alone, without a clock: whoever owns it says how far time has come. */
export class TimerWheel {
  readonly #wheel: SlotWheel;
  /** Timers that are set, by number. */
  readonly #entries: (Entry | undefined)[] = [];
  readonly #free: number[] = [];
  /** What the first timer to throw has thrown since time was last moved. */
  #failure: { readonly error: unknown } | undefined;

  constructor(now: Milliseconds) {
    this.#wheel = new SlotWheel(now);
  }

  /** Timers that are set. */
  get count(): number {
    return this.#wheel.count;
  }

  set(at: Milliseconds, fire: () => void): Timer {
    const number = this.#free.pop() ?? this.#entries.length;
    const entry = new Entry(this, number, fire);
    this.#wheel.set(number, at);
    this.#entries[number] = entry;
    return entry;
  }

  /** For the timer itself. */
  cancelled(number: number): void {
    this.#wheel.cancel(number);
    this.#entries[number] = undefined;
    this.#free.push(number);
  }

  /**
   * Fires all that is due by `now`, in the order of their ticks. When timers throw, the others fire all the same and the
   * first error is thrown at the end.
   */
  advance(now: Milliseconds): void {
    this.#wheel.advance(now, (number) => this.#fire(number));
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure.error;
  }

  /** The latest instant up to which no timer can be due; undefined when none is set. */
  nextLook(): Milliseconds | undefined {
    return this.#wheel.nextLook();
  }

  #fire(number: number): void {
    const entry = this.#entries[number];
    const fire = entry?.fire;
    entry?.cancel();
    try {
      fire?.();
    } catch (error) {
      this.#failure ??= { error };
    }
  }
}

/** The machine's own time. One system timer serves all; it does not keep the process alive. */
export class SystemTime implements Time {
  readonly #wheel: TimerWheel;
  #wake: NodeJS.Timeout | undefined;
  #wakeAt = Number.POSITIVE_INFINITY;

  constructor() {
    this.#wheel = new TimerWheel(this.now());
  }

  now(): Milliseconds {
    return ms(performance.now());
  }

  wall(): number {
    return Date.now();
  }

  after(delay: Milliseconds, fire: () => void): Timer {
    if (this.#wheel.count === 0) this.#wheel.advance(this.now());
    const at = ms(this.now() + delay);
    const timer = this.#wheel.set(at, fire);
    if (at < this.#wakeAt) this.#schedule();
    return timer;
  }

  #schedule(): void {
    const look = this.#wheel.nextLook();
    if (look === undefined || look >= this.#wakeAt) return;
    clearTimeout(this.#wake);
    this.#wakeAt = look;
    this.#wake = setTimeout(() => this.#look(), Math.max(0, Math.ceil(look - this.now())));
    this.#wake.unref();
  }

  #look(): void {
    this.#wakeAt = Number.POSITIVE_INFINITY;
    try {
      this.#wheel.advance(this.now());
    } finally {
      this.#schedule();
    }
  }
}

/** Time that stands still until a test moves it. */
export class FakeTime implements Time {
  #now = 0;
  readonly #wheel = new TimerWheel(ms(0));
  /** Wall clock at instant 0; a test may move it on its own. */
  wallStart = Date.UTC(2026, 0, 1);

  now(): Milliseconds {
    return ms(this.#now);
  }

  wall(): number {
    return this.wallStart + this.#now;
  }

  after(delay: Milliseconds, fire: () => void): Timer {
    return this.#wheel.set(ms(this.#now + delay), fire);
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#wheel.count;
  }

  /** Lets time pass, a tick at a time, so that timers see the instant at which they fire. */
  advance(duration: Milliseconds): void {
    const end = this.#now + duration;
    while (this.#now < end) {
      this.#now = Math.min(end, this.#now + TICK);
      this.#wheel.advance(ms(this.#now));
    }
  }
}
