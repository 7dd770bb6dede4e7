import fc from "fast-check";
import test from "ava";
import { isNewer, nextSequence, sequenceAge } from "./sequence.js";

const wall = fc.double({ min: 0, max: 2 ** 43, noNaN: true });

test("each sequence number is newer than the one before, whatever the clock does", (t) => {
  fc.assert(fc.property(fc.nat(2 ** 32 - 1), wall, (last, now) => isNewer(nextSequence(last, now), last)));
  t.pass();
});

test("the age of a sequence number", (t) => {
  const wall = 1_800_000_000_123.9;
  const now = nextSequence(undefined, wall);
  t.is(sequenceAge(now, wall), 0);
  t.is(sequenceAge(nextSequence(undefined, wall - 5000), wall), 5000);
  t.is(sequenceAge(nextSequence(undefined, wall + 5000), wall), -5000);
  // Where the clock's low 32 bits begin anew.
  t.is(sequenceAge(0xffff_fff0, 10 * 2 ** 32 + 16), 32);
  t.is(sequenceAge(16, 10 * 2 ** 32 - 16), -32);
});

test("a node that has forgotten its sequence goes on above it, up to 24 days later", (t) => {
  fc.assert(
    fc.property(wall, fc.integer({ min: 1, max: 2 ** 31 - 2 }), (before, later) =>
      isNewer(nextSequence(undefined, Math.floor(before) + later), nextSequence(undefined, before)),
    ),
  );
  t.pass();
});
