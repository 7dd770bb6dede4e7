/**
 * Verifies RSA-2048 signatures by the addon, which keeps what OpenSSL needs for a key: making that anew for each message takes
 * half as long as the verification itself.
 */
import type { KeyObject } from "node:crypto";
import { addon } from "../base/addon.js";
import { spkiOf } from "./key.js";

/** What the addon holds of a key. */
interface NativeKey {
  readonly native: "rsa";
}

interface NativeRsa {
  rsaKey(subjectPublicKeyInfo: Uint8Array): NativeKey;
  verifyRsa(key: NativeKey, message: Uint8Array, signature: Uint8Array): boolean;
}

export const RSA_2048_LENGTH = 256;

/** Gone with the key, and so bounded as those are. */
const keys = new WeakMap<KeyObject, NativeKey>();

/** Whether it is the PKCS#1 v1.5 signature, with SHA-256, of a key of 2048 bits. Takes about 17 us. */
export function verifyRsa2048(key: KeyObject, message: Uint8Array, signature: Uint8Array): boolean {
  const native = addon() as NativeRsa;
  let held = keys.get(key);
  if (held === undefined) {
    held = native.rsaKey(spkiOf(key));
    keys.set(key, held);
  }
  return native.verifyRsa(held, message, signature);
}
