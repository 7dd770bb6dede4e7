/** Making X.509 certificates (RFC 5280). */
import { createHash, type KeyObject, randomBytes } from "node:crypto";
import type { IpAddress } from "../base/address.js";
import {
  type Asn1,
  bits,
  boolean,
  child,
  children,
  context,
  contextBytes,
  integer,
  isTagged,
  octets,
  oid,
  parseDer,
  readBits,
  sequence,
  time,
  toDer,
} from "./asn1.js";
import { KEY_USAGE, OID } from "./certificate.js";
import { spkiOf } from "./key.js";
import { algorithmIdentifier, alternativeNames, nameOf, signStructure } from "./request.js";

export interface Validity {
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** DER of an authority's certificate, signed by itself. It may issue hosts' certificates, not other authorities'. */
export function buildAuthority(key: KeyObject, name: string, validity: Validity): Uint8Array {
  return build(key, nameOf(name), nameOf(name), validity, key, [
    extension(OID.basicConstraints, true, sequence(boolean(true), integer(Uint8Array.of(0)))),
    keyUsage(KEY_USAGE.certificateSign | KEY_USAGE.crlSign),
    subjectKey(key),
  ]);
}

export interface HostCertificate extends Validity {
  readonly commonName: string;
  readonly publicKey: KeyObject;
  readonly addresses: readonly IpAddress[];
}

/** DER of a host's certificate, issued by the holder of `authorityKey`. */
export function buildHost(host: HostCertificate, authority: Uint8Array, authorityKey: KeyObject): Uint8Array {
  return build(authorityKey, subjectOf(authority), nameOf(host.commonName), host, host.publicKey, [
    extension(OID.basicConstraints, true, sequence()),
    keyUsage(KEY_USAGE.digitalSignature),
    subjectKey(host.publicKey),
    extension(OID.authorityKeyIdentifier, false, sequence(contextBytes(0, keyIdentifier(authorityKey)))),
    alternativeNames(host.addresses),
  ]);
}

function build(
  signingKey: KeyObject,
  issuer: Asn1,
  subject: Asn1,
  validity: Validity,
  key: KeyObject,
  extensions: readonly Asn1[],
): Uint8Array {
  const info = sequence(
    context(0, integer(Uint8Array.of(2))),
    integer(newSerial()),
    algorithmIdentifier(signingKey),
    issuer,
    sequence(time(validity.notBefore), time(validity.notAfter)),
    subject,
    parseDer(spkiOf(key)),
    context(3, sequence(...extensions)),
  );
  return signStructure(info, signingKey);
}

/** Positive and of full length, so that its first byte is neither 0 nor 128 or more. */
function newSerial(): Uint8Array {
  const serial = Uint8Array.from(randomBytes(16));
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return serial;
}

/** The subject Name of a certificate, byte for byte: an issuer's name must be equal to it. */
function subjectOf(certificate: Uint8Array): Asn1 {
  const info = child(parseDer(certificate), 0);
  const versioned = isTagged(child(info, 0), 0);
  return child(info, versioned ? 5 : 4);
}

function extension(id: string, critical: boolean, value: Asn1): Asn1 {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octets(toDer(value)));
}

function keyUsage(usage: number): Asn1 {
  const unused = 31 - Math.clz32(usage & -usage);
  return extension(OID.keyUsage, true, bits(Uint8Array.of(usage), unused));
}

function subjectKey(key: KeyObject): Asn1 {
  return sequence(oid(OID.subjectKeyIdentifier), octets(toDer(octets(keyIdentifier(key)))));
}

/** SHA-1 of the public key's bits (RFC 5280 section 4.2.1.2); it names the key and secures nothing. */
function keyIdentifier(key: KeyObject): Uint8Array {
  const spki = children(parseDer(spkiOf(key)));
  return createHash("sha1").update(readBits(spki[1])).digest();
}
