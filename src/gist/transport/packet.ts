/**
 * IP packets that carry GIST in Query mode, built and parsed without I/O: IPv4 or IPv6, UDP, magic number,
 * message (RFC 5971 sections 5.3.2 and 5.3.2.5; Router Alert: RFC 2113, RFC 2711).
 */
import { IpAddress, type IpFamily } from "../../base/address.js";
import { PROTOCOL } from "../../base/flow.js";
import { WireError } from "../../base/wire.js";
import { GIST_PORT, MAGIC, type Mri } from "../wire/messages.js";
import { towards } from "./way.js";

/** The bytes are not a whole, unfragmented UDP packet. */
export class PacketError extends WireError {
  override readonly name = "PacketError";
}

/** First value of the range that IANA sets aside for experiments, for IPv4 and IPv6 alike (RFC 5350). */
export const DEFAULT_ROUTER_ALERT = 65503;

export const MAGIC_BYTES = 4;
const UDP_HEADER = 8;
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const ROUTER_ALERT_IPV4 = 4;
const HOP_BY_HOP = 8;
const MAX_PACKET = 65535;

export interface QueryPacket {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly sourcePort: number;
  /** TTL or hop limit, 1 to 255. */
  readonly ttl: number;
  /** 6 bits. */
  readonly dscp: number;
  /** 20 bits; IPv6 only. */
  readonly flowLabel: number;
  /** Router Alert value; undefined leaves the option out. */
  readonly routerAlert: number | undefined;
  /** GIST message without magic number. */
  readonly message: Uint8Array;
}

/** The packet that carries a message along the flow: DSCP and flow label are those of the flow, where the MRI has them. */
export function queryPacketOf(
  mri: Mri,
  message: Uint8Array,
  about: Pick<QueryPacket, "source" | "ttl" | "routerAlert">,
): QueryPacket {
  const marks = mri.method === "path-coupled" ? mri : undefined;
  return {
    source: about.source,
    destination: towards(mri),
    sourcePort: GIST_PORT,
    ttl: about.ttl,
    dscp: marks?.dscp ?? 0,
    flowLabel: marks?.flowLabel ?? 0,
    routerAlert: about.routerAlert,
    message,
  };
}

/** The whole IP packet, to UDP port 270, with DF and checksums. Throws {@link PacketError} when it gets too long. */
export function buildQueryPacket(query: QueryPacket): Buffer {
  if (query.source.family !== query.destination.family)
    throw new PacketError("source and destination are of different IP versions", 0);
  return query.destination.family === 4 ? buildIpv4(query) : buildIpv6(query);
}

function buildIpv4(query: QueryPacket): Buffer {
  const headerLength = IPV4_HEADER + (query.routerAlert === undefined ? 0 : ROUTER_ALERT_IPV4);
  const udpLength = UDP_HEADER + MAGIC_BYTES + query.message.length;
  const packet = allocate(headerLength + udpLength);
  packet[0] = 0x40 | (headerLength / 4);
  packet[1] = query.dscp << 2;
  packet.writeUInt16BE(packet.length, 2);
  packet.writeUInt16BE(0x4000, 6); // DF
  packet[8] = query.ttl;
  packet[9] = PROTOCOL.udp;
  packet.set(query.source.bytes, 12);
  packet.set(query.destination.bytes, 16);
  if (query.routerAlert !== undefined) {
    packet.writeUInt16BE(0x9404, 20);
    packet.writeUInt16BE(query.routerAlert, 22);
  }
  packet.writeUInt16BE(~sum(packet, 0, headerLength, 0) & 0xffff, 10);
  writeUdp(packet, headerLength, 12, 8, query);
  return packet;
}

