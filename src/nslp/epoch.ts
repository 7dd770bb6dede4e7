/**
 * Where counting begins. Volumes accumulate over the whole session: a refresh, a larger volume and a new association
 * (SPI, algorithm, key) all leave the counts as they are, at every node, so that Send-vol, Allow-vol and the packet path's
 * counts can be compared at any time. Whether an association begins a new epoch is decided here and nowhere else.
 */
import { type Bytes, bytes } from "../base/units.js";

/**
 * The least count that an installation starts from. Where this node has the flow already, its own count goes on. Where it
 * has not (the flow is new, or this node has restarted), what the sender signed is what is left of it.
 */
export function countFrom(installedBefore: boolean, sentVolume: Bytes): Bytes {
  return installedBefore ? bytes(0) : sentVolume;
}
