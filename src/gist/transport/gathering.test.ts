import test from "ava";
import { FakeTime } from "../../base/time.js";
import { type Milliseconds, ms } from "../../base/units.js";
import { Gathering } from "./gathering.js";
import { Strangers } from "./strangers.js";

/** Turns are taken by hand; resting takes the time that it says. */
function node(apart = 5) {
  const time = new FakeTime();
  const turns: (() => void)[] = [];
  const rests: Milliseconds[] = [];
  const gathering = new Gathering({
    time,
    apart: ms(apart),
    later: (turn) => turns.push(turn),
    rest: (duration) => {
      rests.push(duration);
      time.advance(duration);
    },
  });
  const run = (): void => {
    for (let turn = turns.shift(); turn !== undefined; turn = turns.shift()) turn();
  };
  /** One message every so often, each in a turn of its own that takes no time. */
  const alone = (messages: number, every: number): void => {
    for (let i = 0; i < messages; i++) {
      gathering.heard();
      run();
      time.advance(ms(every));
    }
  };
  return { time, gathering, turns, rests, run, alone };
}

test("a node that hears little never rests", (t) => {
  const { rests, alone } = node();
  alone(990, 1.1);
  t.deepEqual(rests, []);
});

test("one that hears much rests after a turn, from the second period on", (t) => {
  const { rests, alone } = node();
  alone(100, 1);
  t.deepEqual(rests, []);
  alone(1, 1);
  t.deepEqual(rests, [ms(5)]);
});

test("it rests for what the turn has left of the time", (t) => {
  const { time, gathering, rests, run, alone } = node();
  alone(101, 1);
  rests.length = 0;
  gathering.heard();
  time.advance(ms(3));
  run();
  t.deepEqual(rests, [ms(2)]);
  gathering.heard();
  time.advance(ms(5));
  run();
  t.deepEqual(rests, [ms(2)]);
});

test("as long as turns bring messages it goes on reading", (t) => {
  const { gathering, turns, rests, alone } = node();
  alone(101, 1);
  rests.length = 0;
  gathering.heard();
  for (let i = 0; i < 10; i++) {
    turns.shift()?.();
    gathering.heard();
    t.is(turns.length, 1);
  }
  t.deepEqual(rests, []);
  for (let i = 0; i < 4; i++) turns.shift()?.();
  t.is(rests.length, 1);
  t.is(turns.length, 0);
});

test("what is installed in one turn, signed in the next and written in the third goes before it rests", (t) => {
  const { gathering, turns, rests, alone } = node();
  alone(101, 1);
  rests.length = 0;
  gathering.heard();
  let written: number | undefined;
  turns.push(() => turns.push(() => turns.push(() => (written = rests.length))));
  while (turns.length > 0) for (const turn of turns.splice(0)) turn();
  t.is(written, 0);
  t.is(rests.length, 1);
});

test("what is still to be done keeps it from resting, and is no message", (t) => {
  const { time, gathering, turns, rests } = node();
  for (let i = 0; i < 300; i++) {
    gathering.stay();
    turns.splice(0).forEach((turn) => turn());
    time.advance(ms(1));
  }
  gathering.heard();
  while (turns.length > 0) turns.shift()?.();
  t.deepEqual(rests, []);
});

test("strangers that wait keep it from resting until the last of them is handled", (t) => {
  const { gathering, turns, rests, alone } = node();
  alone(101, 1);
  rests.length = 0;
  const restsAt: number[] = [];
  const strangers = new Strangers<number>(
    (packet) => (restsAt[packet] = rests.length),
    (turn) => {
      gathering.stay();
      turns.push(turn);
    },
  );
  // One packet is read in each turn of the event loop, and what waited for the turn runs after it.
  for (let packet = 0; turns.length > 0 || packet < 60; packet++) {
    if (packet < 60) {
      strangers.read();
      gathering.heard();
      strangers.wait(packet, "stranger");
    }
    for (const turn of turns.splice(0)) turn();
  }
  // A place that was never filled would be passed over by every().
  t.is(restsAt.filter((before) => before === 0).length, 60);
  t.is(restsAt.length, 60);
  t.true(restsAt.every((before) => before === 0));
  t.is(rests.length, 1);
});

test("after a quiet time it answers at once again", (t) => {
  const { time, rests, alone } = node();
  alone(101, 1);
  rests.length = 0;
  time.advance(ms(300));
  alone(1, 0);
  t.deepEqual(rests, []);
});

test("much that came before a quiet time is forgotten", (t) => {
  const { time, gathering, rests, run, alone } = node();
  for (let i = 0; i < 150; i++) gathering.heard();
  run();
  time.advance(ms(300));
  alone(1, 0);
  t.deepEqual(rests, []);
});

test("with 0 it never rests and takes no turns", (t) => {
  const { gathering, turns } = node(0);
  for (let i = 0; i < 1000; i++) gathering.heard();
  t.is(turns.length, 0);
});
