import test from "ava";
import fc from "fast-check";
import { AddressError, IpAddress, IpPrefix } from "./address.js";
import { ByteReader } from "./wire.js";

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const anyAddress = fc.oneof(bytesOf(4), bytesOf(16)).map((bytes) => IpAddress.fromBytes(bytes));

test("text of an address reads back as the same address", (t) => {
  fc.assert(
    fc.property(anyAddress, (address) => {
      const again = IpAddress.parse(address.toString());
      t.true(again.equals(address));
      t.deepEqual(again.bytes, address.bytes);
    }),
  );
});

test("IPv6 text is canonical (RFC 5952)", (t) => {
  const cases: [string, string][] = [
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["::", "::"],
    ["0:0:0:0:0:0:0::", "::"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.1"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
    ["1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
  ];
  for (const [given, canonical] of cases) t.is(IpAddress.parse(given).toString(), canonical, given);
});

test("what is not an address is refused with an AddressError", (t) => {
  const bad = [
    "",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "01.2.3.4",
    "1::2::3",
    "::1%eth0",
    "10.0.0.0/8",
    "host",
    " 1.2.3.4",
  ];
  for (const text of bad) t.throws(() => IpAddress.parse(text), { instanceOf: AddressError }, text);
  for (const length of [0, 3, 5, 15, 17])
    t.throws(() => IpAddress.fromBytes(new Uint8Array(length)), { instanceOf: AddressError });
});

test("any text is an address or an AddressError", (t) => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.ipV4(), fc.ipV6(), fc.stringMatching(/^[0-9a-f:.]{0,40}$/)),
      (text) => {
        try {
          IpAddress.parse(text);
        } catch (error) {
          t.true(error instanceof AddressError);
        }
      },
    ),
  );
  t.pass();
});

test("an address keeps its own copy of the bytes", (t) => {
  const bytes = Uint8Array.of(10, 0, 0, 1);
  const address = IpAddress.fromBytes(bytes);
  bytes[3] = 2;
  t.is(address.toString(), "10.0.0.1");
  const buffer = Buffer.from([10, 0, 0, 1]);
  const fromBuffer = IpAddress.fromBytes(buffer);
  buffer[3] = 2;
  t.is(fromBuffer.toString(), "10.0.0.1");
});

test("an address may stand among other bytes", (t) => {
  const bytes = Uint8Array.of(9, 10, 0, 0, 1, 9);
  t.is(IpAddress.fromBytes(bytes, 1, 4).toString(), "10.0.0.1");
  t.throws(() => IpAddress.fromBytes(bytes, 3, 4), { instanceOf: AddressError });
  t.throws(() => IpAddress.fromBytes(bytes, 1), { instanceOf: AddressError });
  const reader = new ByteReader(bytes);
  reader.skip(1);
  t.is(IpAddress.read(reader, 4).toString(), "10.0.0.1");
  t.is(reader.remaining, 1);
});

test("equal addresses are of one family", (t) => {
  t.true(IpAddress.parse("10.0.0.1").equals(IpAddress.parse("10.0.0.1")));
  t.false(IpAddress.parse("10.0.0.1").equals(IpAddress.parse("10.0.0.2")));
  t.false(IpAddress.parse("0.0.0.0").equals(IpAddress.parse("::")));
  t.is(JSON.stringify([IpAddress.parse("::1")]), '["::1"]');
});

test("a prefix has no host bits and contains what shares its bits", (t) => {
  const prefix = IpPrefix.parse("192.168.21.77/20");
  t.is(prefix.toString(), "192.168.16.0/20");
  t.true(prefix.contains(IpAddress.parse("192.168.31.255")));
  t.false(prefix.contains(IpAddress.parse("192.168.32.0")));
  t.false(prefix.contains(IpAddress.parse("::ffff:192.168.16.1")));
  t.true(IpPrefix.parse("0.0.0.0/0").contains(IpAddress.parse("255.255.255.255")));
  t.is(IpPrefix.parse("2001:db8::1").toString(), "2001:db8::1/128");
  t.is(JSON.stringify(IpPrefix.parse("10.0.0.0/8")), '"10.0.0.0/8"');
});

test("prefix membership is equality of the leading bits", (t) => {
  const bits = (address: IpAddress) =>
    Array.from(address.bytes, (b) => b.toString(2).padStart(8, "0")).join("");
  fc.assert(
    fc.property(bytesOf(16), bytesOf(16), fc.nat(128), fc.nat(128), (a, b, length, shared) => {
      const first = IpAddress.fromBytes(a);
      // Half of the pairs share a beginning, so that both answers occur.
      const second = IpAddress.fromBytes(a.map((byte, i) => (i * 8 < shared ? byte : (b[i] ?? 0))));
      const expected = bits(first).slice(0, length) === bits(second).slice(0, length);
      t.is(new IpPrefix(first, length).contains(second), expected);
    }),
  );
});

test("bad prefixes are refused", (t) => {
  for (const text of [
    "10.0.0.0/33",
    "::/129",
    "10.0.0.0/",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10.0.0.0/8x",
    "/8",
    "",
  ])
    t.throws(() => IpPrefix.parse(text), { instanceOf: AddressError }, text);
  t.throws(() => new IpPrefix(IpAddress.parse("10.0.0.0"), 1.5), { instanceOf: AddressError });
});

test("addresses that share a place in the memory of those read lately stay apart", (t) => {
  // The same by their last ten bits, and by the exclusive or of the two bytes that the place is made of.
  const texts = ["10.0.0.1", "10.4.4.5", "11.0.0.1", "::1", "fe80::a00:1", "1::1"];
  const bytes = texts.map((text) => IpAddress.parse(text).bytes);
  for (let round = 0; round < 2; round++)
    t.deepEqual(
      bytes.map((one) => IpAddress.fromBytes(one).toString()),
      texts,
    );
});

test("an address that was read is not changed by who writes into what it was read from", (t) => {
  const bytes = Uint8Array.of(10, 9, 8, 7);
  const first = IpAddress.fromBytes(bytes);
  bytes[3] = 6;
  t.is(IpAddress.fromBytes(bytes).toString(), "10.9.8.6");
  t.is(first.toString(), "10.9.8.7");
  t.is(IpAddress.fromBytes(Uint8Array.of(10, 9, 8, 7)).toString(), "10.9.8.7");
});
