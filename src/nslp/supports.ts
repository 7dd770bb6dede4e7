/**
 * What the paths from this host to each receiver can do to save signatures. A Query asks for it with Path-support, which a
 * node that cannot refuses: then less is asked for, until the memory of it is over.
 */
import type { Flow } from "../base/flow.js";
import type { Time } from "../base/time.js";
import { seconds } from "../base/units.js";
import { BoundedMemory } from "./bounded.js";
import type { PbsOptions } from "./options.js";
import { SUPPORT } from "./wire/messages.js";

/** Pairs of hosts that are remembered. */
const MAX_PAIRS = 65_536;
/** Queries with Path-support that went unanswered, and were answered without it, in a row, that say as much as a refusal. */
const MOST_DOUBTS = 2;
/** The answer to a Query is there by then. */
const ONE_QUESTION = seconds(2);
/** Many flows have the same doubt when a node restarts. */
const ONE_DOUBT = seconds(30);

interface Known {
  /** Place in the list of what can be asked for. */
  readonly step: number;
  readonly proven: boolean;
  readonly doubts: number;
  /** When the last one of these came. */
  readonly doubted: number;
  /** When a Query last asked. */
  readonly asked: number;
}

const NEVER = Number.NEGATIVE_INFINITY;
const UNKNOWN: Known = { step: 0, proven: false, doubts: 0, doubted: NEVER, asked: NEVER };

export class PathSupports {
  /** From most to nothing. */
  readonly #steps: readonly number[];
  readonly #pairs: BoundedMemory<Known>;
  readonly #time: Time;

  constructor(time: Time, { tree, summary, supportRetry }: PbsOptions) {
    const own = (tree ? SUPPORT.tree : 0) | (summary ? SUPPORT.summary : 0);
    const all = [SUPPORT.tree | SUPPORT.summary, SUPPORT.tree, SUPPORT.summary];
    this.#steps = [...all.filter((bits) => (bits & ~own) === 0), 0];
    this.#time = time;
    this.#pairs = new BoundedMemory(time, MAX_PAIRS, supportRetry);
  }

  /** Bits to ask for in a Query that is sent now. Until they are proven one flow at a time asks for all of the pair. */
  ask(flow: Flow): number {
    const known = this.#known(flow);
    const bits = this.#bits(known);
    if (known.proven || bits === 0) return bits;
    const now = this.#time.now();
    if (now - known.asked < ONE_QUESTION) return 0;
    this.#pairs.set(pairOf(flow), { ...known, asked: now });
    return bits;
  }

  /** Bits that a whole path has shown to do. */
  proven(flow: Flow): number {
    const known = this.#known(flow);
    return known.proven ? this.#bits(known) : 0;
  }

  /** A Query that asked for these was answered. */
  confirmed(flow: Flow, bits: number): void {
    const known = this.#known(flow);
    if (bits !== this.#bits(known)) return;
    // Where less than all was asked for, the time until all is tried again goes on.
    if (known.step === 0 || !known.proven)
      this.#pairs.set(pairOf(flow), { ...known, proven: true, doubts: 0 });
  }

  /** A node on the path refused them. */
  refused(flow: Flow, bits: number): void {
    const known = this.#known(flow);
    if (bits !== this.#bits(known) || bits === 0) return;
    this.#pairs.set(pairOf(flow), { ...UNKNOWN, step: known.step + 1 });
  }

  /** A Query that asked for these was not answered, and one that did not was: the refusal may have got lost. */
  doubted(flow: Flow, bits: number): void {
    const known = this.#known(flow);
    const now = this.#time.now();
    if (now - known.doubted < ONE_DOUBT) return;
    const doubts = known.doubts + 1;
    if (doubts >= MOST_DOUBTS) return this.refused(flow, bits);
    this.#pairs.set(pairOf(flow), { ...known, doubts, doubted: now });
  }

  #bits({ step }: Known): number {
    return this.#steps[step] ?? 0;
  }

  #known(flow: Flow): Known {
    return this.#pairs.get(pairOf(flow)) ?? UNKNOWN;
  }
}

/** Names the two hosts of a flow. */
export function pairOf({ source, destination }: Flow): string {
  return `${source} ${destination}`;
}
