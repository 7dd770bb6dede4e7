/** Certificates for tests: one authority and what it signs. */
import { generateKeyPairSync } from "node:crypto";
import forge from "node-forge";

export interface Authority {
  readonly pem: string;
  readonly key: forge.pki.rsa.PrivateKey;
  readonly name: forge.pki.CertificateField[];
}

interface KeyPair {
  readonly publicKey: forge.pki.PublicKey;
  readonly privateKey: forge.pki.rsa.PrivateKey;
  readonly pem: string;
}

const DAY = 24 * 3600 * 1000;

/** Made by OpenSSL: node-forge takes seconds for an RSA key. */
function keyPair(): KeyPair {
  const pem = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  return {
    publicKey: forge.pki.publicKeyFromPem(pem.publicKey),
    privateKey: forge.pki.privateKeyFromPem(pem.privateKey),
    pem: pem.privateKey,
  };
}

function certificate(
  subject: forge.pki.CertificateField[],
  issuer: forge.pki.CertificateField[],
  key: forge.pki.PublicKey,
  signer: forge.pki.rsa.PrivateKey,
  validUntil: Date,
  dnsNames: readonly string[] = [],
): string {
  const made = forge.pki.createCertificate();
  made.publicKey = key;
  made.serialNumber = `01${forge.util.bytesToHex(forge.random.getBytesSync(8))}`;
  made.validity.notBefore = new Date(validUntil.getTime() - 10 * DAY);
  made.validity.notAfter = validUntil;
  made.setSubject(subject);
  made.setIssuer(issuer);
  // 2: dNSName
  const altNames = dnsNames.map((value) => ({ type: 2, value }));
  made.setExtensions([
    { name: "basicConstraints", cA: subject === issuer },
    ...(altNames.length > 0 ? [{ name: "subjectAltName", altNames }] : []),
  ]);
  made.sign(signer, forge.md.sha256.create());
  return forge.pki.certificateToPem(made);
}

export function makeAuthority(name: string): Authority {
  const pair = keyPair();
  const subject = [{ name: "commonName", value: name }];
  const pem = certificate(subject, subject, pair.publicKey, pair.privateKey, new Date(Date.now() + DAY));
  return { pem, key: pair.privateKey, name: subject };
}

/** @param validFor milliseconds from now; negative: expired */
export function issue(
  authority: Authority,
  name: string,
  validFor = DAY,
  dnsNames: readonly string[] = [],
): { certificate: string; key: string } {
  const pair = keyPair();
  const subject = [{ name: "commonName", value: name }];
  const until = new Date(Date.now() + validFor);
  return {
    certificate: certificate(subject, authority.name, pair.publicKey, authority.key, until, dnsNames),
    key: pair.pem,
  };
}
