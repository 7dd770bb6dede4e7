/**
 * Many identities cheaply: a certificate for each address, over a small stock of keys, made in memory. A router checks
 * chain and signature of each certificate all the same; only making keys is spared.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildHost } from "../authorization/issue.js";
import type { KeyChoice } from "../authorization/keys.js";
import { certificatesOf, toPem } from "../authorization/pem.js";
import { Signer } from "../authorization/signing.js";
import { parsePrivateKey } from "../authorization/identity.js";
import type { IpAddress } from "../base/address.js";
import type { Credentials } from "../gist/transport/system.js";

const DAY_MS = 24 * 3600 * 1000;
const SKEW_MS = 5 * 60 * 1000;

export interface Authority {
  readonly der: Uint8Array;
  readonly pem: string;
  readonly key: KeyObject;
}

/** @param directory with ca.pem and ca.key, as pbsctl keys ca makes it */
export function readAuthority(directory: string): Authority {
  const file = join(directory, "ca.key");
  const pem = readFileSync(join(directory, "ca.pem"), "utf8");
  const [der] = certificatesOf(pem);
  if (der === undefined) throw new Error(`${directory}/ca.pem holds no certificate`);
  return { der, pem, key: parsePrivateKey(readFileSync(file, "utf8"), file) };
}

/** What outlives a power cut. Keys as PKCS#8 in PEM, certificates as DER in base64. */
interface Stored {
  readonly keys: readonly string[];
  readonly certificates: readonly string[];
}

/**
 * A signer for each host: those that the file holds from an earlier start, else new ones, which it holds then. Making a
 * certificate takes a millisecond or more.
 */
export function hostSigners(
  file: string,
  make: { readonly authority: Authority; readonly keys: KeyStock; readonly hosts: readonly IpAddress[] },
): readonly Signer[] {
  const { authority, keys, hosts } = make;
  if (existsSync(file)) {
    const stored = JSON.parse(readFileSync(file, "utf8")) as Stored;
    const stock = new KeyStock(stored.keys.map((pem) => createPrivateKey(pem)));
    return stored.certificates.map((der) => new Signer(stock.take(), Buffer.from(der, "base64")));
  }
  const signers = hosts.map((host) => issueSigner(authority, keys.take(), `load ${host}`, [host]));
  const stored: Stored = {
    keys: keys.pems(),
    certificates: signers.map(({ certificate }) => Buffer.from(certificate).toString("base64")),
  };
  writeFileSync(file, JSON.stringify(stored), { mode: 0o600 });
  return signers;
}

/** Keys of one kind, to be shared out in turn. */
export class KeyStock {
  readonly #keys: readonly KeyObject[];
  #next = 0;

  constructor(keys: readonly KeyObject[]) {
    this.#keys = keys;
  }

  static make(type: KeyChoice, count: number): KeyStock {
    return new KeyStock(Array.from({ length: count }, () => newKey(type)));
  }

  pems(): string[] {
    return this.#keys.map((key) => key.export({ type: "pkcs8", format: "pem" }).toString());
  }

  take(): KeyObject {
    const key = this.#keys[this.#next++ % this.#keys.length];
    if (key === undefined) throw new RangeError("a stock of keys needs one at least");
    return key;
  }
}

function newKey(type: KeyChoice): KeyObject {
  if (type === "p256") return generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
  if (type === "ed25519") return generateKeyPairSync("ed25519").privateKey;
  return generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
}

function issueSigner(
  authority: Authority,
  key: KeyObject,
  name: string,
  addresses: readonly IpAddress[],
): Signer {
  return new Signer(key, certify(authority, key, name, addresses));
}

/** A GIST node's own identity and what TLS needs of it. */
export function issueNode(
  authority: Authority,
  key: KeyObject,
  name: string,
  addresses: readonly IpAddress[],
): { readonly signer: Signer; readonly credentials: Credentials } {
  const der = certify(authority, key, name, addresses);
  return {
    signer: new Signer(key, der),
    credentials: {
      certificate: toPem("CERTIFICATE", der),
      key: key.export({ type: "pkcs8", format: "pem" }).toString(),
      authorities: [authority.pem],
    },
  };
}

function certify(
  authority: Authority,
  key: KeyObject,
  commonName: string,
  addresses: readonly IpAddress[],
): Uint8Array {
  const notBefore = Date.now() - SKEW_MS;
  const validity = { notBefore, notAfter: notBefore + DAY_MS };
  const publicKey = createPublicKey(key);
  return buildHost({ commonName, publicKey, addresses, ...validity }, authority.der, authority.key);
}
