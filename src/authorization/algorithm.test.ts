import { generateKeyPairSync } from "node:crypto";
import test from "ava";
import { type Algorithm, ALGORITHMS } from "../base/algorithm.js";
import {
  ACCEPTED_BY_DEFAULT,
  type AuthenticationRule,
  candidates,
  fitsKey,
  isSymmetric,
  keyLength,
  levelOf,
  signatureAlgorithmOf,
} from "./algorithm.js";

const all = (): boolean => true;

test("a certificate's key signs packets with its own algorithm", (t) => {
  const rsa = (modulusLength: number) => generateKeyPairSync("rsa", { modulusLength }).publicKey;
  const ec = (namedCurve: string) => generateKeyPairSync("ec", { namedCurve }).publicKey;
  t.is(signatureAlgorithmOf(rsa(2048)), "rsa-2048");
  t.is(signatureAlgorithmOf(rsa(3072)), undefined);
  t.is(signatureAlgorithmOf(rsa(1024)), undefined);
  t.is(signatureAlgorithmOf(ec("prime256v1")), "ecdsa-p256");
  t.is(signatureAlgorithmOf(ec("secp384r1")), undefined);
  t.is(signatureAlgorithmOf(generateKeyPairSync("ed25519").publicKey), "ed25519");
});

test("shared keys fit every sender, signatures their own kind of key", (t) => {
  for (const algorithm of ALGORITHMS.filter(isSymmetric)) {
    t.true(fitsKey(algorithm, undefined));
    t.is(levelOf(algorithm), "hmac");
    t.true(keyLength(algorithm) >= 16);
  }
  const fitting = ALGORITHMS.filter((algorithm) => !isSymmetric(algorithm) && fitsKey(algorithm, "ed25519"));
  t.deepEqual(fitting, ["ed25519", "tree-ed25519"]);
  t.deepEqual(
    ALGORITHMS.filter((algorithm) => !isSymmetric(algorithm) && fitsKey(algorithm, undefined)),
    [],
  );
});

test("SHA-1 is nowhere without being named", (t) => {
  t.false(ACCEPTED_BY_DEFAULT.includes("hmac-sha1-96"));
  t.is(ACCEPTED_BY_DEFAULT.length, ALGORITHMS.length - 1);
  t.false(candidates({ level: "hmac" }, undefined, all).includes("hmac-sha1-96"));
});

const CASES: readonly (readonly [string, AuthenticationRule, readonly Algorithm[]])[] = [
  ["nothing asked for", { level: "none", algorithms: ["aes-cmac-96"] }, []],
  ["default of hmac", { level: "hmac" }, ["hmac-sha256-128"]],
  ["default of public-key", { level: "public-key" }, ["tree-ecdsa-p256", "ecdsa-p256"]],
  [
    "a list in its order",
    { level: "hmac", algorithms: ["hmac-sha1-96", "aes-cmac-96"] },
    ["hmac-sha1-96", "aes-cmac-96"],
  ],
  [
    "only what is of the level",
    { level: "public-key", algorithms: ["aes-cmac-96", "ecdsa-p256"] },
    ["ecdsa-p256"],
  ],
  [
    "defaults where the list has none of the level",
    { level: "public-key", algorithms: ["aes-cmac-96"] },
    ["tree-ecdsa-p256", "ecdsa-p256"],
  ],
  ["no signatures of other keys", { level: "public-key", algorithms: ["ed25519", "tree-rsa-2048"] }, []],
];

for (const [name, rule, expected] of CASES)
  test(`candidates: ${name}`, (t) => {
    t.deepEqual(candidates(rule, "ecdsa-p256", all), expected);
    t.deepEqual(
      candidates(rule, "ecdsa-p256", () => false),
      [],
    );
  });

test("candidates: a key that signs no packets leaves no signature", (t) => {
  t.deepEqual(candidates({ level: "public-key" }, undefined, all), []);
});
