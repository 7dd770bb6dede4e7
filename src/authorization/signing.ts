/** Signatures over PBS messages. The certificate's key says which algorithm it is. */
import { type KeyObject, sign, verify } from "node:crypto";
import type { SignatureAlgorithm } from "../base/algorithm.js";
import { signatureAlgorithmOf } from "./algorithm.js";
import { readCertificate } from "./certificate.js";
import { describeKey, type KeyType, keyIdentity, keyTypeOf, samePublicKey } from "./key.js";
import { RSA_2048_LENGTH, verifyRsa2048 } from "./rsa.js";
import type { TrustedCertificate } from "./trust.js";

/** How many verifications may wait for the thread pool; it is one for the whole process, and so is this. */
export const VERIFICATIONS_IN_FLIGHT = 1024;

/** Length of P-256 (r and s) and Ed25519 signatures. */
const ELLIPTIC_LENGTH = 64;

/** Too much is waiting for the thread pool; what was asked for was not done. */
export class BusyError extends Error {
  override readonly name = "BusyError";
}

/** A private key that does not fit. */
export class SigningError extends Error {
  override readonly name = "SigningError";
}

/** Signs as one host. */
export class Signer {
  /** DER, as it goes into PK-cert. */
  readonly certificate: Uint8Array;
  readonly keyType: KeyType;
  /** What packets are signed with in AH; undefined where the key is of no use there. */
  readonly packetAlgorithm: SignatureAlgorithm | undefined;
  /** First 16 bytes of the SHA-256 of the SubjectPublicKeyInfo. */
  readonly identity: Uint8Array;
  readonly #key: KeyObject;

  /** Throws {@link SigningError} when the key is not the certificate's, or of a type that is not accepted. */
  constructor(privateKey: KeyObject, certificateDer: Uint8Array) {
    const { publicKey } = readCertificate(certificateDer);
    if (!samePublicKey(privateKey, publicKey))
      throw new SigningError("the private key does not belong to the certificate");
    const keyType = keyTypeOf(privateKey);
    if (keyType === undefined)
      throw new SigningError(`a key of type ${describeKey(privateKey)} is not accepted`);
    this.certificate = Uint8Array.from(certificateDer);
    this.keyType = keyType;
    this.packetAlgorithm = signatureAlgorithmOf(privateKey);
    this.identity = keyIdentity(publicKey);
    this.#key = privateKey;
  }

  /** On the thread pool. */
  sign(input: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      sign(digestOf(this.keyType), input, keyInput(this.#key, this.keyType), (error, signature) => {
        if (error === null) resolve(signature);
        else reject(error);
      });
    });
  }

  /** The private key as PKCS#8 in DER, for the packet path. The caller wipes it. */
  exportKey(): Uint8Array {
    return this.#key.export({ type: "pkcs8", format: "der" });
  }

  signSync(input: Uint8Array): Uint8Array {
    return sign(digestOf(this.keyType), input, keyInput(this.#key, this.keyType));
  }
}

let inFlight = 0;

/**
 * Whether `signature` is that of the certificate's key over `input`. RSA is checked at once, because that takes less
 * time than handing it to another thread; the others on the thread pool. Rejects with {@link BusyError} when
 * {@link VERIFICATIONS_IN_FLIGHT} are waiting, and for no other reason.
 */
export function verifySignature(
  certificate: Pick<TrustedCertificate, "publicKey" | "keyType">,
  input: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  const { publicKey, keyType } = certificate;
  if (signature.length !== signatureLength(publicKey, keyType)) return Promise.resolve(false);
  if (keyType === "rsa") return Promise.resolve(verifyRsa(publicKey, input, signature));
  if (inFlight >= VERIFICATIONS_IN_FLIGHT)
    return Promise.reject(new BusyError("too many signatures wait to be verified"));
  inFlight++;
  return new Promise((resolve) => {
    verify(digestOf(keyType), input, keyInput(publicKey, keyType), signature, (error, good) => {
      inFlight--;
      resolve(error === null && good);
    });
  });
}

function verifyRsa(key: KeyObject, input: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length === RSA_2048_LENGTH) return verifyRsa2048(key, input, signature);
  return verify("sha256", input, key, signature);
}

function signatureLength(publicKey: KeyObject, keyType: KeyType): number {
  if (keyType !== "rsa") return ELLIPTIC_LENGTH;
  return Math.ceil((publicKey.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
}

/** Ed25519 hashes by itself. */
function digestOf(keyType: KeyType): "sha256" | null {
  return keyType === "ed25519" ? null : "sha256";
}

/** Raw r and s of fixed length instead of DER; RSA is PKCS#1 v1.5 unless told otherwise. */
function keyInput(key: KeyObject, keyType: KeyType) {
  return keyType === "p256" ? { key, dsaEncoding: "ieee-p1363" as const } : key;
}
