/**
 * PBS objects as type, length and value (draft-hong-nsis-pbs-nslp section 9).
 *
 * The header differs from that of GIST, QoS and NATFW: 8 bits of type, 16 bits of length, and the length counts
 * the bytes of the value, without the header and without the zero bytes that fill it up to a multiple of four.
 */
import type { ByteReader, ByteWriter } from "../../base/wire.js";
import { PbsWireError } from "./error.js";
import { INFO_CODE, OBJECT_TYPE } from "./messages.js";

/** The two bits A and B: what a node does that does not know the type. */
export const UNKNOWN = { reject: 0b00, drop: 0b01, forward: 0b10, reserved: 0b11 } as const;

export interface WireObject {
  readonly action: number;
  readonly type: number;
  readonly value: Uint8Array;
  /** Offset of the object header, and of the value, in the message. */
  readonly start: number;
  readonly valueStart: number;
}

const HEADER_LENGTH = 4;
const FIRST_EXTENSION = OBJECT_TYPE.volumeHigh;
/** Of our own, but of no use unless every node on the path knows them. */
const MUST_BE_KNOWN = new Set<number>([OBJECT_TYPE.pathSupport, OBJECT_TYPE.summary, OBJECT_TYPE.treePath]);

/** What {@link actionOf} says, for each type that is known; -1 for the others. */
const ACTIONS = new Int8Array(256).fill(-1);
for (const type of Object.values(OBJECT_TYPE)) ACTIONS[type] = actionOf(type);

/** @param type 8 bits */
export function isKnown(type: number): boolean {
  return ACTIONS[type] !== -1;
}

/**
 * The A/B bits that this type has to carry: those of the draft are understood by every node, ours are not. What stands after
 * Auth-data, unsigned, may be deleted by any node.
 */
export function actionOf(type: number): number {
  if (type === OBJECT_TYPE.hopReport) return UNKNOWN.drop;
  if (MUST_BE_KNOWN.has(type)) return UNKNOWN.reject;
  return type >= FIRST_EXTENSION ? UNKNOWN.forward : UNKNOWN.reject;
}

export function writeObject(writer: ByteWriter, type: number, value: Uint8Array): void {
  writer.u8((actionOf(type) << 6) | (type >> 4));
  writer.u8((type & 0x0f) << 4);
  writer.u16(value.length).bytes(value).pad(4);
}

/**
 * The next object, known or not. Reserved bits are not looked at. Throws {@link PbsWireError} when the object runs
 * past the end, when its padding is not zero, and when its A/B bits are not those of its type.
 */
export function readObject(reader: ByteReader): WireObject {
  const start = reader.offset;
  if (reader.remaining < HEADER_LENGTH) throw new PbsWireError("an object header is cut short", start, 0);
  const word = reader.u32();
  const action = word >>> 30;
  const type = (word >>> 20) & 0xff;
  const length = word & 0xffff;
  const padding = (4 - (length % 4)) % 4;
  if (reader.remaining < length + padding)
    throw new PbsWireError(`object ${type} of ${length} bytes runs past the end`, start, type);
  const valueStart = reader.offset;
  const value = reader.bytes(length);
  if (!areZero(reader, padding))
    throw new PbsWireError(`the padding of object ${type} is not zero`, valueStart + length, type);
  checkAction(action, type, start);
  return { action, type, value, start, valueStart };
}

function areZero(reader: ByteReader, count: number): boolean {
  let all = 0;
  for (let i = 0; i < count; i++) all |= reader.u8();
  return all === 0;
}

function checkAction(action: number, type: number, start: number): void {
  if (action === UNKNOWN.reserved)
    throw new PbsWireError(`object ${type} has the reserved A/B bits 11`, start, type);
  if (action === ACTIONS[type]) return;
  if (isKnown(type))
    throw new PbsWireError(`object ${type} has A/B bits that are not those of its type`, start, type);
  if (action === UNKNOWN.reject)
    throw new PbsWireError(
      `object ${type} is not known and must not be ignored`,
      start,
      type,
      INFO_CODE.unknownObject,
    );
}
