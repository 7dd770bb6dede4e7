/** The values of PBS objects (draft-hong-nsis-pbs-nslp section 9.2, docs/protocol.md). */
import { IDENTITY_LENGTH } from "../../authorization/key.js";
import { IpAddress } from "../../base/address.js";
import { type Flow, hasPorts } from "../../base/flow.js";
import { type Bytes, bytes, type Milliseconds, ms } from "../../base/units.js";
import { ByteReader, ByteWriter } from "../../base/wire.js";
import { PbsWireError } from "./error.js";
import {
  AUTH_ALGORITHM,
  type Defense,
  type Epoch,
  type HopReport,
  type Info,
  type Mark,
  SOLUTION,
  type Ticket,
} from "./messages.js";
import type { WireObject } from "./objects.js";

export const MAX_SIGNATURE = 512;
export const MAX_KEY = 256;
export const MAX_INFO_TEXT = 255;

const MAX_U32 = 0xffff_ffff;
/** Values below are reserved by IANA or have a local meaning (RFC 4302 section 2.4). */
const MIN_SPI = 256;
/** The first bit of Defense's Reserved field: an SPI follows. */
const SPI_PRESENT = 0x8000;
const DEFENSE_FIXED = 4;
const INFO_FIXED = 8;
const MAX_ALGORITHMS = 32;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** Characters that would act on the terminal or log they are shown in. */
const UNPRINTABLE = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

export function encodeFlow(flow: Flow): Uint8Array {
  if (flow.source.family !== flow.destination.family)
    throw new RangeError("the addresses of a flow are of one IP version");
  return new ByteWriter(40)
    .u32(((flow.source.family << 28) | (flow.protocol << 20)) >>> 0)
    .u16(flow.sourcePort)
    .u16(flow.destinationPort)
    .bytes(flow.source.bytes)
    .bytes(flow.destination.bytes)
    .finish();
}

export function decodeFlow(object: WireObject): Flow {
  const { value, valueStart, type } = object;
  if (value.length !== 16 && value.length !== 40)
    throw new PbsWireError(`a FID has 16 or 40 bytes, not ${value.length}`, object.start, type);
  const reader = new ByteReader(value, valueStart);
  const word = reader.u32();
  const family = value.length === 16 ? 4 : 6;
  if (word >>> 28 !== family)
    throw new PbsWireError(`a FID of IP version ${word >>> 28} has ${value.length} bytes`, valueStart, type);
  const protocol = (word >>> 20) & 0xff;
  const sourcePort = reader.u16();
  const destinationPort = reader.u16();
  if (!hasPorts(protocol) && (sourcePort !== 0 || destinationPort !== 0))
    throw new PbsWireError(`protocol ${protocol} has no ports`, valueStart + 4, type);
  const size = family === 4 ? 4 : 16;
  return {
    protocol,
    source: IpAddress.read(reader, size),
    destination: IpAddress.read(reader, size),
    sourcePort,
    destinationPort,
  };
}

export function encodeU32(value: number): Uint8Array {
  if (!Number.isInteger(value) || value < 0 || value > MAX_U32)
    throw new RangeError(`${value} does not fit 32 bits`);
  return new ByteWriter(4).u32(value).finish();
}

export function decodeU32(object: WireObject): number {
  expectLength(object, 4);
  return new ByteReader(object.value, object.valueStart).u32();
}

/** Whole milliseconds; what is longer than 32 bits can say (49 days) is sent as the longest. */
export function encodeDuration(duration: Milliseconds): Uint8Array {
  return encodeU32(Math.min(Math.max(0, Math.round(duration)), MAX_U32));
}

/** A value of 1 to `max` bytes. */
export function decodeOpaque(object: WireObject, max: number): Uint8Array {
  const { length } = object.value;
  if (length === 0 || length > max)
    throw new PbsWireError(
      `object ${object.type} has ${length} bytes, not 1 to ${max}`,
      object.start,
      object.type,
    );
  return object.value;
}

