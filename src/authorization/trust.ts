/** Which certificates are believed: X.509 (RFC 5280), issued directly by an authority of the trust set. */
import type { KeyObject } from "node:crypto";
import type { IpAddress } from "../base/address.js";
import { Asn1Error } from "./asn1.js";
import {
  type Certificate,
  type CertificateFields,
  fingerprintOf,
  KEY_USAGE,
  readCertificate,
  readFields,
} from "./certificate.js";
import { describeKey, keyIdentity, type KeyType, keyTypeOf } from "./key.js";
import { Lru } from "./lru.js";
import { certificatesOf } from "./pem.js";

export { type KeyType, keyIdentity } from "./key.js";

export interface TrustedCertificate {
  readonly type: "trusted";
  /** Subject common name; empty when the certificate has none. */
  readonly subject: string;
  /** SHA-256 of the certificate, lower-case hexadecimal. */
  readonly fingerprint: string;
  readonly publicKey: KeyObject;
  readonly keyType: KeyType;
  /** Names the key, whichever certificate it has: its {@link keyIdentity} in hexadecimal. */
  readonly keyId: string;
  /** Subject alternative names of type iPAddress. */
  readonly addresses: readonly IpAddress[];
}

export type RefusalReason =
  | "malformed"
  | "unsupported-key"
  | "wrong-usage"
  | "wrong-issuer"
  | "not-yet-valid"
  | "expired"
  | "wrong-address";

export interface Refusal {
  readonly type: "refused";
  readonly reason: RefusalReason;
  /** One sentence for a person. */
  readonly detail: string;
}

/** An authority that cannot be one. */
export class TrustError extends Error {
  override readonly name = "TrustError";
}

interface Authority extends Certificate {
  readonly subject: string;
}

interface Entry {
  readonly trusted: TrustedCertificate;
  readonly certificate: Validity;
  readonly authority: Authority;
}

interface Recent {
  readonly der: Uint8Array;
  readonly entry: Entry;
}

interface Validity {
  readonly notBefore: number;
  readonly notAfter: number;
}

/** One for each host that has many flows at a time; of a kilobyte each. */
const MOST_RECENT = 1024;
/** Of 10 kB each with what OpenSSL keeps of a key; to examine one anew takes as long as all else that a refresh costs, twice. */
const DEFAULT_CAPACITY = 40_960;
const REFUSALS_CAPACITY = 1024;

export class Trust {
  readonly #authorities: readonly Authority[];
  /** By fingerprint. Refusals are kept apart, so that a flood of bad certificates does not push out the good. */
  readonly #accepted: Lru<Entry>;
  readonly #refused = new Lru<Refusal>(REFUSALS_CAPACITY);
  /** Of those accepted lately, by the last bytes: to compare a certificate takes less time than to hash it. */
  readonly #recent: (Recent | undefined)[] = [];
  readonly #mostRecent: number;

  /**
   * @param authorities PEM texts; each may hold several certificates
   * Throws {@link TrustError} on a text that holds none and on a certificate that is not an authority's.
   */
  constructor(authorities: readonly string[], options: { readonly capacity?: number } = {}) {
    this.#authorities = authorities.flatMap(readAuthorities);
    const capacity = options.capacity ?? DEFAULT_CAPACITY;
    this.#accepted = new Lru(capacity);
    this.#mostRecent = Math.min(capacity, MOST_RECENT);
  }

  /**
   * Whether the holder of this certificate may sign for `address` (undefined: for itself, as a node) at `wallNow`
   * (milliseconds since 1970). Chain and form are looked at once for each certificate, time and address every time.
   * Does not throw.
   */
  check(der: Uint8Array, address: IpAddress | undefined, wallNow: number): TrustedCertificate | Refusal {
    const entry = this.#entry(der);
    if ("reason" in entry) return entry;
    const { trusted, certificate, authority } = entry;
    const untimely =
      checkTime(certificate, wallNow, `certificate of "${trusted.subject}"`) ??
      checkTime(authority, wallNow, `certificate of authority "${authority.subject}"`);
    if (untimely !== undefined) return untimely;
    if (address === undefined) return trusted;
    if (trusted.addresses.some((own) => own.equals(address))) return trusted;
    return refuse("wrong-address", `the certificate of "${trusted.subject}" does not list ${address}`);
  }

