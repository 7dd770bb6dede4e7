import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { ALGORITHMS, type Algorithm } from "../base/algorithm.js";
import { compileTool, converse, folder } from "./testdata/ah-programs.js";

const PACKETS = [
  "450000200007400040110000c0a81401c0a815040fa00050000c000061626364",
  "60000000000c1140fd000000000000000000000000000001fd0000000000000000000000000000020fa00050000c000061626364",
];
const SPI = 0x1020304;
const LINKTYPE_RAW = 101;
const FIELDS = ["ah.spi", "ah.sequence", "ah.next_header", "ah.length", "udp.dstport", "_ws.malformed"];

/** Payload Len over IPv4 and IPv6: words of the header without two. */
const LENGTHS: Readonly<Record<Algorithm, readonly [number, number]>> = {
  "hmac-sha256-128": [5, 6],
  "hmac-sha384-192": [7, 8],
  "aes-cmac-96": [4, 4],
  "hmac-sha1-96": [4, 4],
  "rsa-2048": [65, 66],
  "ecdsa-p256": [17, 18],
  ed25519: [17, 18],
  "tree-rsa-2048": [68, 68],
  "tree-ecdsa-p256": [20, 20],
  "tree-ed25519": [20, 20],
};

function privateKey(algorithm: Algorithm): Buffer {
  const kind = algorithm.replace("tree-", "");
  const { privateKey: key } =
    kind === "rsa-2048"
      ? generateKeyPairSync("rsa", { modulusLength: 2048 })
      : kind === "ed25519"
        ? generateKeyPairSync("ed25519")
        : generateKeyPairSync("ec", { namedCurve: "P-256" });
  return key.export({ format: "der", type: "pkcs8" });
}

function keyOf(algorithm: Algorithm): Buffer {
  switch (algorithm) {
    case "hmac-sha256-128":
      return Buffer.alloc(32, 1);
    case "hmac-sha384-192":
      return Buffer.alloc(48, 1);
    case "aes-cmac-96":
      return Buffer.alloc(16, 1);
    case "hmac-sha1-96":
      return Buffer.alloc(20, 1);
    default:
      return privateKey(algorithm);
  }
}

/** A capture file of IP packets. */
function capture(packets: readonly Buffer[]): Buffer {
  const words = (...values: readonly number[]): Buffer => {
    const out = Buffer.alloc(values.length * 4);
    values.forEach((value, i) => out.writeUInt32LE(value, i * 4));
    return out;
  };
  const records = packets.flatMap((packet) => [words(0, 0, packet.length, packet.length), packet]);
  return Buffer.concat([words(0xa1b2c3d4, 0x00040002, 0, 0, 65535, LINKTYPE_RAW), ...records]);
}

test("tshark reads our AH as it was meant, of every algorithm and family", (t) => {
  const { path, remove } = folder();
  t.teardown(remove);
  const commands = ALGORITHMS.flatMap((algorithm, number) => {
    const key = keyOf(algorithm).toString("hex");
    return PACKETS.map((packet, i) => `insert ${number} ${key} ${SPI} ${100 + i} ${packet}`);
  });
  const packets = converse(compileTool(path), [], commands).map((line) =>
    Buffer.from(line.replace("ok ", ""), "hex"),
  );
  const file = join(path, "ah.pcap");
  writeFileSync(file, capture(packets));
  const args = ["-r", file, "-T", "fields", "-E", "separator=,", ...FIELDS.flatMap((field) => ["-e", field])];
  const read = execFileSync("tshark", args, { stdio: ["ignore", "pipe", "ignore"] })
    .toString()
    .trimEnd()
    .split("\n");
  const expected = ALGORITHMS.flatMap((algorithm) =>
    LENGTHS[algorithm].map((length, i) => `0x01020304,${100 + i},17,${length},80,`),
  );
  t.deepEqual(read, expected);
});
