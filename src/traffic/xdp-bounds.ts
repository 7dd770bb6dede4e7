/**
 * Within which rates an XDP program hands classes of packets to the stack. The stack's rules have rates of their own, by
 * hook; these are for one interface and all hooks, and larger, so that only what the rules would drop is dropped before. Where
 * a class is full the programs share it out, which the rules cannot: each source that wants more gets the same.
 */
import { CLASSES, EXEMPT_CLASS, MAX_EXEMPTS } from "./xdp-native.js";
import type { ExemptClass, SharedRates } from "./firewall-rules.js";

export interface BoundedClasses {
  readonly exempt: readonly ExemptClass[];
  /** As the firewall's. */
  readonly interceptRate: number;
  /** Of an open network. */
  readonly open?: SharedRates;
  /** Of hosts that need no permission in a closed network. */
  readonly legacy?: readonly SharedRates[];
}

/** What comes in by one interface may go to this host and through it, and each has its rules. */
const HOOKS = 2;
/** Signalling: Queries that are taken to GIST, and what passes; of one source, and of all. */
const SIGNALLING_SOURCE = 2 * HOOKS;
/** High, because known hosts are told from strangers only by the rules: they still do so at a flood of this rate. */
const SIGNALLING_TOTAL = 20;
/** Errors, neighbour discovery and multicast listeners; of both IP versions. */
const ICMP_RATE = 1000 * HOOKS;
/** Without permission only what is forwarded comes so far, which one hook has: a little more than its rules let pass. */
const MARGIN = 17 / 16;
/** The rules let this many bytes of a source come at once. */
const OPEN_BURST = 131_072;
const SECOND_MS = 1000;

interface Bound {
  readonly rate: number;
  readonly tolerance: number;
}

const NONE: Bound = { rate: 0, tolerance: 0 };

/** Four numbers a class, as the addon takes them: rate and tolerance of the total, and of a source. Legacy hosts are behind the exempt. */
export function encodeBounds({ exempt, interceptRate, open, legacy = [] }: BoundedClasses): Float64Array {
  const out = new Float64Array((EXEMPT_CLASS + MAX_EXEMPTS) * 4);
  const put = (number: number, total: Bound, source = NONE) =>
    out.set([total.rate, total.tolerance, source.rate, source.tolerance], number * 4);
  const putShared = (number: number, { total, source }: SharedRates) =>
    put(number, sharedBound(total), sharedBound(source));
  put(CLASSES.signalling, bound(interceptRate * SIGNALLING_TOTAL), bound(interceptRate * SIGNALLING_SOURCE));
  put(CLASSES.icmp, bound(ICMP_RATE));
  if (open !== undefined) putShared(CLASSES.open, open);
  exempt.forEach(({ rate }, i) => put(EXEMPT_CLASS + i, bound(rate * HOOKS)));
  legacy.forEach((rates, i) => putShared(EXEMPT_CLASS + exempt.length + i, rates));
  return out;
}

function bound(rate: number): Bound {
  return { rate, tolerance: SECOND_MS };
}

function sharedBound(rate: number): Bound {
  return { rate: rate * MARGIN, tolerance: Math.max(2 * SECOND_MS, (OPEN_BURST / rate) * SECOND_MS) };
}
