/** What kind of address it is, where the transports treat kinds differently. */
import type { IpAddress } from "../../base/address.js";

/**
 * fe80::/10. Such an address names a host only together with an interface, which neither the NLI object nor the socket
 * packages can tell, so no peer is spoken to by it.
 */
export function isLinkLocal({ family, bytes }: IpAddress): boolean {
  return family === 6 && bytes[0] === 0xfe && ((bytes[1] ?? 0) & 0xc0) === 0x80;
}
