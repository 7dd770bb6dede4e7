/** Who the other end of a TLS association is, by its certificate. */
import { createHash, type X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { PeerCertificate } from "./transport.js";

/** Bytes of a peer identity. */
export const IDENTITY_BYTES = 16;
const LONGEST_NAME = 255;
const MOST_NAMES = 64;

/** One general name as OpenSSL prints it: quoted where a comma or the like in it could be taken for the next one. */
const GENERAL_NAME = /([A-Za-z][A-Za-z ]*):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/y;

/** The identity that a certificate's key stands for: first 16 bytes of SHA-256 of its SubjectPublicKeyInfo. */
export function identityOf(certificate: X509Certificate): Uint8Array {
  const key = certificate.publicKey.export({ type: "spki", format: "der" });
  return Uint8Array.from(createHash("sha256").update(key).digest().subarray(0, IDENTITY_BYTES));
}

/** Throws when the peer shows no certificate. */
export function peerOf(socket: TLSSocket): PeerCertificate {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) throw new Error("the peer has no certificate");
  const subject = commonNameOf(certificate);
  return { subject, names: namesOf(certificate, subject), identity: identityOf(certificate) };
}

function commonNameOf(certificate: X509Certificate): string {
  const names: unknown = certificate.toLegacyObject().subject?.CN;
  const name: unknown = Array.isArray(names) ? names[0] : names;
  return typeof name === "string" ? name.slice(0, LONGEST_NAME) : "";
}

/** A certificate with dNSNames has no other names (RFC 5971 section 5.7.3.1, RFC 6125 section 6.4.4). */
function namesOf(certificate: X509Certificate, subject: string): readonly string[] {
  const { subjectAltName = "" } = certificate;
  if (subjectAltName.includes("DNS:")) return dnsNamesIn(subjectAltName);
  return subject === "" ? [] : [subject];
}

/** The dNSNames in a subject alternative name as Node prints it; what cannot be read ends the list. */
export function dnsNamesIn(subjectAltName: string): readonly string[] {
  const names: string[] = [];
  GENERAL_NAME.lastIndex = 0;
  for (let at = 0; at < subjectAltName.length && names.length < MOST_NAMES; at = GENERAL_NAME.lastIndex) {
    const [, kind, value = ""] = GENERAL_NAME.exec(subjectAltName) ?? [];
    if (kind === undefined) break;
    // A name that has to be quoted is none of a host.
    if (kind === "DNS" && !value.startsWith('"') && value !== "") names.push(value.slice(0, LONGEST_NAME));
  }
  return names;
}
