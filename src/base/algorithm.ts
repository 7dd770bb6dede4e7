/** The algorithms of IPsec AH by name: what rules ask for, what is signalled, and what the packet path is told. */

/** MACs: the key is secret and shared (RFC 4868, RFC 4494, RFC 2404). */
export const SYMMETRIC_ALGORITHMS = [
  "hmac-sha256-128",
  "hmac-sha384-192",
  "aes-cmac-96",
  "hmac-sha1-96",
] as const;

/** Signatures (after RFC 4359, with SHA-256), one for each packet. */
export const SIGNATURE_ALGORITHMS = ["rsa-2048", "ecdsa-p256", "ed25519"] as const;

/** The same, one for a batch: each packet carries its path in a hash tree whose root is signed. */
export const TREE_ALGORITHMS = ["tree-rsa-2048", "tree-ecdsa-p256", "tree-ed25519"] as const;

/** All, in the order of the native addon's numbers (native/ah.h). */
export const ALGORITHMS = [...SYMMETRIC_ALGORITHMS, ...SIGNATURE_ALGORITHMS, ...TREE_ALGORITHMS] as const;

export type SymmetricAlgorithm = (typeof SYMMETRIC_ALGORITHMS)[number];
export type SignatureAlgorithm = (typeof SIGNATURE_ALGORITHMS)[number];
export type Algorithm = (typeof ALGORITHMS)[number];
