/** The Error object (RFC 5971 appendix A.4.1) and its additional information (A.4.3). */
import { type ByteReader, type ByteWriter, WireError } from "../../base/wire.js";
import type { ErrorInfo, ErrorObject, SessionId } from "./messages.js";
import { readMri, writeMri } from "./mri.js";
import { SESSION_ID_LENGTH, sessionIdBytes, sessionIdFromBytes } from "./session-id.js";
import { COMMON_HEADER_LENGTH } from "./tlv.js";
import { padding } from "./words.js";

/** First byte of the flags: Session-ID, MRI, comment, datagram mode, Query mode. */
const FLAG = { s: 0x80, m: 0x40, c: 0x20, d: 0x10, q: 0x08 } as const;

const INFO_TYPE = { messageLength: 1, mtu: 2, objectType: 3, objectValue: 4 } as const;

/** Highest object length in an Object Value Info, whose field has 12 bits and counts words. */
const MAX_INFO_OBJECT = 4095 * 4;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

/** Writes the value. Throws RangeError on fields that do not fit. */
export function writeError(writer: ByteWriter, error: ErrorObject): void {
  if (error.originalHeader.length !== COMMON_HEADER_LENGTH)
    throw new RangeError(`the original header has ${error.originalHeader.length} bytes`);
  checkField("info count", error.info.length, 0xff);
  checkField("error class", error.class, 0xff);
  checkField("error code", error.code, 0xffff);
  checkField("error subcode", error.subcode, 0xff);
  writer.u8(error.class).u16(error.code).u8(error.subcode).u8(flagsOf(error)).u8(0);
  const counts = writer.length;
  writer.u8(0).u8(error.info.length).bytes(error.originalHeader);
  if (error.sessionId !== undefined) writer.bytes(sessionIdBytes(error.sessionId));
  if (error.mri !== undefined) {
    const start = writer.length;
    writeMri(writer, error.mri);
    writer.patchU16(counts, (((writer.length - start) / 4) << 8) | error.info.length);
  }
  for (const info of error.info) writeInfo(writer, info);
  if (error.comment !== undefined) writeComment(writer, error.comment);
}

function flagsOf(error: ErrorObject): number {
  return (
    (error.sessionId === undefined ? 0 : FLAG.s) |
    (error.mri === undefined ? 0 : FLAG.m) |
    (error.comment === undefined ? 0 : FLAG.c) |
    (error.encapsulation === "connection" ? 0 : FLAG.d) |
    (error.encapsulation === "query" ? FLAG.q : 0)
  );
}

function writeComment(writer: ByteWriter, comment: string): void {
  const bytes = encoder.encode(comment);
  writer.bytes(bytes).zeros(padding(bytes.length));
}

function writeInfo(writer: ByteWriter, info: ErrorInfo): void {
  switch (info.type) {
    case "message-length":
      return writeShortInfo(writer, INFO_TYPE.messageLength, info.length, 0xffff);
    case "mtu":
      return writeShortInfo(writer, INFO_TYPE.mtu, info.mtu, 0xffff);
    case "object-type":
      return writeShortInfo(writer, INFO_TYPE.objectType, info.objectType, 0xfff);
    case "object-value":
      return writeObjectValue(writer, info);
  }
}

function writeShortInfo(writer: ByteWriter, type: number, value: number, highest: number): void {
  checkField("info field", value, highest);
  writer.u16(type).u16(1).u16(value).u16(0);
}

function writeObjectValue(writer: ByteWriter, info: ErrorInfo & { type: "object-value" }): void {
  checkField("object length", info.realLength, MAX_INFO_OBJECT);
  checkField("object offset", info.offset, 0xffff);
  if (info.object.length > MAX_INFO_OBJECT || info.object.length % 4 !== 0 || info.realLength % 4 !== 0)
    throw new RangeError(`an object of ${info.object.length} bytes cannot be quoted in an Error`);
  writer
    .u16(INFO_TYPE.objectValue)
    .u16(1 + info.object.length / 4)
    .u16(info.realLength / 4)
    .u16(info.offset)
    .bytes(info.object);
}

function checkField(name: string, value: number, highest: number): void {
  if (!Number.isInteger(value) || value < 0 || value > highest)
    throw new RangeError(`${name} ${value} is not between 0 and ${highest}`);
}

/**
 * Reads the value. Additional information of an unknown type is passed over; bytes of the comment that are not UTF-8
 * become replacement characters. Objects in the additional information are views into the input.
 */
export function readError(reader: ByteReader): ErrorObject {
  const errorClass = reader.u8();
  const code = reader.u16();
  const subcode = reader.u8();
  const flags = reader.u8();
  reader.skip(1);
  const mriLength = 4 * reader.u8();
  const infoCount = reader.u8();
  // A copy, because it may outlive the message.
  const originalHeader = new Uint8Array(reader.bytes(COMMON_HEADER_LENGTH));
  const sessionId = (flags & FLAG.s) === 0 ? undefined : readSessionId(reader);
  const mri = (flags & FLAG.m) === 0 ? undefined : readQuotedMri(reader, mriLength);
  const info: ErrorInfo[] = [];
  for (let i = 0; i < infoCount; i++) readInfo(reader, info);
  const error: Mutable<ErrorObject> = {
    class: errorClass,
    code,
    subcode,
    encapsulation: encapsulationOf(flags),
    originalHeader,
    info,
  };
  if (sessionId !== undefined) error.sessionId = sessionId;
  if (mri !== undefined) error.mri = mri;
  const comment = (flags & FLAG.c) === 0 ? "" : readComment(reader);
  if (comment !== "") error.comment = comment;
  return error;
}

function encapsulationOf(flags: number): ErrorObject["encapsulation"] {
  if ((flags & FLAG.q) !== 0) return "query";
  return (flags & FLAG.d) === 0 ? "connection" : "datagram";
}

/** Reads a session identifier of 16 bytes. */
export function readSessionId(reader: ByteReader): SessionId {
  return sessionIdFromBytes(reader.bytes(SESSION_ID_LENGTH));
}

function readQuotedMri(reader: ByteReader, length: number): ErrorObject["mri"] {
  const inner = reader.sub(length);
  const mri = readMri(inner);
  if (inner.remaining > 0) throw new WireError("the MRI is shorter than its length says", inner.offset);
  return mri;
}

function readInfo(reader: ByteReader, into: ErrorInfo[]): void {
  const type = reader.u16();
  const value = reader.sub(4 * reader.u16());
  switch (type) {
    case INFO_TYPE.messageLength:
      into.push({ type: "message-length", length: readShortInfo(value) });
      break;
    case INFO_TYPE.mtu:
      into.push({ type: "mtu", mtu: readShortInfo(value) });
      break;
    case INFO_TYPE.objectType:
      into.push({ type: "object-type", objectType: readShortInfo(value) & 0xfff });
      break;
    case INFO_TYPE.objectValue:
      into.push({
        type: "object-value",
        realLength: 4 * (value.u16() & 0xfff),
        offset: value.u16(),
        object: value.bytes(value.remaining),
      });
      break;
    default: // of a type that came later than this code
  }
}

function readShortInfo(reader: ByteReader): number {
  const value = reader.u16();
  reader.skip(2);
  if (reader.remaining > 0) throw new WireError("the info field is longer than one word", reader.offset);
  return value;
}

function readComment(reader: ByteReader): string {
  const bytes = reader.bytes(reader.remaining);
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return decoder.decode(bytes.subarray(0, end));
}
