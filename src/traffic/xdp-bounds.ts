/**
 * Within which rates an XDP program hands classes of packets to the stack. The stack's rules have rates of their own, by
 * hook; these are for one interface and all hooks, and larger, so that only what the rules would drop is dropped before.
 */
import { CLASSES, EXEMPT_CLASS, MAX_EXEMPTS } from "./xdp-native.js";
import type { ExemptClass, SharedRates } from "./firewall-rules.js";

export interface BoundedClasses {
  readonly exempt: readonly ExemptClass[];
  /** As the firewall's. */
  readonly interceptRate: number;
  /** Of all that may pass without permission, together; absent: nothing may. */
  readonly open?: SharedRates;
}

/** What comes in by one interface may go to this host and through it, and each has its rules. */
const HOOKS = 2;
/** Signalling: Queries that are taken to GIST, and what passes; of one source, and of all. */
const SIGNALLING_SOURCE = 2 * HOOKS;
/** High, because known hosts are told from strangers only by the rules: they still do so at a flood of this rate. */
const SIGNALLING_TOTAL = 20;
/** Errors, neighbour discovery and multicast listeners; of both IP versions. */
const ICMP_RATE = 1000 * HOOKS;
/** A few sources share a cell. */
const OPEN_SOURCE = 2 * HOOKS;
/** The rules let this many bytes of a source come at once. */
const OPEN_BURST = 131_072;
const SECOND_MS = 1000;

interface Bound {
  readonly rate: number;
  readonly tolerance: number;
}

const NONE: Bound = { rate: 0, tolerance: 0 };

/** Four numbers a class, as the addon takes them: rate and tolerance of the total, and of a source. */
export function encodeBounds({ exempt, interceptRate, open }: BoundedClasses): Float64Array {
  const out = new Float64Array((EXEMPT_CLASS + MAX_EXEMPTS) * 4);
  const put = (number: number, total: Bound, source = NONE) =>
    out.set([total.rate, total.tolerance, source.rate, source.tolerance], number * 4);
  put(CLASSES.signalling, bound(interceptRate * SIGNALLING_TOTAL), bound(interceptRate * SIGNALLING_SOURCE));
  put(CLASSES.icmp, bound(ICMP_RATE));
  if (open !== undefined)
    put(CLASSES.open, openBound(open.total, HOOKS), openBound(open.source, OPEN_SOURCE));
  exempt.forEach(({ rate }, i) => put(EXEMPT_CLASS + i, bound(rate * HOOKS)));
  return out;
}

function bound(rate: number): Bound {
  return { rate, tolerance: SECOND_MS };
}

function openBound(rate: number, times: number): Bound {
  return { rate: rate * times, tolerance: Math.max(2 * SECOND_MS, (OPEN_BURST / rate) * SECOND_MS) };
}
