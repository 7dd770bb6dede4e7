/**
 * Addresses that no peer can have. A message from the network that names one would make this node speak to itself, or
 * to many at once.
 */
import { IpPrefix, type IpAddress } from "../base/address.js";
import type { GistContext } from "./context.js";
import { isHost } from "./wire/nli.js";

/** As far as is known of how a message came. */
interface CameFrom {
  readonly source: IpAddress;
  /** "": not known, because it came to a socket. */
  readonly inboundInterface: string;
}

const LOOPBACK_INTERFACE = "lo";
const LOOPBACK = ["127.0.0.0/8", "::1/128"].map((text) => IpPrefix.parse(text));

/** Whether a peer may have this address, by which it is answered. Own addresses are those of peers on this host alone. */
export function mayBePeer(context: GistContext, address: IpAddress, from: CameFrom): boolean {
  return isHost(address) && (!isOwn(context, address) || isFromHere(context, from));
}

/** The kernel lets no packet with an own source address reach a socket from elsewhere. */
function isFromHere(context: GistContext, { source, inboundInterface }: CameFrom): boolean {
  if (inboundInterface !== "") return inboundInterface === LOOPBACK_INTERFACE;
  return isOwn(context, source);
}

function isOwn(context: GistContext, address: IpAddress): boolean {
  return LOOPBACK.some((prefix) => prefix.contains(address)) || context.isLocal(address);
}
