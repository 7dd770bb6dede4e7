/**
 * Query-mode packets of hosts that nobody knows wait here until nothing else is to be read from the queue. Otherwise a node that
 * has too little processor time for a flood of them would keep known hosts waiting behind them, in a queue that is full.
 */
import { AGAIN_MARK, STRANGER_MARK } from "../../base/marks.js";

/** What the rules say of a packet's source: "again": a stranger that was turned away a moment ago. */
export type Standing = "known" | "stranger" | "again";

/** Packets that wait at most. Few of those who come for the first time: what waits for long is asked again anyway. */
export const MOST_STRANGERS = { stranger: 64, again: 256 } as const;
/** One is handled after so many turns of reading, whatever else there is. */
const MOST_TURNS = 8;

export function standingOf(mark: number): Standing {
  if (mark === STRANGER_MARK) return "stranger";
  return mark === AGAIN_MARK ? "again" : "known";
}

export class Strangers<T> {
  readonly #handle: (packet: T) => void;
  readonly #later: (turn: () => void) => void;
  readonly #waiting: Readonly<Record<keyof typeof MOST_STRANGERS, T[]>> = { stranger: [], again: [] };
  /** Something was read since the last turn. */
  #read = false;
  /** Turns in a row in which something was. */
  #turns = 0;
  #due = false;

  /** @param later has a turn taken after what can be read now has been, such as setImmediate */
  constructor(handle: (packet: T) => void, later: (turn: () => void) => void) {
    this.#handle = handle;
    this.#later = later;
  }

  /** A packet was read, of whomever. */
  read(): void {
    this.#read = true;
  }

  /** Handles it when there is time. False: too many wait, and it is nobody's. */
  wait(packet: T, standing: keyof typeof MOST_STRANGERS): boolean {
    const waiting = this.#waiting[standing];
    if (waiting.length >= MOST_STRANGERS[standing]) return false;
    waiting.push(packet);
    this.#nextTurn();
    return true;
  }

  #nextTurn(): void {
    if (this.#due) return;
    this.#due = true;
    this.#later(() => {
      this.#due = false;
      this.#turn();
    });
  }

  #turn(): void {
    this.#turns = this.#read ? this.#turns + 1 : 0;
    const first = !this.#read || this.#turns >= MOST_TURNS ? this.#next() : undefined;
    this.#read = false;
    if (this.#waiting.again.length + this.#waiting.stranger.length > 0) this.#nextTurn();
    if (first === undefined) return;
    this.#turns = 0;
    this.#handle(first);
  }

  /** Who comes again is more likely to be there. */
  #next(): T | undefined {
    return this.#waiting.again.shift() ?? this.#waiting.stranger.shift();
  }
}
