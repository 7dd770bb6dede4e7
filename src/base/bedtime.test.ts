import test from "ava";
import { Bedtime } from "./bedtime.js";
import { FakeTime } from "./time.js";
import { ms, seconds } from "./units.js";

interface Sleeper {
  touched: number;
  restless: boolean;
}

function house(count: number) {
  const time = new FakeTime();
  const awake = new Set(Array.from({ length: count }, (): Sleeper => ({ touched: 0, restless: false })));
  const bedtime = new Bedtime<Sleeper>(
    time,
    () => awake,
    (sleeper) => !sleeper.restless && awake.delete(sleeper),
  );
  return { time, awake, bedtime };
}

test("who was not asked for in a second goes to rest, however many, and then nothing is looked at any more", (t) => {
  const { time, awake, bedtime } = house(3000);
  for (const sleeper of awake) bedtime.touch(sleeper);
  time.advance(ms(900));
  t.is(awake.size, 3000);
  time.advance(seconds(2));
  t.is(awake.size, 0);
  t.is(time.pending, 0);
});

test("who is asked for again stays up, and so does who cannot rest, for as long as that lasts", (t) => {
  const { time, awake, bedtime } = house(2);
  const [first, second] = [...awake];
  if (first === undefined || second === undefined) return t.fail();
  first.restless = true;
  bedtime.touch(first);
  for (let i = 0; i < 5; i++) {
    bedtime.touch(second);
    time.advance(ms(500));
  }
  t.is(awake.size, 2);
  time.advance(seconds(3));
  t.deepEqual([...awake], [first]);
  first.restless = false;
  time.advance(seconds(2));
  t.is(awake.size, 0);
});

test("nobody goes to rest during a walk, and stopping ends it", (t) => {
  const { time, awake, bedtime } = house(2);
  for (const sleeper of awake) bedtime.touch(sleeper);
  const walk = bedtime.whileUp([1, 2]);
  t.is(walk.next().value, 1);
  time.advance(seconds(5));
  t.is(awake.size, 2);
  walk.return?.();
  time.advance(seconds(2));
  t.is(awake.size, 0);
  bedtime.touch({ touched: 0, restless: false });
  bedtime.stop();
  t.is(time.pending, 0);
});
