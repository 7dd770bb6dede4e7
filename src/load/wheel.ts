/**
 * One timer for each flow without an object for each: a wheel of slots whose rings are linked by numbers. 16 bytes a
 * flow. A timer fires up to one tick late, never early.
 */
import { TICK } from "../base/time.js";
import { type Milliseconds, ms } from "../base/units.js";

const SLOTS = 8192;
const NONE = -1;

export class FlowTimers {
  readonly #heads = new Int32Array(SLOTS).fill(NONE);
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** Tick at which it fires; 0: not set. */
  readonly #due: Float64Array;
  #tick: number;

  constructor(flows: number, now: Milliseconds) {
    this.#next = new Int32Array(flows).fill(NONE);
    this.#previous = new Int32Array(flows).fill(NONE);
    this.#due = new Float64Array(flows);
    this.#tick = Math.floor(now / TICK);
  }

  /** In place of the one that the flow had. */
  set(flow: number, at: Milliseconds): void {
    this.cancel(flow);
    const due = Math.max(Math.ceil(at / TICK), this.#tick + 1);
    const slot = due % SLOTS;
    const head = this.#heads[slot] ?? NONE;
    this.#due[flow] = due;
    this.#next[flow] = head;
    this.#previous[flow] = NONE;
    if (head !== NONE) this.#previous[head] = flow;
    this.#heads[slot] = flow;
  }

  cancel(flow: number): void {
    const due = this.#due[flow] ?? 0;
    if (due === 0) return;
    const next = this.#next[flow] ?? NONE;
    const previous = this.#previous[flow] ?? NONE;
    if (previous === NONE) this.#heads[due % SLOTS] = next;
    else this.#next[previous] = next;
    if (next !== NONE) this.#previous[next] = previous;
    this.#due[flow] = 0;
  }

  /** Fires all that is due. What `fire` sets is never due in the same tick. */
  advance(now: Milliseconds, fire: (flow: number, at: Milliseconds) => void): void {
    const target = Math.floor(now / TICK);
    while (this.#tick < target) {
      this.#tick++;
      for (const flow of this.#dueNow()) {
        // One that fired before it in this tick may have set it anew, or taken it away.
        if (this.#due[flow] !== this.#tick) continue;
        this.cancel(flow);
        fire(flow, ms(this.#tick * TICK));
      }
    }
  }

  #dueNow(): number[] {
    const due: number[] = [];
    let flow = this.#heads[this.#tick % SLOTS] ?? NONE;
    while (flow !== NONE) {
      if (this.#due[flow] === this.#tick) due.push(flow);
      flow = this.#next[flow] ?? NONE;
    }
    return due;
  }
}
