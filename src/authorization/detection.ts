/**
 * PBS Detection Algorithm (draft-hong-nsis-pbs-nslp section 5; slides 17 to 20): what the sender signed to have sent against
 * what arrived. Pure: readings go in, findings come out.
 *
 * A reading is taken at another instant than the one at which the sender signed, and packets are on their way all the
 * time. So both judgements rest on what cannot be otherwise:
 *
 * - Too much: what had arrived when a Permission was made (a witness) must be within what a Query says whose sender had
 *   heard that Permission when it signed. Nothing that is late, early or in a burst can break this.
 * - Too little: what is missing after a wait for stragglers, against an upper bound of what was missing before.
 */
import { type Bytes, bytes, type Milliseconds, ms } from "../base/units.js";

export interface DetectionLimits {
  /** How long packets may still be on their way after the Query that counts them. */
  readonly settle: Milliseconds;
  /** Bytes too many that are no matter, and the share of those sent (0 to 1); the larger one counts. */
  readonly excess: Bytes;
  readonly excessShare: number;
  /** Bytes missing in a period that are no matter, and the share of those sent (0 to 1); the larger one counts. */
  readonly loss: Bytes;
  readonly lossShare: number;
  /** Bad periods in a row until missing bytes are a finding. */
  readonly lossPeriods: number;
  /** Packets a second that fail authentication. */
  readonly failureRate: number;
}

/**
 * Two full-sized packets; 64 KiB or 5 %, twice in a row. The share of the excess is for nodes that see the same segments put
 * together in different ways (GSO, GRO), whose headers each has to estimate.
 */
export const DEFAULT_LIMITS: DetectionLimits = {
  settle: ms(200),
  excess: bytes(3000),
  excessShare: 0.001,
  loss: bytes(64 * 1024),
  lossShare: 0.05,
  lossPeriods: 2,
  failureRate: 100,
};

/** What a signed Query says; `mark.sequence` may be up to 1024 behind the last number given. */
export interface Claim {
  readonly epoch: number;
  readonly sent: Bytes;
  /** Message-Seq of the last Permission that its sender had taken; null: none yet; undefined: the sender does not say. */
  readonly heard: number | null | undefined;
  readonly mark: ClaimedMark | undefined;
}

export interface ClaimedMark {
  readonly spi: number;
  readonly sequence: number;
  readonly bytes?: Bytes;
}

/** What this node has counted, read at one instant. */
export interface Reading {
  readonly at: Milliseconds;
  /** In this epoch. */
  readonly received: Bytes;
  /** Of the present association: highest sequence number accepted, and bytes where they are counted apart. */
  readonly association?: { readonly spi: number; readonly sequence: number; readonly bytes?: Bytes };
  /** Packets that failed authentication, since the flow began. */
  readonly failures: number;
}

export const FINDING_KINDS = [
  "excess",
  "forged-sequence",
  "loss",
  "black-hole",
  "failures",
  "silence",
] as const;
/**
 * excess: more arrived than was sent. forged-sequence: a sequence number arrived that the sender had not given yet. loss: too
 * much is missing. black-hole: nothing arrives at all. failures: many packets fail authentication (and are dropped).
 * silence: Queries are not answered (at the sender).
 */
export type FindingKind = (typeof FINDING_KINDS)[number];

export interface Finding {
  readonly kind: FindingKind;
  /** Bytes too many or missing; packets of a forged sequence or failed. */
  readonly amount: number;
  readonly sent: Bytes;
  readonly received: Bytes;
  readonly epoch: number;
  /** What `amount` was more than. */
  readonly threshold: number;
  readonly mark: ClaimedMark | null;
  /** Since the comparison before. */
  readonly period: Milliseconds;
}

/** The last comparison, whatever came of it. */
export interface Comparison {
  readonly epoch: number;
  readonly sent: Bytes;
  readonly received: Bytes;
  readonly mark: ClaimedMark | null;
  readonly verdict: "fits" | "too-early" | "suspicious" | FindingKind;
}

export interface Judgement {
  readonly finding: Finding | undefined;
  /** Not proven, and worth another Query soon. */
  readonly doubt: boolean;
}

interface Witness {
  /** Message-Seq of the Permission that was made with this reading. */
  readonly permission: number;
  readonly reading: Reading;
}

interface Claimed {
  readonly claim: Claim;
  readonly reading: Reading;
}

/** Bytes missing: not fewer than `low`, not more than `high`. */
interface Missing {
  readonly low: number;
  readonly high: number;
}

/** The comparison that the next one is measured from. */
interface Anchor {
  readonly key: string;
  readonly at: Milliseconds;
  readonly sent: Bytes;
  readonly received: Bytes;
  /** Bytes that were missing at most. */
  readonly high: number;
}

