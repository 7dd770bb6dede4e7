import test from "ava";
import { bytesOf, kindOf } from "./capture.js";
import { readPcap } from "./pcap.js";

function file(...frames: Buffer[]): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4);
  const records = frames.map((frame, i) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(1000 + i, 0);
    record.writeUInt32LE(500, 4);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return Buffer.concat([record, frame]);
  });
  return Buffer.concat([header, ...records]);
}

function ethernet(type: number, body: Buffer): Buffer {
  const header = Buffer.alloc(14);
  header.writeUInt16BE(type, 12);
  return Buffer.concat([header, body]);
}

function ipv4(protocol: number, length: number, body: Buffer, fragmentOffset = 0): Buffer {
  const header = Buffer.alloc(24);
  // Six words: an option, as Router Alert is one.
  header[0] = 0x46;
  header.writeUInt16BE(length, 2);
  header.writeUInt16BE(fragmentOffset, 6);
  header[9] = protocol;
  header.set([192, 168, 20, 1], 12);
  header.set([192, 168, 21, 4], 16);
  return ethernet(0x0800, Buffer.concat([header, body]));
}

function ipv6(next: number, payload: number, body: Buffer): Buffer {
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(payload, 4);
  header[6] = next;
  header.set([0xfd, 0x20], 8);
  header[23] = 1;
  header.set([0xfd, 0x21], 24);
  header[39] = 4;
  return ethernet(0x86dd, Buffer.concat([header, body]));
}

function udp(from: number, to: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(from, 0);
  header.writeUInt16BE(to, 2);
  return Buffer.concat([header, payload]);
}

const GIST = Buffer.from("4e04bda50102", "hex");
const HOP_BY_HOP = Buffer.from("1100050200000100", "hex");

test("lengths come from the IP header, not from what was captured", (t) => {
  const [packet] = readPcap(file(ipv4(17, 1028, udp(4000, 9000, Buffer.alloc(2)))));
  t.like(packet, {
    time: 1000_000.5,
    length: 1028,
    version: 4,
    source: "192.168.20.1",
    destination: "192.168.21.4",
    sourcePort: 4000,
    destinationPort: 9000,
  });
  t.is(bytesOf(packet === undefined ? [] : [packet, packet]), 2056);
});

test("IPv6 with a hop-by-hop header", (t) => {
  const [packet] = readPcap(file(ipv6(0, 100, Buffer.concat([HOP_BY_HOP, udp(270, 270, GIST)]))));
  t.like(packet, {
    length: 140,
    version: 6,
    source: "fd20::1",
    destination: "fd21::4",
    destinationPort: 270,
  });
});

test("a record that is not complete is left out", (t) => {
  const whole = file(ipv4(17, 50, udp(1, 2, Buffer.alloc(4))), ipv4(17, 50, udp(1, 2, Buffer.alloc(4))));
  t.is(readPcap(whole).length, 2);
  t.is(readPcap(whole.subarray(0, whole.length - 1)).length, 1);
  t.is(readPcap(whole.subarray(0, 10)).length, 0);
});

test("kinds of packets", (t) => {
  const kinds = readPcap(
    file(
      ethernet(0x0806, Buffer.alloc(28)),
      ipv4(17, 60, udp(270, 270, GIST)),
      ipv4(17, 60, udp(270, 270, Buffer.alloc(8))),
      ipv4(1, 84, Buffer.from([8, 0, 0, 0, 0, 0])),
      ipv4(1, 84, Buffer.from([3, 13, 0, 0, 0, 0])),
      ipv6(58, 64, Buffer.from([135, 0, 0, 0, 0, 0])),
      ipv6(58, 64, Buffer.from([128, 0, 0, 0, 0, 0])),
      ipv4(17, 60, udp(4000, 9000, GIST)),
      ipv4(17, 60, udp(270, 270, GIST), 7),
    ),
  ).map(kindOf);
  t.deepEqual(kinds, [
    "housekeeping",
    "signalling",
    "data",
    "data",
    "housekeeping",
    "housekeeping",
    "data",
    "data",
    "data",
  ]);
});

test("behind an Authentication Header stands what it protects", (t) => {
  // 28 bytes: with an ICV of 16.
  const ah = Buffer.alloc(28);
  ah[0] = 17;
  ah[1] = 5;
  ah.writeUInt32BE(0xabcd, 4);
  ah.writeUInt32BE(7, 8);
  const body = Buffer.concat([ah, udp(4000, 9000, Buffer.from("hello"))]);
  for (const frame of [ipv4(51, 65, body), ipv6(51, 41, body)]) {
    const [packet] = readPcap(file(frame));
    t.like(packet, {
      protocol: 17,
      sourcePort: 4000,
      destinationPort: 9000,
      ah: { spi: 0xabcd, sequence: 7 },
    });
    t.is(packet?.payload.toString(), "hello");
  }
});

test("a later fragment of a packet with AH has no ports", (t) => {
  const [packet] = readPcap(file(ipv4(51, 60, Buffer.alloc(36), 1)));
  t.like(packet, { protocol: 51, ah: undefined, destinationPort: 0 });
});
