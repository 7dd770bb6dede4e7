import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../../base/address.js";
import type { PathCoupledMri } from "../wire/messages.js";
import {
  buildQueryPacket,
  decrementHops,
  isQueryMode,
  messageOf,
  PacketError,
  parseUdpPacket,
  queryPacketOf,
  type QueryPacket,
} from "./packet.js";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const message = Buffer.from("010500007f408060", "hex");

// Computed by an independent program from RFC 791, 768, 2113, 8200 and 2711.
const GOLDEN_IPV4 =
  "46b8002c000040004011facec0a81401c0a815049404ffdf010e010e001447044e04bda5010500007f408060";
const GOLDEN_IPV6 =
  "6b8abcde001c00ff20010db800200000000000000000000120010db800210000000000000000000411000502ffdf0100" +
  "010e010e001495a24e04bda5010500007f408060";

const address4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((b) => IpAddress.fromBytes(b));
const address6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((b) => IpAddress.fromBytes(b));

const query = (address: fc.Arbitrary<IpAddress>): fc.Arbitrary<QueryPacket> =>
  fc.record({
    source: address,
    destination: address,
    sourcePort: fc.nat(65535),
    ttl: fc.nat(255),
    dscp: fc.nat(63),
    flowLabel: fc.nat(0xfffff),
    routerAlert: fc.option(fc.nat(65535), { nil: undefined }),
    message: fc.uint8Array({ minLength: 8, maxLength: 200 }),
  });
const anyQuery = fc.oneof(query(address4), query(address6));

test("IPv4: DF, DSCP, Router Alert and checksums, to the byte", (t) => {
  const packet = buildQueryPacket({
    source: IpAddress.parse("192.168.20.1"),
    destination: IpAddress.parse("192.168.21.4"),
    sourcePort: 270,
    ttl: 64,
    dscp: 46,
    flowLabel: 0,
    routerAlert: 65503,
    message,
  });
  t.is(hex(packet), GOLDEN_IPV4);
});

test("IPv6: traffic class, flow label, hop-by-hop Router Alert and checksum, to the byte", (t) => {
  const packet = buildQueryPacket({
    source: IpAddress.parse("2001:db8:20::1"),
    destination: IpAddress.parse("2001:db8:21::4"),
    sourcePort: 270,
    ttl: 255,
    dscp: 46,
    flowLabel: 0xabcde,
    routerAlert: 65503,
    message,
  });
  t.is(hex(packet), GOLDEN_IPV6);
});

test("what is built is parsed back", (t) => {
  fc.assert(
    fc.property(anyQuery, (query) => {
      const parsed = parseUdpPacket(buildQueryPacket(query));
      t.true(parsed.source.equals(query.source));
      t.true(parsed.destination.equals(query.destination));
      t.is(parsed.sourcePort, query.sourcePort);
      t.is(parsed.destinationPort, 270);
      t.is(parsed.ttl, query.ttl);
      t.is(hex(messageOf(parsed.payload) ?? new Uint8Array()), hex(query.message));
    }),
  );
});

test("bytes after the end of the IP packet are not part of it", (t) => {
  fc.assert(
    fc.property(anyQuery, fc.uint8Array({ maxLength: 40 }), (query, tail) => {
      const packet = buildQueryPacket(query);
      const parsed = parseUdpPacket(Buffer.concat([packet, tail]));
      t.is(hex(messageOf(parsed.payload) ?? new Uint8Array()), hex(query.message));
    }),
  );
});

test("one hop less is the same as the packet built with one hop less", (t) => {
  fc.assert(
    fc.property(anyQuery, fc.integer({ min: 1, max: 255 }), (query, hops) => {
      const withHops = (count: number): Buffer =>
        buildQueryPacket({
          ...query,
          message: Uint8Array.from(query.message, (b, i) => (i === 1 ? count : b)),
        });
      const packet = withHops(hops);
      t.true(decrementHops(packet, parseUdpPacket(packet)));
      t.is(hex(packet), hex(withHops(hops - 1)));
    }),
    { numRuns: 300 },
  );
});

test("no hop left: nothing changes", (t) => {
  const source = IpAddress.parse("10.0.0.1");
  const packet = buildQueryPacket({
    source,
    destination: source,
    sourcePort: 270,
    ttl: 1,
    dscp: 0,
    flowLabel: 0,
    routerAlert: undefined,
    message: new Uint8Array(8),
  });
  const before = hex(packet);
  t.false(decrementHops(packet, parseUdpPacket(packet)));
  t.is(hex(packet), before);
});

test("whatever comes in, the parser answers or throws PacketError", (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 120 }),
      fc.constantFrom(0x45, 0x46, 0x4f, 0x60, 0),
      (bytes, first) => {
        bytes[0] = first;
        try {
          parseUdpPacket(bytes);
        } catch (error) {
          t.true(error instanceof PacketError);
        }
      },
    ),
    { numRuns: 2000 },
  );
  t.pass();
});

test("a packet cut short, or with one bit of its UDP part turned, is refused", (t) => {
  fc.assert(
    fc.property(anyQuery, fc.nat(), (query, at) => {
      const packet = buildQueryPacket(query);
      t.throws(() => parseUdpPacket(packet.subarray(0, at % packet.length)), { instanceOf: PacketError });
      const udp = parseUdpPacket(packet).udpOffset;
      const bit = at % ((packet.length - udp) * 8);
      const turned = Buffer.from(packet);
      turned[udp + (bit >> 3)] = (turned[udp + (bit >> 3)] ?? 0) ^ (1 << (bit & 7));
      t.throws(() => parseUdpPacket(turned), { instanceOf: PacketError });
    }),
  );
});

