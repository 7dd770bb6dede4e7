/**
 * Packets and what a router is to do about each, for the tests of every engine. A packet that an engine leaves to the
 * stack is judged there by the queues, so "stack" is never wrong; the table says where it is not expected.
 */
import { createHmac } from "node:crypto";
import { type Flow, parseFlow, PROTOCOL } from "../../base/flow.js";

/** By the queue, and by the XDP program alone. */
export interface Verdict {
  readonly queue:
    "accept" | "deep" | "drop" | "unknown" | "malformed" | "headersTooLong" | "fragment" | "notAFlow";
  readonly xdp: "send" | "drop" | "stack";
}

export interface VerdictCase extends Verdict {
  readonly name: string;
  /** The IP datagram. */
  readonly packet: Uint8Array;
  /** VLAN tags in front of it. */
  readonly tags?: number;
  /** Bytes of padding behind it. */
  readonly padding?: number;
}

/** Permitted with plenty of volume, with room for VOLUME bytes, and not any more. */
export const PERMITTED = [
  parseFlow("udp 10.1.0.1:4000 > 10.2.0.2:80"),
  parseFlow("tcp 10.1.0.1:4000 > 10.2.0.2:80"),
  parseFlow("icmp 10.1.0.1 > 10.2.0.2"),
  parseFlow("47 10.1.0.1 > 10.2.0.2"),
  parseFlow("udp [fd01::1]:4000 > [fd02::2]:80"),
  parseFlow("tcp [fd01::1]:4000 > [fd02::2]:80"),
  parseFlow("icmpv6 fd01::1 > fd02::2"),
] as const;
export const LIMITED = [
  parseFlow("udp 10.1.0.1:4001 > 10.2.0.2:80"),
  parseFlow("udp [fd01::1]:4001 > [fd02::2]:80"),
] as const;
export const VOLUME = 100;
export const EXPIRED = [parseFlow("udp 10.1.0.1:4002 > 10.2.0.2:80")] as const;

/** Permitted, and to be verified. "deep" says that all of the packet goes to whoever verifies. */
export const AUTHENTICATED = [
  parseFlow("udp 10.1.0.1:4003 > 10.2.0.2:80"),
  parseFlow("udp [fd01::1]:4003 > [fd02::2]:80"),
] as const;
export const SPI = 0x1000;
/** For HMAC-SHA-256-128. */
export const KEY = new Uint8Array(32).fill(1);

export interface Shape {
  /** Of the payload behind TCP, UDP or echo header. */
  readonly payload?: number;
  readonly ttl?: number;
  /** Bytes of IPv4 options, or lengths of IPv6 extension headers (destination options), all multiples of 4 or 8. */
  readonly options?: number;
  readonly extensions?: readonly number[];
  readonly flags?: number;
  readonly fragment?: number;
  readonly echo?: number;
  /** Puts a wrong IPv4 header checksum in. */
  readonly badSum?: boolean;
}

const ACK = 0x10;
const SYN = 0x02;
const DESTINATION_OPTIONS = 60;

/** A datagram of a flow. Checksums above IP are zero: no router looks at them. */
export function datagram(flow: Flow, shape: Shape = {}): Uint8Array {
  const upper = upperPart(flow, shape);
  return flow.source.family === 4 ? ipv4(flow, shape, upper) : ipv6(flow, shape, upper);
}

const AH = 51;
/** A multiple of 8 in IPv6. */
const AH_BYTES = { 4: 28, 6: 32 } as const;
const ICV_AT = 12;
const ICV_BYTES = 16;

/** With an Authentication Header whose check value is zeros. */
export function authenticated(flow: Flow, spi = SPI, sequence = 1): Uint8Array {
  const plain = datagram(flow);
  const four = flow.source.family === 4;
  const ahBytes = AH_BYTES[flow.source.family];
  const at = four ? 20 : 40;
  const out = new Uint8Array(plain.length + ahBytes);
  out.set(plain.subarray(0, at));
  out.set([flow.protocol, ahBytes / 4 - 2], at);
  out.set(plain.subarray(at), at + ahBytes);
  const view = new DataView(out.buffer);
  view.setUint32(at + 4, spi);
  view.setUint32(at + 8, sequence);
  out[four ? 9 : 6] = AH;
  view.setUint16(four ? 2 : 4, four ? out.length : out.length - at);
  if (four) {
    view.setUint16(10, 0);
    view.setUint16(10, headerSum(out));
  }
  return out;
}

