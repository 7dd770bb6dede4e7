/**
 * The GIST service interface: the six primitives of RFC 5971 appendix B, and nothing else, between a signalling
 * application (NSLP) and GIST. PBS is one user of it; GIST knows nothing of PBS.
 */
import type { Milliseconds } from "../base/units.js";
import type { Mri, SessionId } from "./wire/messages.js";

/** Names one SendMessage in later MessageStatus calls. Chosen by the NSLP. */
export type MessageHandle = number;

/** Source Identification Information: names a peer. Opaque to the NSLP; equal text means the same peer. */
export type SiiHandle = string;

export interface TransferAttributes {
  /** Delivered once and in order, or reported lost. Needs a messaging association. */
  readonly reliable: boolean;
  /** Encrypted and authenticated between the two peers. Needs a TLS messaging association. */
  readonly secure: boolean;
}

/** What an NSLP asks for; local processing is a hint to this node alone. */
export interface SendAttributes extends TransferAttributes {
  /**
   * false: no routing state is set up for this message. Where there is none it travels once along the flow's path as
   * Data in Query mode; it can then be neither reliable nor secure. Default true.
   */
  readonly establishState?: boolean;
}

/** What GIST knows of how a message came. */
export interface ReceiveAttributes extends TransferAttributes {
  /** The sender chose this node by its SII-Handle, not by the path (flag E). */
  readonly explicitlyRouted: boolean;
  /** The peer has shown that it receives what is sent to the address it names. */
  readonly returnRoutable: boolean;
  /** This node is the last one on the path in the message's direction. */
  readonly lastNode: boolean;
}

/** SendMessage (B.1). */
export interface SendMessage {
  readonly data: Uint8Array;
  readonly nslpId: number;
  readonly sessionId: SessionId;
  /** Its direction says which way: downstream towards the flow's destination. */
  readonly mri: Mri;
  readonly handle?: MessageHandle;
  /** Send to this peer whatever the routing state says (flag E). */
  readonly siiHandle?: SiiHandle;
  readonly transfer: SendAttributes;
  /** How long GIST may take to hand the message to the peer before it reports failure. */
  readonly timeout?: Milliseconds;
  readonly ipTtl?: number;
  readonly hopCount?: number;
}

/** RecvMessage (B.2). */
export interface ReceivedMessage {
  /** Empty when GIST only asks whether this node peers (routingStateCheck) and the Query had no payload. */
  readonly data: Uint8Array;
  readonly nslpId: number;
  readonly sessionId: SessionId;
  readonly mri: Mri;
  /** The message is a Query and no routing state exists yet: the answer decides whether this node peers. */
  readonly routingStateCheck: boolean;
  readonly siiHandle: SiiHandle;
  readonly transfer: ReceiveAttributes;
  readonly ipTtl: number;
  /** IP hops from the previous peer; undefined where it cannot be told. */
  readonly ipDistance: number | undefined;
  readonly hopCount: number;
  /** Name of the interface it came in on; empty when not known. */
  readonly inboundInterface: string;
}

/** What the NSLP answers to RecvMessage when `routingStateCheck` is set; ignored otherwise. */
export interface PeerDecision {
  /** true: set up routing state with the querying node. false: pass the Query on. */
  readonly peer: boolean;
  /** Sent back in the Response (peer) or put in place of the payload of the Query that is passed on. */
  readonly payload?: Uint8Array;
}

/** MessageStatus (B.3): what became of a message. */
export type MessageError =
  | "no-error"
  | "no-response"
  | "endpoint-found"
  | "unknown-nslp"
  | "transport-failed"
  | "not-authorised"
  | "too-large"
  | "overloaded";

export interface MessageStatus {
  readonly handle: MessageHandle | undefined;
  readonly nslpId: number;
  readonly sessionId: SessionId;
  readonly mri: Mri;
  /** How it was sent, where it was; what was asked for, where it was not. */
  readonly transfer: TransferAttributes;
  readonly error: MessageError;
  /** For a person. */
  readonly detail: string;
}

/** NetworkNotification (B.4). */
export interface NetworkNotification {
  readonly nslpId: number;
  readonly sessionId: SessionId;
  readonly mri: Mri;
  readonly type:
    | "last-node"
    | "routing-status-change"
    | "route-deletion"
    | "node-authorisation-change"
    | "communication-failure";
  readonly detail: string;
}

/** What an NSLP offers to GIST. None of these may throw; the node logs and counts it if one does. */
export interface Nslp {
  /**
   * A promise where the answer comes from another process; a Query waits for it, for a bounded time. Only with
   * `routingStateCheck` is the answer looked at.
   */
  recvMessage(message: ReceivedMessage): PeerDecision | Promise<PeerDecision>;
  messageStatus(status: MessageStatus): void;
  networkNotification(notification: NetworkNotification): void;
}

/** What GIST offers to NSLPs. */
export interface GistService {
  /** Hosts an NSLP. One for each NSLPID; a second registration throws. */
  register(nslpId: number, nslp: Nslp): void;
  /** Queues a message. Its fate comes by MessageStatus, never as an exception. */
  sendMessage(message: SendMessage): void;
  /**
   * SetStateLifetime (B.5): how long the NSLP wants the routing state kept up; 0: no longer. Throws RangeError, as does
   * {@link invalidateRoutingState}, on an MRI that cannot be written.
   */
  setStateLifetime(nslpId: number, sessionId: SessionId, mri: Mri, lifetime: Milliseconds): void;
  /** InvalidateRoutingState (B.6). `urgent`: find the new peer at once; `payload` goes with that Query. */
  invalidateRoutingState(
    nslpId: number,
    sessionId: SessionId,
    mri: Mri,
    status: "bad" | "tentative",
    urgent: boolean,
    payload?: Uint8Array,
  ): void;
}

/** What `pbsctl peers` and metrics show of a GIST node. */
export interface GistView {
  readonly identity: string;
  readonly associations: readonly AssociationView[];
  readonly routingStates: { readonly querying: number; readonly responding: number };
  /** Counters by name, such as "received.query" or "dropped.rate-limit". */
  readonly counters: Readonly<Record<string, number>>;
}

/** One routing state, for people. */
export interface RoutingStateView {
  readonly role: "querying" | "responding";
  readonly nslpId: number;
  readonly sessionId: SessionId;
  /** "downstream 192.168.20.1 > 192.168.21.4 tcp 4000 > 80", as this node sends it. */
  readonly mri: string;
  /** State of its machine. */
  readonly state: string;
  /** Interface address of the peer; empty before it is known. */
  readonly peer: string;
  readonly peerIdentity: string;
  readonly carriedBy: "tls" | "tcp" | "datagram";
  /** Until it expires unless refreshed; null while it is being set up. */
  readonly expiresIn: Milliseconds | null;
}

export interface AssociationView {
  readonly peer: SiiHandle;
  readonly peerIdentity: string;
  readonly address: string;
  readonly subject: string;
  readonly protocol: string;
  readonly state: string;
  readonly initiator: boolean;
  readonly age: Milliseconds;
  readonly messagesSent: number;
  readonly messagesReceived: number;
}
