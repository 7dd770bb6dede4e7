/** How data packets prove where they come from: levels, and which algorithm of IPsec AH fits which key. */
import type { KeyObject } from "node:crypto";
import {
  type Algorithm,
  ALGORITHMS,
  type SignatureAlgorithm,
  SYMMETRIC_ALGORITHMS,
  type SymmetricAlgorithm,
} from "../base/algorithm.js";
import { keyTypeOf } from "./key.js";

export const LEVELS = ["none", "hmac", "public-key"] as const;
export type AuthenticationLevel = (typeof LEVELS)[number];

/** SHA-1 only where somebody asks for it by name. */
export const ACCEPTED_BY_DEFAULT: readonly Algorithm[] = ALGORITHMS.filter((name) => name !== "hmac-sha1-96");

/** What a rule asks of a flow's packets. */
export interface AuthenticationRule {
  readonly level: AuthenticationLevel;
  /** In order of preference, of any level; where none is of the level that is asked for, the level's own defaults. */
  readonly algorithms?: readonly Algorithm[];
}

/** Key lengths in bytes: RFC 4868, RFC 4494, RFC 2404. */
const KEY_LENGTH: Readonly<Record<SymmetricAlgorithm, number>> = {
  "hmac-sha256-128": 32,
  "hmac-sha384-192": 48,
  "aes-cmac-96": 16,
  "hmac-sha1-96": 20,
};

const BITS_OF_RSA_2048 = 2048;

export function isSymmetric(algorithm: Algorithm): algorithm is SymmetricAlgorithm {
  return (SYMMETRIC_ALGORITHMS as readonly string[]).includes(algorithm);
}

/** Bytes of a symmetric algorithm's key. */
export function keyLength(algorithm: SymmetricAlgorithm): number {
  return KEY_LENGTH[algorithm];
}

export function levelOf(algorithm: Algorithm): Exclude<AuthenticationLevel, "none"> {
  return isSymmetric(algorithm) ? "hmac" : "public-key";
}

/** The algorithm that a certificate's key signs packets with; undefined for RSA keys of other lengths. */
export function signatureAlgorithmOf(key: KeyObject): SignatureAlgorithm | undefined {
  switch (keyTypeOf(key)) {
    case "ed25519":
      return "ed25519";
    case "p256":
      return "ecdsa-p256";
    case "rsa":
      return key.asymmetricKeyDetails?.modulusLength === BITS_OF_RSA_2048 ? "rsa-2048" : undefined;
    case undefined:
      return undefined;
  }
}

/** Whether packets of the holder of such a key can carry it: any symmetric one, and signatures of its own kind. */
export function fitsKey(algorithm: Algorithm, own: SignatureAlgorithm | undefined): boolean {
  if (isSymmetric(algorithm)) return true;
  return own !== undefined && (algorithm === own || algorithm === `tree-${own}`);
}

/**
 * What may be used for a flow at a level, best first.
 * @param own what the key of the sender's certificate signs with
 * @param supported whether the sender can do it
 */
export function candidates(
  rule: AuthenticationRule,
  own: SignatureAlgorithm | undefined,
  supported: (algorithm: Algorithm) => boolean,
): readonly Algorithm[] {
  const { level } = rule;
  if (level === "none") return [];
  const listed = (rule.algorithms ?? []).filter((algorithm) => levelOf(algorithm) === level);
  const wanted = listed.length > 0 ? listed : defaults(level, own);
  return wanted.filter((algorithm) => fitsKey(algorithm, own) && supported(algorithm));
}

function defaults(level: "hmac" | "public-key", own: SignatureAlgorithm | undefined): readonly Algorithm[] {
  if (level === "hmac") return ["hmac-sha256-128"];
  return own === undefined ? [] : [`tree-${own}`, own];
}
