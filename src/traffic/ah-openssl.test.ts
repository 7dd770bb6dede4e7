import { createHash, createPublicKey, generateKeyPairSync, type KeyPairKeyObjectResult } from "node:crypto";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import anyTest, { type ExecutionContext, type TestFn } from "ava";
import {
  ALGORITHMS,
  type Algorithm,
  SIGNATURE_ALGORITHMS,
  type SignatureAlgorithm,
} from "../base/algorithm.js";
import { compileTool, converse, folder } from "./testdata/ah-programs.js";

interface Context {
  readonly tool: string;
  readonly path: string;
  readonly remove: () => void;
}

const test = anyTest as TestFn<Context>;

const PACKETS = {
  ipv4: "450000200007400040110000c0a81401c0a815040fa00050000c000061626364",
  ipv6: "60012345000c1140fd000000000000000000000000000001fd0000000000000000000000000000020fa00050000c000061626364",
} as const;
const SPI = 300;
const AH_FIXED = 12;

const KEYS: Readonly<Record<SignatureAlgorithm, KeyPairKeyObjectResult>> = {
  "rsa-2048": generateKeyPairSync("rsa", { modulusLength: 2048 }),
  "ecdsa-p256": generateKeyPairSync("ec", { namedCurve: "P-256" }),
  ed25519: generateKeyPairSync("ed25519"),
};

test.before((t) => {
  const { path, remove } = folder();
  Object.assign(t.context, { tool: compileTool(path), path, remove });
});

test.after.always((t) => t.context.remove());

const numberOf = (algorithm: Algorithm): number => ALGORITHMS.indexOf(algorithm);
const privateOf = (algorithm: SignatureAlgorithm): string =>
  KEYS[algorithm].privateKey.export({ format: "der", type: "pkcs8" }).toString("hex");
const publicOf = (algorithm: SignatureAlgorithm): string =>
  KEYS[algorithm].publicKey.export({ format: "der", type: "spki" }).toString("hex");

/** The words of the tool's answer to one command, after "ok". */
function ask(t: ExecutionContext<Context>, command: string): readonly string[] {
  const [line = ""] = converse(t.context.tool, [], [command]);
  const [first, ...words] = line.split(" ");
  t.is(first, "ok", line);
  return words;
}

