import test from "ava";
import { seededRandom } from "../base/random.js";
import { ms } from "../base/units.js";
import { Arrivals } from "./pace.js";

function instants(arrival: "constant" | "poisson", rate: number, until: number): number[] {
  const arrivals = new Arrivals(rate, arrival, seededRandom(1), ms(0));
  const seen: number[] = [];
  for (let now = 0; now <= until; now += 5)
    arrivals.take(ms(now), (since) => {
      seen.push(since);
      return true;
    });
  return seen;
}

test("constant arrivals come at even distances", (t) => {
  const seen = instants("constant", 100, 1000);
  t.is(seen.length, 100);
  t.true(seen.every((at, i) => Math.abs(at - (i + 1) * 10) < 1e-6));
});

test("Poisson arrivals have the same mean, and distances whose deviation is their mean", (t) => {
  const seen = instants("poisson", 1000, 20_000);
  const distances = seen.slice(1).map((at, i) => at - (seen[i] ?? 0));
  const mean = distances.reduce((all, one) => all + one, 0) / distances.length;
  const variance = distances.reduce((all, one) => all + (one - mean) ** 2, 0) / distances.length;
  t.true(Math.abs(mean - 1) < 0.05);
  t.true(Math.abs(Math.sqrt(variance) - 1) < 0.05);
});

test("what is late is bounded in a turn, and counts from when it should have been", (t) => {
  const arrivals = new Arrivals(1000, "constant", seededRandom(1), ms(0));
  let taken = 0;
  arrivals.take(ms(10_000), () => ++taken > 0);
  t.is(taken, 256);
  t.true(arrivals.behind(ms(10_000)) > 9000);
  t.false(arrivals.take(ms(10_000), () => false));
});
