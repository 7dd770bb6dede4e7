/** The kinds of keys that PBS accepts, and how each signs. */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";

export type KeyType = "rsa" | "p256" | "ed25519";

/** Bytes of a node's identity, as in GIST's Peer-Identity. */
export const IDENTITY_LENGTH = 16;

const MIN_RSA_BITS = 2048;
/** Verification time grows with modulus and exponent, so both have a limit. */
const MAX_RSA_BITS = 4096;
const MAX_RSA_EXPONENT = 2n ** 32n;

/** The type of a public or private key; undefined for a key that is not accepted. */
export function keyTypeOf(key: KeyObject): KeyType | undefined {
  if (key.asymmetricKeyType === "ed25519") return "ed25519";
  const details = key.asymmetricKeyDetails;
  if (key.asymmetricKeyType === "ec") return details?.namedCurve === "prime256v1" ? "p256" : undefined;
  if (key.asymmetricKeyType !== "rsa") return undefined;
  const { modulusLength = 0, publicExponent = 0n } = details ?? {};
  if (modulusLength < MIN_RSA_BITS || modulusLength > MAX_RSA_BITS) return undefined;
  return publicExponent >= 3n && publicExponent < MAX_RSA_EXPONENT ? "rsa" : undefined;
}

/** The key in words, such as "RSA-2048", whether it is accepted or not. */
export function describeKey(key: KeyObject): string {
  const details = key.asymmetricKeyDetails;
  if (key.asymmetricKeyType === "rsa") return `RSA-${details?.modulusLength}`;
  if (key.asymmetricKeyType === "ed25519") return "Ed25519";
  if (key.asymmetricKeyType !== "ec") return key.asymmetricKeyType ?? "unknown";
  return details?.namedCurve === "prime256v1" ? "P-256" : `EC ${details?.namedCurve}`;
}

/**
 * Names a node by its key: the first 16 bytes of the SHA-256 of the SubjectPublicKeyInfo.
 * @param key a public key, a private key, or the DER of a SubjectPublicKeyInfo
 */
export function keyIdentity(key: KeyObject | Uint8Array): Uint8Array {
  const digest = createHash("sha256")
    .update(key instanceof Uint8Array ? key : exported(key))
    .digest();
  return Uint8Array.from(digest.subarray(0, IDENTITY_LENGTH));
}

/** SubjectPublicKeyInfo, DER, of a public key or of the public half of a private key. The caller's own: it may be wiped. */
export function spkiOf(key: KeyObject): Uint8Array {
  return Uint8Array.from(exported(key));
}

/** Gone with the key. OpenSSL takes 0.1 ms and more to write one, and each new certificate's is needed several times. */
const written = new WeakMap<KeyObject, Uint8Array>();

function exported(key: KeyObject): Uint8Array {
  const known = written.get(key);
  if (known !== undefined) return known;
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  const der = publicKey.export({ type: "spki", format: "der" });
  written.set(key, der);
  return der;
}

export function samePublicKey(a: KeyObject, b: KeyObject): boolean {
  return Buffer.compare(spkiOf(a), spkiOf(b)) === 0;
}
