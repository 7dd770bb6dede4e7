/** A message that came, and what follows from how it came. */
import type { Association } from "./association.js";
import { type GistContext, hex, siiHandle } from "./context.js";
import { objectFault } from "./errors.js";
import { QueryingState } from "./querying.js";
import type { ReceivedMessage } from "./service.js";
import type { FlowSession, RoutingState } from "./sessions.js";
import type { Datagram } from "./transport/transport.js";
import { flipMri, type GistFault } from "./wire/codec.js";
import type { ErrorObject, GistConfirm, GistData, GistQuery, GistResponse } from "./wire/messages.js";

export interface DatagramArrival {
  readonly bytes: Uint8Array;
  readonly association?: undefined;
  readonly datagram: Datagram;
}

export interface AssociationArrival {
  readonly bytes: Uint8Array;
  readonly association: Association;
  readonly datagram?: undefined;
}

export type Arrival = DatagramArrival | AssociationArrival;

/** The messages that are about a flow. */
export type FlowMessage = GistQuery | GistResponse | GistConfirm | GistData;

const FLAG_C = 0x80;
const NOTHING = new Uint8Array(0);

/** The session of a message that came, with the MRI as this node sends it. */
export function answerTo(message: FlowMessage): FlowSession {
  return { nslpId: message.nslpId, sessionId: message.sessionId, mri: flipMri(message.mri) };
}

export function encapsulationOf({ association, bytes }: Arrival): ErrorObject["encapsulation"] {
  if (association !== undefined) return "connection";
  return ((bytes[6] ?? 0) & FLAG_C) !== 0 ? "query" : "datagram";
}

/** What is known of a message beyond what it holds. */
export interface AboutMessage {
  readonly routingStateCheck: boolean;
  /** The peer has been reached at the address that it names, by a Response or a Confirm. */
  readonly confirmed: boolean;
  readonly ipDistance: number | undefined;
  readonly inboundInterface: string;
}

/** As the NSLP is told of it. */
export function receivedMessage(
  context: GistContext,
  message: FlowMessage,
  arrival: Arrival,
  about: AboutMessage,
): ReceivedMessage {
  const { association, datagram } = arrival;
  const { mri } = message;
  return {
    data: message.data ?? NOTHING,
    nslpId: message.nslpId,
    sessionId: message.sessionId,
    mri,
    routingStateCheck: about.routingStateCheck,
    siiHandle: association?.handle ?? handleOf(message),
    transfer: {
      reliable: association !== undefined,
      secure: association?.transfer.secure === true,
      explicitlyRouted: message.type === "data" && message.explicitlyRouted,
      returnRoutable: association !== undefined || about.confirmed,
      lastNode: context.isLocal(mri.direction === "downstream" ? mri.destination : mri.source),
    },
    ipTtl: datagram?.ipTtl ?? 0,
    ipDistance: about.ipDistance,
    hopCount: message.hops - 1,
    inboundInterface: about.inboundInterface,
  };
}

/** Whether Data comes from the peer that the routing state names. */
export function isFromPeer(state: RoutingState, data: GistData, { association, datagram }: Arrival): boolean {
  if (association !== undefined) return state.peerIdentity === association.identity;
  return (
    data.nli !== undefined &&
    state.peerIdentity === hex(data.nli.peerIdentity) &&
    state.peerAddress?.equals(datagram.source) === true
  );
}

/**
 * Whether an Error about this state is to be believed. Over an association it must be the peer's. A datagram may come
 * from any node that the Query met; whoever knows the Session-ID was on the path, and could have dropped the Query.
 */
export function mayComplain(state: RoutingState, { association, datagram }: Arrival): boolean {
  if (association !== undefined) return state.peerIdentity === association.identity;
  if (state instanceof QueryingState && state.asking) return true;
  return state.association === undefined && state.peerAddress?.equals(datagram.source) === true;
}

/** Data has an NLI as a datagram, and has none on an association. */
export function nliFault(data: GistData, { association }: Arrival): GistFault | undefined {
  const expected = association === undefined;
  if (expected === (data.nli !== undefined)) return undefined;
  return expected
    ? objectFault("missing", "nli", "Data as a datagram has an NLI")
    : objectFault("invalid", "nli", "Data on an association has no NLI");
}

function handleOf(message: FlowMessage): string {
  return message.nli === undefined
    ? ""
    : siiHandle(hex(message.nli.peerIdentity), message.nli.interfaceAddress);
}