function buildIpv6(query: QueryPacket): Buffer {
  const extension = query.routerAlert === undefined ? 0 : HOP_BY_HOP;
  const udpLength = UDP_HEADER + MAGIC_BYTES + query.message.length;
  const packet = allocate(IPV6_HEADER + extension + udpLength);
  packet.writeUInt32BE(((0x60000000 | (query.dscp << 22)) >>> 0) + query.flowLabel, 0);
  packet.writeUInt16BE(extension + udpLength, 4);
  packet[6] = extension === 0 ? PROTOCOL.udp : 0;
  packet[7] = query.ttl;
  packet.set(query.source.bytes, 8);
  packet.set(query.destination.bytes, 24);
  if (query.routerAlert !== undefined) {
    packet.writeUInt32BE(0x11000502, IPV6_HEADER);
    packet.writeUInt16BE(query.routerAlert, IPV6_HEADER + 4);
    packet.writeUInt16BE(0x0100, IPV6_HEADER + 6); // PadN without data
  }
  writeUdp(packet, IPV6_HEADER + extension, 8, 32, query);
  return packet;
}

function allocate(length: number): Buffer {
  if (length > MAX_PACKET) throw new PacketError(`a packet of ${length} bytes is too long`, 0);
  return Buffer.alloc(length);
}

function writeUdp(packet: Buffer, at: number, addresses: number, addressBytes: number, query: QueryPacket) {
  packet.writeUInt16BE(query.sourcePort, at);
  packet.writeUInt16BE(GIST_PORT, at + 2);
  packet.writeUInt16BE(packet.length - at, at + 4);
  packet.writeUInt32BE(MAGIC, at + UDP_HEADER);
  packet.set(query.message, at + UDP_HEADER + MAGIC_BYTES);
  const checksum = ~udpSum(packet, at, addresses, addressBytes) & 0xffff;
  // Zero on the wire would mean "no checksum" (RFC 768).
  packet.writeUInt16BE(checksum === 0 ? 0xffff : checksum, at + 6);
}

/** A UDP packet as it stands in its IP packet. */
export interface UdpPacket {
  readonly family: IpFamily;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** TTL or hop limit. */
  readonly ttl: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Offset of the UDP header in the packet. */
  readonly udpOffset: number;
  /** UDP payload, a view into the packet. */
  readonly payload: Uint8Array;
}

/**
 * Reads an IP packet with UDP in it. IPv4 options and IPv6 extension headers are stepped over.
 * Throws {@link PacketError} for what is cut short, a fragment, not UDP, or has no or a wrong UDP checksum.
 */
export function parseUdpPacket(bytes: Uint8Array): UdpPacket {
  const version = byte(bytes, 0) >> 4;
  if (version === 4) return parseIpv4(bytes);
  if (version === 6) return parseIpv6(bytes);
  throw new PacketError(`IP version ${version}`, 0);
}

function parseIpv4(bytes: Uint8Array): UdpPacket {
  const headerLength = (byte(bytes, 0) & 0x0f) * 4;
  const end = u16(bytes, 2);
  if (headerLength < IPV4_HEADER) throw new PacketError(`IPv4 header of ${headerLength} bytes`, 0);
  if (end > bytes.length) throw new PacketError(`${end} bytes announced, ${bytes.length} there`, 2);
  if ((u16(bytes, 6) & 0x3fff) !== 0) throw new PacketError("fragment", 6);
  if (byte(bytes, 9) !== PROTOCOL.udp) throw new PacketError("not UDP", 9);
  return parseUdp(bytes, headerLength, end, 4, byte(bytes, 8), 12);
}

const EXTENSIONS: ReadonlySet<number> = new Set([0, 43, 60]);
/** More extension headers than anybody has a use for. */
const MAX_EXTENSIONS = 8;

function parseIpv6(bytes: Uint8Array): UdpPacket {
  const end = IPV6_HEADER + u16(bytes, 4);
  if (end > bytes.length) throw new PacketError(`${end} bytes announced, ${bytes.length} there`, 4);
  let next = byte(bytes, 6);
  let at = IPV6_HEADER;
  for (let count = 0; EXTENSIONS.has(next); count++) {
    if (count === MAX_EXTENSIONS) throw new PacketError("too many extension headers", at);
    next = byte(bytes, at);
    at += (byte(bytes, at + 1) + 1) * 8;
  }
  if (next !== PROTOCOL.udp) throw new PacketError(`next header ${next}`, at);
  return parseUdp(bytes, at, end, 6, byte(bytes, 7), 8);
}

