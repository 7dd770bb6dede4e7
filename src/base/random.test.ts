import test from "ava";
import fc from "fast-check";
import { between, seededRandom, systemRandom } from "./random.js";

test("a seeded generator repeats itself and another seed differs", (t) => {
  const [a, b, c] = [seededRandom(7), seededRandom(7), seededRandom(8)];
  const first = a.bytes(32);
  t.deepEqual(first, b.bytes(32));
  t.is(a.fraction(), b.fraction());
  t.notDeepEqual(first, c.bytes(32));
});

test("numbers stay in their range", (t) => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: -1000, max: 1000 }), fc.nat(1000), (seed, low, width) => {
      const value = between(seededRandom(seed), low, low + width);
      t.true(value >= low && (value < low + width || width === 0));
    }),
  );
  const fraction = systemRandom.fraction();
  t.true(fraction >= 0 && fraction < 1);
  t.is(systemRandom.bytes(20).length, 20);
});
