/**
 * Query-mode packets of hosts that nobody knows wait here until nothing else is to be read from the queue. Otherwise a node that
 * has too little processor time for a flood of them would keep known hosts waiting behind them, in a queue that is full.
 */
import { AGAIN_MARK, STRANGER_MARK } from "../../base/marks.js";

/** What the rules say of a packet's source: "again": a stranger that was turned away a moment ago. */
export type Standing = "known" | "stranger" | "again";

/** Packets that wait at most. Few of those who come for the first time: what waits for long is asked again anyway. */
export const MOST_STRANGERS = { again: 256, stranger: 64 } as const;
/** One is handled after so many turns of reading, whatever else there is. */
const MOST_TURNS = { again: 2, stranger: 32 } as const;

type Strange = Exclude<Standing, "known">;
/** Who comes again is more likely to be there. */
const ORDER: readonly Strange[] = ["again", "stranger"];

export function standingOf(mark: number): Standing {
  if (mark === STRANGER_MARK) return "stranger";
  return mark === AGAIN_MARK ? "again" : "known";
}

export class Strangers<T> {
  readonly #handle: (packet: T) => void;
  readonly #later: (turn: () => void) => void;
  readonly #waiting: Readonly<Record<Strange, T[]>> = { again: [], stranger: [] };
  /** Turns since one was handled. */
  readonly #turns: Record<Strange, number> = { again: 0, stranger: 0 };
  /** Something was read since the last turn. */
  #read = false;
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
  wait(packet: T, standing: Strange): boolean {
    const waiting = this.#waiting[standing];
    if (waiting.length >= MOST_STRANGERS[standing]) return false;
    waiting.push(packet);
    this.#nextTurn();
    return true;
  }

  #nextTurn(): void {
    if (this.#due || ORDER.every((standing) => this.#waiting[standing].length === 0)) return;
    this.#due = true;
    this.#later(() => {
      this.#due = false;
      const next = this.#next();
      this.#nextTurn();
      if (next !== undefined) this.#handle(next);
    });
  }

  #next(): T | undefined {
    const busy = this.#read;
    this.#read = false;
    for (const standing of ORDER) this.#turns[standing]++;
    const due = ORDER.filter((standing) => !busy || this.#turns[standing] >= MOST_TURNS[standing]);
    const first = due.find((standing) => this.#waiting[standing].length > 0);
    if (first === undefined) return undefined;
    this.#turns[first] = 0;
    return this.#waiting[first].shift();
  }
}
