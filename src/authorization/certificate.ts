/** What PBS looks at in an X.509 certificate (RFC 5280). */
import { hash, type KeyObject, X509Certificate } from "node:crypto";
import forge from "node-forge";
import { IpAddress } from "../base/address.js";
import {
  type Asn1,
  Asn1Error,
  child,
  children,
  content,
  isTagged,
  isUniversal,
  parseDer,
  readBits,
  readBoolean,
  readOid,
  readText,
  tagged,
} from "./asn1.js";
import { describeKey, keyIdentity } from "./key.js";

export const OID = {
  commonName: "2.5.4.3",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  extensionRequest: "1.2.840.113549.1.9.14",
} as const;

/** Longest certificate, in bytes of DER, that PBS messages carry and that is looked at. */
export const MAX_CERTIFICATE = 4096;

/** First byte of KeyUsage. */
export const KEY_USAGE = { digitalSignature: 0x80, certificateSign: 0x04, crlSign: 0x02 } as const;

/** Tag of iPAddress in a GeneralName. */
export const IP_ADDRESS_NAME = 7;

const UNDERSTOOD = new Set<string>([
  OID.keyUsage,
  OID.subjectAltName,
  OID.basicConstraints,
  OID.extendedKeyUsage,
]);

/** Signatures over SHA-256 or better. */
const STRONG_SIGNATURES = new Set([
  "1.2.840.113549.1.1.11",
  "1.2.840.113549.1.1.12",
  "1.2.840.113549.1.1.13",
  "1.2.840.10045.4.3.2",
  "1.2.840.10045.4.3.3",
  "1.2.840.10045.4.3.4",
  "1.3.101.112",
]);

