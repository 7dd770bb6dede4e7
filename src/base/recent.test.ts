import test from "ava";
import fc from "fast-check";
import { Recent } from "./recent.js";

const anyBytes = fc.uint8Array({ minLength: 3, maxLength: 6, max: 3 });

test("each gets the value of its own bytes, wherever they stand", (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(3), anyBytes), { maxLength: 50 }), (asked) => {
      const recent = new Recent<string>(4);
      for (const [start, bytes] of asked) {
        const whole = Uint8Array.of(...new Uint8Array(start), ...bytes, 9);
        t.is(
          recent.get(whole, start, bytes.length, (own) => own.join()),
          bytes.join(),
        );
      }
    }),
  );
});

test("what was asked for just now is not made again, until another has its place", (t) => {
  const recent = new Recent<object>(2);
  const get = (...bytes: number[]) => recent.get(Uint8Array.from(bytes), 0, bytes.length, () => ({}));
  const first = get(1, 0, 0, 4);
  t.is(get(1, 0, 0, 4), first);
  t.not(get(2, 0, 0, 4), first);
  t.not(get(1, 0, 0, 4), first);
});

test("what is remembered does not change with what it was found in", (t) => {
  const recent = new Recent<Uint8Array>(1);
  const bytes = Uint8Array.of(1, 2, 3);
  const own = recent.get(bytes, 0, 3, (copy) => copy);
  bytes[0] = 9;
  t.deepEqual([...own], [1, 2, 3]);
  t.deepEqual([...recent.get(bytes, 0, 3, (copy) => copy)], [9, 2, 3]);
});

test("too few bytes are an error", (t) => {
  const recent = new Recent<number>(1);
  for (const [start, length] of [
    [0, 2],
    [1, 3],
  ] as const)
    t.throws(() => recent.get(new Uint8Array(3), start, length, () => 0), { instanceOf: RangeError });
});
