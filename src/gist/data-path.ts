/** Sending Data messages along routing state: over its association, or as datagrams where it has none. */
import type { IpAddress } from "../base/address.js";
import type { Association, AssociationUser } from "./association.js";
import { type GistContext, ownNli, sendDatagram } from "./context.js";
import type { SendMessage } from "./service.js";
import type { GistData } from "./wire/messages.js";

/**
 * NSLP data that fits a datagram for sure: GIST message and 64 bytes within 576 (RFC 5971 section 5.3.3), for IPv6
 * with the largest Peer-Identity used here.
 */
const LARGEST_IN_DATAGRAM = 384;

/** Where a peer is reached. */
export interface Path {
  readonly association: Association | undefined;
  /** Without association: the peer's Interface-Address and port, and the own address towards it. */
  readonly address: IpAddress;
  readonly port: number;
  readonly localAddress: IpAddress;
}

/** Whether a message must not travel as a datagram. */
export function needsAssociation(send: SendMessage): boolean {
  return send.transfer.reliable || send.transfer.secure || send.data.length > LARGEST_IN_DATAGRAM;
}

/** Sends, and reports what became of it. */
export function sendData(context: GistContext, path: Path, user: AssociationUser, send: SendMessage): void {
  const { association } = path;
  if (association === undefined && needsAssociation(send)) {
    context.nslps.status(send, "transport-failed", "there is no messaging association with this peer");
    return;
  }
  const sent =
    association === undefined
      ? sendDatagram(context, path.address, path.port, {
          ...dataMessage(context, send, false),
          nli: ownNli(context, path.localAddress, 0, context.validity()),
        })
      : association.send(dataMessage(context, send, false));
  if (!sent) {
    context.nslps.status(send, "overloaded", "the peer takes messages more slowly than they come");
    return;
  }
  association?.remember(user, send);
  context.nslps.status(send, "no-error", "");
}

export function dataMessage(context: GistContext, send: SendMessage, explicitlyRouted: boolean): GistData {
  return {
    type: "data",
    hops: send.hopCount ?? context.options.hops,
    nslpId: send.nslpId,
    signallingSource: true,
    mri: send.mri,
    sessionId: send.sessionId,
    queryMode: false,
    explicitlyRouted,
    data: send.data,
  };
}
