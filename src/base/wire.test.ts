import test from "ava";
import fc from "fast-check";
import { ByteReader, ByteWriter, WireError } from "./wire.js";

type Step =
  | { readonly kind: "u8" | "u16" | "u32" | "zeros"; readonly value: number }
  | { readonly kind: "bytes"; readonly value: Uint8Array };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("u8" as const), value: fc.nat(0xff) }),
  fc.record({ kind: fc.constant("u16" as const), value: fc.nat(0xffff) }),
  fc.record({ kind: fc.constant("u32" as const), value: fc.nat(0xffffffff) }),
  fc.record({ kind: fc.constant("zeros" as const), value: fc.nat(40) }),
  fc.record({ kind: fc.constant("bytes" as const), value: fc.uint8Array({ maxLength: 700 }) }),
);

function write(writer: ByteWriter, step: Step): void {
  if (step.kind === "bytes") writer.bytes(step.value);
  else writer[step.kind](step.value);
}

function read(reader: ByteReader, step: Step): Step {
  if (step.kind === "bytes") return { kind: "bytes", value: reader.bytes(step.value.length) };
  if (step.kind !== "zeros") return { kind: step.kind, value: reader[step.kind]() };
  const zeros = reader.bytes(step.value);
  return { kind: "zeros", value: zeros.every((b) => b === 0) ? zeros.length : -1 };
}

const part = (bytes: Uint8Array, start: number, length: number): number[] => [
  ...bytes.subarray(start, start + length),
];

test("what was written is read back, whatever the first capacity", (t) => {
  fc.assert(
    fc.property(fc.array(anyStep), fc.constantFrom(0, 1, 3, 256), (steps, capacity) => {
      const writer = new ByteWriter(capacity);
      for (const step of steps) write(writer, step);
      const bytes = writer.finish();
      t.is(bytes.length, writer.length);
      const reader = new ByteReader(bytes);
      for (const step of steps) t.deepEqual(read(reader, step), step);
      t.is(reader.remaining, 0);
    }),
  );
});

test("numbers stand in network order", (t) => {
  const bytes = new ByteWriter().u8(1).u16(0x0203).u32(0x84050607).bytes(Uint8Array.of(8)).pad(4).finish();
  t.deepEqual(bytes, Uint8Array.of(1, 2, 3, 0x84, 5, 6, 7, 8));
  t.deepEqual(new ByteWriter().u8(9).pad(4).pad(4).finish(), Uint8Array.of(9, 0, 0, 0));
  t.is(new ByteReader(bytes.subarray(3)).u32(), 0x84050607);
});

test("a length is filled in afterwards, but not beyond the end", (t) => {
  const writer = new ByteWriter(1).u16(0).u8(7);
  writer.patchU16(0, 0xabcd);
  t.deepEqual(writer.finish(), Uint8Array.of(0xab, 0xcd, 7));
  t.throws(() => writer.patchU16(2, 1), { instanceOf: RangeError });
});

test("finish gives a copy that later writing does not touch", (t) => {
  const writer = new ByteWriter().u16(1);
  const first = writer.finish();
  writer.patchU16(0, 2);
  writer.u8(3);
  t.deepEqual(first, Uint8Array.of(0, 1));
  t.deepEqual(writer.finish(), Uint8Array.of(0, 2, 3));
});

test("reading past the end throws with the offset in the whole input and moves nothing", (t) => {
  const reader = new ByteReader(Uint8Array.of(1, 2, 3), 100);
  reader.u8();
  const error = t.throws(() => reader.u32(), { instanceOf: WireError });
  t.is(error.offset, 101);
  t.regex(error.message, /4 bytes are needed but 2 are left \(at byte 101\)/);
  t.is(reader.remaining, 2);
  t.throws(() => reader.bytes(-1), { instanceOf: WireError });
  t.throws(
    () => {
      reader.skip(3);
    },
    { instanceOf: WireError },
  );
  t.is(reader.u16(), 0x0203);
});

test("a reader inside a reader keeps to its part and counts from the start", (t) => {
  const reader = new ByteReader(Uint8Array.of(1, 2, 3, 4));
  reader.skip(1);
  const inner = reader.sub(2);
  t.is(inner.offset, 1);
  t.is(inner.u16(), 0x0203);
  t.throws(() => inner.u8(), { instanceOf: WireError });
  t.is(reader.u8(), 4);
});

test("a reader of a part reads no more than that, with offsets of the whole", (t) => {
  const reader = new ByteReader(Uint8Array.of(1, 2, 3, 4), 10, 1, 3);
  t.is(reader.remaining, 2);
  t.is(reader.offset, 11);
  t.deepEqual(reader.make(1, part), [2]);
  t.throws(() => reader.bytes(2), { instanceOf: WireError, message: /byte 12/ });
  t.deepEqual([...reader.bytes(1)], [3]);
  t.throws(() => reader.u8(), { instanceOf: WireError });
  t.throws(() => new ByteReader(new Uint8Array(2), 0, 0, 3), { instanceOf: RangeError });
});

test("something is made of bytes where they stand", (t) => {
  const reader = new ByteReader(Uint8Array.of(1, 2, 3));
  t.deepEqual(reader.make(2, part), [1, 2]);
  t.throws(() => reader.make(2, () => t.fail()), { instanceOf: WireError });
  t.deepEqual(reader.make(1, part), [3]);
});

test("bytes are a view into the input", (t) => {
  const input = Uint8Array.of(1, 2, 3);
  const view = new ByteReader(input).bytes(2);
  input[0] = 9;
  t.is(view[0], 9);
});