export interface Certificate {
  readonly x509: X509Certificate;
  readonly publicKey: KeyObject;
  /** SHA-256 of the DER, lower-case hexadecimal. */
  readonly fingerprint: string;
  /** Validity, milliseconds since 1970, both ends included. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** What the signed extensions and names say; reading it takes longer than reading a {@link Certificate}. */
export interface CertificateFields {
  /** Subject common name; empty when there is none. */
  readonly subject: string;
  /** Subject alternative names of type iPAddress. */
  readonly addresses: readonly IpAddress[];
  readonly authority: boolean;
  /** First byte of KeyUsage; undefined when the extension is not there. */
  readonly keyUsage: number | undefined;
  /** Critical extensions that are not understood here. */
  readonly unknownCritical: readonly string[];
  readonly strongSignature: boolean;
}

/** Parses one DER certificate. Throws {@link Asn1Error} on anything else, PEM and trailing bytes included. */
export function readCertificate(der: Uint8Array): Certificate {
  const x509 = parseX509(der);
  const notBefore = Date.parse(x509.validFrom);
  const notAfter = Date.parse(x509.validTo);
  if (Number.isNaN(notBefore) || Number.isNaN(notAfter)) throw new Asn1Error("the validity cannot be read");
  return { x509, publicKey: publicKeyOf(x509), fingerprint: fingerprintOf(der), notBefore, notAfter };
}

export function fingerprintOf(der: Uint8Array): string {
  return hash("sha256", der);
}

function parseX509(der: Uint8Array): X509Certificate {
  try {
    const x509 = new X509Certificate(der);
    // X509Certificate takes PEM and trailing bytes too; two encodings of one certificate must not be two cache entries.
    if (Buffer.compare(x509.raw, der) === 0) return x509;
  } catch {
    throw new Asn1Error("not an X.509 certificate");
  }
  throw new Asn1Error("not the DER of one certificate alone");
}

function publicKeyOf(x509: X509Certificate): KeyObject {
  try {
    return x509.publicKey;
  } catch {
    throw new Asn1Error("the public key cannot be read");
  }
}

/** Throws {@link Asn1Error}. */
export function readFields(der: Uint8Array): CertificateFields {
  const certificate = parseDer(der);
  const parts = children(child(certificate, 0));
  // The version is there in every certificate with extensions, and only those can list addresses.
  const base = parts[0] !== undefined && isTagged(parts[0], 0) ? 1 : 0;
  const wrapped = tagged(parts, 3);
  const extensions = wrapped === undefined ? [] : readExtensions(child(wrapped, 0));
  return {
    subject: readCommonName(parts[base + 4]),
    addresses: readAddresses(extensions),
    authority: readAuthority(extensions),
    keyUsage: readKeyUsage(extensions),
    unknownCritical: extensions.filter((e) => e.critical && !UNDERSTOOD.has(e.id)).map((e) => e.id),
    strongSignature: STRONG_SIGNATURES.has(readOid(child(child(certificate, 1), 0))),
  };
}

export interface Extension {
  readonly id: string;
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** An Extensions value. Throws {@link Asn1Error}, also when an extension is there twice. */
export function readExtensions(node: Asn1): Extension[] {
  const extensions = children(node).map(readExtension);
  if (new Set(extensions.map((e) => e.id)).size !== extensions.length)
    throw new Asn1Error("an extension is there twice");
  return extensions;
}

function readExtension(node: Asn1): Extension {
  const parts = children(node);
  const second = child(node, 1);
  const critical = parts.length === 3 && readBoolean(second);
  return { id: readOid(parts[0]), critical, value: content(parts.at(-1)) };
}

/** The last, most specific common name of a Name; empty when there is none. Throws {@link Asn1Error}. */
export function readCommonName(name: Asn1 | undefined): string {
  const attributes = children(name).flatMap((rdn) => children(rdn));
  const found = attributes.filter((attribute) => readOid(child(attribute, 0)) === OID.commonName).at(-1);
  if (found === undefined) return "";
  const commonName = readText(child(found, 1));
  if (/\p{Cc}/u.test(commonName)) throw new Asn1Error("the common name has control characters");
  return commonName;
}

/** Addresses of SubjectAltName. Throws {@link Asn1Error}. */
export function readAddresses(extensions: readonly Extension[]): IpAddress[] {
  const names = parsedValue(extensions, OID.subjectAltName);
  if (names === undefined) return [];
  return children(names)
    .filter((name) => isTagged(name, IP_ADDRESS_NAME))
    .map((name) => readAddress(content(name)));
}

function readAddress(bytes: Uint8Array): IpAddress {
  if (bytes.length !== 4 && bytes.length !== 16)
    throw new Asn1Error(`an IP address of ${bytes.length} bytes`);
  return IpAddress.fromBytes(bytes);
}

function readAuthority(extensions: readonly Extension[]): boolean {
  const constraints = parsedValue(extensions, OID.basicConstraints);
  const first = constraints === undefined ? undefined : children(constraints)[0];
  return first !== undefined && readBoolean(first);
}

function readKeyUsage(extensions: readonly Extension[]): number | undefined {
  const usage = parsedValue(extensions, OID.keyUsage);
  if (usage === undefined) return undefined;
  if (!isUniversal(usage, forge.asn1.Type.BITSTRING)) throw new Asn1Error("KeyUsage is not a bit string");
  return readBits(usage)[0] ?? 0;
}

function parsedValue(extensions: readonly Extension[], id: string): Asn1 | undefined {
  const found = extensions.find((extension) => extension.id === id);
  return found === undefined ? undefined : parseDer(found.value);
}

/** A certificate in words. */
export interface CertificateDescription {
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly addresses: readonly IpAddress[];
  /** Such as "P-256". */
  readonly keyType: string;
  readonly authority: boolean;
  /** SHA-256 of the DER, lower-case hexadecimal. */
  readonly fingerprint: string;
  /** keyIdentity in hexadecimal: what peers know the node by. */
  readonly identity: string;
}

/** Describes a certificate of DER. Throws {@link Asn1Error}. */
export function describeDer(der: Uint8Array): CertificateDescription {
  const { x509, publicKey, fingerprint, notBefore, notAfter } = readCertificate(der);
  const { subject, addresses, authority } = readFields(der);
  const parts = children(child(parseDer(der), 0));
  const base = parts[0] !== undefined && isTagged(parts[0], 0) ? 1 : 0;
  return {
    subject,
    issuer: readCommonName(parts[base + 2]),
    serial: x509.serialNumber.toLowerCase(),
    notBefore: new Date(notBefore),
    notAfter: new Date(notAfter),
    addresses,
    keyType: describeKey(publicKey),
    authority,
    fingerprint,
    identity: Buffer.from(keyIdentity(publicKey)).toString("hex"),
  };
}
