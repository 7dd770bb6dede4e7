/** Message-Routing-Information (RFC 5971 appendix A.3.1). */
import { IpAddress } from "../../base/address.js";
import { bytesText, type ByteReader, ByteWriter } from "../../base/wire.js";
import { OBJECT_VALUE_ERROR } from "./errors.js";
import type { LooseEndMri, Mri, Mutable, PathCoupledMri } from "./messages.js";
import { ValueFault } from "./tlv.js";

const METHOD = { pathCoupled: 0, looseEnd: 1 } as const;

/** Bits of the path-coupled MRI's flag field, which shares 16 bits with the IP version. */
const FLAG = { p: 0x800, t: 0x400, f: 0x200, s: 0x100, a: 0x80, b: 0x40, d: 0x20 } as const;

/** Flag D of the loose-end MRI. */
const LOOSE_END_UPSTREAM = 0x800;

/** Longest value: IPv6, path-coupled, all fields present. */
export const LONGEST_MRI = 52;

/** Where parts of the object stand, its header counted. */
const VERSION_OFFSET = 6;
const ADDRESSES_OFFSET = 8;

/** The same flow's routing information as the other side of the signalling sees it. */
export function flipMri(mri: Mri): Mri {
  if (mri !== lastFlip.from) {
    lastFlip.to = { ...mri, direction: mri.direction === "downstream" ? "upstream" : "downstream" };
    lastFlip.from = mri;
  }
  return lastFlip.to;
}

const NONE: Mri = {
  method: "loose-end",
  direction: "downstream",
  source: IpAddress.parse("0.0.0.0"),
  destination: IpAddress.parse("0.0.0.0"),
};

/** One message has its MRI turned, looked up and written again some ten times, always the same object. */
const lastFlip: { from: Mri; to: Mri } = { from: NONE, to: NONE };
const last: { mri: Mri; bytes: Uint8Array } = { mri: NONE, bytes: new Uint8Array(0) };
const scratch = new ByteWriter(LONGEST_MRI);

/** The bytes of an MRI object's value, not to be written to, until the next call. Throws as {@link writeMri}. */
export function mriBytes(mri: Mri): Uint8Array {
  if (mri !== last.mri) {
    last.mri = NONE;
    last.bytes = writeMri(scratch.clear(), mri).view();
    last.mri = mri;
  }
  return last.bytes;
}

/** Throws RangeError on fields that cannot stand together. */
export function checkMri(mri: Mri): void {
  mriBytes(mri);
}

/** Text that is equal for equal MRIs, their direction included, and unequal for others. Not for people. */
export function mriKey(mri: Mri): string {
  return bytesText(mriBytes(mri), "latin1");
}

/** Whether their {@link mriKey} is the same. */
export function sameMri(a: Mri, b: Mri): boolean {
  if (a === b) return true;
  if (a.direction !== b.direction || !a.source.equals(b.source) || !a.destination.equals(b.destination))
    return false;
  if (a.method === "loose-end" || b.method === "loose-end") return a.method === b.method;
  return (
    a.sourcePort === b.sourcePort &&
    a.destinationPort === b.destinationPort &&
    a.protocol === b.protocol &&
    a.sourcePrefix === b.sourcePrefix &&
    a.destinationPrefix === b.destinationPrefix &&
    a.spi === b.spi &&
    a.dscp === b.dscp &&
    a.flowLabel === b.flowLabel
  );
}

/** What of an MRI a node may refuse. */
export type MriPart = "ip-version" | "origin" | "target-prefix";

/**
 * Byte of the MRI object, its header counted, at which a part stands (RFC 5971 appendix A.3.1.1). Origin is the end that
 * the message comes from, target the one it goes to.
 */
export function offsetInMri(mri: Mri, part: MriPart): number {
  const upstream = mri.direction === "upstream";
  const { length } = mri.source.bytes;
  switch (part) {
    case "ip-version":
      return VERSION_OFFSET;
    case "origin":
      return ADDRESSES_OFFSET + (upstream ? length : 0);
    case "target-prefix":
      return ADDRESSES_OFFSET + 2 * length + (upstream ? 0 : 1);
  }
}

/** Writes the value of an MRI object. Throws RangeError on fields that cannot stand together. */
export function writeMri(writer: ByteWriter, mri: Mri): ByteWriter {
  if (mri.source.family !== mri.destination.family) throw new RangeError("an MRI has one IP version");
  return mri.method === "path-coupled" ? writePathCoupled(writer, mri) : writeLooseEnd(writer, mri);
}

function writeLooseEnd(writer: ByteWriter, mri: LooseEndMri): ByteWriter {
  return writer
    .u8(METHOD.looseEnd)
    .u8(0)
    .u16((mri.source.family << 12) | (mri.direction === "upstream" ? LOOSE_END_UPSTREAM : 0))
    .bytes(mri.source.bytes)
    .bytes(mri.destination.bytes);
}

function writePathCoupled(writer: ByteWriter, mri: PathCoupledMri): ByteWriter {
  checkPathCoupled(mri);
  writer
    .u8(METHOD.pathCoupled)
    .u8(0)
    .u16((mri.source.family << 12) | flagsOf(mri))
    .bytes(mri.source.bytes)
    .bytes(mri.destination.bytes)
    .u8(mri.sourcePrefix)
    .u8(mri.destinationPrefix)
    .u8(mri.protocol ?? 0)
    .u8((mri.dscp ?? 0) << 2);
  if (mri.flowLabel !== undefined) writer.u32(mri.flowLabel);
  if (mri.spi !== undefined) writer.u32(mri.spi);
  if (mri.sourcePort !== undefined || mri.destinationPort !== undefined)
    writer.u16(mri.sourcePort ?? 0).u16(mri.destinationPort ?? 0);
  return writer;
}