/** High words, in the order Req-vol, Send-vol, Allow-vol. */
export type HighWords = readonly [requested: number, sent: number, allowed: number];

export function encodeHighWords(words: HighWords): Uint8Array {
  return new ByteWriter(12).u32(words[0]).u32(words[1]).u32(words[2]).finish();
}

export function decodeHighWords(object: WireObject): HighWords {
  expectLength(object, 12);
  const reader = new ByteReader(object.value, object.valueStart);
  return [reader.u32(), reader.u32(), reader.u32()];
}

function usesAh(solution: number): boolean {
  return solution === SOLUTION.symmetricAh || solution === SOLUTION.publicKeyAh;
}

export function encodeDefense(defense: Defense): Uint8Array {
  const { solution, algorithm, spi, key } = defense;
  if (key.length > MAX_KEY) throw new RangeError(`an IPsec key of ${key.length} bytes is too long`);
  if (spi === undefined && usesAh(solution)) throw new RangeError("AH needs an SPI");
  if (spi !== undefined && spi < MIN_SPI) throw new RangeError(`SPI ${spi} is reserved`);
  const writer = new ByteWriter(64).u8(solution).u8(algorithm);
  if (spi === undefined) writer.u16(0);
  else writer.u16(SPI_PRESENT).u32(spi);
  return writer.bytes(key).finish();
}

/** Solutions and algorithms of any number: what cannot be done is for the sessions to say, once the signature is known. */
export function decodeDefense(object: WireObject): Defense {
  const { value, valueStart, type } = object;
  if (value.length < DEFENSE_FIXED)
    throw new PbsWireError(`a Defense has ${value.length} bytes, fewer than 4`, object.start, type);
  const reader = new ByteReader(value, valueStart);
  const solution = reader.u8();
  const algorithm = reader.u8();
  if (usesAh(solution) && algorithm === AUTH_ALGORITHM.none)
    throw new PbsWireError("Defense asks for AH without an algorithm", valueStart, type);
  const spi = (reader.u16() & SPI_PRESENT) === 0 ? undefined : decodeSpi(reader, type);
  if (usesAh(solution) && spi === undefined)
    throw new PbsWireError("Defense asks for AH without an SPI", valueStart, type);
  const key = reader.bytes(reader.remaining);
  if (key.length > MAX_KEY)
    throw new PbsWireError(`an IPsec key of ${key.length} bytes is too long`, valueStart, type);
  return spi === undefined ? { solution, algorithm, key } : { solution, algorithm, spi, key };
}

function decodeSpi(reader: ByteReader, type: number): number {
  const at = reader.offset;
  if (reader.remaining < 4) throw new PbsWireError("the SPI of a Defense is cut short", at, type);
  const spi = reader.u32();
  if (spi < MIN_SPI) throw new PbsWireError(`SPI ${spi} is reserved`, at, type);
  return spi;
}

/** Auth Algorithm codes, one byte each, 1 to 32 of them. */
export function encodeAlgorithms(codes: readonly number[]): Uint8Array {
  if (codes.length === 0 || codes.length > MAX_ALGORITHMS)
    throw new RangeError(`a list of ${codes.length} algorithms is not 1 to ${MAX_ALGORITHMS}`);
  const writer = new ByteWriter(codes.length);
  for (const code of codes) writer.u8(code);
  return writer.finish();
}

export function decodeAlgorithms(object: WireObject): readonly number[] {
  return [...decodeOpaque(object, MAX_ALGORITHMS)];
}

const WORD = 2 ** 32;

export function putVolume(writer: ByteWriter, volume: Bytes): ByteWriter {
  return writer.u32(Math.floor(volume / WORD)).u32(volume % WORD);
}

export function takeVolume(reader: ByteReader): Bytes {
  const high = reader.u32();
  return bytes(high * WORD + reader.u32());
}

const MARK_LENGTH = 28;
/** First word of a Mark: which of its fields hold. */
const MARK_HEARD = 1;
const MARK_ASSOCIATION = 2;
const MARK_BYTES = 4;

