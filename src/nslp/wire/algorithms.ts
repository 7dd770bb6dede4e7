/** Auth Algorithm codes of Defense, and the algorithms that they mean (docs/protocol.md). */
import { type Algorithm, ALGORITHMS, type SignatureAlgorithm } from "../../base/algorithm.js";
import { fitsKey } from "../../authorization/algorithm.js";
import { AUTH_ALGORITHM } from "./messages.js";

/** MD5, keys of 160 and 1024 bits, and DSA have no algorithm here. */
const CODES: Readonly<Record<Algorithm, number>> = {
  "hmac-sha1-96": AUTH_ALGORITHM.hmacSha1,
  "hmac-sha256-128": AUTH_ALGORITHM.hmacSha256,
  "hmac-sha384-192": AUTH_ALGORITHM.hmacSha384,
  "aes-cmac-96": AUTH_ALGORITHM.aesCmac,
  "rsa-2048": AUTH_ALGORITHM.rsa2048,
  "ecdsa-p256": AUTH_ALGORITHM.ecdsaP256,
  ed25519: AUTH_ALGORITHM.ed25519,
  "tree-rsa-2048": AUTH_ALGORITHM.treeRsa2048,
  "tree-ecdsa-p256": AUTH_ALGORITHM.treeEcdsaP256,
  "tree-ed25519": AUTH_ALGORITHM.treeEd25519,
};

const NAMES = new Map<number, Algorithm>(ALGORITHMS.map((name) => [CODES[name], name]));

/** What the draft itself has a code for, the certificate's key among it. */
const OF_THE_DRAFT: readonly Algorithm[] = [
  "hmac-sha1-96",
  "hmac-sha256-128",
  "rsa-2048",
  "ecdsa-p256",
  "ed25519",
];

/** The list of a Query. */
export function codesOf(algorithms: readonly Algorithm[]): readonly number[] {
  return algorithms.map((algorithm) => CODES[algorithm]);
}

/** Whether a sender with this list (or without one) can do it. */
export function canDo(codes: readonly number[] | undefined, algorithm: Algorithm): boolean {
  if (codes === undefined) return OF_THE_DRAFT.includes(algorithm);
  return codes.includes(CODES[algorithm]);
}

/** The code in a Defense. For P-256 and Ed25519 the draft has "as in the certificate", which every node knows. */
export function codeInDefense(algorithm: Algorithm): number {
  if (algorithm === "ecdsa-p256" || algorithm === "ed25519") return AUTH_ALGORITHM.certificateKey;
  return CODES[algorithm];
}

/**
 * What a code in a Defense means; undefined for one that is not known, is refused, or is not for this key.
 * @param own what the key of the sender's certificate signs with
 */
export function algorithmInDefense(code: number, own: SignatureAlgorithm | undefined): Algorithm | undefined {
  const algorithm = code === AUTH_ALGORITHM.certificateKey ? own : NAMES.get(code);
  return algorithm !== undefined && fitsKey(algorithm, own) ? algorithm : undefined;
}
