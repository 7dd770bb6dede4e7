/**
 * Where a flow's packets come in at one node, and which of these places is not on the flow's path. Pure: counts go in, a proof
 * comes out.
 *
 * An address can be forged by anybody, so nothing is held against an address here. What is proven is that the flow's own
 * packets come in elsewhere:
 *
 * - Signed: where each packet bears the sender's own signature, a place by which many come that do not, and not a single one that
 *   does, is not on the path. Whoever is behind the same place as the sender is never found in this way.
 * - Counted: while the volumes fitted what the sender signed, most bytes came by one place. Then there were too many; that place
 *   alone still brings all that the sender signed, and others bring the rest.
 */
import { type Bytes, bytes } from "../base/units.js";
import type { DetectionLimits } from "./detection.js";

export interface Entrance {
  readonly interface: string;
  /** Hardware address of the last hop. */
  readonly address: string;
}

/** What came in there since counting began. */
export interface EntranceCount extends Entrance {
  readonly bytes: number;
  /** Packets that failed authentication. */
  readonly failed: number;
}

export interface OffPathProof {
  readonly how: "signed" | "counted";
  /** What the sender signed to have sent in the time that is looked at; null where that is not needed. */
  readonly sent: Bytes | null;
  /** The flow's own places, and the others, with what came in there in that time. */
  readonly own: readonly EntranceCount[];
  readonly strange: readonly EntranceCount[];
}

/** Of the bytes that fitted at least this share came by a place that is the flow's own. */
const MAIN_SHARE = 0.5;
/**
 * Bytes from which on a place may be taken for the flow's own, in times of the excess that nobody notices; and how far they may be
 * from what was sent meanwhile. So somebody else's place is taken for the flow's own only where a third of the flow is lost and just
 * that much injected, which who is not on its path cannot bring about.
 */
const ENOUGH = 10;
const FIT = { least: 0.8, most: 1.25 };
/** Packets without a good signature that may be due to a change of keys. */
const FAILED_ALLOWED = 20;

/** One flow. Memory is bounded by the places that are counted. */
export class EntranceWatch {
  readonly #limits: DetectionLimits;
  #signed = false;
  /** Counts at which the time that is looked at began, by place. */
  #base = new Map<string, EntranceCount>();
  #sent = 0;
  #own = new Set<string>();

  constructor(limits: DetectionLimits) {
    this.#limits = limits;
  }

  /**
   * What was seen before says nothing any more: a new epoch, or another way.
   * @param signed from now on nothing is counted but what the sender has signed
   */
  begin(counts: readonly EntranceCount[], sent: Bytes, signed: boolean): void {
    this.#signed = signed;
    this.#own.clear();
    this.#rebase(counts, sent);
  }

  /** Volumes fit. */
  fits(counts: readonly EntranceCount[], sent: Bytes): void {
    if (this.#signed) return;
    const came = this.#since(counts);
    const total = sum(came);
    const span = sent - this.#sent;
    const { excess } = this.#limits;
    if (total < ENOUGH * excess || total < FIT.least * span || total > FIT.most * span + excess) return;
    for (const place of came) if (place.bytes >= MAIN_SHARE * total) this.#own.add(nameOf(place));
    this.#rebase(counts, sent);
  }

  /** What was proven has been told; what follows has to be proven anew. The flow's own places stay. */
  again(counts: readonly EntranceCount[], sent: Bytes): void {
    this.#rebase(counts, sent);
  }

  /**
   * Volumes do not fit, or packets fail authentication.
   * @param sent what the sender signed to have sent by now
   * @param excess whether more arrived than was sent
   * @param signalling interface by which the flow's signalling comes; empty: not known
   */
  prove(
    counts: readonly EntranceCount[],
    sent: Bytes,
    excess: boolean,
    signalling: string,
  ): OffPathProof | undefined {
    const came = this.#since(counts);
    if (this.#signed) return this.#bySignature(came);
    return excess ? this.#byCount(came, bytes(Math.max(0, sent - this.#sent)), signalling) : undefined;
  }

  #bySignature(came: readonly EntranceCount[]): OffPathProof | undefined {
    const own = came.filter((place) => place.bytes > 0);
    const strange = came.filter((place) => place.bytes === 0 && place.failed > FAILED_ALLOWED);
    if (sum(own) <= this.#limits.excess || strange.length === 0) return undefined;
    return { how: "signed", sent: null, own, strange };
  }

  #byCount(came: readonly EntranceCount[], sent: Bytes, signalling: string): OffPathProof | undefined {
    const own = came.filter((place) => this.#own.has(nameOf(place)));
    const strange = came.filter(
      (place) => !this.#own.has(nameOf(place)) && place.bytes > this.#limits.excess,
    );
    if (own.length === 0 || strange.length === 0) return undefined;
    if (signalling !== "" && !own.some((place) => place.interface === signalling)) return undefined;
    const allowed = Math.max(this.#limits.loss, this.#limits.lossShare * sent);
    // Too little by its own places: it may have moved to one of the others.
    if (sum(own) < sent - Math.min(allowed, MAIN_SHARE * sent)) return undefined;
    return { how: "counted", sent, own, strange };
  }

  #since(counts: readonly EntranceCount[]): EntranceCount[] {
    return counts.map((count) => {
      const before = this.#base.get(nameOf(count));
      return {
        interface: count.interface,
        address: count.address,
        bytes: count.bytes - (before?.bytes ?? 0),
        failed: count.failed - (before?.failed ?? 0),
      };
    });
  }

  #rebase(counts: readonly EntranceCount[], sent: Bytes): void {
    this.#base = new Map(counts.map((count) => [nameOf(count), count]));
    this.#sent = sent;
  }
}

function nameOf({ interface: name, address }: Entrance): string {
  return `${name} ${address}`;
}

function sum(counts: readonly EntranceCount[]): number {
  return counts.reduce((total, count) => total + count.bytes, 0);
}
