/**
 * Solves the puzzles of busy nodes, one after the other, and in small pieces: a node that sets them, honest or not, can
 * take a small share of one core and no more.
 */
import type { Time } from "../../base/time.js";
import { ms } from "../../base/units.js";
import type { Ticket } from "../wire/messages.js";
import { isSolved, NONCE_BYTES } from "./tickets.js";

/** Hashes in one go, about 2 ms, and the pause after it. */
const PIECE = 1024;
const PAUSE = ms(10);
/** A solution takes 2^bits tries on average; that it takes so many times more happens once in 10 million. */
const UNLUCKY = 16;
const MOST_WAITING = 10_000;
const WORD = 2 ** 32;

interface Puzzle {
  readonly ticket: Ticket;
  readonly wanted: () => boolean;
  readonly done: (solved: Ticket | undefined) => void;
  tries: number;
}

export class PuzzleSolver {
  readonly #time: Time;
  readonly #puzzles: Puzzle[] = [];
  #waiting = false;

  constructor(time: Time) {
    this.#time = time;
  }

  /**
   * The ticket with a nonce that solves it; undefined when too many wait, or it is wanted no more. At once where there is
   * no puzzle. Never rejects.
   */
  solve(ticket: Ticket, wanted: () => boolean): Promise<Ticket | undefined> {
    if (ticket.bits === 0) return Promise.resolve(ticket);
    if (this.#puzzles.length >= MOST_WAITING) return Promise.resolve(undefined);
    return new Promise((done) => {
      this.#puzzles.push({ ticket, wanted, done, tries: 0 });
      if (!this.#waiting) this.#piece();
    });
  }

  #piece(): void {
    this.#waiting = false;
    let left = PIECE;
    for (let first = this.#puzzles[0]; first !== undefined && left > 0; first = this.#puzzles[0]) {
      const before = first.tries;
      const ended = first.wanted() ? search(first, left) : { solved: undefined };
      left -= Math.max(1, first.tries - before);
      if (ended === undefined) break;
      this.#puzzles.shift();
      first.done(ended.solved);
    }
    if (this.#puzzles.length === 0) return;
    this.#waiting = true;
    this.#time.after(PAUSE, () => this.#piece());
  }
}

/** Undefined: not ended yet. */
function search(puzzle: Puzzle, tries: number): { solved: Ticket | undefined } | undefined {
  const { ticket } = puzzle;
  const nonce = new Uint8Array(NONCE_BYTES);
  const view = new DataView(nonce.buffer);
  for (let i = 0; i < tries; i++) {
    view.setUint32(0, Math.floor(puzzle.tries / WORD));
    view.setUint32(4, puzzle.tries % WORD);
    puzzle.tries++;
    if (isSolved(ticket, nonce)) return { solved: { ...ticket, nonce } };
  }
  return puzzle.tries > UNLUCKY * 2 ** ticket.bits ? { solved: undefined } : undefined;
}
