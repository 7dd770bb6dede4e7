/** How a node decides what to work on when there is more than it can do. */
import { type Milliseconds, ms, seconds } from "../base/units.js";

export interface AdmissionOptions {
  /** New requests that would wait longer for their turn are told to come back. */
  readonly patience: Milliseconds;
  /** Messages that wait for their turn, of each of three kinds. */
  readonly waiting: number;
  /** Queries, and likewise Permissions, a second of one source behind a peer. */
  readonly sourceRate: number;
  /** How long, at most, who is turned away is told to wait. */
  readonly longestRetry: Milliseconds;
  /** Bits of the hardest puzzle that this node sets; 0: none. */
  readonly puzzle: number;
  /** Bits of the hardest puzzle that this node solves. */
  readonly puzzleEffort: number;
  /** How long a flow of this host waits for nodes that are busy, before its application is refused. */
  readonly endurance: Milliseconds;
  /** For how many refresh times more soft state lives at a node that was late itself. */
  readonly grace: number;
}

export const DEFAULT_ADMISSION: AdmissionOptions = {
  patience: ms(500),
  waiting: 4096,
  sourceRate: 5000,
  longestRetry: seconds(60),
  puzzle: 16,
  puzzleEffort: 18,
  endurance: seconds(120),
  grace: 2,
};

/** Puzzles are never harder: 2^24 hashes. */
export const HARDEST_PUZZLE = 24;

/** Nobody is told to wait longer: tickets are known that long. */
export const LONGEST_RETRY = seconds(600);
