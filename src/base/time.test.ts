import { mock } from "node:test";
import test from "ava";
import fc from "fast-check";
import { FakeTime, SystemTime, TICK, TimerWheel } from "./time.js";
import { ms, seconds } from "./units.js";

const WHEEL_TURN = 256 * TICK;

test("a timer fires once, not before its delay and at most a tick later", (t) => {
  const time = new FakeTime();
  const fired: number[] = [];
  time.after(ms(25), () => fired.push(time.now()));
  time.advance(ms(24));
  t.deepEqual(fired, []);
  time.advance(ms(100));
  t.is(fired.length, 1);
  t.true((fired[0] ?? 0) >= 25 && (fired[0] ?? 0) <= 25 + 2 * TICK);
  t.is(time.pending, 0);
});

test("delays of any size fire in order, never early, at most a tick late", (t) => {
  const delay = fc.oneof(
    fc.nat(500),
    fc.integer({ min: WHEEL_TURN - 30, max: WHEEL_TURN + 30 }),
    fc.nat(20 * WHEEL_TURN),
    fc.integer({ min: 256 * WHEEL_TURN - 30, max: 256 * WHEEL_TURN + 30 }),
  );
  fc.assert(
    fc.property(fc.nat(3 * WHEEL_TURN), fc.array(delay, { maxLength: 20 }), (start, delays) => {
      const wheel = new TimerWheel(ms(start));
      const due: number[] = [];
      let now = start;
      for (const d of delays)
        wheel.set(ms(start + d), () => {
          if (now < start + d || now > start + d + TICK) t.fail(`${d} ms after ${start} fired at ${now}`);
          due.push(Math.max(Math.ceil((start + d) / TICK), Math.floor(start / TICK) + 1));
        });
      for (let look = wheel.nextLook(); look !== undefined; look = wheel.nextLook()) {
        t.true(look > now);
        now = look;
        wheel.advance(look);
      }
      t.is(due.length, delays.length);
      t.deepEqual(
        due,
        due.toSorted((a, b) => a - b),
      );
    }),
    { numRuns: 20 },
  );
});

test("every level hands down to the one below: long delays fire on time", (t) => {
  const HOUR = 3_600_000;
  const cases: [start: number, delay: number][] = [
    [0, HOUR],
    [12_345, HOUR],
    [256 * WHEEL_TURN - 1, HOUR],
    [256 * 256 * WHEEL_TURN - 70, HOUR],
    [777, 50 * HOUR],
  ];
  for (const [start, delay] of cases) {
    const wheel = new TimerWheel(ms(start));
    let fired = false;
    wheel.set(ms(start + delay), () => {
      fired = true;
    });
    wheel.advance(ms(start + delay - TICK));
    t.false(fired, `${delay} ms after ${start}`);
    wheel.advance(ms(start + delay + TICK));
    t.true(fired, `${delay} ms after ${start}`);
  }
});

test("a delay beyond the last level, or without end, can be set and cancelled", (t) => {
  const wheel = new TimerWheel(ms(123_456));
  const year = wheel.set(ms(365 * 86_400_000 * 20), () => t.fail());
  const never = wheel.set(ms(Number.POSITIVE_INFINITY), () => t.fail());
  wheel.advance(ms(123_456 + 300 * WHEEL_TURN));
  t.is(wheel.count, 2);
  year.cancel();
  never.cancel();
  t.is(wheel.count, 0);
  t.is(wheel.nextLook(), undefined);
});

test("an instant that is no number is refused and leaves nothing behind", (t) => {
  const wheel = new TimerWheel(ms(0));
  t.throws(() => wheel.set(ms(Number.NaN), () => undefined), { instanceOf: RangeError });
  t.is(wheel.count, 0);
});

test("a cancelled timer does not fire; cancelling again or after firing does nothing", (t) => {
  const time = new FakeTime();
  let fired = 0;
  const timer = time.after(ms(50), () => fired++);
  const other = time.after(ms(50), () => fired++);
  timer.cancel();
  timer.cancel();
  t.is(time.pending, 1);
  time.advance(seconds(1));
  other.cancel();
  t.is(fired, 1);
  t.is(time.pending, 0);
});

test("a timer may cancel another of the same instant", (t) => {
  const time = new FakeTime();
  const fired: string[] = [];
  const second = { cancel: (): void => undefined };
  time.after(ms(30), () => {
    fired.push("first");
    second.cancel();
  });
  const timer = time.after(ms(30), () => fired.push("second"));
  second.cancel = () => timer.cancel();
  time.advance(ms(100));
  t.deepEqual(fired, ["first"]);
});

