/**
 * Where counting begins. Volumes accumulate over the whole session: a refresh, a larger volume and a new association
 * (SPI, algorithm, key) leave the counts as they are at every node. Only an epoch sets them anew: after an attack the
 * receiver begins one at what the sender had signed to have sent, so that bytes of others are charged to nobody.
 */
import { type Bytes, bytes } from "../base/units.js";
import type { Epoch, PbsQuery } from "./wire/messages.js";

/** There are never so many; a sender that says more gains nothing. */
const MAX_RESUMED = 2 ** 31;

/**
 * The least count that an installation starts from. Where this node has the flow already, its own count goes on. Where it
 * has not (the flow is new, or this node has restarted), what the sender signed is what is left of it.
 */
export function countFrom(installedBefore: boolean, sentVolume: Bytes): Bytes {
  return installedBefore ? bytes(0) : sentVolume;
}

/** The epoch of a session that has seen no attack. */
export const FIRST_EPOCH: Epoch = {
  epoch: 0,
  start: bytes(0),
  overlap: { duration: 0 as Epoch["overlap"]["duration"], bytes: bytes(0) },
  ask: false,
};

/** A receiver that has restarted goes on with the epoch that its sender, and the routers, are in. */
export function resumed({ mark, sentVolume }: PbsQuery): Epoch {
  const epoch = Math.min(mark?.epoch ?? 0, MAX_RESUMED);
  return epoch === 0 ? FIRST_EPOCH : { ...FIRST_EPOCH, epoch, start: sentVolume };
}

/** The epoch after this one. Nothing of the association before passes any more: it may be the attacker's. */
export function nextEpoch({ epoch }: Epoch, sentVolume: Bytes): Epoch {
  return { ...FIRST_EPOCH, epoch: epoch + 1, start: sentVolume };
}

/**
 * What a node that passes a flow on does about the count: nothing, unless the epoch is new to it. One that hears of an epoch
 * late has missed more than its start.
 */
export function recount(
  known: number,
  told: Epoch | undefined,
  sentVolume: Bytes,
): { readonly countFrom?: Bytes } {
  if (told === undefined || told.epoch <= known) return {};
  return { countFrom: bytes(Math.max(told.start, sentVolume)) };
}