/** With one that is right: its check value covers all but what routers change (RFC 4302 section 3.3.3.1). */
export function sealed(flow: Flow, sequence: number, spi = SPI): Uint8Array {
  const packet = authenticated(flow, spi, sequence);
  const covered = Uint8Array.from(packet);
  const four = flow.source.family === 4;
  const mutable = four ? [1, 6, 7, 8, 10, 11] : [1, 2, 3, 7];
  for (const at of mutable) covered[at] = 0;
  const icv = createHmac("sha256", KEY).update(covered).digest().subarray(0, ICV_BYTES);
  packet.set(icv, (four ? 20 : 40) + ICV_AT);
  return packet;
}

function upperPart(flow: Flow, { payload = 20, flags = ACK, echo }: Shape): Uint8Array {
  const headers: Partial<Record<number, number>> = {
    [PROTOCOL.tcp]: 20,
    [PROTOCOL.udp]: 8,
    [PROTOCOL.icmp]: 8,
    [PROTOCOL.icmpv6]: 8,
  };
  const out = new Uint8Array((headers[flow.protocol] ?? 0) + payload);
  const view = new DataView(out.buffer);
  if (flow.protocol === PROTOCOL.icmp) out[0] = echo ?? 8;
  else if (flow.protocol === PROTOCOL.icmpv6) out[0] = echo ?? 128;
  else if (flow.protocol === PROTOCOL.tcp || flow.protocol === PROTOCOL.udp) {
    view.setUint16(0, flow.sourcePort);
    view.setUint16(2, flow.destinationPort);
  }
  if (flow.protocol === PROTOCOL.udp) view.setUint16(4, out.length);
  if (flow.protocol === PROTOCOL.tcp) out.set([0x50, flags], 12);
  return out;
}

function ipv4(
  flow: Flow,
  { ttl = 64, options = 0, fragment = 0, badSum }: Shape,
  upper: Uint8Array,
): Uint8Array {
  const header = 20 + options;
  const out = new Uint8Array(header + upper.length);
  const view = new DataView(out.buffer);
  out[0] = 0x40 | (header / 4);
  view.setUint16(2, out.length);
  view.setUint16(6, fragment);
  out[8] = ttl;
  out[9] = flow.protocol;
  out.set(flow.source.bytes, 12);
  out.set(flow.destination.bytes, 16);
  out.set(upper, header);
  view.setUint16(10, headerSum(out) ^ (badSum === true ? 1 : 0));
  return out;
}

