import test from "ava";
import fc from "fast-check";
import { FakeTime } from "./time.js";
import { ms } from "./units.js";
import { SourceBuckets, TokenBucket } from "./rate-limit.js";

test("a bucket never gives more than burst and rate allow", (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1000 }),
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.record({ wait: fc.integer({ min: 0, max: 300 }), tries: fc.integer({ min: 0, max: 60 }) })),
      (rate, burst, steps) => {
        const time = new FakeTime();
        const bucket = new TokenBucket(time, rate, burst);
        let given = 0;
        for (const { wait, tries } of steps) {
          time.advance(ms(wait));
          for (let i = 0; i < tries; i++) if (bucket.take()) given++;
        }
        return given <= burst + (rate * time.now()) / 1000 + 1e-6;
      },
    ),
  );
  t.pass();
});

test("an emptied bucket fills again at its rate", (t) => {
  const time = new FakeTime();
  const bucket = new TokenBucket(time, 10, 2);
  t.deepEqual([bucket.take(), bucket.take(), bucket.take()], [true, true, false]);
  time.advance(ms(100));
  t.deepEqual([bucket.take(), bucket.take()], [true, false]);
});

test("sources have buckets of their own, and their number is bounded", (t) => {
  const buckets = new SourceBuckets(new FakeTime(), 1, 1, 100);
  t.true(buckets.take("a"));
  t.false(buckets.take("a"));
  t.true(buckets.take("b"));
  for (let i = 0; i < 1000; i++) buckets.take(`source ${i}`);
  t.is(buckets.size, 100);
});
