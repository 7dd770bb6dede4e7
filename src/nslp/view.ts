/** What control, metrics and people see of the PBS node. Plain data: it is what `pbsctl --json` prints. */
import type { Algorithm } from "../base/algorithm.js";
import { type AuthenticationLevel, levelOf } from "../authorization/algorithm.js";
import type { HopCount, Location } from "../authorization/detection-hops.js";
import type { Comparison, Finding } from "../authorization/detection.js";
import type { OffPathProof } from "../authorization/entrances.js";
import type { DetectionMode, Reaction } from "../authorization/reaction.js";
import type { Bytes, Milliseconds } from "../base/units.js";
import type { AuthenticationFailures, FlowCount } from "../traffic/datapath.js";
import type { AdmissionView } from "./admission/admission.js";
import type { AssociationName } from "./demand.js";

export type Role = "sender" | "router" | "receiver";

export interface FlowView {
  /** Session-ID, 32 hexadecimal digits; pbsctl takes any unique beginning of it. */
  readonly id: string;
  /** "tcp 192.168.20.1:4000 > 192.168.21.4:80" */
  readonly flow: string;
  readonly role: Role;
  /** State of the role's machine, by the slides' name. */
  readonly state: string;
  readonly allowedVolume: Bytes;
  /** Send-vol as the sender last signed it, or counts itself at the sender. */
  readonly sentVolume: Bytes;
  /** Bytes counted by this node's packet path. */
  readonly countedVolume: Bytes;
  readonly packets: number;
  readonly overVolume: number;
  /** AH of the flow's packets; null where they need none. */
  readonly authentication: AuthenticationView | null;
  /** Until the permission's TTL is over; null without a permission. */
  readonly remaining: Milliseconds | null;
  readonly refresh: Milliseconds | null;
  readonly refreshes: number;
  readonly requester: string | null;
  readonly rule: string | null;
  /** Sender: the path that the flow was moved to; null while it takes that of the routing table. */
  readonly path: string | null;
  /** Receiver, router: sent against received; null where nothing is compared. */
  readonly detection: DetectionView | null;
  readonly lastReason: string | null;
}

/** What a router reported with the last Query. Until there is a finding nobody has checked its signature. */
export interface HopView extends HopCount {
  readonly verified: boolean;
}

export interface DetectionView {
  readonly mode: DetectionMode;
  readonly epoch: number;
  /** Send-vol at which this epoch's counting began. */
  readonly start: Bytes;
  /** null before the first. */
  readonly last: Comparison | null;
  readonly hops: readonly HopView[];
  /** Findings since the flow began. */
  readonly findings: number;
  readonly attack: AttackEvidence | null;
}

/** What a finding rests on, and what followed. */
export interface AttackEvidence extends Finding {
  readonly allowed: Bytes;
  readonly rule: string | null;
  /** Those whose signatures are good, in the order of the path. */
  readonly hops: readonly HopView[];
  /** Where bytes appeared or vanished; null where that cannot be said. */
  readonly where: Location | null;
  readonly reaction: Reaction;
  readonly mode: DetectionMode;
}

export interface AuthenticationView {
  /** "hmac", "public-key" */
  readonly level: AuthenticationLevel;
  readonly algorithm: Algorithm;
  readonly spi: number;
  /** Last sequence number sent, or highest one accepted. */
  readonly sequence: number;
  /** Packets dropped, by reason. */
  readonly failures: AuthenticationFailures;
}

export interface PendingView {
  readonly id: string;
  readonly flow: string;
  readonly requester: string;
  readonly rule: string;
  readonly requestedVolume: Bytes;
  readonly expiresIn: Milliseconds;
}

/** One line of `pbsctl events`. */
export interface PbsEvent {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly type:
    | "wanted"
    | "query"
    | "pending"
    | "granted"
    | "extended"
    | "refused"
    | "revoked"
    | "expired"
    | "exhausted"
    | "authentication"
    | "no-answer"
    | "busy"
    | "attack"
    | "off-path"
    | "reaction"
    | "path"
    | "rejected";
  readonly id: string | null;
  readonly flow: string | null;
  readonly role: Role | null;
  /** For a person. */
  readonly detail: string;
  /** Of "attack" at a receiver or router. */
  readonly evidence?: AttackEvidence;
  /** Of "off-path". */
  readonly offPath?: OffPathProof;
}

/** What became of `pbsctl request`. */
export interface RequestOutcome {
  readonly granted: boolean;
  readonly id: string;
  readonly allowedVolume: Bytes;
  readonly reason: string | null;
}

export class NoSuchFlow extends Error {
  override readonly name = "NoSuchFlow";
}

/** The flow's packets cannot be authenticated in the way that was asked for. */
export class CannotAuthenticate extends Error {
  override readonly name = "CannotAuthenticate";
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.remedy = remedy;
  }
}

/** The PBS node as control sees it. An id may be any unique beginning; otherwise {@link NoSuchFlow}. */
export interface PbsControl {
  /** Read step by step, with pauses: flows that come and go meanwhile may be in it or not. */
  flows(): Iterable<FlowView>;
  flow(id: string): FlowView;
  /** Asks for a flow of this host, as its first packet would. */
  request(flow: string, volume: Bytes | undefined): Promise<RequestOutcome>;
  pending(): readonly PendingView[];
  /**
   * Says yes to a pending flow, or changes the grant of one that has a permission. Volume and lifetime replace
   * those of the rule.
   */
  grant(id: string, change: { volume?: Bytes; lifetime?: Milliseconds }): Promise<FlowView>;
  /**
   * Receiver: from now on the flow's packets have to prove where they come from in this way. Resolves when this node
   * checks it and the sender is being told. Rejects with {@link CannotAuthenticate}.
   */
  authenticate(id: string, level: AuthenticationLevel): Promise<FlowView>;
  deny(id: string, reason: string | undefined): Promise<void>;
  /** Receiver: Permission with AV = 0. Sender and router: state removed here, the host upstream told why. */
  revoke(id: string, reason: string | undefined): Promise<void>;
  listen(listener: (event: PbsEvent) => void): () => void;
  /** Counters by name, such as "query.received", "rejected.bad-signature". */
  counters(): Readonly<Record<string, number>>;
  /** What waits for its turn here. */
  admission(): AdmissionView;
}

const NO_FAILURES: AuthenticationFailures = {
  missing: 0,
  malformed: 0,
  unknownSpi: 0,
  replayed: 0,
  badIcv: 0,
};

/** The association as PBS knows it, with what the packet path says of it. */
export function authenticationView(
  association: AssociationName | undefined,
  count: FlowCount | undefined,
): AuthenticationView | null {
  if (association === undefined) return null;
  const { spi, algorithm } = association;
  const counted = count?.authentication;
  return {
    level: levelOf(algorithm),
    algorithm,
    spi,
    sequence: counted?.spi === spi ? counted.sequence : 0,
    failures: counted?.failures ?? NO_FAILURES,
  };
}
