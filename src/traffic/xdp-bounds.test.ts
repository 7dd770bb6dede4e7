import test from "ava";
import { encodeBounds } from "./xdp-bounds.js";
import { CLASSES, EXEMPT_CLASS } from "./xdp-native.js";

const at = (bounds: Float64Array, number: number) => [...bounds.subarray(number * 4, number * 4 + 4)];

test("no class is bounded more tightly than the stack's rules do", (t) => {
  const bounds = encodeBounds({
    exempt: [{ name: "dns", rate: 300 }],
    interceptRate: 1000,
    open: { total: 1_000_000, source: 10_000 },
  });
  t.deepEqual(at(bounds, CLASSES.signalling), [20_000, 1000, 4000, 1000]);
  t.deepEqual(at(bounds, CLASSES.icmp), [2000, 1000, 0, 0]);
  t.deepEqual(at(bounds, CLASSES.open), [1_062_500, 2000, 10_625, 13_107.2]);
  t.deepEqual(at(bounds, EXEMPT_CLASS), [600, 1000, 0, 0]);
  t.deepEqual(at(bounds, EXEMPT_CLASS + 1), [0, 0, 0, 0], "a class that is not there");
});

test("legacy hosts have bounds of their own, behind those of the exempt classes", (t) => {
  const legacy = [
    { total: 1000, source: 100 },
    { total: 2000, source: 200 },
  ];
  const bounds = encodeBounds({ exempt: [{ name: "dns", rate: 300 }], interceptRate: 1, legacy });
  const rates = [1, 2].map((n) => [0, 2].map((i) => at(bounds, EXEMPT_CLASS + n)[i]));
  t.deepEqual(rates, [
    [1062.5, 106.25],
    [2125, 212.5],
  ]);
});

test("in a closed network nothing passes without permission, so there is no bound for it", (t) => {
  t.deepEqual(at(encodeBounds({ exempt: [], interceptRate: 1 }), CLASSES.open), [0, 0, 0, 0]);
});
