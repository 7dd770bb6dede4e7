/** GIST objects as type, length and value (RFC 5971 appendix A.2): finding them, and writing their headers. */
import { ByteReader, type ByteWriter, WireError } from "../../base/wire.js";
import { ERROR_CODE, GistWireError, HEADER_ERROR, OBJECT_TYPE_ERROR, OBJECT_VALUE_ERROR } from "./errors.js";
import type { ErrorInfo, OpaqueObject } from "./messages.js";

export const OBJECT_TYPE = {
  mri: 0,
  sessionId: 1,
  nli: 2,
  stackProposal: 3,
  stackConfiguration: 4,
  queryCookie: 5,
  responderCookie: 6,
  natTraversal: 7,
  nslpData: 8,
  error: 9,
  helloId: 10,
} as const;

const NAMES = [
  "MRI",
  "Session-ID",
  "NLI",
  "Stack-Proposal",
  "Stack-Configuration-Data",
  "Query-Cookie",
  "Responder-Cookie",
  "NAT-Traversal",
  "NSLP-Data",
  "Error",
  "Hello-ID",
];

export const COMMON_HEADER_LENGTH = 8;
export const OBJECT_HEADER_LENGTH = 4;

/** Highest Message Length, in words. */
export const MAX_LENGTH_WORDS = 0xffff;

/** Largest value of one object in bytes: its length field counts 4095 words. */
export const MAX_OBJECT_VALUE = 4095 * 4;

/** Most objects that are looked at in one message: all known types and as many again of unknown ones. */
export const MAX_OBJECTS = 2 * NAMES.length;

/** Most bytes of offending objects that an Error carries, so that the Error itself fits any datagram. */
const MAX_QUOTED_OBJECT = 256;

/** Extensibility flags A and B as the two top bits of the object header. */
const EXTENSIBILITY = { mandatory: 0, ignore: 1, forward: 2, reserved: 3 } as const;

/** Thrown while an object's value is read: which subcode of Object Value Error it means. */
export class ValueFault extends WireError {
  override readonly name: string = "ValueFault";
  readonly subcode: number;

  constructor(subcode: number, message: string, offset: number) {
    super(message, offset);
    this.subcode = subcode;
  }
}

export function objectName(type: number): string {
  return NAMES[type] ?? `object ${type}`;
}

export function isKnown(type: number): boolean {
  return type < NAMES.length;
}

/**
 * The objects of one message, found but not yet read.
 *
 * Order and repetition are checked here: objects stand in the message's fixed order and each at most once. An object
 * of a known type that the message does not take, or that stands after one it should precede, is an Invalid Object
 * Type (9/3): RFC 5971 names no subcode of its own for the order.
 */
export class ObjectTable {
  /** Objects to be passed on (A/B = 10), in their order. */
  readonly opaque: OpaqueObject[] = [];
  readonly #bytes: Uint8Array;
  /** Offset of the header of each known object; 0 where it is absent. */
  readonly #offsets = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

  /**
   * @param bytes the whole message, whose Message Length was checked
   * @param order types that the message takes, in their order
   */
  constructor(bytes: Uint8Array, order: readonly number[]) {
    this.#bytes = bytes;
    const unknown: number[] = [];
    let count = 0;
    let rank = -1;
    for (let at = COMMON_HEADER_LENGTH; at < bytes.length;) {
      const type = u16(bytes, at) & 0xfff;
      const next = at + OBJECT_HEADER_LENGTH + 4 * (u16(bytes, at + 2) & 0xfff);
      if (next > bytes.length) throw overlong(bytes, at);
      if (++count > MAX_OBJECTS)
        throw typeFault(
          `there are more than ${MAX_OBJECTS} objects`,
          at,
          OBJECT_TYPE_ERROR.unrecognised,
          type,
        );
      if (isKnown(type)) rank = this.#addKnown(type, at, order, rank);
      else this.#addUnknown(type, at, next, unknown);
      at = next;
    }
  }

  has(type: number): boolean {
    return this.#offsets[type] !== 0;
  }

