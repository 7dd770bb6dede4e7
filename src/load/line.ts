/**
 * Flows that have something to ask wait here for their signatures, in the order in which they fell due. In each turn of the
 * event loop as many are signed as take a few milliseconds; then what has come in meanwhile is read before more is asked.
 * One process plays many hosts on one core: without this, a crowd that asks at once would keep it from reading its answers.
 */
import type { Time } from "../base/time.js";
import { ms } from "../base/units.js";

const TURN = ms(16);
/** Places at the front of the array that are not in use any more, before it is made shorter. */
const MOST_UNUSED = 4096;

export class Line {
  readonly #time: Time;
  readonly #ask: (flow: number) => void;
  readonly #later: (turn: () => void) => void;
  #flows: number[] = [];
  #first = 0;
  /** Of this turn; undefined: nothing was asked in it so far. */
  #until: number | undefined;

  /**
   * @param ask signs and sends; it may add to the line
   * @param later has a turn taken after what can be read now has been, such as setImmediate
   */
  constructor(time: Time, ask: (flow: number) => void, later: (turn: () => void) => void) {
    this.#time = time;
    this.#ask = ask;
    this.#later = later;
  }

  get length(): number {
    return this.#flows.length - this.#first;
  }

  /** At once, if there is time left in this turn and nobody else waits. */
  add(flow: number): void {
    this.#flows.push(flow);
    if (this.length === 1) this.#go();
  }

  #go(): void {
    if (this.#until === undefined) {
      this.#until = this.#time.now() + TURN;
      this.#later(() => {
        this.#until = undefined;
        if (this.length > 0) this.#go();
      });
    }
    while (this.length > 0 && this.#time.now() < this.#until) this.#ask(this.#take());
  }

  #take(): number {
    const flow = this.#flows[this.#first++];
    if (flow === undefined) throw new RangeError("nobody waits");
    if (this.#first === this.#flows.length || this.#first > MOST_UNUSED) {
      this.#flows = this.#flows.slice(this.#first);
      this.#first = 0;
    }
    return flow;
  }
}
