/** HMAC-SHA-256 (RFC 2104) by one-shot hashes: for a short message `createHmac` takes several times as long. */
import { hash } from "node:crypto";

const BLOCK = 64;
const HASH = 32;
const INNER = 0x36;
const OUTER = 0x5c;

/** @param key at most 64 bytes; throws RangeError on a longer one */
export function hmacSha256(key: Uint8Array, ...message: readonly Uint8Array[]): Uint8Array {
  if (key.length > BLOCK) throw new RangeError(`a key of ${key.length} bytes is longer than ${BLOCK}`);
  const length = message.reduce((all, part) => all + part.length, BLOCK);
  const inner = Buffer.allocUnsafe(length);
  pad(inner, key, INNER);
  let at = BLOCK;
  for (const part of message) {
    inner.set(part, at);
    at += part.length;
  }
  const outer = Buffer.allocUnsafe(BLOCK + HASH);
  pad(outer, key, OUTER);
  outer.set(hash("sha256", inner, "buffer"), BLOCK);
  const result = hash("sha256", outer, "buffer");
  // Both hold the key, in memory that others get next.
  inner.fill(0, 0, BLOCK);
  outer.fill(0, 0, BLOCK);
  return result;
}

function pad(block: Uint8Array, key: Uint8Array, value: number): void {
  for (let i = 0; i < BLOCK; i++) block[i] = (key[i] ?? 0) ^ value;
}
