/** What a receiver's policy says to a Query. */
import type { Flow } from "../base/flow.js";
import type { Bytes, Milliseconds } from "../base/units.js";
import type { AuthenticationRule } from "./algorithm.js";
import type { DetectionPolicy } from "./reaction.js";

/** The asking host as its certificate names it, once that certificate was accepted. */
export interface Requester {
  /** Subject common name. */
  readonly subject: string;
  /** SHA-256 of the certificate, lower-case hexadecimal. */
  readonly fingerprint: string;
}

export interface Grant {
  /** Bytes that the flow may be ahead of what has arrived (extend), or may send in all. */
  readonly volume: Bytes;
  readonly lifetime: Milliseconds;
  readonly refresh: Milliseconds;
  /**
   * true: volume and lifetime are granted anew while the flow goes on and asks. false: once; when they are used
   * up the same flow is refused until the quarantine is over.
   */
  readonly extend: boolean;
  /** Absent: packets need no AH. */
  readonly authentication?: AuthenticationRule;
  /** Absent: as for all flows of this node. */
  readonly detection?: DetectionPolicy;
}

export type Decision =
  | { readonly type: "grant"; readonly grant: Grant; readonly rule: string }
  | { readonly type: "deny"; readonly reason: string; readonly rule: string }
  /** A person or a hook decides within `timeout`; `grant` is what a plain yes means. */
  | { readonly type: "ask"; readonly grant: Grant; readonly timeout: Milliseconds; readonly rule: string };

export interface Policy {
  decide(flow: Flow, requester: Requester): Decision;
}
