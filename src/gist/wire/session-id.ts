/** Session identifiers as text and as bytes. */
import type { Random } from "../../base/random.js";
import type { SessionId } from "./messages.js";

export const SESSION_ID_LENGTH = 16;
const TEXT = /^[0-9a-f]{32}$/;

/** A new identifier that nobody can guess (RFC 5971 section 4.1.3). */
export function newSessionId(random: Random): SessionId {
  return sessionIdFromBytes(random.bytes(SESSION_ID_LENGTH));
}

/** Throws RangeError unless there are 16 bytes. */
export function sessionIdFromBytes(bytes: Uint8Array): SessionId {
  if (bytes.length !== SESSION_ID_LENGTH)
    throw new RangeError(`a session identifier has 16 bytes, not ${bytes.length}`);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex") as SessionId;
}

/** Its 16 bytes. Throws RangeError on text that is not 32 lower-case hexadecimal digits. */
export function sessionIdBytes(id: SessionId): Uint8Array {
  if (!TEXT.test(id)) throw new RangeError(`"${id}" is not a session identifier`);
  return Buffer.from(id, "hex");
}
