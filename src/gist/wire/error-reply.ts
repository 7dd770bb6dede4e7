/** Which Error object answers a message that cannot be taken. */
import { ByteReader, WireError } from "../../base/wire.js";
import { ERROR_CODE, errorClass, type GistFault } from "./errors.js";
import { readSessionId } from "./error-object.js";
import { MESSAGE_TYPE } from "./header.js";
import type { ErrorObject } from "./messages.js";
import { readMri } from "./mri.js";
import { COMMON_HEADER_LENGTH, findObject, OBJECT_TYPE } from "./tlv.js";

/** Longest comment, in characters: the Error has to fit a datagram. */
const MAX_COMMENT = 200;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/**
 * The Error object about a message, with its Session-ID and MRI as far as they can be read; without them for code 1,
 * where RFC 5971 appendix A.4.4.1 forbids them. Undefined where no Error may be sent: about another Error (section
 * 5.6), and about bytes that have no common header.
 *
 * @param original the offending message without magic number; may be hostile
 */
export function errorFor(
  fault: GistFault,
  original: Uint8Array,
  encapsulation: ErrorObject["encapsulation"],
): ErrorObject | undefined {
  if (original.length < COMMON_HEADER_LENGTH || isError(original)) return undefined;
  const error: Mutable<ErrorObject> = {
    class: errorClass(fault.code),
    code: fault.code,
    subcode: fault.subcode,
    encapsulation,
    originalHeader: original.slice(0, COMMON_HEADER_LENGTH),
    info: fault.info,
  };
  if (fault.message !== "") error.comment = fault.message.slice(0, MAX_COMMENT);
  if (fault.code === ERROR_CODE.commonHeader) return error;
  const sessionId = tryRead(original, OBJECT_TYPE.sessionId, readSessionId);
  const mri = tryRead(original, OBJECT_TYPE.mri, readMri);
  if (sessionId !== undefined) error.sessionId = sessionId;
  if (mri !== undefined) error.mri = mri;
  return error;
}

function isError(message: Uint8Array): boolean {
  return ((message[6] ?? 0) & 0x7f) === MESSAGE_TYPE.error;
}

function tryRead<T>(message: Uint8Array, type: number, parse: (reader: ByteReader) => T): T | undefined {
  const value = findObject(message, type);
  if (value === undefined) return undefined;
  const reader = new ByteReader(value);
  try {
    const result = parse(reader);
    return reader.remaining === 0 ? result : undefined;
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}