  #entry(der: Uint8Array): Entry | Refusal {
    const place = (((der.at(-2) ?? 0) << 8) | (der.at(-1) ?? 0)) % this.#mostRecent;
    const recent = this.#recent[place];
    if (recent !== undefined && Buffer.compare(recent.der, der) === 0) return recent.entry;
    const entry = this.#find(der);
    if (!("reason" in entry)) this.#recent[place] = { der: new Uint8Array(der), entry };
    return entry;
  }

  #find(der: Uint8Array): Entry | Refusal {
    const fingerprint = fingerprintOf(der);
    const known = this.#accepted.get(fingerprint) ?? this.#refused.get(fingerprint);
    if (known !== undefined) return known;
    const examined = this.#examine(der);
    if ("reason" in examined) this.#refused.set(fingerprint, examined);
    else this.#accepted.set(fingerprint, examined);
    return examined;
  }

  #examine(der: Uint8Array): Entry | Refusal {
    try {
      const certificate = readCertificate(der);
      const keyType = keyTypeOf(certificate.publicKey);
      if (keyType === undefined)
        return refuse(
          "unsupported-key",
          `a key of type ${describeKey(certificate.publicKey)} is not accepted`,
        );
      const authority = this.#issuer(certificate);
      if (authority === undefined) return notIssued();
      const fields = readFields(der);
      // Last, because OpenSSL takes a certificate with broken extensions for one of another issuer.
      if (!certificate.x509.checkIssued(authority.x509)) return notIssued();
      const { publicKey, fingerprint } = certificate;
      const { subject, addresses } = fields;
      const keyId = Buffer.from(keyIdentity(publicKey)).toString("hex");
      const trusted = {
        type: "trusted",
        subject,
        fingerprint,
        publicKey,
        keyType,
        keyId,
        addresses,
      } as const;
      return checkUse(fields) ?? { trusted, certificate: validityOf(certificate), authority };
    } catch (error) {
      if (error instanceof Asn1Error) return refuse("malformed", error.message);
      return refuse("malformed", "the certificate cannot be read");
    }
  }

  #issuer({ x509 }: Certificate): Authority | undefined {
    return this.#authorities.find(
      (authority) => x509.issuer === authority.x509.subject && x509.verify(authority.publicKey),
    );
  }
}

function validityOf({ notBefore, notAfter }: Certificate): Validity {
  return { notBefore, notAfter };
}

function checkTime(validity: Validity, now: number, what: string): Refusal | undefined {
  if (now < validity.notBefore)
    return refuse("not-yet-valid", `the ${what} is not valid before ${isoTime(validity.notBefore)}`);
  // Both ends belong to the validity, and the end is given in whole seconds.
  if (now >= validity.notAfter + 1000)
    return refuse("expired", `the ${what} expired at ${isoTime(validity.notAfter)}`);
  return undefined;
}

function isoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(".000", "");
}

function checkUse(fields: CertificateFields): Refusal | undefined {
  if (!fields.strongSignature)
    return refuse("unsupported-key", "the certificate is not signed with SHA-256 or better");
  if (fields.authority) return refuse("wrong-usage", "an authority's certificate is not a host's");
  if (fields.keyUsage !== undefined && (fields.keyUsage & KEY_USAGE.digitalSignature) === 0)
    return refuse("wrong-usage", "the certificate's key is not for digital signatures");
  const [unknown] = fields.unknownCritical;
  if (unknown !== undefined) return refuse("wrong-usage", `critical extension ${unknown} is not understood`);
  return undefined;
}

function notIssued(): Refusal {
  return refuse("wrong-issuer", "the certificate was not issued by a trusted authority");
}

function refuse(reason: RefusalReason, detail: string): Refusal {
  return { type: "refused", reason, detail };
}

function readAuthorities(pem: string): Authority[] {
  const certificates = certificatesOf(pem);
  if (certificates.length === 0) throw new TrustError("there is no certificate in the text of an authority");
  return certificates.map(readAuthority);
}

function readAuthority(der: Uint8Array): Authority {
  try {
    const certificate = readCertificate(der);
    const fields = readFields(der);
    checkAuthority(certificate, fields);
    return { ...certificate, subject: fields.subject };
  } catch (error) {
    if (error instanceof Asn1Error) throw new TrustError(`an authority cannot be read: ${error.message}`);
    throw error;
  }
}

function checkAuthority(certificate: Certificate, fields: CertificateFields): void {
  const who = `the certificate of "${fields.subject}"`;
  if (!fields.authority)
    throw new TrustError(`${who} is not an authority's (basicConstraints CA is not set)`);
  if (fields.keyUsage !== undefined && (fields.keyUsage & KEY_USAGE.certificateSign) === 0)
    throw new TrustError(`${who} may not sign certificates (keyUsage)`);
  const [unknown] = fields.unknownCritical;
  if (unknown !== undefined)
    throw new TrustError(`${who} has critical extension ${unknown}, which is not understood`);
  if (keyTypeOf(certificate.publicKey) === undefined)
    throw new TrustError(`${who} has a key of type ${describeKey(certificate.publicKey)}, not accepted`);
}
