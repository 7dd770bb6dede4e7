/** What can be set on a GIST node, with the defaults of RFC 5971 where it names one. */
import { type Milliseconds, ms, seconds } from "../base/units.js";

export interface GistOptions {
  /** "tls-and-tcp": associations without TLS carry what needs no security, to peers that offer nothing better. */
  readonly stacks: "tls" | "tls-and-tcp";
  /** RS-Validity-Time told to peers; they refresh at random within [1/2, 3/4] of it. */
  readonly validity: Milliseconds;
  /** A peer's validity below this counts as this, so that no peer can order a storm of refreshes. */
  readonly shortestValidity: Milliseconds;
  /** MA-Hold-Time told to peers: an association silent for so long is closed. */
  readonly holdTime: Milliseconds;
  /** Time to open an association, TLS handshake included. */
  readonly connectTimeout: Milliseconds;
  /** Routing state that no message used for so long, and no NSLP asked to keep, is not refreshed (Inactive_QNode). */
  readonly inactivity: Milliseconds;
  /** T1: wait before the first retransmission of a Query; doubled each time up to 64 times T1, which is T2. */
  readonly t1: Milliseconds;
  /** On a Query, keep no state until a valid Confirm comes ("on-confirm"), or keep it at once. */
  readonly install: "on-confirm" | "on-query";
  /** No_Confirm: wait for a Confirm where state is kept before it. */
  readonly confirmWait: Milliseconds;
  /** How long a Query waits for the NSLP's decision; then it is dropped. */
  readonly decisionWait: Milliseconds;
  /** Queries that wait so at a time. */
  readonly maxDecisions: number;
  /**
   * How long Queries for an NSLP that is not here are dropped, so that their sender asks again, instead of passed on or
   * refused: from the start, and from when that NSLP left. Where NSLPs are processes of their own, one that comes back
   * would else have been passed over, and sessions set up past it.
   */
  readonly nslpWait: Milliseconds;
  /**
   * Whether a Query that bears the flow's source as its own (S = 0) is refused when this host has no route back to that
   * source ("loose"), or none over the interface on which it came ("strict"). Off by default: routes that differ
   * there and back are common, the kernel filters already where it is told to, and each forged source would cost
   * a question to the kernel.
   */
  readonly ingressFilter: "off" | "loose" | "strict";
  /**
   * Whether a message that needs neither reliability nor security may travel within the Query that sets up its
   * path, to be looked at along with the question whether the NSLP peers. Off by default: it may then come twice.
   */
  readonly payloadInQuery: boolean;
  /** GIST hop count of messages made here. */
  readonly hops: number;
  /** IP TTL of Queries. */
  readonly ipTtl: number;
  /** Lifetime of a Responder-Cookie secret; cookies of the one before are still good. */
  readonly cookieSecretLifetime: Milliseconds;
  /** D-mode messages made here: mean rate a second and burst (RFC 5971 section 5.3.3). */
  readonly datagramRate: number;
  readonly datagramBurst: number;
  /** Intercepted Query-mode packets in all, and from one IP source. */
  readonly interceptRate: number;
  readonly interceptBurst: number;
  readonly sourceRate: number;
  readonly sourceBurst: number;
  /** New responding states for one peer: mean rate a second and burst. */
  readonly newStateRate: number;
  readonly newStateBurst: number;
  readonly maxRoutingStates: number;
  readonly maxPendingHandshakes: number;
  readonly maxAssociations: number;
  /** Associations with one peer: one Peer-Identity, or without TLS one address. */
  readonly maxAssociationsPerPeer: number;
  readonly maxQueuedPerSession: number;
  readonly maxQueued: number;
  /** Bytes that may wait in one association for a slow peer; less than what makes the transport give it up. */
  readonly maxQueuedBytes: number;
}

export const DEFAULT_OPTIONS: GistOptions = {
  stacks: "tls",
  validity: seconds(30),
  shortestValidity: seconds(1),
  holdTime: seconds(30),
  connectTimeout: seconds(10),
  inactivity: seconds(60),
  t1: ms(500),
  install: "on-confirm",
  confirmWait: seconds(30),
  decisionWait: seconds(1),
  maxDecisions: 1_024,
  nslpWait: ms(0),
  ingressFilter: "off",
  payloadInQuery: false,
  hops: 32,
  ipTtl: 64,
  cookieSecretLifetime: seconds(150),
  datagramRate: 10_000,
  datagramBurst: 5_000,
  interceptRate: 20_000,
  interceptBurst: 20_000,
  sourceRate: 5_000,
  sourceBurst: 5_000,
  newStateRate: 5_000,
  newStateBurst: 20_000,
  maxRoutingStates: 200_000,
  maxPendingHandshakes: 20_000,
  maxAssociations: 1_024,
  maxAssociationsPerPeer: 8,
  maxQueuedPerSession: 16,
  maxQueued: 65_536,
  maxQueuedBytes: 2 * 1024 * 1024,
};

/** T2 in multiples of T1 (RFC 5971 section 5.3.3). */
export const T2_FACTOR = 64;

/** Bounds on times that a peer names: a refresh or a keepalive is never rarer than this. */
export const LONGEST_PEER_TIME = seconds(86_400);
