/** A node's own identity: certificate, private key and the authorities it believes, from files. */
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { type CertificateDescription, describeDer, MAX_CERTIFICATE, readCertificate } from "./certificate.js";
import { KeysError, messageOf, readPrivateText, readText, writeFiles } from "./files.js";
import { describeKey, keyTypeOf, samePublicKey } from "./key.js";
import { certificatesOf, toPem } from "./pem.js";
import { Trust } from "./trust.js";

export interface Identity {
  readonly certificatePem: string;
  readonly keyPem: string;
  readonly certificateDer: Uint8Array;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly authoritiesPem: readonly string[];
}

interface IdentityFiles {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly authorityFiles: readonly string[];
}

/**
 * Loads and checks a node's identity. The times of the certificate are left to those who see it, as it may be renewed.
 * Throws {@link KeysError} with the file and the remedy.
 */
export function loadIdentity(files: IdentityFiles): Identity {
  return assemble(files, readPrivateText(files.keyFile));
}

export interface ImportedIdentity {
  readonly certificateFile: string;
  readonly certificatePem: string;
  readonly keyFile: string;
  readonly description: CertificateDescription;
}

/**
 * Takes over a certificate issued elsewhere and its key: checks them as {@link loadIdentity} does, but for the mode of the
 * key file, and writes `prefix`.pem and `prefix`.key (PKCS#8, for its owner only). Throws {@link KeysError}.
 */
export function importCertificate(
  options: IdentityFiles & { readonly prefix: string; readonly force?: boolean },
): ImportedIdentity {
  const { prefix, force = false } = options;
  const { certificateDer, privateKey } = assemble(options, readText(options.keyFile));
  const certificatePem = toPem("CERTIFICATE", certificateDer);
  const keyPem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const certificateFile = `${prefix}.pem`;
  const keyFile = `${prefix}.key`;
  writeFiles(
    [
      { file: keyFile, content: keyPem, private: true },
      { file: certificateFile, content: certificatePem, private: false },
    ],
    force,
  );
  return { certificateFile, certificatePem, keyFile, description: describeDer(certificateDer) };
}

function assemble({ certificateFile, keyFile, authorityFiles }: IdentityFiles, keyPem: string): Identity {
  const certificateDer = readOwnCertificate(certificateFile);
  const privateKey = parsePrivateKey(keyPem, keyFile);
  checkPair(privateKey, certificateDer, keyFile, certificateFile);
  const authoritiesPem = authorityFiles.map(readAuthorityFile);
  checkTrust(certificateDer, certificateFile, authoritiesPem);
  const certificatePem = toPem("CERTIFICATE", certificateDer);
  const publicKey = createPublicKey(privateKey);
  return { certificatePem, keyPem, certificateDer, privateKey, publicKey, authoritiesPem };
}

function readOwnCertificate(file: string): Uint8Array {
  const [der] = certificatesOf(readText(file));
  if (der === undefined)
    throw new KeysError(`${file} holds no PEM certificate; have one issued with: pbsctl keys issue`);
  if (der.length > MAX_CERTIFICATE)
    throw new KeysError(
      `the certificate in ${file} has ${der.length} bytes, more than the ${MAX_CERTIFICATE} that fit into a message; have one issued with fewer names`,
    );
  return der;
}

/** Parses an unencrypted PEM private key. Throws {@link KeysError} naming the file. */
export function parsePrivateKey(pem: string, file: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw new KeysError(
      `${file} holds no unencrypted PEM private key; remove a pass phrase with: openssl pkey -in ${file}`,
    );
  }
}

function checkPair(key: KeyObject, der: Uint8Array, keyFile: string, certificateFile: string): void {
  if (keyTypeOf(key) === undefined)
    throw new KeysError(
      `${keyFile} is a key of type ${describeKey(key)}; accepted are P-256, Ed25519 and RSA of 2048 to 4096 bits`,
    );
  if (
    !samePublicKey(
      key,
      readOr(certificateFile, () => readCertificate(der).publicKey),
    )
  )
    throw new KeysError(
      `${keyFile} is not the key of ${certificateFile}; give the key that its request was made with`,
    );
}

function readAuthorityFile(file: string): string {
  const pem = readText(file);
  readOr(file, () => new Trust([pem]));
  return pem;
}

/** Everybody else would refuse what this node's own trust set refuses, so it is said at the start. */
function checkTrust(der: Uint8Array, file: string, authorities: readonly string[]): void {
  const { addresses, notBefore } = readOr(file, () => describeDer(der));
  const [address] = addresses;
  if (address === undefined)
    throw new KeysError(
      `${file} lists no IP address, so this node could sign for none; issue it again with --address`,
    );
  const result = new Trust(authorities).check(der, address, notBefore.getTime());
  if (result.type === "trusted" || isTimely(result.reason)) return;
  throw new KeysError(
    `${file} is not accepted: ${result.detail}; add its authority to [identity] authorities or have it issued anew`,
  );
}

function isTimely(reason: string): boolean {
  return reason === "expired" || reason === "not-yet-valid";
}

function readOr<Result>(file: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    throw new KeysError(`${file}: ${messageOf(error)}`);
  }
}
