/**
 * Time, passed in wherever it is needed so that every state machine runs under a fake clock.
 *
 * Timers stand in a hierarchical wheel: setting and cancelling are O(1) however many there are, which a daemon
 * with a million flows needs. A timer may fire up to one tick late, never early.
 */
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

export const TICK = ms(10);
const SLOT_BITS = 8;
const SLOTS = 1 << SLOT_BITS;
const LEVELS = 4;

class Entry implements Timer {
  tick: number;
  fire: (() => void) | undefined;
  previous: Entry | undefined;
  next: Entry | undefined;
  wheel: TimerWheel | undefined;

  constructor(tick: number, fire: (() => void) | undefined) {
    this.tick = tick;
    this.fire = fire;
  }

  cancel(): void {
    if (this.wheel === undefined) return;
    this.wheel.count--;
    this.wheel = undefined;
    this.fire = undefined;
    unlink(this);
  }
}

/** Takes an entry out of its ring; every ring has a head, so both neighbours exist. */
function unlink(entry: Entry): void {
  if (entry.previous !== undefined) entry.previous.next = entry.next;
  if (entry.next !== undefined) entry.next.previous = entry.previous;
  entry.previous = undefined;
  entry.next = undefined;
}

function emptyRing(): Entry {
  const head = new Entry(0, undefined);
  head.previous = head;
  head.next = head;
  return head;
}

/** The wheel alone, without a clock: whoever owns it says how far time has come. */
export class TimerWheel {
  /** Timers that are set. */
  count = 0;
  #tick: number;
  /** What the first timer to throw has thrown since time was last moved. */
  #failure: { readonly error: unknown } | undefined;
  readonly #levels: Entry[][] = Array.from({ length: LEVELS }, () =>
    Array.from({ length: SLOTS }, () => emptyRing()),
  );

  constructor(now: Milliseconds) {
    this.#tick = Math.floor(now / TICK);
  }

  set(at: Milliseconds, fire: () => void): Timer {
    if (Number.isNaN(at)) throw new RangeError("a timer needs an instant");
    const entry = new Entry(Math.max(Math.ceil(at / TICK), this.#tick + 1), fire);
    entry.wheel = this;
    this.count++;
    this.#place(entry);
    return entry;
  }

  /**
   * Fires all that is due by `now`, in the order of their ticks. When timers throw, the others fire all the same and the
   * first error is thrown at the end.
   */
  advance(now: Milliseconds): void {
    const target = Math.floor(now / TICK);
    while (this.#tick < target && this.count > 0) {
      this.#tick++;
      this.#cascade();
      this.#fireSlot();
    }
    this.#tick = Math.max(this.#tick, target);
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure.error;
  }

  /** The latest instant up to which no timer can be due; undefined when none is set. */
  nextLook(): Milliseconds | undefined {
    if (this.count === 0) return undefined;
    const slots = this.#levels[0] as Entry[];
    for (let ahead = 1; ahead < SLOTS; ahead++) {
      const tick = this.#tick + ahead;
      const head = slots[tick % SLOTS] as Entry;
      // At a turn of the wheel timers come down from the level above, so time must be looked at there.
      if (head.next !== head || tick % SLOTS === 0) return ms(tick * TICK);
    }
    return ms((this.#tick + SLOTS) * TICK);
  }

  #place(entry: Entry): void {
    const distance = entry.tick - this.#tick;
    let level = 0;
    while (level < LEVELS - 1 && distance >= SLOTS ** (level + 1)) level++;
    // What lies beyond the last level waits in its farthest slot and is placed again from there.
    const farthest = this.#tick + SLOTS ** LEVELS - 1;
    const slot = Math.floor(Math.min(entry.tick, farthest) / SLOTS ** level) % SLOTS;
    const head = (this.#levels[level] as Entry[])[slot] as Entry;
    const last = head.previous as Entry;
    entry.previous = last;
    entry.next = head;
    last.next = entry;
    head.previous = entry;
  }

  #cascade(): void {
    for (let level = 1; level < LEVELS; level++) {
      const span = SLOTS ** level;
      if (this.#tick % span !== 0) return;
      const head = (this.#levels[level] as Entry[])[(this.#tick / span) % SLOTS] as Entry;
      for (const entry of takeAll(head)) this.#place(entry);
    }
  }

  #fireSlot(): void {
    const head = (this.#levels[0] as Entry[])[this.#tick % SLOTS] as Entry;
    // A timer that fires may cancel a later one of the same slot, so they are taken one at a time.
    for (let entry = head.next as Entry; entry !== head; entry = head.next as Entry) {
      const { fire } = entry;
      entry.cancel();
      try {
        fire?.();
      } catch (error) {
        this.#failure ??= { error };
      }
    }
  }
}

function takeAll(head: Entry): Entry[] {
  const entries: Entry[] = [];
  for (let entry = head.next as Entry; entry !== head; entry = head.next as Entry) {
    unlink(entry);
    entries.push(entry);
  }
  return entries;
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
