import test from "ava";
import fc from "fast-check";
import { FairQueue } from "./fair-queue.js";

function drain<T>(queue: FairQueue<T>, count = Number.POSITIVE_INFINITY): T[] {
  const out: T[] = [];
  for (let i = 0; i < count; i++) {
    const taken = queue.take();
    if (taken === undefined) break;
    out.push(taken.item);
  }
  return out;
}

test("what one member puts in comes out in order", (t) => {
  const queue = new FairQueue<number>(100);
  for (let i = 0; i < 20; i++) t.is(queue.push("peer", "sender", i, 1), undefined);
  t.deepEqual(drain(queue), [...Array(20).keys()]);
  t.is(queue.size, 0);
  t.is(queue.groups, 0);
  t.is(queue.take(), undefined);
});

test("a group that floods gets no more than its share, and a member of it no more than its own", (t) => {
  const queue = new FairQueue<string>(10_000);
  for (let i = 0; i < 2000; i++) queue.push("loud", "flooder", "flooder", 1);
  for (let i = 0; i < 40; i++) queue.push("loud", "neighbour", "neighbour", 1);
  for (let i = 0; i < 80; i++) queue.push("quiet", "other", "other", 1);
  const served = drain(queue, 160);
  const count = (name: string) => served.filter((one) => one === name).length;
  t.deepEqual([count("other"), count("neighbour"), count("flooder")], [80, 40, 40]);
});

test("what is dear to serve counts for more", (t) => {
  const queue = new FairQueue<string>(10_000);
  for (let i = 0; i < 800; i++) {
    queue.push("dear", "a", "dear", 5);
    queue.push("cheap", "b", "cheap", 1);
  }
  const served = drain(queue, 600);
  const dear = served.filter((one) => one === "dear").length;
  t.true(Math.abs(dear - 100) <= 3, `${dear} of 600`);
});

test("what needed no serving costs no turn", (t) => {
  const queue = new FairQueue<string>(1000);
  for (let i = 0; i < 100; i++) queue.push("stale", "a", "stale", 1);
  for (let i = 0; i < 20; i++) queue.push("stale", "a", "good", 1);
  for (let i = 0; i < 200; i++) queue.push("other", "b", "other", 1);
  const served: string[] = [];
  while (served.length < 40) {
    const taken = queue.take();
    if (taken === undefined) break;
    if (taken.item === "stale") queue.giveBack(taken);
    else served.push(taken.item);
  }
  t.is(served.filter((one) => one === "good").length, 20);
});

test("however much one group puts in, there is room for another", (t) => {
  const queue = new FairQueue<number>(1000);
  let taken = 0;
  while (queue.push("loud", `sender ${taken % 7}`, taken, 1) === undefined) taken++;
  t.true(taken <= 500 && taken >= 400, `${taken}`);
  t.is(queue.push("quiet", "sender", 0, 1), undefined);
});

test("however much one member puts in, there is room for another of its group", (t) => {
  const queue = new FairQueue<number>(1000);
  let taken = 0;
  while (queue.push("peer", "loud", taken, 1) === undefined) taken++;
  t.true(taken <= 260, `${taken}`);
  t.is(queue.push("peer", "loud", 0, 1), "member");
  t.is(queue.push("peer", "quiet", 0, 1), undefined);
});

test("the room is never exceeded, and all that got in comes out", (t) => {
  const step = fc.oneof(
    fc.record({ put: fc.tuple(fc.nat(5), fc.nat(5), fc.integer({ min: 1, max: 8 })) }),
    fc.constant({ put: undefined }),
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.array(step, { maxLength: 300 }), (capacity, steps) => {
      const queue = new FairQueue<number>(capacity);
      const waiting = new Set<number>();
      steps.forEach(({ put }, i) => {
        if (put === undefined) {
          const taken = queue.take();
          if ((taken === undefined) !== (waiting.size === 0)) throw new Error("lost");
          if (taken !== undefined && !waiting.delete(taken.item)) throw new Error("not put in");
        } else if (queue.push(`g${put[0]}`, `m${put[1]}`, i, put[2]) === undefined) waiting.add(i);
        if (queue.size !== waiting.size || queue.size > capacity) throw new Error("wrong size");
      });
      for (const item of drain(queue)) waiting.delete(item);
      return waiting.size === 0;
    }),
  );
  t.pass();
});

test("nobody waits longer than was said", (t) => {
  const queue = new FairQueue<string>(1000);
  for (let i = 0; i < 100; i++) queue.push("loud", `sender ${i % 3}`, "loud", 1);
  const ahead = queue.ahead("quiet", "sender");
  t.is(ahead, 1);
  t.is(queue.ahead("loud", "a fourth"), 3);
  t.is(queue.ahead("loud", "sender 0"), 100);
  queue.push("quiet", "sender", "quiet", 1);
  // Of costs of up to 8 a round holds 8.
  t.true(drain(queue).indexOf("quiet") <= 8 * (ahead + 1));
});
