import test from "ava";
import { Turns } from "./turns.js";

test("no more jobs run at a time than there are turns, in their order, also when one fails", async (t) => {
  const turns = new Turns(2);
  const started: number[] = [];
  const ends: (() => void)[] = [];
  const jobs = [0, 1, 2, 3].map((i) =>
    turns.take(async () => {
      started.push(i);
      await new Promise<void>((end) => ends.push(end));
      if (i === 0) throw new Error("failed");
      return i;
    }),
  );
  t.deepEqual(started, [0, 1]);
  ends[0]?.();
  await t.throwsAsync(async () => jobs[0]);
  t.deepEqual(started, [0, 1, 2]);
  ends[1]?.();
  t.is(await jobs[1], 1);
  t.deepEqual(started, [0, 1, 2, 3]);
  ends[2]?.();
  ends[3]?.();
  t.deepEqual(await Promise.all(jobs.slice(1)), [1, 2, 3]);
});
