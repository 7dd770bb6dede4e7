import test from "ava";
import fc from "fast-check";
import { Interned } from "./interned.js";
import { halfSipHash, keyedHash } from "./keyed-hash.js";
import { Records } from "./records.js";
import { SlotIndex } from "./slot-index.js";
import { SlotTimers } from "./slot-timers.js";
import { FakeTime, TICK } from "./time.js";
import { ms, seconds } from "./units.js";

test("a record keeps what was written to it, beside its neighbours", (t) => {
  const records = new Records(40);
  const slots = Array.from({ length: 5000 }, () => records.take());
  t.is(new Set(slots).size, 5000);
  for (const slot of slots) {
    records.setU32(slot, 0, slot);
    records.setU16(slot, 4, slot & 0xffff);
    records.setU8(slot, 6, slot & 0xff);
    records.setF64(slot, 8, slot + 0.5);
    records.setBytes(slot, 16, Uint8Array.of(1, 2, slot & 0xff));
    records.setI32(slot, 36, -1 - slot);
  }
  for (const slot of slots) {
    t.is(records.u32(slot, 0), slot);
    t.is(records.u16(slot, 4), slot & 0xffff);
    t.is(records.u8(slot, 6), slot & 0xff);
    t.is(records.f64(slot, 8), slot + 0.5);
    t.is(records.i32(slot, 36), -1 - slot);
    t.true(records.holds(slot, 16, Uint8Array.of(1, 2, slot & 0xff)));
    t.false(records.holds(slot, 16, Uint8Array.of(1, 3)));
  }
  t.is(records.count, 5000);
  t.true(records.memory >= 5000 * 40);
});

test("a record that was given back is zeros when it is taken again, and the memory does not grow", (t) => {
  const records = new Records(24);
  const slots = Array.from({ length: 100 }, () => records.take());
  for (const slot of slots) records.setBytes(slot, 0, new Uint8Array(24).fill(0xff));
  const { memory, end } = records;
  for (let round = 0; round < 3; round++) {
    for (const slot of slots) records.give(slot);
    t.is(records.count, 0);
    const again = slots.map(() => records.take());
    t.deepEqual([...again].sort(), [...slots].sort());
    for (const slot of again) t.true(records.holds(slot, 0, new Uint8Array(24)));
  }
  t.is(records.memory, memory);
  t.is(records.end, end);
});

test("an index agrees with a map, also where hashes fall together", (t) => {
  const command = fc.record({ key: fc.nat(40), add: fc.boolean() });
  fc.assert(
    fc.property(fc.array(command, { maxLength: 300 }), fc.constantFrom(1, 3, 1000), (commands, spread) => {
      const index = new SlotIndex();
      const map = new Map<number, number>();
      const hash = (key: number): number => (key % spread) * 0x9e3779b1;
      for (const { key, add } of commands) {
        if (add && !map.has(key)) {
          map.set(key, key);
          index.add(hash(key) >>> 0, key);
        } else if (!add) {
          map.delete(key);
          index.remove(hash(key) >>> 0, key);
        }
        for (let k = 0; k <= 40; k++)
          t.is(
            index.find(hash(k) >>> 0, (slot) => slot === k),
            map.get(k),
          );
      }
    }),
    { numRuns: 30 },
  );
});

test("an index grows with what is in it", (t) => {
  const index = new SlotIndex();
  const hash = keyedHash();
  const key = (i: number): Uint8Array => Uint8Array.of(i >> 8, i & 0xff);
  for (let i = 0; i < 10_000; i++) index.add(hash(key(i)), i);
  for (let i = 0; i < 10_000; i += 3) index.remove(hash(key(i)), i);
  for (let i = 0; i < 10_000; i++)
    t.is(
      index.find(hash(key(i)), (slot) => slot === i),
      i % 3 === 0 ? undefined : i,
    );
});

test("the hash depends on its key, on every byte and on the length", (t) => {
  const hash = halfSipHash(0x03020100, 0x07060504);
  const bytes = Uint8Array.from({ length: 16 }, (_, i) => i);
  const seen = new Set([
    hash(bytes),
    halfSipHash(0x03020100, 0x07060505)(bytes),
    hash(bytes.subarray(0, 15)),
  ]);
  for (let i = 0; i < 16; i++) seen.add(hash(bytes.map((byte, at) => (at === i ? byte ^ 1 : byte))));
  t.is(seen.size, 19);
  t.is(hash(bytes), hash(Uint8Array.from(bytes)));
  for (const value of seen) t.true(Number.isInteger(value) && value >= 0 && value < 2 ** 32);
});

test("what is shared lives as long as somebody has it", (t) => {
  const shared = new Interned<{ key: string; text: string }>();
  const keyOf = ({ key }: { key: string }): string => key;
  const first = { key: "a", text: "first" };
  const a = shared.take(first, keyOf);
  t.is(shared.take({ key: "a", text: "second" }, keyOf), a);
  const b = shared.take({ key: "b", text: "other" }, keyOf);
  t.not(a, b);
  t.is(shared.get(a), first);
  shared.release(a);
  t.is(shared.get(a), first);
  shared.release(a);
  t.throws(() => shared.get(a), { instanceOf: RangeError });
  t.is(shared.size, 1);
  t.is(shared.take({ key: "c", text: "third" }, keyOf), a);
  shared.release(99);
});

test("the very value that is shared needs no key, until nobody has it any more", (t) => {
  const shared = new Interned<{ key: string }>();
  let keys = 0;
  const keyOf = ({ key }: { key: string }): string => {
    keys++;
    return key;
  };
  const value = { key: "a" };
  const a = shared.take(value, keyOf);
  t.is(shared.take(value, keyOf), a);
  t.is(keys, 1);
  shared.release(a);
  shared.release(a);
  shared.take({ key: "b" }, keyOf);
  t.not(shared.take(value, keyOf), a);
  t.is(keys, 3);
});

test("timers of numbered things fire once, in time, unless they were cancelled or set anew", (t) => {
  const time = new FakeTime();
  const fired: [number, number][] = [];
  const timers = new SlotTimers(time, (thing) => fired.push([thing, time.now()]));
  timers.set(0, ms(1000));
  timers.set(5000, seconds(3600));
  timers.set(1, ms(500));
  timers.set(2, ms(700));
  timers.cancel(2);
  timers.set(1, ms(1500));
  time.advance(seconds(10));
  t.deepEqual(
    fired.map(([thing]) => thing),
    [0, 1],
  );
  for (const [thing, at] of fired) {
    const due = thing === 0 ? 1000 : 1500;
    t.true(at >= due && at <= due + 2 * TICK);
  }
  time.advance(seconds(3600));
  t.is(fired.length, 3);
  timers.set(7, ms(time.now() + 100));
  timers.stop();
  time.advance(seconds(10));
  t.is(fired.length, 3);
});
