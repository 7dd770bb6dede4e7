/** What a Query claims, and what the packet path has counted, as detection takes them. */
import type { Claim, Reading } from "../authorization/detection.js";
import { bytes, type Milliseconds } from "../base/units.js";
import type { FlowCount } from "../traffic/datapath.js";
import type { PbsQuery } from "./wire/messages.js";

/** What is looked at of a Query. */
export interface Told extends Pick<PbsQuery, "sequence" | "sentVolume" | "mark" | "reports"> {
  /** Another flow's Query said it: no router has put a report beside it. */
  readonly listed?: boolean;
}

/** A sender that says nothing of epochs counts on through all of them. */
export function claimOf({ sentVolume, mark }: Told, epoch: number): Claim {
  return {
    epoch: mark?.epoch ?? epoch,
    sent: sentVolume,
    heard: mark === undefined ? undefined : (mark.heard ?? null),
    mark: mark?.association,
  };
}

export function readingOf({ bytes: received, authentication }: FlowCount, at: Milliseconds): Reading {
  if (authentication === undefined) return { at, received, failures: 0 };
  const { spi, sequence, failures, bytes: counted } = authentication;
  const { missing, malformed, unknownSpi, replayed, badIcv } = failures;
  return {
    at,
    received,
    association: { spi, sequence, ...(counted !== undefined && { bytes: bytes(counted) }) },
    failures: missing + malformed + unknownSpi + replayed + badIcv,
  };
}