function parseUdp(
  bytes: Uint8Array,
  at: number,
  end: number,
  family: IpFamily,
  ttl: number,
  addresses: number,
): UdpPacket {
  if (at + UDP_HEADER > end) throw new PacketError("no room for a UDP header", at);
  if (u16(bytes, at + 4) !== end - at) throw new PacketError("UDP length unlike IP length", at + 4);
  const size = family === 4 ? 4 : 16;
  const whole = end === bytes.length ? bytes : bytes.subarray(0, end);
  if (u16(whole, at + 6) === 0) throw new PacketError("no UDP checksum", at + 6);
  if (udpSum(whole, at, addresses, 2 * size) !== 0xffff) throw new PacketError("wrong UDP checksum", at + 6);
  return {
    family,
    source: IpAddress.fromBytes(whole, addresses, size),
    destination: IpAddress.fromBytes(whole, addresses + size, size),
    ttl,
    sourcePort: u16(whole, at),
    destinationPort: u16(whole, at + 2),
    udpOffset: at,
    payload: whole.subarray(at + UDP_HEADER),
  };
}

/** The GIST message in a datagram's payload, a view; undefined when the magic number or a whole header is missing. */
export function messageOf(payload: Uint8Array): Uint8Array | undefined {
  if (payload.length < MAGIC_BYTES + 8) return undefined;
  if (u16(payload, 0) !== MAGIC >>> 16 || u16(payload, 2) !== (MAGIC & 0xffff)) return undefined;
  return payload.subarray(MAGIC_BYTES);
}

/** Flag C of a GIST common header: the message is in Query mode. */
export function isQueryMode(message: Uint8Array): boolean {
  return ((message[6] ?? 0) & 0x80) !== 0;
}

/**
 * Lowers the GIST hop count in place by one and mends the UDP checksum. False, and nothing changed, when it is 0 already.
 * @param packet the packet that `parsed` was parsed from
 */
export function decrementHops(packet: Uint8Array, parsed: UdpPacket): boolean {
  const hopsAt = parsed.udpOffset + UDP_HEADER + MAGIC_BYTES + 1;
  const hops = byte(packet, hopsAt);
  if (hops === 0) return false;
  packet[hopsAt] = hops - 1;
  // The hop count is the low byte of its 16-bit word: one less there is one more here, carried around (RFC 1624).
  const checksum = u16(packet, parsed.udpOffset + 6) + 1;
  const mended = checksum > 0xffff ? 1 : checksum;
  packet[parsed.udpOffset + 6] = mended >> 8;
  packet[parsed.udpOffset + 7] = mended & 0xff;
  return true;
}

function udpSum(packet: Uint8Array, at: number, addresses: number, addressBytes: number): number {
  const pseudo = sum(packet, addresses, addresses + addressBytes, PROTOCOL.udp + packet.length - at);
  return sum(packet, at, packet.length, pseudo);
}

/** One's complement sum of 16-bit words (RFC 1071), 0 to 65535. */
function sum(bytes: Uint8Array, start: number, end: number, initial: number): number {
  let total = initial;
  let i = start;
  for (; i + 1 < end; i += 2) total += ((bytes[i] as number) << 8) | (bytes[i + 1] as number);
  if (i < end) total += (bytes[i] as number) << 8;
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

function byte(bytes: Uint8Array, at: number): number {
  const value = bytes[at];
  if (value === undefined) throw new PacketError("cut short", at);
  return value;
}

function u16(bytes: Uint8Array, at: number): number {
  return (byte(bytes, at) << 8) | byte(bytes, at + 1);
}
