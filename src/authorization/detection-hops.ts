/** Between which two nodes of a path bytes appeared or vanished, from what each says to have counted. */
import type { Bytes } from "../base/units.js";
import type { Finding } from "./detection.js";

export interface HopCount {
  /** For people: common name of the node's certificate. */
  readonly node: string;
  readonly counted: Bytes;
}

export interface Location {
  readonly from: string;
  readonly to: string;
  /** Bytes that appeared (positive) or vanished (negative) there. */
  readonly change: number;
}

/** Also the place of `from` among the hops: names are for people, and two nodes may have the same. */
export interface Step extends Location {
  readonly place: number;
}

/** Of a finding's bytes at least this share has to have appeared or vanished at one place for it to be named. */
const DECISIVE = 0.5;

const APPEARED: readonly Finding["kind"][] = ["excess", "forged-sequence"];
const VANISHED: readonly Finding["kind"][] = ["loss", "black-hole"];

/**
 * The two neighbours of which one is the culprit, or the link between them. A node that lies about its own count only moves
 * the step from one of its sides to the other.
 * @param hops in the order of the path: the sender with what it signed, routers, the receiver
 * @returns undefined where no step stands out: with counts of another epoch, with losses everywhere
 */
export function locate(
  { kind, sent, received }: Pick<Finding, "kind" | "sent" | "received">,
  hops: readonly HopCount[],
): Step | undefined {
  const sign = APPEARED.includes(kind) ? 1 : VANISHED.includes(kind) ? -1 : 0;
  if (sign === 0) return undefined;
  const steps = hops.slice(1).map((hop, place): Step => {
    const before = hops[place] ?? hop;
    return { from: before.node, to: hop.node, change: hop.counted - before.counted, place };
  });
  const [first, second] = steps.toSorted((a, b) => sign * (b.change - a.change));
  const least = DECISIVE * Math.abs(received - sent);
  if (first === undefined || sign * first.change <= 0 || sign * first.change < least) return undefined;
  // Two steps of one size would be a guess.
  return second?.change === first.change ? undefined : first;
}
