/** Fields that several frames share. Writers throw RangeError on what has no place, readers WireError. */
import { ms } from "../../base/units.js";
import { type ByteReader, type ByteWriter, WireError } from "../../base/wire.js";
import type { Milliseconds } from "../../base/units.js";
import { SESSION_ID_LENGTH, sessionIdBytes, sessionIdFromBytes } from "../wire/session-id.js";
import type { Mri, SessionId } from "../wire/messages.js";
import { readMri, writeMri } from "../wire/mri.js";

export const U8 = 0xff;
export const U16 = 0xffff;
export const U32 = 0xffffffff;

/** Longest text in UTF-16 units; four times as many bytes at most. */
const MAX_TEXT = 1024;

/** Which session of which NSLP, along which path: in front of nearly everything. */
export interface Target {
  readonly nslpId: number;
  readonly sessionId: SessionId;
  readonly mri: Mri;
}

export function whole(value: number, max: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new RangeError(`${value} is not a whole number up to ${max}`);
}

export function writeTarget(writer: ByteWriter, target: Target): ByteWriter {
  writer.u16(whole(target.nslpId, U16)).bytes(sessionIdBytes(target.sessionId));
  return writeMri(writer, target.mri);
}

export function readTarget(reader: ByteReader): Target {
  const nslpId = reader.u16();
  const sessionId = sessionIdFromBytes(reader.bytes(SESSION_ID_LENGTH));
  return { nslpId, sessionId, mri: readMri(reader) };
}

/** A longer text is cut: those that may be long are for people. */
export function writeText(writer: ByteWriter, text: string): ByteWriter {
  const bytes = Buffer.from(text.slice(0, MAX_TEXT));
  return writer.u16(bytes.length).bytes(bytes);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function readText(reader: ByteReader): string {
  const at = reader.offset;
  const bytes = reader.bytes(reader.u16());
  try {
    return utf8.decode(bytes);
  } catch {
    throw new WireError("a text is not UTF-8", at);
  }
}

/** Whole milliseconds, rounded up; what is longer than 32 bits counts as that. */
export function writeDuration(writer: ByteWriter, duration: Milliseconds): ByteWriter {
  return writer.u32(whole(Math.min(Math.ceil(duration), U32), U32));
}

export function readDuration(reader: ByteReader): Milliseconds {
  return ms(reader.u32());
}

/** Bits by name; a bit without a name is refused. */
export function writeFlags<N extends string>(
  bits: Readonly<Record<N, number>>,
  set: Readonly<Record<N, boolean>>,
): number {
  return (Object.keys(bits) as N[]).reduce((value, name) => value | (set[name] ? bits[name] : 0), 0);
}

export function readFlags<N extends string>(
  bits: Readonly<Record<N, number>>,
  value: number,
  reader: ByteReader,
): Readonly<Record<N, boolean>> {
  const names = Object.keys(bits) as N[];
  const known = names.reduce((sum, name) => sum | bits[name], 0);
  if ((value & ~known) !== 0) throw new WireError("a flag has no meaning", reader.offset - 1);
  return Object.fromEntries(names.map((name) => [name, (value & bits[name]) !== 0])) as Record<N, boolean>;
}

export function codeOf<N extends string>(codes: Readonly<Record<N, number>>, name: N): number {
  const code: number | undefined = codes[name];
  if (code === undefined) throw new RangeError(`"${name}" has no code`);
  return code;
}

export function readName<N extends string>(codes: Readonly<Record<N, number>>, reader: ByteReader): N {
  const code = reader.u8();
  const name = (Object.keys(codes) as N[]).find((known) => codes[known] === code);
  if (name === undefined) throw new WireError(`code ${code} has no meaning`, reader.offset - 1);
  return name;
}

/** All that is left, as bytes of their own: the frame is a piece of a larger buffer that should not be kept. */
export function rest(reader: ByteReader): Uint8Array {
  // Not slice(): of a Buffer that is a view.
  return new Uint8Array(reader.bytes(reader.remaining));
}

export function atEnd(reader: ByteReader): void {
  if (reader.remaining > 0)
    throw new WireError(`${reader.remaining} bytes follow the last field`, reader.offset);
}