/** Flags, epoch, Message-Seq heard, SPI, sequence number, bytes as high and low word; fields that do not hold are 0. */
export function encodeMark({ epoch, heard, association }: Mark): Uint8Array {
  const flags =
    (heard === undefined ? 0 : MARK_HEARD) |
    (association === undefined ? 0 : MARK_ASSOCIATION) |
    (association?.bytes === undefined ? 0 : MARK_BYTES);
  const writer = new ByteWriter(MARK_LENGTH)
    .u32(flags)
    .u32(epoch)
    .u32(heard ?? 0)
    .u32(association?.spi ?? 0)
    .u32(association?.sequence ?? 0);
  return putVolume(writer, association?.bytes ?? bytes(0)).finish();
}

export function decodeMark(object: WireObject): Mark {
  expectLength(object, MARK_LENGTH);
  const reader = new ByteReader(object.value, object.valueStart);
  const flags = reader.u32();
  const epoch = reader.u32();
  const heard = reader.u32();
  const spi = reader.u32();
  const sequence = reader.u32();
  const counted = (flags & MARK_BYTES) === 0 ? {} : { bytes: takeVolume(reader) };
  if ((flags & MARK_ASSOCIATION) === 0) return (flags & MARK_HEARD) === 0 ? { epoch } : { epoch, heard };
  return { epoch, ...((flags & MARK_HEARD) !== 0 && { heard }), association: { spi, sequence, ...counted } };
}

const EPOCH_LENGTH = 24;
const EPOCH_ASK = 1;

/** Flags, epoch, start as high and low word, overlap in ms and bytes (2^32 - 1 at most), and a router or nothing. */
export function encodeEpoch({ epoch, start, overlap, ask, mover }: Epoch): Uint8Array {
  if (mover !== undefined && mover.length !== IDENTITY_LENGTH)
    throw new RangeError("a node's key identity has 16 bytes");
  const writer = new ByteWriter(EPOCH_LENGTH + IDENTITY_LENGTH).u32(ask ? EPOCH_ASK : 0).u32(epoch);
  return putVolume(writer, start)
    .bytes(encodeDuration(overlap.duration))
    .u32(Math.min(overlap.bytes, MAX_U32))
    .bytes(mover ?? new Uint8Array())
    .finish();
}

export function decodeEpoch(object: WireObject): Epoch {
  if (object.value.length !== EPOCH_LENGTH + IDENTITY_LENGTH) expectLength(object, EPOCH_LENGTH);
  const reader = new ByteReader(object.value, object.valueStart);
  const ask = (reader.u32() & EPOCH_ASK) !== 0;
  const epoch = reader.u32();
  const start = takeVolume(reader);
  const duration = ms(reader.u32());
  const overlap = { duration, bytes: bytes(reader.u32()) };
  return {
    epoch,
    start,
    overlap,
    ask,
    ...(reader.remaining > 0 && { mover: reader.bytes(IDENTITY_LENGTH) }),
  };
}

/** Bytes of a report before its certificate: node, epoch, counted, Message-Seq, length of the certificate. */
const REPORT_FIXED = IDENTITY_LENGTH + 4 + 8 + 4 + 4;
const MAX_REPORT_CERTIFICATE = 4096;

/** What a router says, without certificate and signature. */
export function reportFields({ node, epoch, counted, sequence }: Omit<HopReport, "signature">): Uint8Array {
  if (node.length !== IDENTITY_LENGTH) throw new RangeError("a node's key identity has 16 bytes");
  return putVolume(new ByteWriter(REPORT_FIXED).bytes(node).u32(epoch), counted).u32(sequence).finish();
}

export function encodeReport(report: HopReport): Uint8Array {
  const certificate = report.certificate ?? new Uint8Array();
  return new ByteWriter(REPORT_FIXED + certificate.length + report.signature.length)
    .bytes(reportFields(report))
    .u32(certificate.length)
    .bytes(certificate)
    .bytes(report.signature)
    .finish();
}

