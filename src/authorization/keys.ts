/** What `pbsctl keys` does: an authority, host keys, requests, certificates. Nothing is printed here. */
import { generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { IpAddress } from "../base/address.js";
import { type CertificateDescription, describeDer } from "./certificate.js";
import { KeysError, messageOf, readPrivateText, readText, writeFiles } from "./files.js";
import { parsePrivateKey } from "./identity.js";
import { buildAuthority, buildHost, type Validity } from "./issue.js";
import { describeKey, samePublicKey } from "./key.js";
import { certificatesOf, requestsOf, toPem } from "./pem.js";
import { buildRequest, type CertificateRequest, readRequest } from "./request.js";

export type { CertificateDescription } from "./certificate.js";
export { KeysError } from "./files.js";
export { type Identity, importCertificate, loadIdentity } from "./identity.js";

export const KEY_CHOICES = ["p256", "rsa2048", "ed25519"] as const;
export type KeyChoice = (typeof KEY_CHOICES)[number];

const DAY = 24 * 60 * 60 * 1000;
const AUTHORITY_DAYS = 3650;
const HOST_DAYS = 365;
/** A certificate begins a little before it is made, for hosts whose clock is behind. */
const CLOCK_SKEW = 5 * 60 * 1000;
const AUTHORITY_CERTIFICATE = "ca.pem";
const AUTHORITY_KEY = "ca.key";
/** Upper bound of X.520 for a common name. */
const MAX_COMMON_NAME = 64;
/** A certificate has to fit into PK-cert. */
const MAX_ADDRESSES = 128;

export interface MadeCertificate {
  readonly certificateFile: string;
  readonly certificatePem: string;
  readonly description: CertificateDescription;
}

/**
 * Makes an authority: `directory`/ca.pem and ca.key. Throws {@link KeysError}.
 * @param options.now start of validity, milliseconds since 1970; without it, now
 */
export function makeAuthority(options: {
  readonly directory: string;
  readonly name: string;
  readonly days?: number;
  readonly type?: KeyChoice;
  readonly now?: number;
  readonly force?: boolean;
}): MadeCertificate & { readonly keyFile: string } {
  const { directory, name, days = AUTHORITY_DAYS, type = "p256", now, force = false } = options;
  checkCommonName(name);
  const validity = validityOf(days, now);
  const keyFile = join(directory, AUTHORITY_KEY);
  const certificateFile = join(directory, AUTHORITY_CERTIFICATE);
  const key = generateKey(type);
  const der = buildAuthority(key, name, validity);
  const certificatePem = toPem("CERTIFICATE", der);
  makeDirectory(directory, 0o700);
  writeFiles(
    [
      { file: keyFile, content: keyToPem(key), private: true },
      { file: certificateFile, content: certificatePem, private: false },
    ],
    force,
  );
  return { certificateFile, certificatePem, keyFile, description: describeDer(der) };
}

/**
 * Makes a host's key and its request: `prefix`.key and `prefix`.csr. Throws {@link KeysError}.
 * @param options.addresses the host's own addresses, all for which it signs
 */
export function makeHostKey(options: {
  readonly prefix: string;
  readonly commonName: string;
  readonly addresses: readonly IpAddress[];
  readonly type?: KeyChoice;
  readonly force?: boolean;
}): { readonly keyFile: string; readonly requestFile: string } {
  const { prefix, commonName, addresses, type = "p256", force = false } = options;
  checkCommonName(commonName);
  checkAddresses(addresses);
  const keyFile = `${prefix}.key`;
  const requestFile = `${prefix}.csr`;
  const key = generateKey(type);
  const request = toPem("CERTIFICATE REQUEST", buildRequest(key, commonName, addresses));
  makeDirectory(dirname(prefix), 0o755);
  writeFiles(
    [
      { file: keyFile, content: keyToPem(key), private: true },
      { file: requestFile, content: request, private: false },
    ],
    force,
  );
  return { keyFile, requestFile };
}

/**
 * Issues a certificate for a request. Throws {@link KeysError}.
 * @param options.addresses in place of those that the request asks for
 * @param options.now start of validity, milliseconds since 1970; without it, now
 */
export function issueCertificate(options: {
  readonly authorityDirectory: string;
  readonly csrFile: string;
  readonly outFile: string;
  readonly days?: number;
  readonly now?: number;
  readonly addresses?: readonly IpAddress[];
  readonly force?: boolean;
}): MadeCertificate {
  const { authorityDirectory, csrFile, outFile, days = HOST_DAYS, now, force = false } = options;
  const authority = loadAuthority(authorityDirectory);
  const request = loadRequest(csrFile);
  const addresses = options.addresses ?? request.addresses;
  checkAddresses(addresses, csrFile);
  checkCommonName(request.commonName);
  const { commonName, publicKey } = request;
  const host = { commonName, publicKey, addresses, ...validityOf(days, now) };
  const der = buildHost(host, authority.der, authority.key);
  const certificatePem = toPem("CERTIFICATE", der);
  makeDirectory(dirname(outFile), 0o755);
  writeFiles([{ file: outFile, content: certificatePem, private: false }], force);
  return { certificateFile: outFile, certificatePem, description: describeDer(der) };
}

/** Describes the (first) certificate of a PEM text, or one of DER. Throws {@link KeysError}. */
export function describeCertificate(certificate: string | Uint8Array): CertificateDescription {
  const der = typeof certificate === "string" ? certificatesOf(certificate)[0] : certificate;
  if (der === undefined) throw new KeysError("there is no PEM certificate in the text");
  try {
    return describeDer(der);
  } catch (error) {
    throw new KeysError(`the certificate cannot be read: ${messageOf(error)}`);
  }
}

export interface RequestDescription {
  readonly commonName: string;
  readonly addresses: readonly IpAddress[];
  /** Such as "P-256". */
  readonly keyType: string;
}

/** What a PEM request asks for. Throws {@link KeysError}, also when it is not signed by its own key. */
export function describeRequest(pem: string): RequestDescription {
  const { commonName, addresses, publicKey } = parseRequest(pem, "the text");
  return { commonName, addresses, keyType: describeKey(publicKey) };
}

function loadAuthority(directory: string): { readonly der: Uint8Array; readonly key: KeyObject } {
  const certificateFile = join(directory, AUTHORITY_CERTIFICATE);
  const keyFile = join(directory, AUTHORITY_KEY);
  const [der] = certificatesOf(readText(certificateFile));
  if (der === undefined) throw new KeysError(`${certificateFile} holds no PEM certificate`);
  const key = parsePrivateKey(readPrivateText(keyFile), keyFile);
  if (!samePublicKey(key, parseX509(der, certificateFile).publicKey))
    throw new KeysError(`${keyFile} is not the key of ${certificateFile}`);
  if (!describeCertificate(der).authority)
    throw new KeysError(
      `${certificateFile} is not an authority's certificate; make one with: pbsctl keys ca`,
    );
  return { der, key };
}

function parseX509(der: Uint8Array, file: string): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (error) {
    throw new KeysError(`${file} cannot be read: ${messageOf(error)}`);
  }
}

