/** What the two sides of the service socket say to each other. docs/gist-service.md has the bytes. */
import type { Milliseconds } from "../../base/units.js";
import type {
  MessageStatus,
  NetworkNotification,
  PeerDecision,
  ReceivedMessage,
  SendMessage,
} from "../service.js";
import type { Mri, SessionId } from "../wire/messages.js";

/** Raised with every change that an older side would not understand. */
export const PROTOCOL_VERSION = 1;

/** "GIST", the first four bytes of a client's greeting. */
export const HELLO_MAGIC = 0x47495354;

/** Longest frame without its length field. The largest GIST payload fits with all that stands beside it. */
export const MAX_FRAME = 32_768;

/** Payload above this is not tried: no GIST message holds so much, and the frame would not either. */
export const MAX_DATA = 24_576;

export type ErrorCode =
  /** The peer speaks another version. */
  | "version"
  /** Bytes that are no frame, or a frame that has no place here. */
  | "malformed"
  /** Another client has this NSLPID. */
  | "nslpid-taken"
  /** A call for an NSLPID that this client has not registered. */
  | "not-registered"
  /** More clients or NSLPIDs than are allowed. */
  | "too-many"
  /** The service ends. */
  | "stopping"
  /** This user may not use the service. */
  | "not-allowed";

export interface StateLifetime {
  readonly nslpId: number;
  readonly sessionId: SessionId;
  readonly mri: Mri;
  readonly lifetime: Milliseconds;
}

export interface Invalidation {
  readonly nslpId: number;
  readonly sessionId: SessionId;
  readonly mri: Mri;
  readonly status: "bad" | "tentative";
  readonly urgent: boolean;
  readonly payload?: Uint8Array;
}

/** From the NSLP's process. */
export type ClientFrame =
  | { readonly type: "hello"; readonly version: number; readonly name: string }
  | { readonly type: "register"; readonly nslpId: number }
  | { readonly type: "send"; readonly message: SendMessage }
  | { readonly type: "lifetime"; readonly state: StateLifetime }
  | { readonly type: "invalidate"; readonly invalidation: Invalidation }
  | { readonly type: "decision"; readonly request: number; readonly decision: PeerDecision };

/** From the service. */
export type ServerFrame =
  | { readonly type: "welcome"; readonly version: number; readonly identity: string }
  | { readonly type: "registered"; readonly nslpId: number }
  /** `request` is 0 where no answer is wanted. */
  | { readonly type: "received"; readonly request: number; readonly message: ReceivedMessage }
  | { readonly type: "status"; readonly status: MessageStatus }
  | { readonly type: "notification"; readonly notification: NetworkNotification }
  /** The last frame of a connection. */
  | { readonly type: "error"; readonly code: ErrorCode; readonly text: string };
