/** Session identifiers as text and as bytes. */
import { bytesText } from "../../base/wire.js";
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
  if (!isLast(bytes)) {
    last.id = bytesText(bytes, "hex") as SessionId;
    last.bytes = new Uint8Array(bytes);
  }
  return last.id;
}

/** Its 16 bytes, not to be written to. Throws RangeError on text that is not 32 lower-case hexadecimal digits. */
export function sessionIdBytes(id: SessionId): Uint8Array {
  if (id !== last.id) {
    if (!TEXT.test(id)) throw new RangeError(`"${id}" is not a session identifier`);
    last.id = id;
    last.bytes = new Uint8Array(Buffer.from(id, "hex"));
  }
  return last.bytes;
}

/** One message makes the same identifier a text and bytes again some ten times. */
const last = { id: "" as SessionId, bytes: new Uint8Array(SESSION_ID_LENGTH) };

function isLast(bytes: Uint8Array): boolean {
  for (let i = 0; i < SESSION_ID_LENGTH; i++) if (bytes[i] !== last.bytes[i]) return false;
  return last.id !== "";
}