function loadRequest(file: string): CertificateRequest {
  return parseRequest(readText(file), file);
}

function parseRequest(pem: string, name: string): CertificateRequest {
  const [der] = requestsOf(pem);
  if (der === undefined)
    throw new KeysError(`${name} holds no PEM certificate request; make one with: pbsctl keys host`);
  try {
    return readRequest(der);
  } catch (error) {
    throw new KeysError(`the request in ${name} cannot be used: ${messageOf(error)}`);
  }
}

function generateKey(type: KeyChoice): KeyObject {
  switch (type) {
    case "p256":
      return generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
    case "rsa2048":
      return generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
    case "ed25519":
      return generateKeyPairSync("ed25519").privateKey;
  }
}

function keyToPem(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}

function validityOf(days: number, now: number | undefined): Validity {
  const notBefore = now ?? Date.now() - CLOCK_SKEW;
  const notAfter = notBefore + days * DAY;
  if (!(days > 0) || !(notAfter < Date.UTC(9999, 0)))
    throw new KeysError(`a certificate cannot be valid for ${days} days`);
  return { notBefore, notAfter };
}

function checkCommonName(name: string): void {
  if (name === "" || name.length > MAX_COMMON_NAME || /\p{Cc}/u.test(name))
    throw new KeysError(
      `"${name}" cannot be a common name; it has 1 to ${MAX_COMMON_NAME} characters and no control characters`,
    );
}

function checkAddresses(addresses: readonly IpAddress[], requestFile?: string): void {
  if (addresses.length === 0)
    throw new KeysError(
      `${requestFile === undefined ? "the host" : requestFile} lists no address; give each address of the host with --address`,
    );
  if (addresses.length > MAX_ADDRESSES)
    throw new KeysError(`${addresses.length} addresses are too many for one certificate (${MAX_ADDRESSES})`);
}

function makeDirectory(directory: string, mode: number): void {
  try {
    mkdirSync(directory, { recursive: true, mode });
  } catch (error) {
    throw new KeysError(`${directory} cannot be made: ${messageOf(error)}`);
  }
}
