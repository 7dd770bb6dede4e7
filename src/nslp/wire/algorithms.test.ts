import test from "ava";
import { ALGORITHMS, SIGNATURE_ALGORITHMS } from "../../base/algorithm.js";
import { algorithmInDefense, canDo, codeInDefense, codesOf } from "./algorithms.js";

const DRAFT = ["hmac-sha256-128", "hmac-sha1-96", ...SIGNATURE_ALGORITHMS];

test("each algorithm has a code of its own, and comes back from a Defense", (t) => {
  t.deepEqual(codesOf(ALGORITHMS), [2, 128, 129, 1, 5, 130, 131, 132, 133, 134]);
  for (const algorithm of ALGORITHMS) {
    const own = SIGNATURE_ALGORITHMS.find((kind) => algorithm.endsWith(kind)) ?? "ed25519";
    t.is(algorithmInDefense(codeInDefense(algorithm), own), algorithm);
    const [code = 0] = codesOf([algorithm]);
    t.is(algorithmInDefense(code, own), algorithm);
  }
});

test("codes that are refused, unknown, or for another key mean nothing", (t) => {
  for (const code of [0, 3, 4, 6, 7, 8, 9, 11, 127, 135, 255])
    t.is(algorithmInDefense(code, "rsa-2048"), undefined);
  t.is(algorithmInDefense(130, "ed25519"), undefined);
  t.is(algorithmInDefense(133, undefined), undefined);
  t.is(algorithmInDefense(10, undefined), undefined);
});

test("a sender without a list does what the draft has codes for", (t) => {
  for (const algorithm of ALGORITHMS) {
    t.is(canDo(undefined, algorithm), DRAFT.includes(algorithm));
    t.false(canDo([0], algorithm));
    t.true(canDo(codesOf([algorithm]), algorithm));
  }
});
