/**
 * Many identities cheaply: a certificate for each address, over a small stock of keys, made in memory. A router checks
 * chain and signature of each certificate all the same; only making keys is spared.
 */
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
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

/** Keys of one kind, to be shared out. */
export class KeyStock {
  readonly #keys: readonly KeyObject[];
  #next = 0;

  constructor(type: KeyChoice, count: number) {
    this.#keys = Array.from({ length: count }, () => newKey(type));
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

export function issueSigner(
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
