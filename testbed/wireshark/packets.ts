/** Capture files put together in memory: raw IP packets with UDP and TCP in them. */
import { IpAddress } from "../../src/base/address.js";
import { GIST_PORT, MAGIC } from "../../src/gist/wire/messages.js";

/** Two ends of a conversation, of one IP version. */
export interface Ends {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const LINK_RAW_IP = 101;
const SNAP_LENGTH = 262_144;
const TCP = 6;
const UDP = 17;
const PSH_ACK = 0x18;
const SYN = 0x02;
const SYN_ACK = 0x12;

export function ends(family: 4 | 6, destinationPort: number, sourcePort = 40_000): Ends {
  const [source, destination] = family === 4 ? ["192.168.20.1", "192.168.21.4"] : ["fd20::1", "fd21::4"];
  return {
    source: IpAddress.parse(source),
    destination: IpAddress.parse(destination),
    sourcePort,
    destinationPort,
  };
}

function turned({ source, destination, sourcePort, destinationPort }: Ends): Ends {
  return {
    source: destination,
    destination: source,
    sourcePort: destinationPort,
    destinationPort: sourcePort,
  };
}

/**
 * A capture file of raw IP packets, one millisecond apart.
 *
 * @param length what the packets had on the wire, where the capture has less of them
 */
export function writePcap(packets: readonly Uint8Array[], length = 0): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(MAGIC_MICROSECONDS, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(SNAP_LENGTH, 16);
  header.writeUInt32LE(LINK_RAW_IP, 20);
  return Buffer.concat([
    header,
    ...packets.flatMap((packet, i) => [recordHeader(packet, i, length), packet]),
  ]);
}

function recordHeader(packet: Uint8Array, index: number, length: number): Buffer {
  const record = Buffer.alloc(16);
  record.writeUInt32LE(1_000_000 + Math.floor(index / 1000), 0);
  record.writeUInt32LE((index % 1000) * 1000, 4);
  record.writeUInt32LE(packet.length, 8);
  record.writeUInt32LE(Math.max(packet.length, length), 12);
  return record;
}

/** A GIST datagram with its magic number. */
export function gistDatagram(family: 4 | 6, message: Uint8Array): Buffer {
  const magic = Buffer.alloc(4);
  magic.writeUInt32BE(MAGIC);
  return udpPacket(ends(family, GIST_PORT, GIST_PORT), Buffer.concat([magic, message]));
}

export function udpPacket(between: Ends, payload: Uint8Array): Buffer {
  const udp = Buffer.alloc(8 + payload.length);
  udp.writeUInt16BE(between.sourcePort, 0);
  udp.writeUInt16BE(between.destinationPort, 2);
  udp.writeUInt16BE(udp.length, 4);
  udp.set(payload, 8);
  return ipPacket(between, UDP, udp, 6);
}

/** One direction's bytes of a TCP connection, in the order in which they went. */
export interface Chunk {
  readonly fromClient: boolean;
  readonly bytes: Uint8Array;
}

/** A TCP connection from its first packet on, one segment for each chunk. */
export function tcpConnection(between: Ends, chunks: readonly Chunk[]): Buffer[] {
  let [client, server] = [1000, 5000];
  const packets = [
    tcpPacket(between, client, 0, SYN, new Uint8Array()),
    tcpPacket(turned(between), server, client + 1, SYN_ACK, new Uint8Array()),
  ];
  client++;
  server++;
  for (const { fromClient, bytes } of chunks) {
    if (fromClient) packets.push(tcpPacket(between, client, server, PSH_ACK, bytes));
    else packets.push(tcpPacket(turned(between), server, client, PSH_ACK, bytes));
    if (fromClient) client += bytes.length;
    else server += bytes.length;
  }
  return packets;
}

function tcpPacket(
  between: Ends,
  sequence: number,
  acknowledged: number,
  flags: number,
  payload: Uint8Array,
): Buffer {
  const tcp = Buffer.alloc(20 + payload.length);
  tcp.writeUInt16BE(between.sourcePort, 0);
  tcp.writeUInt16BE(between.destinationPort, 2);
  tcp.writeUInt32BE(sequence, 4);
  tcp.writeUInt32BE(acknowledged, 8);
  tcp.writeUInt8(0x50, 12);
  tcp.writeUInt8(flags, 13);
  tcp.writeUInt16BE(0xffff, 14);
  tcp.set(payload, 20);
  return ipPacket(between, TCP, tcp, 16);
}

function ipPacket(between: Ends, protocol: number, body: Buffer, checksumAt: number): Buffer {
  const pseudoHeader = Buffer.alloc(8);
  pseudoHeader.writeUInt32BE(body.length, 0);
  pseudoHeader.writeUInt8(protocol, 7);
  const addresses = Buffer.concat([between.source.bytes, between.destination.bytes]);
  body.writeUInt16BE(checksum(Buffer.concat([addresses, pseudoHeader, body])), checksumAt);
  const header =
    between.source.family === 4 ? ipv4Header(protocol, body.length) : ipv6Header(protocol, body.length);
  header.set(addresses, header.length - addresses.length);
  if (between.source.family === 4) header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, body]);
}

function ipv4Header(protocol: number, length: number): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt8(0x45, 0);
  header.writeUInt16BE(20 + length, 2);
  header.writeUInt8(64, 8);
  header.writeUInt8(protocol, 9);
  return header;
}

function ipv6Header(protocol: number, length: number): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt8(0x60, 0);
  header.writeUInt16BE(length, 4);
  header.writeUInt8(protocol, 6);
  header.writeUInt8(64, 7);
  return header;
}

/** The Internet checksum (RFC 1071). */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