/** An association with which an epoch begins, nothing of another one passing any more. */
export interface Fresh {
  readonly spi: number;
  /** Send-vol at which counting begins. */
  readonly start: Bytes;
}

/** Readings kept for a Query that answers one of the last Permissions. */
const WITNESSES = 4;
/**
 * Settle times that a period has at least, without any packet and with some: a link that was away for a moment is no attack.
 * Whoever asks for a Query, to see whether the next one is bad too, waits as long.
 */
export const SHORTEST_SILENCE = 5;
const SHORTEST_PERIOD = 25;
/** A silent period in which the sender tried with a packet or two says less: those may be lost by chance. */
const SMALL_TRY = 0.5;
/** Of what was sent in a silent period at least this share has to be missing; the rest is under way. */
const SILENT = 0.5;
/** Settle times after which a period is long against what is on its way, and every Permission heard. */
const LONG_PERIOD = 40;
/** Bytes that are uncertain, against those sent, in a period that says something although it is short. */
const CERTAIN = 0.01;
/** A fast sender's mark is the last multiple of this, and its packets are ahead of it by that much. */
const MARK_STEP = 1024;
/** The largest packet that a sequence number can stand for. */
const LARGEST_PACKET = 65_535;
const NO_DOUBT: Judgement = { finding: undefined, doubt: false };

/** One flow at its receiver. Memory is bounded. */
export class VolumeWatch {
  readonly #limits: DetectionLimits;
  #epoch = 0;
  #witnesses: Witness[] = [];
  /** The last one, and the one before it. */
  #claim: Claimed | undefined;
  #before: Claimed | undefined;
  /** The one whose stragglers are waited for. */
  #settling: Claimed | undefined;
  /** Bytes that this epoch's count had too many when it began: counted here, and again as already sent. */
  #base = 0;
  #anchor: Anchor | undefined;
  /** Bytes that were missing at least, at any time: what is lost stays lost. */
  #lost = 0;
  #bad = 0;
  /** The look since which nothing has arrived, and how many silent periods there were before it. */
  #quiet: Anchor | undefined;
  #silent = 0;
  /** Bytes that were missing at most when losses were no matter yet: what was lost before the first silent look counts. */
  #missingBefore = 0;
  /** The association that this epoch began with, and the count at which it did. */
  #fresh: Fresh | undefined;
  #failures: { readonly at: Milliseconds; readonly count: number } | undefined;
  #last: Comparison | undefined;

  constructor(limits: DetectionLimits, start: Milliseconds) {
    this.#limits = limits;
    this.#anchor = anchorAt(start);
    this.#quiet = this.#anchor;
  }

  get last(): Comparison | undefined {
    return this.#last;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /**
   * Counting has begun anew: what was seen before says nothing any more.
   * @param fresh where packets of no other association count from now on
   */
  begin(epoch: number, fresh?: Fresh): void {
    this.#epoch = epoch;
    this.#fresh = fresh;
    this.#witnesses = [];
    this.#claim = undefined;
    this.#before = undefined;
    this.#settling = undefined;
    this.#base = 0;
    this.#lost = 0;
    this.#anchor = undefined;
    this.#bad = 0;
    this.#quiet = undefined;
    this.#silent = 0;
    this.#missingBefore = 0;
  }

  /** A Permission with this Message-Seq is about to be made; `reading` is of before. */
  told(permission: number, reading: Reading): void {
    this.#witnesses.push({ permission, reading });
    if (this.#witnesses.length > WITNESSES) this.#witnesses.shift();
  }

  /** A Query came; `reading` is of now. Says whether too much has arrived. */
  claimed(claim: Claim, reading: Reading): Judgement {
    if (claim.epoch !== this.#epoch) {
      // It was signed before the sender heard of this epoch.
      this.#record(claim, reading, "too-early");
      return NO_DOUBT;
    }
    this.#before = this.#claim;
    this.#claim = { claim, reading };
    this.#settling ??= this.#claim;
    const proven = this.#tooMuch(claim, reading.at);
    if (proven !== undefined) {
      this.#record(claim, reading, proven.kind);
      return { finding: proven, doubt: false };
    }
    const doubt =
      this.#excess(claim, reading) > this.#allowance(claim, reading) || aheadOf(claim, reading) > MARK_STEP;
    this.#record(claim, reading, doubt ? "suspicious" : "fits");
    return { finding: undefined, doubt };
  }

  /**
   * The settle time after a Query is over, the first one since the last call; `reading` is of now.
   * @param countUpTo bytes that arrived up to a mark, where that is known exactly
   */
  settled(reading: Reading, countUpTo: (mark: ClaimedMark) => Bytes | undefined): Judgement {
    const claimed = this.#settling;
    this.#settling = undefined;
    if (claimed === undefined) return NO_DOUBT;
    const failing = this.#failing(reading, claimed.claim);
    const { mark } = claimed.claim;
    const upTo = mark && countUpTo(mark);
    const judged = this.#tooLittle(claimed.claim, claimed.reading, reading, upTo);
    if (judged.finding !== undefined) this.#record(claimed.claim, reading, judged.finding.kind);
    return judged.finding === undefined && failing !== undefined ? { ...judged, finding: failing } : judged;
  }

  #tooMuch(claim: Claim, now: Milliseconds): Finding | undefined {
    const witness = this.#witnessOf(claim, now);
    if (witness === undefined) return undefined;
    const { reading } = witness;
    const ahead = aheadOf(claim, reading);
    if (ahead > MARK_STEP) return this.#found("forged-sequence", ahead, MARK_STEP, claim, reading);
    const excess = this.#excess(claim, reading);
    const threshold = this.#excessOf(claim);
    return excess > threshold ? this.#found("excess", excess, threshold, claim, reading) : undefined;
  }

  /**
   * Packets of the association before may have been counted by a thread that was late for the change: where this epoch began
   * with an association, the bytes under that one are exact.
   */
  #excess(claim: Claim, { received, association }: Reading): number {
    const fresh = this.#fresh;
    if (fresh === undefined || association?.spi !== fresh.spi || association.bytes === undefined)
      return received - claim.sent - this.#base;
    return fresh.start + association.bytes - claim.sent;
  }

