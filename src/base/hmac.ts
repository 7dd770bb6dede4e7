/**
 * HMAC-SHA-256 (RFC 2104) cut to 16 bytes, by the addon, which keeps what a key takes to set up: for a short message `createHmac`
 * takes ten times as long.
 */
import { addon } from "./addon.js";

/** What the addon holds of a key. */
interface NativeKey {
  readonly native: "mac";
}

interface NativeMac {
  macKey(secret: Uint8Array): NativeKey;
  mac(key: NativeKey, message: Uint8Array, out: Uint8Array): void;
}

export const MAC_BYTES = 16;

/** Gone with the secret, and so bounded as those are. */
const keys = new WeakMap<Uint8Array, NativeKey>();

/** One for all: the addon would make V8 move a small array to memory of its own each time. */
const out = new Uint8Array(MAC_BYTES);

/**
 * Holds until the next call.
 * @param secret of 32 bytes, which never change; throws on another length
 */
export function hmacSha256(secret: Uint8Array, message: Uint8Array): Uint8Array {
  const native = addon() as NativeMac;
  let key = keys.get(secret);
  if (key === undefined) {
    key = native.macKey(secret);
    keys.set(secret, key);
  }
  native.mac(key, message, out);
  return out;
}