test("a timer set by a timer fires later, even with no delay", (t) => {
  const time = new FakeTime();
  const fired: number[] = [];
  const again = (): void => {
    fired.push(time.now());
    if (fired.length < 5) time.after(ms(0), again);
  };
  time.after(ms(0), again);
  time.advance(seconds(1));
  t.is(fired.length, 5);
  t.is(new Set(fired).size, 5);
});

test("a long advance of the wheel fires what its timers set on the way", (t) => {
  const wheel = new TimerWheel(ms(0));
  let count = 0;
  const every = (at: number) => (): void => {
    count++;
    wheel.set(ms(at + 100), every(at + 100));
  };
  wheel.set(ms(100), every(100));
  wheel.advance(seconds(100));
  t.is(count, 1000);
});

test("a timer that throws stops no other, and its error comes out", (t) => {
  const wheel = new TimerWheel(ms(0));
  const fired: string[] = [];
  wheel.set(ms(20), () => {
    throw new Error("first");
  });
  wheel.set(ms(20), () => fired.push("same instant"));
  wheel.set(ms(500), () => {
    throw new Error("second");
  });
  wheel.set(ms(900), () => fired.push("later"));
  t.throws(
    () => {
      wheel.advance(ms(1000));
    },
    { message: "first" },
  );
  t.deepEqual(fired, ["same instant", "later"]);
  t.is(wheel.count, 0);
  t.notThrows(() => {
    wheel.advance(ms(2000));
  });
});

test("time that went back, or a wheel left alone for long, harms nothing", (t) => {
  const wheel = new TimerWheel(ms(10_000));
  wheel.advance(ms(0));
  wheel.advance(ms(1e12));
  let fired = false;
  wheel.set(ms(1e12 + 100), () => {
    fired = true;
  });
  wheel.advance(ms(1e12 + 90));
  t.false(fired);
  wheel.advance(ms(1e12 + 100 + TICK));
  t.true(fired);
});

test("random sets and cancels agree with a list of what is due", (t) => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant("set" as const), value: fc.nat(2 * WHEEL_TURN) }),
    fc.record({ kind: fc.constant("cancel" as const), value: fc.nat(50) }),
    fc.record({ kind: fc.constant("advance" as const), value: fc.nat(WHEEL_TURN) }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const time = new FakeTime();
      const fired = new Set<number>();
      const set: { at: number; cancelled: boolean; cancel: () => void }[] = [];
      for (const { kind, value } of actions) {
        if (kind === "advance") time.advance(ms(value));
        else if (kind === "set") {
          const id = set.length;
          const timer = time.after(ms(value), () => fired.add(id));
          set.push({ at: time.now() + value, cancelled: false, cancel: () => timer.cancel() });
        } else {
          const entry = set[value];
          if (entry === undefined || fired.has(value)) continue;
          entry.cancel();
          entry.cancelled = true;
        }
      }
      time.advance(ms(3 * WHEEL_TURN));
      t.is(time.pending, 0);
      set.forEach((entry, id) => t.is(fired.has(id), !entry.cancelled));
    }),
    { numRuns: 60 },
  );
});

test("fake time has a wall clock of its own", (t) => {
  const time = new FakeTime();
  const start = time.wall();
  time.advance(seconds(5));
  t.is(time.wall() - start, 5000);
  time.wallStart += 60_000;
  t.is(time.wall() - start, 65_000);
  t.is<number, number>(time.now(), 5000);
});

test.serial("the system's time keeps one system timer for all and wakes for the earliest", (t) => {
  let now = 1000;
  mock.method(performance, "now", () => now);
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const pass = (duration: number): void => {
      for (let i = 0; i < duration; i++) {
        now++;
        mock.timers.tick(1);
      }
    };
    const time = new SystemTime();
    const fired: string[] = [];
    time.after(seconds(10), () => fired.push("late"));
    time.after(ms(30), () => fired.push("early"));
    const cancelled = time.after(ms(40), () => fired.push("never"));
    cancelled.cancel();
    pass(30 + TICK);
    t.deepEqual(fired, ["early"]);
    pass(9900);
    t.deepEqual(fired, ["early"]);
    pass(70 + 2 * TICK);
    t.deepEqual(fired, ["early", "late"]);
    t.is<number, number>(time.now(), now);
    t.true(Math.abs(time.wall() - Date.now()) < 10_000);
  } finally {
    mock.timers.reset();
    mock.restoreAll();
  }
});
