/** What is done about a finding: by rule, by what has been done already, and by what is possible. */
import { type Milliseconds, seconds } from "../base/units.js";
import { DEFAULT_LIMITS, type DetectionLimits, type FindingKind } from "./detection.js";

export const DETECTION_MODES = ["react", "dry-run", "off"] as const;
/** dry-run: findings are reported, with what would be done. */
export type DetectionMode = (typeof DETECTION_MODES)[number];

/** Against bytes that the sender has not sent. */
export const EXCESS_REACTIONS = ["public-key", "revoke", "alarm"] as const;
/** Against bytes that do not arrive, and against Queries without an answer. */
export const LOSS_REACTIONS = ["change-path", "revoke", "alarm"] as const;
export const SILENCE_REACTIONS = ["change-path", "alarm"] as const;
/** Against a sender that signs less than it sends. */
export const SENDER_REACTIONS = ["revoke", "block", "alarm"] as const;
/** Against packets of a flow that come in off its path. */
export const OFF_PATH_REACTIONS = ["drop", "alarm"] as const;

export type ExcessReaction = (typeof EXCESS_REACTIONS)[number];
export type LossReaction = (typeof LOSS_REACTIONS)[number];
export type SilenceReaction = (typeof SILENCE_REACTIONS)[number];
export type SenderReaction = (typeof SENDER_REACTIONS)[number];
export type OffPathReaction = (typeof OFF_PATH_REACTIONS)[number];
export type Reaction = ExcessReaction | LossReaction | SilenceReaction | SenderReaction;

/** One for this node, or one for a rule. */
export interface DetectionPolicy {
  readonly mode: DetectionMode;
  readonly limits: DetectionLimits;
  readonly onExcess: ExcessReaction;
  readonly onLoss: LossReaction;
  readonly onSender: SenderReaction;
  readonly onOffPath: OffPathReaction;
}

/** How flows of this host move from path to path. */
export interface MovePolicy {
  readonly onSilence: SilenceReaction;
  /** A flow moves at most once in this time; after each further move in a row, twice as long. */
  readonly hold: Milliseconds;
  /** A flow that is to move waits a random part of this, so that not all move at once. */
  readonly spread: Milliseconds;
  /** Moves a second of all flows. */
  readonly rate: number;
  /** After so long without a new finding a flow goes back to its first path; 0: never. */
  readonly returnAfter: Milliseconds;
}

export const DEFAULT_DETECTION: DetectionPolicy = {
  mode: "react",
  limits: DEFAULT_LIMITS,
  onExcess: "public-key",
  onLoss: "change-path",
  onSender: "revoke",
  onOffPath: "drop",
};

export const DEFAULT_MOVES: MovePolicy = {
  onSilence: "change-path",
  hold: seconds(10),
  spread: seconds(1),
  rate: 100,
  returnAfter: seconds(600),
};

/** What the flow is like now. */
export interface Situation {
  /** All packets that this epoch counts were signed by the sender. */
  readonly signed: boolean;
  /** The sender can sign packets, by an algorithm that the rule allows. */
  readonly canSign: boolean;
  /** Its sender was asked to change the path a short while ago. */
  readonly moving: boolean;
}

export interface Decided {
  readonly reaction: Reaction;
  /** For a person. */
  readonly why: string;
}

export function reactionTo(kind: FindingKind, policy: DetectionPolicy, now: Situation): Decided {
  switch (kind) {
    case "excess":
    case "forged-sequence":
      return againstExcess(policy, now);
    case "loss":
    case "black-hole":
      return againstLoss(policy, now);
    case "failures":
      return { reaction: "alarm", why: "packets without a good signature are dropped already" };
    case "silence":
      return { reaction: "alarm", why: "the sender decides" };
  }
}

/** Under public keys, bytes of the time before may still be in the count: only an epoch of signed packets convicts a sender. */
function againstExcess({ onExcess, onSender }: DetectionPolicy, { signed, canSign }: Situation): Decided {
  if (signed) return { reaction: onSender, why: "nobody but the sender can have signed these packets" };
  if (onExcess !== "public-key") return { reaction: onExcess, why: "by rule" };
  if (canSign) return { reaction: "public-key", why: "somebody else sends as this sender" };
  return { reaction: "alarm", why: "the sender can do no public-key algorithm that the rule allows" };
}

function againstLoss({ onLoss }: DetectionPolicy, { moving }: Situation): Decided {
  if (onLoss !== "change-path") return { reaction: onLoss, why: "by rule" };
  if (moving) return { reaction: "alarm", why: "a change of path was asked for a short while ago" };
  return { reaction: "change-path", why: "packets vanish on this path" };
}

/** "public key" for an event's text. */
export function reactionText(reaction: Reaction, mode: DetectionMode): string {
  const text = TEXTS[reaction];
  return mode === "dry-run" && reaction !== "alarm" ? `dry run: would ${text}` : text;
}

/** @param acts whether it is done; otherwise it is only said why not */
export function offPathText(reaction: OffPathReaction, mode: DetectionMode, acts: boolean): string {
  if (reaction === "alarm") return TEXTS.alarm;
  if (acts) return "drop what comes in there";
  return mode === "dry-run"
    ? "dry run: would drop what comes in there"
    : "leave what comes in there: the flow did not arrive without it a while ago";
}

const TEXTS: Readonly<Record<Reaction, string>> = {
  "public-key": "ask for packets signed with the sender's key",
  "change-path": "ask the sender to change the path",
  revoke: "revoke the permission",
  block: "revoke the permission and block the source",
  alarm: "do nothing but report",
};
