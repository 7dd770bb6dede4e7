/**
 * GIST messages as values (RFC 5971 section 5 and appendix A). The codec turns bytes into these and back; what
 * cannot stand on the wire cannot be built here.
 */
import type { IpAddress } from "../../base/address.js";
import type { Milliseconds } from "../../base/units.js";

declare const sessionIdBrand: unique symbol;

/** A session identifier: 16 random bytes, held as 32 lower-case hexadecimal digits so that it can be a key. */
export type SessionId = string & { readonly [sessionIdBrand]: "session" };

/** UDP port of GIST (IANA gist). */
export const GIST_PORT = 270;

/** First four payload bytes of every GIST datagram; not counted in Message Length. */
export const MAGIC = 0x4e04bda5;

export type Direction = "downstream" | "upstream";

/** Path-coupled MRI, MRM 0 (RFC 5971 A.3.1.1). Fields that are absent are absent on the wire too. */
export interface PathCoupledMri {
  readonly method: "path-coupled";
  readonly direction: Direction;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly sourcePrefix: number;
  readonly destinationPrefix: number;
  /** Flag P: the upper-layer protocol. SPI and ports may be given only with it. */
  readonly protocol?: number;
  /** Flag T: 6-bit DS field. */
  readonly dscp?: number;
  /** Flag F, IPv6 only: 20-bit flow label. */
  readonly flowLabel?: number;
  /** Flag S. */
  readonly spi?: number;
  /** Flag A; 0 means one port that is not yet known. */
  readonly sourcePort?: number;
  /** Flag B; 0 means one port that is not yet known. */
  readonly destinationPort?: number;
}

/** Loose-end MRI, MRM 1. */
export interface LooseEndMri {
  readonly method: "loose-end";
  readonly direction: Direction;
  readonly source: IpAddress;
  readonly destination: IpAddress;
}

export type Mri = PathCoupledMri | LooseEndMri;

/** Network Layer Information (A.3.3). */
export interface NetworkLayerInformation {
  /** IP TTL, or hop limit, with which the message left its sender; 0 where not known. */
  readonly ipTtl: number;
  /** Routing-state validity time; not 0. */
  readonly validity: Milliseconds;
  /** 1 to 255 bytes that name the node and stay the same whichever interface it uses. */
  readonly peerIdentity: Uint8Array;
  readonly interfaceAddress: IpAddress;
}

export const MA_PROTOCOL = { forwardsTcp: 1, tls: 2, sctp: 3, dtls: 4 } as const;

/** One profile of a Stack-Proposal: MA-Protocol-IDs from the top of the stack to the bottom (A.3.4). */
export type StackProfile = readonly number[];

/** Higher-layer protocol option of a Stack-Configuration-Data object (A.3.5). */
export interface ProtocolOption {
  readonly protocol: number;
  /** 0: all profiles; else the 1-based index of the profile. */
  readonly profile: number;
  /** Flag D: the protocol is not to be used. */
  readonly doNotUse: boolean;
  readonly data: Uint8Array;
}

export interface StackConfiguration {
  /** MA-Hold-Time; not 0. */
  readonly holdTime: Milliseconds;
  readonly options: readonly ProtocolOption[];
}

/** NAT-Traversal object, kept as its bytes: it is echoed, never made, by a node that is not a NAT. */
export interface NatTraversal {
  readonly value: Uint8Array;
}

export interface ErrorObject {
  readonly class: number;
  readonly code: number;
  readonly subcode: number;
  /** How the offending message came: flags D (datagram mode) and, with it, Q (Query mode). */
  readonly encapsulation: "connection" | "datagram" | "query";
  /** First 8 bytes of the offending message, the magic number not counted. */
  readonly originalHeader: Uint8Array;
  readonly sessionId?: SessionId;
  /** The MRI of the offending message. */
  readonly mri?: Mri;
  readonly info: readonly ErrorInfo[];
  /** Flag C: text for a person, not empty. */
  readonly comment?: string;
}

export type ErrorInfo =
  /** Length of the message, without header, that its objects add up to, in 32-bit words. */
  | { readonly type: "message-length"; readonly length: number }
  | { readonly type: "mtu"; readonly mtu: number }
  | { readonly type: "object-type"; readonly objectType: number }
  | {
      readonly type: "object-value";
      /** Length in bytes of `object`; at most 16,380, in whole words. */
      readonly realLength: number;
      /** Byte of the object at which the error was found; its header counts. */
      readonly offset: number;
      /** The object with its header, as it was received; may be cut short. */
      readonly object: Uint8Array;
    };

/** An object of a type not known here, with flag B = 1 (A/B = 10): it is passed on as it was. */
export interface OpaqueObject {
  readonly type: number;
  readonly value: Uint8Array;
}

/** For who makes a message, and puts in one by one what is optional: to spread objects costs more than all that is in them. */
export type Mutable<M> = { -readonly [K in keyof M]: M[K] };

interface Header {
  /** GIST hop count. */
  readonly hops: number;
  readonly nslpId: number;
  /** S: the IP source address of the message is the signalling source's own. */
  readonly signallingSource: boolean;
}

interface FlowHeader extends Header {
  readonly mri: Mri;
  readonly sessionId: SessionId;
  /** Objects to be passed on unread, in their order, after the known ones. */
  readonly opaque?: readonly OpaqueObject[];
}

export interface GistQuery extends FlowHeader {
  readonly type: "query";
  readonly natTraversal?: NatTraversal;
  readonly nli: NetworkLayerInformation;
  readonly queryCookie: Uint8Array;
  /** Both or neither. */
  readonly stack?: { readonly proposal: readonly StackProfile[]; readonly configuration: StackConfiguration };
  readonly data?: Uint8Array;
}

export interface GistResponse extends FlowHeader {
  readonly type: "response";
  /** R: a Confirm is asked for; always with a Responder-Cookie. */
  readonly confirmRequested: boolean;
  readonly natTraversal?: NatTraversal;
  readonly nli: NetworkLayerInformation;
  readonly queryCookie: Uint8Array;
  readonly responderCookie?: Uint8Array;
  readonly stack?: { readonly proposal: readonly StackProfile[]; readonly configuration: StackConfiguration };
  readonly data?: Uint8Array;
}

export interface GistConfirm extends FlowHeader {
  readonly type: "confirm";
  readonly nli: NetworkLayerInformation;
  readonly responderCookie?: Uint8Array;
  readonly proposal?: readonly StackProfile[];
  readonly configuration?: StackConfiguration;
  readonly data?: Uint8Array;
}

export interface GistData extends FlowHeader {
  readonly type: "data";
  /** Flag C: sent in Query mode. */
  readonly queryMode: boolean;
  /** E: sent to an explicitly chosen peer; routing state is not checked. */
  readonly explicitlyRouted: boolean;
  readonly natTraversal?: NatTraversal;
  /** Required in datagram mode, forbidden in connection mode. */
  readonly nli?: NetworkLayerInformation;
  readonly data: Uint8Array;
}

export interface GistError extends Header {
  readonly type: "error";
  readonly natTraversal?: NatTraversal;
  readonly nli?: NetworkLayerInformation;
  readonly error: ErrorObject;
}

export interface GistHello extends Header {
  readonly type: "hello";
  /** R: an answer is asked for. */
  readonly replyRequested: boolean;
  /** Non-zero in a request and its answer. */
  readonly helloId: number;
}

export type GistMessage = GistQuery | GistResponse | GistConfirm | GistData | GistError | GistHello;
