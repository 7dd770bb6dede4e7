import test from "ava";
import fc from "fast-check";
import { Histogram } from "./histogram.js";

const latencies = fc.array(fc.double({ min: 0, max: 1_000_000, noNaN: true }), {
  minLength: 1,
  maxLength: 300,
});

test("percentiles are within 3.2 % and a microsecond of the true ones", (t) => {
  fc.assert(
    fc.property(latencies, fc.constantFrom(0.01, 0.5, 0.9, 0.99, 1), (values, share) => {
      const histogram = new Histogram();
      for (const value of values) histogram.record(value);
      const sorted = values.toSorted((a, b) => a - b);
      const exact = sorted[Math.max(1, Math.ceil(values.length * share)) - 1] ?? Number.NaN;
      const found = histogram.percentile(share);
      return found >= exact - 0.001 && found <= exact * 1.032 + 0.001;
    }),
  );
  t.pass();
});

test("two histograms together are as one of all values", (t) => {
  fc.assert(
    fc.property(latencies, latencies, (some, others) => {
      const [a, b, all] = [new Histogram(), new Histogram(), new Histogram()];
      for (const value of some) a.record(value);
      for (const value of others) b.record(value);
      for (const value of [...some, ...others]) all.record(value);
      a.add(b.data());
      const [joined, expected] = [a.summary(), all.summary()];
      return (
        joined.count === expected.count &&
        joined.p99 === expected.p99 &&
        joined.max === expected.max &&
        Math.abs(joined.mean - expected.mean) <= 1e-6 * (1 + expected.mean)
      );
    }),
  );
  t.pass();
});

test("what came after an earlier state is told apart", (t) => {
  const histogram = new Histogram();
  for (let i = 0; i < 100; i++) histogram.record(5000);
  const earlier = histogram.data();
  for (let i = 0; i < 10; i++) histogram.record(2);
  const later = histogram.since(earlier).summary();
  t.is(later.count, 10);
  t.true(later.max < 2.1);
  t.is(histogram.since(undefined).count, 110);
  t.is(histogram.since(histogram.data()).summary().max, 0);
});

test("an empty one has zeros, and what is out of range is kept at the ends", (t) => {
  const histogram = new Histogram();
  t.deepEqual(histogram.summary(), { count: 0, mean: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 });
  histogram.record(-3);
  histogram.record(1e12);
  t.is(histogram.count, 2);
  t.is(histogram.percentile(0.5), 0);
});
