/** Timers and bounds of the PBS node. Every table has a bound, and an established flow never makes way for a new one. */
import type { Algorithm } from "../base/algorithm.js";
import { ACCEPTED_BY_DEFAULT, type AuthenticationRule } from "../authorization/algorithm.js";
import {
  DEFAULT_DETECTION,
  DEFAULT_MOVES,
  type DetectionPolicy,
  type MovePolicy,
} from "../authorization/reaction.js";
import { type Bytes, bytes, type Milliseconds, ms, seconds } from "../base/units.js";
import { type AdmissionOptions, DEFAULT_ADMISSION } from "../authorization/admission.js";
import type { Overlap } from "./demand.js";
import { MAX_LISTED } from "./wire/summary.js";

export interface PbsOptions {
  /** Wait for the first and the second answer to a Query (G21). */
  readonly queryTimeouts: readonly Milliseconds[];
  /** A router's wait for the answer to a Query that it forwarded (G23). */
  readonly routerWait: Milliseconds;
  /** How long, at most, a Notify makes this node wait or refuse. What takes longer is asked for again meanwhile. */
  readonly longestAdvice: Milliseconds;
  /** What this host asks for. */
  readonly requestVolume: Bytes;
  /** A flow without packets for so long is no longer refreshed. */
  readonly idleTimeout: Milliseconds;
  /** How long a refusal answers the application without asking again. */
  readonly refuseFor: Milliseconds;
  /** Open network: how long a flow that got no answer goes without permission. Absent: it is refused. */
  readonly letGoFor?: Milliseconds;
  /** How soon, at most, a refresh follows the loss of an association. */
  readonly lossJitter: Milliseconds;
  /** Sessions of all roles. */
  readonly maxSessions: number;
  /** Sessions without permission, of all roles. */
  readonly maxPending: number;
  /** Sessions without permission that one upstream peer brought. */
  readonly maxPendingPerPeer: number;
  /** Messages whose signatures are being verified; the others wait for their turn. */
  readonly maxVerifying: number;
  /** Queries, and likewise Permissions, a second from one peer, and how many may come at once. */
  readonly queryRate: number;
  readonly queryBurst: number;
  /** Notify messages a second that this node makes, and that it takes from one peer. */
  readonly notifyRate: number;
  readonly notifyBurst: number;
  /** Ended sessions whose last sequence numbers are kept against replay (G18), and for how long. */
  readonly maxRemembered: number;
  readonly remember: Milliseconds;
  /** Flows that used up a grant given once or were revoked, and for how long they are refused. */
  readonly maxBuried: number;
  readonly quarantine: Milliseconds;
  /** Ended flows of this host whose last state and reason can still be looked at, for as long as the quarantine. */
  readonly maxEnded: number;
  /** Algorithms of AH that this node takes part in as sender and as router, and announces as sender. */
  readonly accepts: readonly Algorithm[];
  /** How long, and for how many bytes, packets of an association pass after another has taken its place (G20). */
  readonly overlap: Overlap;
  /** How far the time of a Query (its Message-Seq) that opens a session may be from this node's own. */
  readonly queryAge: Milliseconds;
  readonly admission: AdmissionOptions;
  /** As receiver, where the rule of a flow says nothing else. */
  readonly detection: DetectionPolicy;
  /** As sender. */
  readonly moves: MovePolicy;
  /** Destinations of which is known whether their first path is good. */
  readonly maxFirstPaths: number;
  /** How long the source of a flow is blocked, where policy says so. */
  readonly blockFor: Milliseconds;
  /** Ways to save signatures that this node takes part in: hash trees over messages, and summaries of refreshes. */
  readonly tree: boolean;
  readonly summary: boolean;
  /** How long a refresh waits for others to be signed or listed with. */
  readonly collect: Milliseconds;
  /** Flows that one Query of this host refreshes beside its own, {@link MAX_LISTED} at most. */
  readonly maxListed: number;
  /** How long a path that cannot do all of that is not asked for all of it again. */
  readonly supportRetry: Milliseconds;
  /** Reports a second that a router signs into passing Queries, of all flows; 0: none. */
  readonly reportRate: number;
  /** As router: flows whose volumes are compared, and that have no packets for how long any more give way. */
  readonly maxCompared: number;
  readonly comparedIdle: Milliseconds;
  /** As receiver: how often a second flows are looked at between their Queries, and how many Queries that may cost. */
  readonly glanceRate: number;
  readonly askRate: number;
  /** How long a router that the path is to leave keeps its state of the flow. */
  readonly leaveAfter: Milliseconds;
  /** Return traffic (architecture: each direction is a flow of its own). */
  readonly returns:
    | { readonly policy: "rules" }
    | {
        readonly policy: "auto";
        readonly volume: Bytes;
        readonly lifetime: Milliseconds;
        readonly refresh: Milliseconds;
        readonly authentication?: AuthenticationRule;
      };
}

export const DEFAULT_PBS_OPTIONS: PbsOptions = {
  queryTimeouts: [seconds(2), seconds(4)],
  routerWait: seconds(10),
  longestAdvice: seconds(600),
  requestVolume: bytes(10_000_000),
  idleTimeout: seconds(120),
  refuseFor: seconds(5),
  lossJitter: ms(200),
  maxSessions: 1_100_000,
  maxPending: 20_000,
  maxPendingPerPeer: 10_000,
  maxVerifying: 64,
  queryRate: 20_000,
  queryBurst: 20_000,
  notifyRate: 1000,
  notifyBurst: 1000,
  maxRemembered: 100_000,
  remember: seconds(3600),
  maxBuried: 100_000,
  quarantine: seconds(600),
  maxEnded: 1000,
  accepts: ACCEPTED_BY_DEFAULT,
  overlap: { duration: seconds(2), bytes: bytes(16 * 2 ** 20) },
  queryAge: seconds(300),
  admission: DEFAULT_ADMISSION,
  detection: DEFAULT_DETECTION,
  moves: DEFAULT_MOVES,
  maxFirstPaths: 10_000,
  blockFor: seconds(600),
  tree: true,
  summary: true,
  collect: ms(100),
  maxListed: MAX_LISTED,
  supportRetry: seconds(600),
  reportRate: 200,
  maxCompared: 4096,
  comparedIdle: seconds(120),
  glanceRate: 1000,
  askRate: 100,
  leaveAfter: seconds(10),
  returns: { policy: "auto", volume: bytes(10_000_000), lifetime: seconds(600), refresh: seconds(60) },
};

/** Share of the sequence numbers of an association after which it gets a new key (RFC 4302: they must not wrap). */
export const WORN_AT = 0.75 * 2 ** 32;

/** Share of what a Permission added to the volume at which the sender asks for more. */
export const ASK_AGAIN_AT = 0.8;

/** Lifetimes for which a router asks GIST to keep its state: most summaries then need not ask. */
export const ROUTE_AHEAD = 4;

/** Soft state outlives (K + 0.5) * 1.5 refresh times with K = 3 (RFC 2205's rule, G6). */
export const REFRESHES_KEPT = 5.25;
