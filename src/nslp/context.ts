/** What the sessions of all three roles share. */
import type { Policy } from "../authorization/decision.js";
import type { Signer, verifySignature } from "../authorization/signing.js";
import type { Trust } from "../authorization/trust.js";
import type { IpAddress } from "../base/address.js";
import type { Flow } from "../base/flow.js";
import type { Logger } from "../base/log.js";
import type { Random } from "../base/random.js";
import type { SourceBuckets, TokenBucket } from "../base/rate-limit.js";
import type { Time } from "../base/time.js";
import type { Milliseconds } from "../base/units.js";
import type { GistService } from "../gist/service.js";
import type { Direction, SessionId } from "../gist/wire/messages.js";
import type { Datapath } from "../traffic/datapath.js";
import type { Admission } from "./admission/admission.js";
import type { PuzzleSolver } from "./admission/solver.js";
import type { BoundedMemory } from "./bounded.js";
import type { Counters } from "../base/counters.js";
import type { Crossings } from "./crossings.js";
import type { KnownNodes } from "./hops.js";
import type { ConnectionEnder, PathChanger, PlaceBlocker, SourceBlocker } from "./reactors.js";
import type { EventLog } from "./events.js";
import type { BatchSigner } from "./batch-signer.js";
import type { Installer } from "./installer.js";
import { mriOf } from "./mri.js";
import type { PbsOptions } from "./options.js";
import type { Spis } from "./receiver-keys.js";
import type { Session } from "./session.js";
import type { SourceMoves } from "./source-moves.js";
import type { SummaryQueries } from "./summary-queries.js";
import type { PathSupports } from "./supports.js";
import { PBS_NSLP_ID } from "./wire/messages.js";

/** Whom the node refuses for a while although policy would say yes: a grant given once is over, or was revoked (tombstone). */
export interface Buried {
  readonly reason: string;
  readonly code: number;
}

/** A flow has left it, one is trying it again, or one has tried it and stayed. */
export type FirstPath = "bad" | "tried" | "good";

export interface PbsContext {
  readonly gist: GistService;
  readonly datapath: Datapath;
  readonly installer: Installer;
  // Replaced as a whole when the configuration is read again.
  trust: Trust;
  signer: Signer;
  policy: Policy;
  readonly time: Time;
  readonly random: Random;
  readonly logger: Logger;
  readonly isLocal: (address: IpAddress) => boolean;
  readonly options: PbsOptions;
  readonly events: EventLog;
  readonly counters: Counters;
  readonly notifies: TokenBucket;
  /** What this node works on next, and what it has had to turn away; its puzzles for others, and theirs for it. */
  readonly admission: Admission;
  readonly solver: PuzzleSolver;
  /** Notify messages to those who were turned away, for each peer. */
  readonly refusals: SourceBuckets;
  readonly verify: typeof verifySignature;
  readonly buried: BoundedMemory<Buried>;
  readonly spis: Spis;
  /** Absent: flows of this host cannot be moved, sources cannot be blocked. */
  readonly paths?: PathChanger;
  readonly blocker?: SourceBlocker;
  readonly sourceMoves: SourceMoves;
  readonly connections?: ConnectionEnder;
  readonly places?: PlaceBlocker;
  readonly nodes: KnownNodes;
  /** Flows that this node compares as a router. */
  readonly crossing: Crossings;
  readonly batch: BatchSigner;
  readonly supports: PathSupports;
  readonly summaryQueries: SummaryQueries;
  /** Moves of flows, and reports into Queries, of all sessions. */
  readonly moving: TokenBucket;
  readonly reporting: TokenBucket;
  /** By destination, what flows have lately learned of their first path. */
  readonly firstPaths: BoundedMemory<FirstPath>;
  /** Glances at flows between their Queries, and Queries that are asked for because of them. */
  readonly glancing: TokenBucket;
  readonly asking: TokenBucket;
  /** A session has its permission: it no longer counts as waiting. */
  settled(session: Session): void;
  /** A session has done what there was to do: it goes to rest at once if it can. */
  rested(session: Session): void;
  /** A session is over: it leaves the tables. */
  forget(session: Session): void;
  /** What a session installed that was over by then leaves the packet path, unless it is another session's now. */
  release(session: Pick<Session, "flow">): void;
  /** Whether this host itself asked for this flow, and was not refused. */
  asksFor(flow: Flow): boolean;
}

export interface Outgoing {
  readonly id: SessionId;
  readonly flow: Flow;
  readonly direction: Direction;
  readonly data: Uint8Array;
  readonly hopCount?: number;
}

/** Hands a message to GIST: always over TLS. */
export function send(context: PbsContext, message: Outgoing): void {
  context.gist.sendMessage({
    data: message.data,
    nslpId: PBS_NSLP_ID,
    sessionId: message.id,
    mri: mriOf(message.flow, message.direction),
    transfer: { reliable: true, secure: true },
    ...(message.hopCount === undefined ? {} : { hopCount: message.hopCount }),
  });
}

/** Keeps GIST's routing state towards the receiver as long as a permission lives, so that a revocation finds its way. */
export function keepRoute(context: PbsContext, id: SessionId, flow: Flow, lifetime: Milliseconds): void {
  context.gist.setStateLifetime(PBS_NSLP_ID, id, mriOf(flow, "downstream"), lifetime);
}
