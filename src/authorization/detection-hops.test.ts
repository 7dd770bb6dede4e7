import test from "ava";
import { bytes } from "../base/units.js";
import type { FindingKind } from "./detection.js";
import { locate } from "./detection-hops.js";

const MB = 1_000_000;
const NAMES = ["sender", "r1", "r2", "r3", "receiver"];

function at(kind: FindingKind, ...counts: readonly number[]): string {
  const hops = counts.map((count, i) => ({
    node: i === counts.length - 1 ? "receiver" : (NAMES[i] ?? "?"),
    counted: bytes(count),
  }));
  const [first, last] = [hops[0], hops.at(-1)];
  if (first === undefined || last === undefined) throw new Error("no hops");
  const found = locate({ kind, sent: first.counted, received: last.counted }, hops);
  return found === undefined ? "unknown" : `${found.from} ${found.to} ${found.change}`;
}

const CASES: readonly (readonly [
  what: string,
  kind: FindingKind,
  counts: readonly number[],
  expected: string,
])[] = [
  ["slide 18, behind R1", "excess", [MB, MB, 3 * MB, 3 * MB], `r1 r2 ${2 * MB}`],
  ["at the first router", "excess", [MB, 3 * MB, 3 * MB, 3 * MB], `sender r1 ${2 * MB}`],
  ["at the receiver's link", "excess", [MB, MB, MB, 3 * MB], `r2 receiver ${2 * MB}`],
  ["a router that says it had them already", "excess", [MB, 3 * MB, 3 * MB], `sender r1 ${2 * MB}`],
  ["with some loss on the way", "excess", [MB, 990_000, 3 * MB, 2_980_000], `r1 r2 2010000`],
  ["slide 20", "black-hole", [MB, MB, 0, 0], `r1 r2 ${-MB}`],
  ["a router that drops and counts all the same", "black-hole", [MB, MB, MB, 0], `r2 receiver ${-MB}`],
  ["20 % dropped", "loss", [10 * MB, 10 * MB, 8 * MB, 8 * MB], `r1 r2 ${-2 * MB}`],
  ["20 % dropped, 1 % lost everywhere", "loss", [10 * MB, 9.9 * MB, 7.9 * MB, 7.8 * MB], `r1 r2 ${-2 * MB}`],
  ["lost everywhere alike", "loss", [10 * MB, 9 * MB, 8 * MB, 7 * MB, 6 * MB], "unknown"],
  ["two of one size", "loss", [10 * MB, 9 * MB, 8 * MB], "unknown"],
  ["without routers", "excess", [MB, 3 * MB], `sender receiver ${2 * MB}`],
  ["counts that fit", "excess", [MB, MB, MB], "unknown"],
  ["failures are nobody's bytes", "failures", [MB, MB, 3 * MB], "unknown"],
];

for (const [what, kind, counts, expected] of CASES)
  test(`${kind}: ${what}`, (t) => {
    t.is(at(kind, ...counts), expected);
  });

test("forged numbers with honest bytes put aside are placed nowhere", (t) => {
  t.is(at("forged-sequence", MB, MB, MB), "unknown");
});

test("an empty path is no place", (t) => {
  t.is(locate({ kind: "excess", sent: bytes(0), received: bytes(5) }, []), undefined);
});
