import test from "ava";
import type { FindingKind } from "./detection.js";
import {
  DEFAULT_DETECTION,
  type DetectionPolicy,
  type Reaction,
  reactionText,
  reactionTo,
  type Situation,
} from "./reaction.js";

const shared: Situation = { signed: false, canSign: true, moving: false };
const signed: Situation = { ...shared, signed: true };

const CASES: readonly (readonly [FindingKind, Partial<DetectionPolicy>, Partial<Situation>, Reaction])[] = [
  ["excess", {}, {}, "public-key"],
  ["forged-sequence", {}, {}, "public-key"],
  ["excess", {}, { canSign: false }, "alarm"],
  ["excess", { onExcess: "revoke" }, {}, "revoke"],
  ["excess", { onExcess: "alarm" }, {}, "alarm"],
  ["excess", {}, signed, "revoke"],
  ["excess", { onSender: "block" }, signed, "block"],
  ["forged-sequence", { onSender: "alarm" }, signed, "alarm"],
  ["excess", { onExcess: "alarm" }, signed, "revoke"],
  ["loss", {}, {}, "change-path"],
  ["black-hole", {}, signed, "change-path"],
  ["loss", {}, { moving: true }, "alarm"],
  ["loss", { onLoss: "revoke" }, { moving: true }, "revoke"],
  ["black-hole", { onLoss: "alarm" }, {}, "alarm"],
  ["failures", {}, {}, "alarm"],
  ["silence", {}, {}, "alarm"],
];

for (const [kind, policy, situation, expected] of CASES)
  test(`${kind}, ${JSON.stringify(policy)}, ${JSON.stringify(situation)}: ${expected}`, (t) => {
    t.is(
      reactionTo(kind, { ...DEFAULT_DETECTION, ...policy }, { ...shared, ...situation }).reaction,
      expected,
    );
  });

test("a dry run says so", (t) => {
  t.is(reactionText("change-path", "dry-run"), "dry run: would ask the sender to change the path");
  t.is(reactionText("change-path", "react"), "ask the sender to change the path");
  t.is(reactionText("alarm", "dry-run"), "do nothing but report");
});