/** An INTEGER of DER: no more zeros before than its sign needs. */
function derInteger(value: Buffer): Buffer {
  let start = 0;
  while (start < value.length - 1 && value[start] === 0) start++;
  const digits = value.subarray(start);
  const body = (digits[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits;
  return Buffer.concat([Buffer.of(2, body.length), body]);
}

/** As OpenSSL wants it: for ECDSA a SEQUENCE of two integers. */
function forOpenssl(algorithm: SignatureAlgorithm, icv: Buffer): Buffer {
  if (algorithm !== "ecdsa-p256") return icv;
  const pair = Buffer.concat([derInteger(icv.subarray(0, 32)), derInteger(icv.subarray(32))]);
  return Buffer.concat([Buffer.of(0x30, pair.length), pair]);
}

/** The two integers of a DER signature, 32 bytes each. */
function fromOpenssl(algorithm: SignatureAlgorithm, signature: Buffer): Buffer {
  if (algorithm !== "ecdsa-p256") return signature;
  const length = signature.readUInt8(3);
  const first = signature.subarray(4, 4 + length);
  const second = signature.subarray(4 + length + 2);
  const fixed = (value: Buffer): Buffer => Buffer.concat([Buffer.alloc(32), value]).subarray(-32);
  return Buffer.concat([fixed(first), fixed(second)]);
}

interface Files {
  readonly message: string;
  readonly signature: string;
  readonly publicKey: string;
  readonly privateKey: string;
}

let files = 0;

function filesFor(t: ExecutionContext<Context>, algorithm: SignatureAlgorithm): Files {
  const base = join(t.context.path, `${files++}`);
  const { publicKey, privateKey } = KEYS[algorithm];
  writeFileSync(`${base}.pub`, publicKey.export({ format: "pem", type: "spki" }));
  writeFileSync(`${base}.key`, privateKey.export({ format: "pem", type: "pkcs8" }));
  return {
    message: `${base}.bin`,
    signature: `${base}.sig`,
    publicKey: `${base}.pub`,
    privateKey: `${base}.key`,
  };
}

function opensslVerifies(
  t: ExecutionContext<Context>,
  algorithm: SignatureAlgorithm,
  message: Buffer,
  icv: Buffer,
): void {
  const f = filesFor(t, algorithm);
  writeFileSync(f.message, message);
  writeFileSync(f.signature, forOpenssl(algorithm, icv));
  const args =
    algorithm === "ed25519"
      ? [
          "pkeyutl",
          "-verify",
          "-pubin",
          "-inkey",
          f.publicKey,
          "-rawin",
          "-in",
          f.message,
          "-sigfile",
          f.signature,
        ]
      : ["dgst", "-sha256", "-verify", f.publicKey, "-signature", f.signature, f.message];
  t.regex(execFileSync("openssl", args).toString(), /Verified (OK|Successfully)/);
}

function opensslSigns(t: ExecutionContext<Context>, algorithm: SignatureAlgorithm, message: Buffer): Buffer {
  const f = filesFor(t, algorithm);
  writeFileSync(f.message, message);
  const args =
    algorithm === "ed25519"
      ? ["pkeyutl", "-sign", "-inkey", f.privateKey, "-rawin", "-in", f.message, "-out", f.signature]
      : ["dgst", "-sha256", "-sign", f.privateKey, "-out", f.signature, f.message];
  execFileSync("openssl", args);
  return fromOpenssl(algorithm, readFileSync(f.signature));
}

for (const algorithm of SIGNATURE_ALGORITHMS)
  for (const [family, plain] of Object.entries(PACKETS)) {
    test(`${algorithm}, ${family}: openssl verifies our ICV, and we verify one that it made`, (t) => {
      const number = numberOf(algorithm);
      const [packet = ""] = ask(t, `insert ${number} ${privateOf(algorithm)} ${SPI} 1 ${plain}`);
      const [covered = "", icv = ""] = ask(t, `covered ${number} ${packet}`);
      opensslVerifies(t, algorithm, Buffer.from(covered, "hex"), Buffer.from(icv, "hex"));
      const theirs = packet.replace(
        icv,
        opensslSigns(t, algorithm, Buffer.from(covered, "hex")).toString("hex"),
      );
      const [spi, sequence, stripped] = ask(t, `verify ${number} ${publicOf(algorithm)} ${theirs}`);
      t.deepEqual([spi, sequence], [`${SPI}`, "1"]);
      t.is(stripped?.slice(40), plain.slice(40));
    });
  }

/** What a packet says about its batch, by the layout that native/tree.h gives. */
function readField(packet: Buffer, headers: number, signatureLength: number) {
  const length = (packet.readUInt8(headers + 1) + 2) * 4;
  const field = packet.subarray(headers + AH_FIXED, headers + length);
  return {
    count: field.readUInt8(0),
    index: field.readUInt8(1),
    batch: field.subarray(4, 12),
    signature: field.subarray(12, 12 + signatureLength),
    path: field.subarray(12 + signatureLength),
  };
}

/** IPv4 without options: what AH covers of it, with the whole ICV zero. */
function coveredOf(packet: Buffer): Buffer {
  const copy = Buffer.from(packet);
  copy.fill(0, 1, 2).fill(0, 6, 9).fill(0, 10, 12);
  return copy.fill(0, 20 + AH_FIXED, 20 + (copy.readUInt8(21) + 2) * 4);
}

const node = (parts: readonly Buffer[]): Buffer =>
  createHash("sha256").update(Buffer.concat(parts)).digest().subarray(0, 16);

/** What is signed, computed from one packet alone. */
function signedMessage(packet: Buffer, signatureLength: number): { message: Buffer; signature: Buffer } {
  const { count, index, batch, signature, path } = readField(packet, 20, signatureLength);
  const spi = packet.subarray(24, 28);
  const bound = [spi, batch, Buffer.of(count)];
  let value = node([Buffer.of(0), ...bound, Buffer.of(index), coveredOf(packet)]);
  for (let level = 1; level <= path.length / 16; level++) {
    const beside = path.subarray((level - 1) * 16, level * 16);
    const children = (index >> (level - 1)) & 1 ? [beside, value] : [value, beside];
    value = node([Buffer.of(1), ...bound, Buffer.of(level, index >> level), ...children]);
  }
  return { message: Buffer.concat([Buffer.from("PBS AH hash tree"), ...bound, value]), signature };
}

for (const algorithm of SIGNATURE_ALGORITHMS)
  test(`tree-${algorithm}: openssl verifies the root to which each packet leads`, (t) => {
    const number = numberOf(`tree-${algorithm}`);
    const packets = Array.from({ length: 5 }, () => PACKETS.ipv4).join(" ");
    const batch = ask(t, `batch ${number} ${privateOf(algorithm)} ${SPI} 10 ${packets}`);
    t.is(batch.length, 5);
    const messages = batch.map((packet) =>
      signedMessage(Buffer.from(packet, "hex"), algorithm === "rsa-2048" ? 256 : 64),
    );
    for (const { message } of messages) t.deepEqual(message, messages[0]?.message);
    const [{ message, signature } = { message: Buffer.of(), signature: Buffer.of() }] = messages;
    opensslVerifies(t, algorithm, message, signature);
  });

test("a key of another kind is refused", (t) => {
  const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey;
  const key = p384.export({ format: "der", type: "pkcs8" }).toString("hex");
  t.is(createPublicKey(p384).asymmetricKeyDetails?.namedCurve, "secp384r1");
  t.deepEqual(
    converse(t.context.tool, [], [`insert ${numberOf("ecdsa-p256")} ${key} ${SPI} 1 ${PACKETS.ipv4}`]),
    ["failed"],
  );
});