/** undefined for one that cannot be read: it is nobody's word, and must not cost the Query. */
export function decodeReport({ value }: WireObject): HopReport | undefined {
  if (value.length <= REPORT_FIXED || value.length > REPORT_FIXED + MAX_REPORT_CERTIFICATE + MAX_SIGNATURE)
    return undefined;
  const reader = new ByteReader(value);
  const node = reader.bytes(IDENTITY_LENGTH);
  const epoch = reader.u32();
  const counted = takeVolume(reader);
  const sequence = reader.u32();
  const length = reader.u32();
  if (length > MAX_REPORT_CERTIFICATE || length >= reader.remaining) return undefined;
  const certificate = reader.bytes(length);
  const signature = reader.bytes(reader.remaining);
  if (signature.length > MAX_SIGNATURE) return undefined;
  return { node, epoch, counted, sequence, signature, ...(length > 0 && { certificate }) };
}

/** Text that is too long is cut between two characters. */
export function encodeInfo(info: Info): Uint8Array {
  const text = new Uint8Array(MAX_INFO_TEXT);
  const { written } = new TextEncoder().encodeInto(info.text, text);
  return new ByteWriter(INFO_FIXED + written)
    .u8(info.class)
    .u8(info.code)
    .u8(info.objectType)
    .u8(0)
    .bytes(encodeDuration(info.retryAfter))
    .bytes(text.subarray(0, written))
    .finish();
}

/** Characters of the text that are not for showing become U+FFFD. */
export function decodeInfo(object: WireObject): Info {
  const { value, valueStart, type } = object;
  if (value.length < INFO_FIXED || value.length > INFO_FIXED + MAX_INFO_TEXT)
    throw new PbsWireError(`an INFO has ${value.length} bytes, not 8 to 263`, object.start, type);
  const reader = new ByteReader(value, valueStart);
  const fields = { class: reader.u8(), code: reader.u8(), objectType: reader.u8() };
  reader.skip(1);
  const retryAfter = ms(reader.u32());
  return { ...fields, retryAfter, text: decodeText(reader, type) };
}

function decodeText(reader: ByteReader, type: number): string {
  const at = reader.offset;
  try {
    return utf8.decode(reader.bytes(reader.remaining)).replace(UNPRINTABLE, "\ufffd");
  } catch {
    throw new PbsWireError("the text of an INFO is not UTF-8", at, type);
  }
}

export function expectLength(object: WireObject, length: number): void {
  if (object.value.length === length) return;
  throw new PbsWireError(
    `object ${object.type} has ${object.value.length} bytes, not ${length}`,
    object.start,
    object.type,
  );
}

const TICKET_SEAL = 20;
const TICKET_NONCE = 8;
const TICKET_LENGTH = IDENTITY_LENGTH + 4 + 4 + TICKET_SEAL + TICKET_NONCE;

/** Node, due, bits of the puzzle in the first byte of a word, seal, nonce. */
export function encodeTicket({ node, due, bits, seal, nonce }: Ticket): Uint8Array {
  if (node.length !== IDENTITY_LENGTH || seal.length !== TICKET_SEAL || nonce.length !== TICKET_NONCE)
    throw new RangeError("a ticket has a node of 16, a seal of 20 and a nonce of 8 bytes");
  return new ByteWriter(TICKET_LENGTH)
    .bytes(node)
    .u32(due)
    .u8(bits)
    .zeros(3)
    .bytes(seal)
    .bytes(nonce)
    .finish();
}

export function decodeTicket(object: WireObject): Ticket {
  expectLength(object, TICKET_LENGTH);
  const reader = new ByteReader(object.value, object.valueStart);
  const node = reader.bytes(IDENTITY_LENGTH);
  const due = reader.u32();
  const bits = reader.u8();
  reader.skip(3);
  return { node, due, bits, seal: reader.bytes(TICKET_SEAL), nonce: reader.bytes(TICKET_NONCE) };
}
