/** The question for a packet's way as the kernel reads it (rtnetlink, RTM_GETROUTE), and what it answers. */
import { IpAddress } from "../../base/address.js";
import { AF, attribute, attributesOf, readU16, readU32, u32 } from "./rtnetlink.js";
import type { Question } from "./way.js";

export interface Answer {
  /** Index of the interface. */
  readonly outbound: number;
  readonly gateway: IpAddress | undefined;
  /** The own address that the kernel would take as source; it tells none for a source that was in the question. */
  readonly preferred: IpAddress | undefined;
  /** Of the route, where it has one of its own. */
  readonly mtu: number | undefined;
}

const RTMSG_BYTES = 12;
const RTA = {
  dst: 1,
  src: 2,
  iif: 3,
  oif: 4,
  gateway: 5,
  prefsrc: 7,
  metrics: 8,
  mark: 16,
  via: 18,
  ipProto: 27,
  sport: 28,
  dport: 29,
} as const;
const RTAX_MTU = 2;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
const TYPE_AT = 7;

/** Body of an RTM_GETROUTE message. */
export function encodeQuestion(question: Question): Buffer {
  const { target, source, protocol, sourcePort, destinationPort, dscp = 0, mark } = question;
  const { inbound, outbound } = question;
  const header = Buffer.alloc(RTMSG_BYTES);
  header[0] = AF[target.family];
  header[1] = target.bytes.length * 8;
  header[2] = source === undefined ? 0 : source.bytes.length * 8;
  header[3] = dscp << 2;
  const parts = [header, attribute(RTA.dst, target.bytes)];
  if (source !== undefined) parts.push(attribute(RTA.src, source.bytes));
  if (inbound !== undefined) parts.push(attribute(RTA.iif, u32(inbound)));
  if (outbound !== undefined) parts.push(attribute(RTA.oif, u32(outbound)));
  if (mark !== undefined) parts.push(attribute(RTA.mark, u32(mark)));
  if (protocol !== undefined) parts.push(attribute(RTA.ipProto, Uint8Array.of(protocol)));
  if (sourcePort !== undefined) parts.push(attribute(RTA.sport, port(sourcePort)));
  if (destinationPort !== undefined) parts.push(attribute(RTA.dport, port(destinationPort)));
  return Buffer.concat(parts);
}

/** Reads an RTM_NEWROUTE message. Undefined when it is no way for packets; throws when it is malformed. */
export function decodeAnswer(data: Buffer): Answer | undefined {
  const type = data[TYPE_AT];
  if (type !== RTN_UNICAST && type !== RTN_LOCAL) return undefined;
  const attributes = attributesOf(data.subarray(RTMSG_BYTES));
  const oif = attributes.get(RTA.oif);
  if (oif?.length !== 4) return undefined;
  return {
    outbound: readU32(oif, 0),
    gateway: gatewayOf(attributes),
    preferred: addressIn(attributes.get(RTA.prefsrc)),
    mtu: mtuIn(attributes.get(RTA.metrics)),
  };
}

function gatewayOf(attributes: ReadonlyMap<number, Buffer>): IpAddress | undefined {
  const via = attributes.get(RTA.via);
  // An IPv4 route may go by an IPv6 gateway.
  const other =
    via !== undefined && via.length > 2 && isFamily(readU16(via, 0)) ? via.subarray(2) : undefined;
  return addressIn(attributes.get(RTA.gateway) ?? other);
}

function isFamily(family: number): boolean {
  return family === AF[4] || family === AF[6];
}

function addressIn(bytes: Buffer | undefined): IpAddress | undefined {
  return bytes?.length === 4 || bytes?.length === 16 ? IpAddress.fromBytes(bytes) : undefined;
}

function mtuIn(metrics: Buffer | undefined): number | undefined {
  const mtu = metrics === undefined ? undefined : attributesOf(metrics).get(RTAX_MTU);
  return mtu?.length === 4 ? readU32(mtu, 0) : undefined;
}

/** Ports stand in network order. */
function port(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
