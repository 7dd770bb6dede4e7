/** What a Permission's Defense asks of this node, and the association that it stands for. */
import type { KeyObject } from "node:crypto";
import type { Algorithm, SignatureAlgorithm } from "../base/algorithm.js";
import { isSymmetric, keyLength } from "../authorization/algorithm.js";
import { spkiOf } from "../authorization/key.js";
import type { Authentication, SecurityAssociation } from "../traffic/datapath.js";
import { bytes, ms } from "../base/units.js";
import { algorithmInDefense } from "./wire/algorithms.js";
import { type Defense, SOLUTION } from "./wire/messages.js";

/** An association without its key: what may be kept, compared and shown. */
export interface AssociationName {
  readonly spi: number;
  readonly algorithm: Algorithm;
}

export interface Association extends AssociationName {
  /** Symmetric: the secret. Public key: empty. */
  readonly key: Uint8Array;
}

export type Demand =
  | { readonly type: "supported"; readonly association: Association | undefined }
  /** `why`: for a person at the receiver. */
  | { readonly type: "unsupported"; readonly why: string };

export type Overlap = Authentication["overlap"];

/** A flow that is installed for the first time has no association before its first. */
export const NO_OVERLAP: Overlap = { duration: ms(0), bytes: bytes(0) };

/**
 * @param own what the key of the sender's certificate signs with
 * @param accepts the algorithms that this node takes part in
 */
export function demandOf(
  defense: Defense,
  own: () => SignatureAlgorithm | undefined,
  accepts: readonly Algorithm[],
): Demand {
  const { solution, algorithm: code, spi, key } = defense;
  if (solution === SOLUTION.noAction) return { type: "supported", association: undefined };
  if (solution !== SOLUTION.symmetricAh && solution !== SOLUTION.publicKeyAh)
    return unsupported(`solution ${solution} is not supported`);
  const algorithm = algorithmInDefense(code, own());
  if (algorithm === undefined || spi === undefined || !accepts.includes(algorithm))
    return unsupported(`algorithm ${algorithm ?? code} is not supported`);
  if (isSymmetric(algorithm) !== (solution === SOLUTION.symmetricAh))
    return unsupported(`${algorithm} does not belong to solution ${solution}`);
  const length = isSymmetric(algorithm) ? keyLength(algorithm) : 0;
  if (key.length !== length) return unsupported(`${algorithm} has no key of ${key.length} bytes`);
  return { type: "supported", association: { spi, algorithm, key } };
}

function unsupported(why: string): Demand {
  return { type: "unsupported", why };
}

export function sameAssociation(a: AssociationName | undefined, b: AssociationName | undefined): boolean {
  return a?.spi === b?.spi && a?.algorithm === b?.algorithm;
}

/** "hmac-sha256-128, SPI 0x0000abcd" */
export function associationText(association: AssociationName | undefined): string {
  if (association === undefined) return "none";
  return `${association.algorithm}, SPI 0x${association.spi.toString(16).padStart(8, "0")}`;
}

/**
 * An association as the packet path takes it, with a key of its own.
 * @param publicKey of the sender's certificate
 */
export function checkedBy(association: Association, publicKey: KeyObject): SecurityAssociation {
  const { spi, algorithm, key } = association;
  return { spi, algorithm, key: isSymmetric(algorithm) ? Uint8Array.from(key) : spkiOf(publicKey) };
}
