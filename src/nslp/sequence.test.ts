import fc from "fast-check";
import test from "ava";
import { isNewer, nextSequence } from "./sequence.js";

const wall = fc.double({ min: 0, max: 2 ** 43, noNaN: true });

test("each sequence number is newer than the one before, whatever the clock does", (t) => {
  fc.assert(fc.property(fc.nat(2 ** 32 - 1), wall, (last, now) => isNewer(nextSequence(last, now), last)));
  t.pass();
});

test("a node that has forgotten its sequence goes on above it, up to 24 days later", (t) => {
  fc.assert(
    fc.property(wall, fc.integer({ min: 1, max: 2 ** 31 - 2 }), (before, later) =>
      isNewer(nextSequence(undefined, Math.floor(before) + later), nextSequence(undefined, before)),
    ),
  );
  t.pass();
});