function flagsOf(mri: PathCoupledMri): number {
  return (
    (mri.protocol === undefined ? 0 : FLAG.p) |
    (mri.dscp === undefined ? 0 : FLAG.t) |
    (mri.flowLabel === undefined ? 0 : FLAG.f) |
    (mri.spi === undefined ? 0 : FLAG.s) |
    (mri.sourcePort === undefined ? 0 : FLAG.a) |
    (mri.destinationPort === undefined ? 0 : FLAG.b) |
    (mri.direction === "upstream" ? FLAG.d : 0)
  );
}

function checkPathCoupled(mri: PathCoupledMri): void {
  const bits = mri.source.bytes.length * 8;
  checkField("source prefix", mri.sourcePrefix, bits);
  checkField("destination prefix", mri.destinationPrefix, bits);
  checkField("protocol", mri.protocol, 0xff);
  checkField("DS field", mri.dscp, 0x3f);
  checkField("flow label", mri.flowLabel, 0xfffff);
  checkField("SPI", mri.spi, 0xffffffff);
  checkField("source port", mri.sourcePort, 0xffff);
  checkField("destination port", mri.destinationPort, 0xffff);
  const reason = contradiction(mri.source.family, flagsOf(mri));
  if (reason !== undefined) throw new RangeError(reason);
}

function checkField(name: string, value: number | undefined, highest: number): void {
  if (value === undefined) return;
  if (!Number.isInteger(value) || value < 0 || value > highest)
    throw new RangeError(`${name} ${value} is not between 0 and ${highest}`);
}

/** Why the flags cannot stand together; undefined when they can. */
function contradiction(version: number, flags: number): string | undefined {
  if ((flags & FLAG.f) !== 0 && version !== 6) return "a flow label needs IPv6";
  if ((flags & (FLAG.s | FLAG.a | FLAG.b)) !== 0 && (flags & FLAG.p) === 0)
    return "SPI and ports need a protocol";
  return undefined;
}

/**
 * Reads the value of an MRI object. A method that is not known here is a value that is not supported (10/1), flags that
 * contradict each other are 10/2. Flag N speaks to NATs only and is not kept.
 */
export function readMri(reader: ByteReader): Mri {
  const start = reader.offset;
  const method = reader.u8();
  if (method !== METHOD.pathCoupled && method !== METHOD.looseEnd)
    throw new ValueFault(OBJECT_VALUE_ERROR.notSupported, `routing method ${method} is not known`, start);
  reader.skip(1);
  const word = reader.u16();
  const version = word >>> 12;
  if (version !== 4 && version !== 6)
    throw new ValueFault(OBJECT_VALUE_ERROR.notSupported, `IP version ${version} is not known`, start + 2);
  return method === METHOD.pathCoupled
    ? readPathCoupled(reader, version, word)
    : readLooseEnd(reader, version, word);
}

function readLooseEnd(reader: ByteReader, version: 4 | 6, word: number): LooseEndMri {
  return {
    method: "loose-end",
    direction: (word & LOOSE_END_UPSTREAM) === 0 ? "downstream" : "upstream",
    source: readAddress(reader, version),
    destination: readAddress(reader, version),
  };
}

function readPathCoupled(reader: ByteReader, version: 4 | 6, flags: number): PathCoupledMri {
  const reason = contradiction(version, flags);
  if (reason !== undefined) throw new ValueFault(OBJECT_VALUE_ERROR.flags, reason, reader.offset - 2);
  const source = readAddress(reader, version);
  const destination = readAddress(reader, version);
  const mri: Mutable<PathCoupledMri> = {
    method: "path-coupled",
    direction: (flags & FLAG.d) === 0 ? "downstream" : "upstream",
    source,
    destination,
    sourcePrefix: readPrefix(reader, version),
    destinationPrefix: readPrefix(reader, version),
  };
  const protocol = reader.u8();
  const dscp = reader.u8() >>> 2;
  if ((flags & FLAG.p) !== 0) mri.protocol = protocol;
  if ((flags & FLAG.t) !== 0) mri.dscp = dscp;
  if ((flags & FLAG.f) !== 0) mri.flowLabel = reader.u32() & 0xfffff;
  if ((flags & FLAG.s) !== 0) mri.spi = reader.u32();
  if ((flags & (FLAG.a | FLAG.b)) !== 0) readPorts(reader, flags, mri);
  return mri;
}

function readPorts(reader: ByteReader, flags: number, mri: Mutable<PathCoupledMri>): void {
  const source = reader.u16();
  const destination = reader.u16();
  if ((flags & FLAG.a) !== 0) mri.sourcePort = source;
  if ((flags & FLAG.b) !== 0) mri.destinationPort = destination;
}

function readPrefix(reader: ByteReader, version: 4 | 6): number {
  const prefix = reader.u8();
  if (prefix > (version === 4 ? 32 : 128))
    throw new ValueFault(
      OBJECT_VALUE_ERROR.notSupported,
      `an IPv${version} prefix of ${prefix} bits does not exist`,
      reader.offset - 1,
    );
  return prefix;
}

/** Reads an IPv4 or IPv6 address. */
export function readAddress(reader: ByteReader, version: 4 | 6): IpAddress {
  return IpAddress.read(reader, version === 4 ? 4 : 16);
}