  /** Reads the value of an object. `parse` has to take all of it. Throws {@link GistWireError} 9/2 when it is absent. */
  read<T>(type: number, parse: (reader: ByteReader) => T): T {
    const at = this.#offsets[type] ?? 0;
    if (at === 0) throw this.missing(type);
    const end = at + OBJECT_HEADER_LENGTH + 4 * (u16(this.#bytes, at + 2) & 0xfff);
    const reader = new ByteReader(this.#bytes, 0, at + OBJECT_HEADER_LENGTH, end);
    try {
      const value = parse(reader);
      if (reader.remaining > 0) throw new WireError(`${reader.remaining} bytes are left over`, reader.offset);
      return value;
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      throw this.#valueFault(type, error);
    }
  }

  /** The same for an object that may be absent. */
  readOptional<T>(type: number, parse: (reader: ByteReader) => T): T | undefined {
    return this.has(type) ? this.read(type, parse) : undefined;
  }

  missing(type: number): GistWireError {
    return typeFault(
      `the ${objectName(type)} is missing`,
      this.#bytes.length,
      OBJECT_TYPE_ERROR.missing,
      type,
    );
  }

  /** Error 10/5, which quotes both objects. */
  stackMismatch(message: string): GistWireError {
    return new GistWireError(
      message,
      this.#offsets[OBJECT_TYPE.stackConfiguration] ?? 0,
      ERROR_CODE.objectValue,
      OBJECT_VALUE_ERROR.stackMismatch,
      quoteStack(this.#bytes),
    );
  }

  #addKnown(type: number, at: number, order: readonly number[], rank: number): number {
    if (u16(this.#bytes, at) >>> 14 === EXTENSIBILITY.reserved) throw reservedFlags(type, at);
    if (this.has(type))
      throw typeFault(`there are two ${objectName(type)} objects`, at, OBJECT_TYPE_ERROR.duplicate, type);
    const own = order.indexOf(type);
    if (own < 0)
      throw typeFault(`this message takes no ${objectName(type)}`, at, OBJECT_TYPE_ERROR.invalid, type);
    if (own < rank)
      throw typeFault(`the ${objectName(type)} stands too late`, at, OBJECT_TYPE_ERROR.invalid, type);
    this.#offsets[type] = at;
    return own;
  }

  #addUnknown(type: number, at: number, end: number, seen: number[]): void {
    if (seen.includes(type))
      throw typeFault(`there are two objects of type ${type}`, at, OBJECT_TYPE_ERROR.duplicate, type);
    seen.push(type);
    switch (u16(this.#bytes, at) >>> 14) {
      case EXTENSIBILITY.mandatory:
        throw typeFault(`objects of type ${type} are not known`, at, OBJECT_TYPE_ERROR.unrecognised, type);
      case EXTENSIBILITY.reserved:
        throw reservedFlags(type, at);
      case EXTENSIBILITY.forward:
        this.opaque.push({ type, value: this.#bytes.subarray(at + OBJECT_HEADER_LENGTH, end) });
        break;
      default: // to be ignored
    }
  }

  #valueFault(type: number, cause: WireError): GistWireError {
    const at = this.#offsets[type] ?? 0;
    return new GistWireError(
      `${objectName(type)}: ${cause.message}`,
      cause.offset,
      ERROR_CODE.objectValue,
      cause instanceof ValueFault ? cause.subcode : OBJECT_VALUE_ERROR.length,
      [quote(this.#bytes, at, cause.offset - at)],
    );
  }
}

/**
 * The value of the first object of a type in a message that may be broken, as a view; undefined when there is none
 * among the objects that can be told apart.
 */
export function findObject(message: Uint8Array, wanted: number): Uint8Array | undefined {
  const at = whereIs(message, wanted);
  if (at === undefined) return undefined;
  const value = at + OBJECT_HEADER_LENGTH;
  return message.subarray(value, value + 4 * (u16(message, at + 2) & 0xfff));
}

/**
 * The same object as an Error quotes it, with its header as it was received (RFC 5971 appendix A.4.3.4).
 *
 * @param offset byte of the object at fault; its header counts
 */
export function quoteObject(message: Uint8Array, type: number, offset: number): ErrorInfo | undefined {
  const at = whereIs(message, type);
  return at === undefined ? undefined : quote(message, at, offset);
}

/** Stack-Proposal and Stack-Configuration-Data as Error 10/5 quotes them; together no longer than one object alone. */
export function quoteStack(message: Uint8Array): ErrorInfo[] {
  return [OBJECT_TYPE.stackProposal, OBJECT_TYPE.stackConfiguration].flatMap((type) => {
    const at = whereIs(message, type);
    return at === undefined ? [] : [quote(message, at, 0, MAX_QUOTED_OBJECT / 2)];
  });
}

/** Offset of the object's header. */
function whereIs(message: Uint8Array, wanted: number): number | undefined {
  let at = COMMON_HEADER_LENGTH;
  for (let count = 0; at + OBJECT_HEADER_LENGTH <= message.length && count < MAX_OBJECTS; count++) {
    const end = at + OBJECT_HEADER_LENGTH + 4 * (u16(message, at + 2) & 0xfff);
    if (end > message.length) return undefined;
    if ((u16(message, at) & 0xfff) === wanted) return at;
    at = end;
  }
  return undefined;
}

/**
 * What the objects of a message add up to by their own lengths (RFC 5971 appendix A.4.3.1), the last one counted whole
 * where it reaches beyond the end. The field has 16 bits; more than it holds is its highest value.
 */
export function objectsLength(message: Uint8Array): ErrorInfo {
  let at = COMMON_HEADER_LENGTH;
  while (at + OBJECT_HEADER_LENGTH <= message.length)
    at += OBJECT_HEADER_LENGTH + 4 * (u16(message, at + 2) & 0xfff);
  return { type: "message-length", length: Math.min((at - COMMON_HEADER_LENGTH) / 4, MAX_LENGTH_WORDS) };
}

/** Writes an object header of a type that is not known here, with A/B = 10, and the value. */
export function writeOpaque(writer: ByteWriter, object: OpaqueObject): void {
  if (!Number.isInteger(object.type) || isKnown(object.type) || object.type > 0xfff)
    throw new RangeError(`${object.type} is no type of an object to be passed on unread`);
  const start = beginObject(writer, (EXTENSIBILITY.forward << 14) | object.type);
  endObject(writer.bytes(object.value), start);
}

/** Writes an object header, A/B = 00 unless given in the type, and returns what {@link endObject} needs. */
export function beginObject(writer: ByteWriter, type: number): number {
  const start = writer.length;
  writer.u16(type).u16(0);
  return start;
}

/** Fills in the length. Throws RangeError on a value that is too long or not of whole words. */
export function endObject(writer: ByteWriter, start: number): void {
  const length = writer.length - start - OBJECT_HEADER_LENGTH;
  if (length % 4 !== 0 || length > MAX_OBJECT_VALUE)
    throw new RangeError(`a GIST object of ${length} bytes cannot be written`);
  writer.patchU16(start + 2, length / 4);
}

/** Writes an object whose value is bytes. */
export function writeBytesObject(writer: ByteWriter, type: number, value: Uint8Array): void {
  const start = beginObject(writer, type);
  endObject(writer.bytes(value), start);
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function typeFault(message: string, offset: number, subcode: number, objectType: number): GistWireError {
  return new GistWireError(message, offset, ERROR_CODE.objectType, subcode, [
    { type: "object-type", objectType },
  ]);
}

function reservedFlags(type: number, at: number): GistWireError {
  return typeFault(`the ${objectName(type)} has A/B = 11`, at, OBJECT_TYPE_ERROR.extensibilityFlags, type);
}

/** An object that reaches beyond the message: what the objects add up to is not the Message Length. */
function overlong(bytes: Uint8Array, at: number): GistWireError {
  return new GistWireError(
    "an object reaches beyond the message",
    at,
    ERROR_CODE.commonHeader,
    HEADER_ERROR.length,
    [objectsLength(bytes)],
  );
}

function quote(bytes: Uint8Array, at: number, offset: number, most = MAX_QUOTED_OBJECT): ErrorInfo {
  const length = OBJECT_HEADER_LENGTH + 4 * (u16(bytes, at + 2) & 0xfff);
  const object = bytes.subarray(at, at + Math.min(length, most));
  return { type: "object-value", realLength: object.length, offset, object };
}