  /** The last reading that the signer of this claim must cover. */
  #witnessOf({ heard }: Claim, now: Milliseconds): Witness | undefined {
    if (heard !== undefined) return this.#witnesses.findLast(({ permission }) => permission === heard);
    const before = now - LONG_PERIOD * this.#limits.settle;
    return this.#witnesses.findLast(({ reading }) => reading.at <= before);
  }

  #excessOf({ sent }: Claim): number {
    return Math.max(this.#limits.excess, this.#limits.excessShare * sent);
  }

  /** What may have been sent after the Query was signed, and have overtaken it. */
  #allowance(claim: Claim, reading: Reading): number {
    const before = this.#before;
    if (before === undefined) return this.#excessOf(claim);
    const rate = Math.max(0, claim.sent - before.claim.sent) / Math.max(1, reading.at - before.reading.at);
    return Math.max(this.#excessOf(claim), rate * this.#limits.settle);
  }

  #tooLittle(claim: Claim, early: Reading, late: Reading, upTo: Bytes | undefined): Judgement {
    const missing = missingOf(claim, early, late, upTo);
    const { key, low, high } = missing;
    const anchor = this.#anchor;
    if (anchor === undefined) this.#base = Math.max(0, late.received - underWay(early, late) - claim.sent);
    const fresh = anchor === undefined || (anchor.key !== key && anchor.key !== START);
    this.#lost = fresh ? Math.max(0, low) : Math.max(this.#lost, low);
    const most = Math.max(high, this.#lost);
    const here: Anchor = { key, at: late.at, sent: claim.sent, received: late.received, high: most };
    const silence = this.#judgeSilence(here, missing, fresh ? undefined : anchor, claim);
    if (silence.finding !== undefined) return silence;
    if (!fresh) {
      const period = this.#judgePeriod(anchor, here, missing, claim);
      return { finding: period.finding, doubt: period.doubt || silence.doubt };
    }
    this.#anchor = here;
    return silence;
  }

  /** The sender goes on sending, and nothing at all arrives: some periods of it are a finding. */
  #judgeSilence(here: Anchor, { low }: Missing, good: Anchor | undefined, claim: Claim): Judgement {
    const from = this.#quiet;
    const comparable = from !== undefined && (from.key === here.key || from.key === START);
    const span = comparable ? here.sent - from.sent : 0;
    const gone = comparable && low - from.high >= SILENT * span;
    if (!gone || here.received - from.received > this.#limits.excess) {
      this.#quiet = here;
      this.#silent = 0;
      this.#missingBefore = Math.min(here.high, good?.high ?? here.high);
      return NO_DOUBT;
    }
    if (span <= 0) {
      // The sender sends nothing: that says nothing.
      this.#quiet = here;
      return NO_DOUBT;
    }
    // A sender that gets nothing through sends little.
    const total = low - this.#missingBefore;
    const judged: Judgement = { finding: undefined, doubt: total > this.#limits.loss };
    if (here.at - from.at < SHORTEST_SILENCE * this.#limits.settle) return judged;
    this.#quiet = here;
    this.#silent += span > this.#limits.excess ? 1 : SMALL_TRY;
    if (this.#silent < this.#limits.lossPeriods || !judged.doubt) return judged;
    const found = this.#found("black-hole", total, this.#limits.loss, claim, here);
    return { finding: { ...found, period: ms(here.at - from.at) }, doubt: false };
  }

  #judgePeriod(from: Anchor, here: Anchor, { low, high }: Missing, claim: Claim): Judgement {
    const span = here.sent - from.sent;
    if (span <= 0 || here.at - from.at < SHORTEST_PERIOD * this.#limits.settle) return NO_DOUBT;
    const lost = low - from.high;
    const share = this.#limits.lossShare * span;
    const threshold = Math.max(this.#limits.loss, share);
    if (lost <= threshold) {
      // A large share of little: the next Query may tell.
      if (lost <= share) this.#clean(here, span, high - low);
      return NO_DOUBT;
    }
    this.#bad++;
    this.#anchor = here;
    if (this.#bad < this.#limits.lossPeriods) return { finding: undefined, doubt: true };
    const nothing = here.received - from.received <= this.#limits.excess;
    const found = this.#found(nothing ? "black-hole" : "loss", lost, threshold, claim, here);
    return { finding: { ...found, period: ms(here.at - from.at) }, doubt: false };
  }

  /** Ends a bad row, and measures from here, unless too little was sent or too much is uncertain for that. */
  #clean(here: Anchor, span: number, uncertain: number): void {
    const anchor = this.#anchor;
    if (anchor === undefined || span < this.#limits.loss) return;
    const long = here.at - anchor.at >= LONG_PERIOD * this.#limits.settle;
    if (!long && uncertain > CERTAIN * span) return;
    this.#anchor = here;
    this.#bad = 0;
  }

  #failing(reading: Reading, claim: Claim): Finding | undefined {
    const before = this.#failures;
    this.#failures = { at: reading.at, count: reading.failures };
    if (before === undefined || reading.at <= before.at) return undefined;
    const failed = reading.failures - before.count;
    const threshold = Math.ceil((this.#limits.failureRate * (reading.at - before.at)) / 1000);
    if (failed <= threshold) return undefined;
    return this.#found("failures", failed, threshold, claim, reading);
  }

  #found(
    kind: FindingKind,
    amount: number,
    threshold: number,
    claim: Claim,
    { received, at }: Pick<Reading, "received" | "at">,
  ): Finding {
    const { epoch, sent, mark } = claim;
    const since = this.#before?.reading.at ?? at;
    const period = ms(Math.max(0, (this.#claim?.reading.at ?? at) - since));
    return {
      kind,
      amount: Math.floor(amount),
      sent,
      received,
      epoch,
      threshold: Math.floor(threshold),
      mark: mark ?? null,
      period,
    };
  }

  #record({ epoch, sent, mark }: Claim, { received }: Reading, verdict: Comparison["verdict"]): void {
    this.#last = { epoch, sent, received, mark: mark ?? null, verdict };
  }
}

const START = "start";
const EPOCH = "epoch";

/** A session begins with nothing sent and nothing received. */
function anchorAt(at: Milliseconds): Anchor {
  return { key: START, at, sent: bytes(0), received: bytes(0), high: 0 };
}

/** How far the highest number let through is ahead of the last one that the sender says to have given. */
function aheadOf({ mark }: Claim, { association }: Reading): number {
  return mark !== undefined && association?.spi === mark.spi ? association.sequence - mark.sequence : 0;
}

/** Missing bytes are comparable under one key only: those of the whole epoch, or those of one association. */
function missingOf(
  claim: Claim,
  early: Reading,
  late: Reading,
  upTo: Bytes | undefined,
): Missing & { readonly key: string } {
  const { mark } = claim;
  if (mark?.bytes !== undefined && late.association?.spi === mark.spi) {
    const key = String(mark.spi);
    if (upTo !== undefined) return { key, low: mark.bytes - upTo, high: mark.bytes - upTo };
    const counted = late.association.bytes;
    const beyond = Math.max(0, late.association.sequence - mark.sequence) * LARGEST_PACKET;
    if (counted !== undefined) {
      const low = mark.bytes - counted;
      return { key, low, high: low + Math.min(beyond, underWay(early, late)) };
    }
  }
  const low = claim.sent - late.received;
  return { key: EPOCH, low, high: low + underWay(early, late) };
}

/**
 * At most so many of the bytes that have arrived were sent after the Query was signed: those of the settle time, and as many
 * again that overtook the Query.
 */
function underWay(early: Reading, late: Reading): number {
  return 2 * Math.max(0, late.received - early.received);
}
