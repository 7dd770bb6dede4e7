/**
 * A message that comes alone costs a node two or three times what it costs among others: a turn of the event loop and its
 * system calls, and code and data that have left the processor's caches. So a node that has much to do rests for a few
 * milliseconds after a turn, in which messages gather; one that has little to do answers each at once.
 */
import type { Time } from "../../base/time.js";
import { type Milliseconds, ms } from "../../base/units.js";

/** What was heard in one of these says whether there is much to do in the next. */
const PERIOD = ms(100);
/** Messages in a period. Below, all of them together are not worth a wait; setting up one flow takes a router five. */
const MUCH = 100;
/** Turns without a message before it rests: an answer may be installed in one, signed in the next and written in the third. */
const QUIET_TURNS = 3;

export interface GatheringParts {
  readonly time: Pick<Time, "now">;
  /** From the first message of a turn to the next turn; 0: turns follow as messages come. */
  readonly apart: Milliseconds;
  /** Has a turn taken after what can be read now has been, such as setImmediate. */
  readonly later: (turn: () => void) => void;
  /** Stops this thread for so long. */
  readonly rest: (duration: Milliseconds) => void;
}

export class Gathering {
  readonly #parts: GatheringParts;
  #period = { end: ms(0), messages: 0 };
  /** The period before had much to do. */
  #busy = false;
  /** When the first message came since it last rested, or could have; undefined: none did. */
  #since: Milliseconds | undefined;
  /** Turns since one came. */
  #quiet = 0;

  constructor(parts: GatheringParts) {
    this.#parts = parts;
  }

  /** A message came. */
  heard(): void {
    if (this.#parts.apart === 0) return;
    this.#count();
    this.stay();
  }

  /** There is something to be done yet. */
  stay(): void {
    if (this.#parts.apart === 0) return;
    this.#quiet = 0;
    if (this.#since !== undefined) return;
    this.#since = this.#parts.time.now();
    this.#parts.later(this.#turn);
  }

  #count(): void {
    const now = this.#parts.time.now();
    if (now >= this.#period.end) {
      const isNext = now < this.#period.end + PERIOD;
      this.#busy = isNext && this.#period.messages >= MUCH;
      this.#period = { end: ms(now + PERIOD), messages: 0 };
    }
    this.#period.messages++;
  }

  /** Rests when turns brought nothing more: what was answered has been sent by then, and no queue has another packet. */
  readonly #turn = (): void => {
    if (this.#quiet++ < QUIET_TURNS) {
      this.#parts.later(this.#turn);
      return;
    }
    const { time, apart, rest } = this.#parts;
    const left = (this.#since ?? 0) + apart - time.now();
    this.#since = undefined;
    if (this.#busy && left > 0) rest(ms(left));
  };
}

const never = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));

/** Stops the thread; other threads, those that judge packets among them, go on. */
export function restThread(duration: Milliseconds): void {
  Atomics.wait(never, 0, 0, duration);
}
