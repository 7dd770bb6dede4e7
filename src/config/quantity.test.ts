import test from "ava";
import fc from "fast-check";
import {
  formatDuration,
  formatSize,
  parseDuration,
  parsePorts,
  parseSize,
  QuantityError,
} from "./quantity.js";

const SIZES: readonly (readonly [string | number, number])[] = [
  [123, 123],
  ["123", 123],
  ["0", 0],
  ["10MB", 10_000_000],
  ["10 MB", 10_000_000],
  ["10MiB", 10_485_760],
  ["500kB", 500_000],
  ["500KB", 500_000],
  ["1.5GB", 1_500_000_000],
  ["1.1kB", 1100],
  ["4GiB", 4_294_967_296],
];

for (const [text, size] of SIZES)
  test(`size ${JSON.stringify(text)}`, (t) => t.is(parseSize(text), size as never));

for (const wrong of ["", "MB", "10 bananas", "-1", "1e6", "0.5B", "99999TB", "10M", "1,5MB"])
  test(`not a size: "${wrong}"`, (t) => void t.throws(() => parseSize(wrong), { instanceOf: QuantityError }));

const DURATIONS: readonly (readonly [string, number])[] = [
  ["0", 0],
  ["500ms", 500],
  ["30s", 30_000],
  ["1.5s", 1500],
  ["10m", 600_000],
  ["2h", 7_200_000],
  ["1d", 86_400_000],
];

for (const [text, duration] of DURATIONS)
  test(`duration ${text}`, (t) => t.is(parseDuration(text), duration as never));

for (const wrong of ["", "30", "30 seconds", "-1s", "0.5ms", "50d", "1h30m"])
  test(`not a duration: "${wrong}"`, (t) =>
    void t.throws(() => parseDuration(wrong), { instanceOf: QuantityError }));

test("ports: single, range, text list, list", (t) => {
  t.deepEqual(parsePorts(80), [{ from: 80, to: 80 }]);
  t.deepEqual(parsePorts("8000-8100"), [{ from: 8000, to: 8100 }]);
  const both = [
    { from: 80, to: 80 },
    { from: 443, to: 445 },
  ];
  t.deepEqual(parsePorts("80, 443-445"), both);
  t.deepEqual(parsePorts(["80", "443-445"]), both);
});

for (const wrong of ["", "0", "65536", "80-70", "http", "80-", "1-65536", "-5"])
  test(`not ports: "${wrong}"`, (t) => void t.throws(() => parsePorts(wrong), { instanceOf: QuantityError }));

test("sizes for people", (t) => {
  t.deepEqual([0, 999, 1000, 1250, 10_000_000, 999_999, 1.25e9].map(formatSize), [
    "0 B",
    "999 B",
    "1 kB",
    "1.25 kB",
    "10 MB",
    "1 MB",
    "1.25 GB",
  ]);
});

test("durations for people", (t) => {
  t.deepEqual([0, 499, 1500, 30_000, 598_000, 600_000, 7_260_000, 100_800_000].map(formatDuration), [
    "0ms",
    "499ms",
    "1.5s",
    "30s",
    "9m58s",
    "10m",
    "2h1m",
    "1d4h",
  ]);
});

test("what is written for people is read back within three digits", (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (size) => {
      if (size >= 999.5e12) return;
      const read = parseSize(formatSize(size));
      t.true(Math.abs(read - size) <= size * 0.006);
    }),
  );
});

test("no text makes the parsers fail in another way", (t) => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const parse of [parseSize, parseDuration, parsePorts]) {
        try {
          parse(text);
        } catch (error) {
          t.true(error instanceof QuantityError);
        }
      }
    }),
  );
});
