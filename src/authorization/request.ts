/** Certification requests (PKCS#10, RFC 2986): a host's key asks an authority for a certificate. */
import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import type { IpAddress } from "../base/address.js";
import {
  type Asn1,
  Asn1Error,
  bits,
  child,
  children,
  context,
  contextBytes,
  integer,
  nothing,
  octets,
  oid,
  parseDer,
  readBits,
  readOid,
  sequence,
  set,
  tagged,
  text,
  toDer,
} from "./asn1.js";
import {
  type Extension,
  IP_ADDRESS_NAME,
  OID,
  readAddresses,
  readCommonName,
  readExtensions,
} from "./certificate.js";
import { describeKey, type KeyType, keyTypeOf, spkiOf } from "./key.js";

interface SignatureAlgorithm {
  readonly id: string;
  readonly digest: "sha256" | null;
  readonly parameters: readonly Asn1[];
}

const ALGORITHMS: Record<KeyType, SignatureAlgorithm> = {
  rsa: { id: "1.2.840.113549.1.1.11", digest: "sha256", parameters: [nothing()] },
  p256: { id: "1.2.840.10045.4.3.2", digest: "sha256", parameters: [] },
  ed25519: { id: "1.3.101.112", digest: null, parameters: [] },
};

/** Requests made elsewhere may hash with more than SHA-256. */
const DIGESTS = new Map<string, "sha256" | "sha384" | "sha512" | null>([
  ["1.2.840.113549.1.1.11", "sha256"],
  ["1.2.840.113549.1.1.12", "sha384"],
  ["1.2.840.113549.1.1.13", "sha512"],
  ["1.2.840.10045.4.3.2", "sha256"],
  ["1.2.840.10045.4.3.3", "sha384"],
  ["1.2.840.10045.4.3.4", "sha512"],
  ["1.3.101.112", null],
]);

export interface CertificateRequest {
  readonly commonName: string;
  readonly addresses: readonly IpAddress[];
  readonly publicKey: KeyObject;
}

/** DER of a request, signed with the key that it is for. The key is of an accepted type. */
export function buildRequest(
  key: KeyObject,
  commonName: string,
  addresses: readonly IpAddress[],
): Uint8Array {
  const requested = sequence(oid(OID.extensionRequest), set(sequence(alternativeNames(addresses))));
  const info = sequence(
    integer(Uint8Array.of(0)),
    nameOf(commonName),
    parseDer(spkiOf(key)),
    context(0, ...(addresses.length === 0 ? [] : [requested])),
  );
  return signStructure(info, key);
}

/** Reads a request and verifies that its maker has the key. Throws {@link Asn1Error}. */
export function readRequest(der: Uint8Array): CertificateRequest {
  const request = parseDer(der);
  const info = child(request, 0);
  const publicKey = readPublicKey(toDer(child(info, 2)));
  const digest = DIGESTS.get(readOid(child(child(request, 1), 0)));
  if (digest === undefined || !verifies(toDer(info), publicKey, digest, readBits(child(request, 2))))
    throw new Asn1Error("the request is not signed by its own key");
  const addresses = readAddresses(requestedExtensions(info));
  return { commonName: readCommonName(child(info, 1)), addresses, publicKey };
}

/** SEQUENCE of `info`, the algorithm and the signature over it: the outer form of requests and certificates. */
export function signStructure(info: Asn1, key: KeyObject): Uint8Array {
  const { digest } = algorithmOf(key);
  const signature = sign(digest, toDer(info), key);
  return toDer(sequence(info, algorithmIdentifier(key), bits(signature)));
}

/** The AlgorithmIdentifier of signatures by this key. */
export function algorithmIdentifier(key: KeyObject): Asn1 {
  const { id, parameters } = algorithmOf(key);
  return sequence(oid(id), ...parameters);
}

/** A Name that is one common name. */
export function nameOf(commonName: string): Asn1 {
  return sequence(set(sequence(oid(OID.commonName), text(commonName))));
}

/** The SubjectAltName extension with these addresses. */
export function alternativeNames(addresses: readonly IpAddress[]): Asn1 {
  const names = sequence(...addresses.map((address) => contextBytes(IP_ADDRESS_NAME, address.bytes)));
  return sequence(oid(OID.subjectAltName), octets(toDer(names)));
}

function algorithmOf(key: KeyObject): SignatureAlgorithm {
  const type = keyTypeOf(key);
  if (type === undefined) throw new Asn1Error(`a key of type ${describeKey(key)} cannot sign`);
  return ALGORITHMS[type];
}

function readPublicKey(spki: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  } catch {
    throw new Asn1Error("the public key of the request cannot be read");
  }
}

function verifies(data: Uint8Array, key: KeyObject, digest: string | null, signature: Uint8Array): boolean {
  try {
    return verify(digest, data, key, signature);
  } catch {
    return false;
  }
}

function requestedExtensions(info: Asn1): Extension[] {
  const attributes = tagged(children(info), 0);
  if (attributes === undefined) return [];
  const found = children(attributes).find((a) => readOid(child(a, 0)) === OID.extensionRequest);
  return found === undefined ? [] : readExtensions(child(child(found, 1), 0));
}