test("fragments, other protocols and absent checksums are refused", (t) => {
  const parse = (change: (packet: Buffer) => void) => () => {
    const packet = Buffer.from(GOLDEN_IPV4, "hex");
    change(packet);
    return parseUdpPacket(packet);
  };
  t.throws(
    parse((p) => p.writeUInt16BE(0x2000, 6)),
    { message: /fragment/ },
  );
  t.throws(
    parse((p) => p.writeUInt16BE(0x0001, 6)),
    { message: /fragment/ },
  );
  t.throws(
    parse((p) => p.writeUInt8(6, 9)),
    { message: /not UDP/ },
  );
  t.throws(
    parse((p) => p.writeUInt16BE(0, 30)),
    { message: /no UDP checksum/ },
  );
  t.throws(
    parse((p) => p.writeUInt8(0x44, 0)),
    { message: /IPv4 header of 16 bytes/ },
  );
});

test("a chain of IPv6 extension headers ends", (t) => {
  const packet = Buffer.alloc(40 + 9 * 8);
  packet[0] = 0x60;
  packet.writeUInt16BE(72, 4);
  packet[6] = 60;
  for (let at = 40; at < packet.length; at += 8) packet[at] = 60;
  t.throws(() => parseUdpPacket(packet), { message: /too many extension headers/ });
});

test("addresses of two IP versions and too long messages cannot be built", (t) => {
  const base = {
    source: IpAddress.parse("10.0.0.1"),
    sourcePort: 270,
    ttl: 64,
    dscp: 0,
    flowLabel: 0,
    routerAlert: 65503,
    message,
  };
  const build = (change: Partial<QueryPacket>) => () =>
    buildQueryPacket({ destination: IpAddress.parse("10.0.0.2"), ...base, ...change });
  t.throws(build({ destination: IpAddress.parse("::1") }), { instanceOf: PacketError });
  t.throws(build({ message: new Uint8Array(65536) }), { instanceOf: PacketError });
});

test("the magic number and a whole header are needed, the flag C is found", (t) => {
  t.is(messageOf(Buffer.from("4e04bda6010500007f408060", "hex")), undefined);
  t.is(messageOf(Buffer.from("4e04bda5010500007f4080", "hex")), undefined);
  const found = messageOf(Buffer.from("4e04bda5010500007f408060", "hex"));
  t.is(hex(found ?? new Uint8Array()), hex(message));
  t.true(isQueryMode(message));
  t.false(isQueryMode(Buffer.from("010500007f400160", "hex")));
});

function flow(source: string, destination: string, marks: Partial<PathCoupledMri>): PathCoupledMri {
  const [from, to] = [IpAddress.parse(source), IpAddress.parse(destination)];
  const bits = to.bytes.length * 8;
  return {
    method: "path-coupled",
    direction: "downstream",
    source: from,
    destination: to,
    sourcePrefix: bits,
    destinationPrefix: bits,
    ...marks,
  };
}

test("IPv4: DSCP of the flow, DF, Router Alert of the NSLP, own source port 270, UDP checksum", (t) => {
  const mri = flow("192.168.20.1", "192.168.21.4", { dscp: 46, protocol: 17, sourcePort: 4000 });
  const packet = buildQueryPacket(
    queryPacketOf(mri, message, { source: mri.source, ttl: 64, routerAlert: 65504 }),
  );
  t.is((packet[1] ?? 0) >> 2, 46);
  t.is(packet.readUInt16BE(6), 0x4000, "DF, no fragment");
  t.is(packet.readUInt32BE(20), 0x94040000 + 65504);
  t.is(packet.readUInt16BE(24), 270);
  t.is(packet.readUInt16BE(26), 270);
  t.not(packet.readUInt16BE(30), 0, "a UDP checksum");
});

test("IPv6: DSCP and flow label of the flow, hop-by-hop Router Alert of the NSLP, UDP checksum", (t) => {
  const mri = flow("2001:db8:20::1", "2001:db8:21::4", { dscp: 10, flowLabel: 0x12345 });
  const packet = buildQueryPacket(
    queryPacketOf(mri, message, { source: mri.source, ttl: 64, routerAlert: 65504 }),
  );
  t.is(packet.readUInt32BE(0), 0x62812345);
  t.is(packet[6], 0, "hop-by-hop options come first");
  t.is(packet.readUInt32BE(40), 0x11000502, "UDP, 8 bytes, Router Alert: skip when unknown");
  t.is(packet.readUInt16BE(44), 65504);
  t.not(packet.readUInt16BE(54), 0, "a UDP checksum");
});

test("upstream goes to the flow's source; what the MRI leaves open is 0", (t) => {
  const mri = flow("10.0.0.1", "10.0.0.2", { direction: "upstream" });
  const own = IpAddress.parse("10.0.0.9");
  const packet = buildQueryPacket(
    queryPacketOf(mri, message, { source: own, ttl: 255, routerAlert: undefined }),
  );
  const parsed = parseUdpPacket(packet);
  t.is(`${parsed.source} ${parsed.destination} ${parsed.ttl}`, "10.0.0.9 10.0.0.1 255");
  t.is(packet[0], 0x45, "no options");
  t.is(packet[1], 0);
  const loose = queryPacketOf(
    { method: "loose-end", direction: "downstream", source: own, destination: own },
    message,
    { source: own, ttl: 1, routerAlert: undefined },
  );
  t.is(loose.dscp + loose.flowLabel, 0);
});