/** Of an IPv4 header with its own checksum field as it is; 0 for one that is right. */
export function headerSum(packet: Uint8Array): number {
  const length = ((packet[0] ?? 0) & 15) * 4;
  let sum = 0;
  for (let i = 0; i < length; i += 2) sum += ((packet[i] ?? 0) << 8) | (packet[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function ipv6(flow: Flow, { ttl = 64, extensions = [] }: Shape, upper: Uint8Array): Uint8Array {
  const between = extensions.reduce((sum, length) => sum + length, 0);
  const out = new Uint8Array(40 + between + upper.length);
  out[0] = 0x60;
  new DataView(out.buffer).setUint16(4, between + upper.length);
  out[6] = extensions.length === 0 ? flow.protocol : DESTINATION_OPTIONS;
  out[7] = ttl;
  out.set(flow.source.bytes, 8);
  out.set(flow.destination.bytes, 24);
  let at = 40;
  extensions.forEach((length, i) => {
    out[at] = i === extensions.length - 1 ? flow.protocol : DESTINATION_OPTIONS;
    out[at + 1] = length / 8 - 1;
    at += length;
  });
  out.set(upper, at);
  return out;
}

const [UDP4, TCP4, ECHO4, GRE4, UDP6, TCP6, ECHO6] = PERMITTED;
const STRANGER4 = parseFlow("udp 10.1.0.9:4000 > 10.2.0.2:80");
const STRANGER6 = parseFlow("tcp [fd01::9]:4000 > [fd02::2]:80");
const OWN = parseFlow("udp 10.1.0.9:4000 > 10.1.0.254:80");
const NOWHERE = parseFlow("udp 10.1.0.9:4000 > 10.77.0.1:80");
const GIST = parseFlow("udp 10.1.0.9:4000 > 10.2.0.2:270");

function fragmentHeader(flow: Flow): Uint8Array {
  const packet = datagram(flow, { extensions: [8] });
  packet[6] = 44;
  return packet;
}

function altered(packet: Uint8Array, at: number, ...bytes: readonly number[]): Uint8Array {
  const out = Uint8Array.from(packet);
  out.set(bytes, at);
  return out;
}

const SEND: Verdict = { queue: "accept", xdp: "send" };
const BY_STACK: Verdict = { queue: "accept", xdp: "stack" };
const DROP: Verdict = { queue: "drop", xdp: "drop" };
const UNKNOWN: Verdict = { queue: "unknown", xdp: "drop" };
const LEFT: Verdict = { queue: "unknown", xdp: "stack" };
const MALFORMED: Verdict = { queue: "malformed", xdp: "stack" };

/** In this order, once, after {@link PERMITTED}, {@link LIMITED} and {@link EXPIRED} were installed. */
export const VERDICTS: readonly VerdictCase[] = [
  { name: "UDP over IPv4", packet: datagram(UDP4), ...SEND },
  { name: "TCP over IPv4", packet: datagram(TCP4), ...SEND },
  { name: "echo request over IPv4", packet: datagram(ECHO4), ...SEND },
  { name: "echo reply over IPv4", packet: datagram(ECHO4, { echo: 0 }), ...SEND },
  { name: "a protocol without ports", packet: datagram(GRE4), ...SEND },
  { name: "UDP over IPv6", packet: datagram(UDP6), ...SEND },
  { name: "TCP over IPv6", packet: datagram(TCP6), ...SEND },
  { name: "echo over IPv6", packet: datagram(ECHO6), ...SEND },
  { name: "behind it padding", packet: datagram(UDP4, { payload: 0 }), padding: 18, ...SEND },
  { name: "behind it more than padding", packet: datagram(UDP4), padding: 100, ...BY_STACK },
  { name: "TCP with SYN", packet: datagram(TCP4, { flags: SYN }), ...BY_STACK },
  { name: "IPv4 options", packet: datagram(UDP4, { options: 8 }), ...BY_STACK },
  { name: "most IPv4 options", packet: datagram(UDP4, { options: 40 }), ...BY_STACK },
  { name: "an IPv6 extension header", packet: datagram(UDP6, { extensions: [8] }), ...BY_STACK },
  {
    name: "eight IPv6 extension headers",
    packet: datagram(UDP6, { extensions: Array(8).fill(8) }),
    ...BY_STACK,
  },
  {
    name: "nine IPv6 extension headers",
    packet: datagram(UDP6, { extensions: Array(9).fill(8) }),
    queue: "headersTooLong",
    xdp: "stack",
  },
  { name: "last hop over IPv4", packet: datagram(UDP4, { ttl: 1 }), ...BY_STACK },
  { name: "last hop over IPv6", packet: datagram(UDP6, { ttl: 1 }), ...BY_STACK },
  { name: "one VLAN tag", packet: datagram(UDP4), tags: 1, ...BY_STACK },
  { name: "two VLAN tags", packet: datagram(UDP6), tags: 2, ...BY_STACK },
  { name: "larger than the way out takes", packet: datagram(UDP4, { payload: 1300 }), ...BY_STACK },
  { name: "wrong header checksum", packet: datagram(UDP4, { badSum: true }), ...BY_STACK },
  { name: "unknown over IPv4", packet: datagram(STRANGER4), ...UNKNOWN },
  { name: "unknown over IPv6", packet: datagram(STRANGER6), ...UNKNOWN },
  { name: "unknown with options", packet: datagram(STRANGER4, { options: 8 }), ...UNKNOWN },
  {
    name: "unknown with extension headers",
    packet: datagram(STRANGER6, { extensions: [8, 16] }),
    ...UNKNOWN,
  },
  { name: "unknown with a VLAN tag", packet: datagram(STRANGER4), tags: 1, ...UNKNOWN },
  { name: "unknown, SYN", packet: datagram(STRANGER6, { flags: SYN }), ...UNKNOWN },
  { name: "unknown, for this router", packet: datagram(OWN), ...LEFT },
  { name: "unknown, to nowhere", packet: datagram(NOWHERE), ...LEFT },
  { name: "signalling", packet: datagram(GIST), ...LEFT },
  { name: "expired", packet: datagram(EXPIRED[0]), ...DROP },
  { name: "AH over IPv4", packet: authenticated(AUTHENTICATED[0]), queue: "deep", xdp: "stack" },
  { name: "AH over IPv6", packet: authenticated(AUTHENTICATED[1]), queue: "deep", xdp: "stack" },
  {
    name: "AH of an association that there is not",
    packet: authenticated(AUTHENTICATED[0], SPI + 1),
    queue: "deep",
    xdp: "stack",
  },
  { name: "AH that is missing", packet: datagram(AUTHENTICATED[0]), queue: "drop", xdp: "stack" },
  { name: "AH without permission", packet: authenticated(STRANGER4), ...UNKNOWN },
  { name: "AH where none is asked for", packet: authenticated(UDP4), queue: "accept", xdp: "stack" },
  { name: "within the volume", packet: datagram(LIMITED[0], { payload: 32 }), ...SEND },
  { name: "over the volume", packet: datagram(LIMITED[0], { payload: 32 }), ...DROP },
  { name: "exactly to the volume", packet: datagram(LIMITED[0], { payload: 12 }), ...SEND },
  { name: "with no volume left", packet: datagram(LIMITED[0], { payload: 0 }), ...DROP },
  { name: "over the volume at once", packet: datagram(LIMITED[1], { payload: 53 }), ...DROP },
  {
    name: "over the volume with options",
    packet: datagram(LIMITED[0], { options: 4 }),
    queue: "drop",
    xdp: "stack",
  },
  { name: "first fragment", packet: datagram(UDP4, { fragment: 0x2000 }), queue: "fragment", xdp: "stack" },
  { name: "last fragment", packet: datagram(UDP4, { fragment: 0x0010 }), queue: "fragment", xdp: "stack" },
  { name: "do not fragment", packet: datagram(UDP4, { fragment: 0x4000 }), ...SEND },
  { name: "IPv6 fragment", packet: fragmentHeader(UDP6), queue: "fragment", xdp: "stack" },
  { name: "an ICMP error", packet: datagram(ECHO4, { echo: 3 }), queue: "notAFlow", xdp: "stack" },
  { name: "neighbour discovery", packet: datagram(ECHO6, { echo: 135 }), queue: "notAFlow", xdp: "stack" },
  { name: "shorter than it says", packet: altered(datagram(UDP4), 2, 0x04, 0), ...MALFORMED },
  { name: "no IP version", packet: altered(datagram(UDP4), 0, 0x75), ...MALFORMED },
  { name: "an IPv4 header that is too short", packet: altered(datagram(UDP4), 0, 0x44), ...MALFORMED },
  { name: "a TCP header that is too short", packet: altered(datagram(TCP4), 32, 0x40), ...MALFORMED },
  { name: "a TCP header longer than the packet", packet: altered(datagram(TCP4), 32, 0xf0), ...MALFORMED },
  {
    name: "an extension header longer than the packet",
    packet: altered(datagram(UDP6, { extensions: [8] }), 41, 40),
    ...MALFORMED,
  },
];
