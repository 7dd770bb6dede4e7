import test from "ava";
import { FakeTime } from "../base/time.js";
import { ms } from "../base/units.js";
import { Line } from "./line.js";

/** Each signature takes so many milliseconds; turns are taken by hand. */
function line(each: number) {
  const time = new FakeTime();
  const asked: number[] = [];
  const turns: (() => void)[] = [];
  const queue = new Line(
    time,
    (flow) => {
      asked.push(flow);
      time.advance(ms(each));
    },
    (turn) => turns.push(turn),
  );
  return { queue, asked, turn: () => turns.shift()?.() };
}

test("what comes alone is asked at once", (t) => {
  const { queue, asked } = line(1);
  queue.add(7);
  t.deepEqual(asked, [7]);
  t.is(queue.length, 0);
});

test("of a crowd a few are asked in each turn, in the order in which they came", (t) => {
  const { queue, asked, turn } = line(4);
  for (let flow = 0; flow < 10; flow++) queue.add(flow);
  t.is(asked.length, 4);
  t.is(queue.length, 6);
  turn();
  t.is(asked.length, 8);
  turn();
  t.deepEqual(asked, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  turn();
  queue.add(10);
  t.is(asked.at(-1), 10);
});

test("who comes while others wait goes behind them", (t) => {
  const { queue, asked, turn } = line(12);
  for (const flow of [1, 2, 3]) queue.add(flow);
  turn();
  queue.add(4);
  for (let i = 0; i < 4; i++) turn();
  t.deepEqual(asked, [1, 2, 3, 4]);
});

test("a long line is worked off whole", (t) => {
  const { queue, asked, turn } = line(0.001);
  const flows = Array.from({ length: 20_000 }, (_, i) => i);
  for (const flow of flows) queue.add(flow);
  while (queue.length > 0) turn();
  t.deepEqual(asked, flows);
});
