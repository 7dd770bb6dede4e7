import { execFileSync } from "node:child_process";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { IpAddress } from "../base/address.js";
import { readCertificate } from "./certificate.js";
import { buildAuthority, buildHost } from "./issue.js";
import { type KeyType, keyIdentity, keyTypeOf, spkiOf } from "./key.js";
import { BusyError, Signer, SigningError, VERIFICATIONS_IN_FLIGHT, verifySignature } from "./signing.js";

const keys: Record<KeyType, KeyObject> = {
  p256: generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey,
  rsa: generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
  ed25519: generateKeyPairSync("ed25519").privateKey,
};
const authorityKey = keys.p256;
const validity = { notBefore: Date.UTC(2026, 0), notAfter: Date.UTC(2027, 0) };
const authority = buildAuthority(authorityKey, "Test CA", validity);
const input = new TextEncoder().encode("what is signed");

function certify(key: KeyObject): Uint8Array {
  const { publicKey } = readCertificate(buildAuthority(key, "key holder", validity));
  const addresses = [IpAddress.parse("192.168.20.1")];
  return buildHost({ commonName: "host", publicKey, addresses, ...validity }, authority, authorityKey);
}

function verifier(key: KeyObject) {
  const { publicKey } = readCertificate(certify(key));
  const keyType = keyTypeOf(publicKey);
  if (keyType === undefined) throw new Error("unsupported key");
  return { publicKey, keyType };
}

for (const [name, key] of Object.entries(keys)) {
  test(`${name}: what is signed verifies, and nothing else does`, async (t) => {
    const signer = new Signer(key, certify(key));
    const certificate = verifier(key);
    t.is(signer.keyType, certificate.keyType);
    t.is(Buffer.compare(signer.identity, keyIdentity(spkiOf(certificate.publicKey))), 0);
    const signature = await signer.sign(input);
    t.is(signature.length, name === "rsa" ? 256 : 64);
    t.true(await verifySignature(certificate, input, signature));
    t.true(await verifySignature(certificate, input, signer.signSync(input)));
    t.false(await verifySignature(certificate, Uint8Array.of(...input, 0), signature));
    for (const at of [0, 31, 32, 63]) {
      const altered = Uint8Array.from(signature);
      altered[at] = (altered[at] ?? 0) ^ 1;
      t.false(await verifySignature(certificate, input, altered));
    }
    for (const odd of [new Uint8Array(), signature.subarray(1), new Uint8Array(64), new Uint8Array(512)])
      t.false(await verifySignature(certificate, input, odd));
  });
}

test("a signature of another key does not verify", async (t) => {
  const other = generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
  const signature = new Signer(other, certify(other)).signSync(input);
  t.false(await verifySignature(verifier(keys.p256), input, signature));
});

test("a signer needs the key of its certificate, of an accepted type", (t) => {
  t.throws(() => new Signer(keys.ed25519, certify(keys.p256)), { instanceOf: SigningError });
});

test.serial("too many verifications at once are turned away, and room comes back", async (t) => {
  const certificate = verifier(keys.p256);
  const signature = new Signer(keys.p256, certify(keys.p256)).signSync(input);
  const running = Array.from({ length: VERIFICATIONS_IN_FLIGHT }, () =>
    verifySignature(certificate, input, signature),
  );
  await t.throwsAsync(verifySignature(certificate, input, signature), { instanceOf: BusyError });
  t.true((await Promise.all(running)).every(Boolean));
  t.true(await verifySignature(certificate, input, signature));
});

test("openssl verifies an RSA signature of ours", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "pbs-signing-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(directory, name), content);
    return join(directory, name);
  };
  const { publicKey } = verifier(keys.rsa);
  const key = file("key.pem", publicKey.export({ type: "spki", format: "pem" }));
  const signature = file("signature", new Signer(keys.rsa, certify(keys.rsa)).signSync(input));
  const arguments_ = ["dgst", "-sha256", "-verify", key, "-signature", signature, file("input", input)];
  t.regex(execFileSync("openssl", arguments_).toString(), /Verified OK/);
});
