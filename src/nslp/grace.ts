/**
 * Soft state at a node that was late itself. A permission ends when its refreshes stay away; if this node has given up
 * refreshes unseen, or has not run for a while, that says nothing of the sender, and the permission gets more time:
 * never beyond what the receiver granted, and no more than a few refresh times.
 */
import { type Milliseconds, ms } from "../base/units.js";
import type { PbsContext } from "./context.js";
import { REFRESHES_KEPT } from "./options.js";

/** A timer that fires so much too late tells that the process did not run. */
const STALLED = 500;
/** Less is not worth a timer. */
const LEAST = 100;

interface Granted {
  readonly ttl: Milliseconds;
  readonly refresh: Milliseconds;
}

type Lateness = Pick<PbsContext, "time" | "counters" | "options"> & {
  readonly admission: Pick<PbsContext["admission"], "lateSince">;
};

/** Without refresh, from when it was granted or refreshed. */
export function softState({ ttl, refresh }: Granted): Milliseconds {
  return ms(Math.min(ttl, refresh * REFRESHES_KEPT));
}

/** How long the packet path keeps it when nobody says anything else: with the longest grace. */
export function longestState(
  { options }: Pick<PbsContext, "options">,
  { ttl, refresh }: Granted,
): Milliseconds {
  return ms(Math.min(ttl, refresh * (REFRESHES_KEPT + options.admission.grace)));
}

/**
 * How much longer a permission lives whose time without refresh is over; undefined: it ends.
 * @param since it was granted or refreshed
 * @param due when its timer should have fired
 * @param late what else made this node miss refreshes
 */
export function graceFor(
  context: Lateness,
  granted: Granted,
  { since, due, late }: { readonly since: number; readonly due: number; readonly late: boolean },
): Milliseconds | undefined {
  const { time, admission, counters } = context;
  const now = time.now();
  const left = since + longestState(context, granted) - now;
  if (left < LEAST) return undefined;
  if (!late && now - due < STALLED && !admission.lateSince(since)) return undefined;
  counters.count("state.grace");
  return ms(Math.min(left, granted.refresh));
}
