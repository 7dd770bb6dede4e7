import test from "ava";
import fc from "fast-check";
import { bytes, MAX_BYTES, ms, seconds } from "./units.js";

test("volumes are whole, not negative and saturate", (t) => {
  const cases: [number, number][] = [
    [0, 0],
    [-1, 0],
    [1.9, 1],
    [Number.NaN, 0],
    [Number.POSITIVE_INFINITY, MAX_BYTES],
    [2 ** 60, MAX_BYTES],
    [2 ** 32 + 1, 2 ** 32 + 1],
  ];
  for (const [given, expected] of cases) t.is<number, number>(bytes(given), expected);
  fc.assert(
    fc.property(fc.double(), (value) => t.true(Number.isSafeInteger(bytes(value)) && bytes(value) >= 0)),
  );
});

test("seconds are thousands of milliseconds", (t) => {
  t.is(seconds(1.5), ms(1500));
});
