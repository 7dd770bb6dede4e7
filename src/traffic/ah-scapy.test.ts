import anyTest, { type TestFn } from "ava";
import { ALGORITHMS, type SymmetricAlgorithm } from "../base/algorithm.js";
import { compileTool, converse, folder, scapy } from "./testdata/ah-programs.js";

interface Context {
  readonly tool: string;
  readonly remove: () => void;
  /** Packets of both families with options and extension headers, as scapy writes them. */
  readonly corpus: readonly { readonly label: string; readonly packet: string }[];
}

const test = anyTest as TestFn<Context>;

interface Mac {
  readonly name: SymmetricAlgorithm;
  readonly theirs: string;
  readonly key: string;
}

const bytes = (length: number): string =>
  Buffer.from(Array.from({ length }, (_, i) => i * 5)).toString("hex");

const MACS: readonly Mac[] = [
  { name: "hmac-sha256-128", theirs: "SHA2-256-128", key: bytes(32) },
  { name: "hmac-sha384-192", theirs: "SHA2-384-192", key: bytes(48) },
  { name: "aes-cmac-96", theirs: "AES-CMAC-96", key: bytes(16) },
  { name: "hmac-sha1-96", theirs: "HMAC-SHA1-96", key: bytes(20) },
];

const SPI = 4096;
const SEQUENCE = 70_000;

test.before((t) => {
  const { path, remove } = folder();
  const corpus = scapy(["corpus"])
    .filter((line) => line !== "")
    .map((line) => {
      const [label = "", packet = ""] = line.split(" ");
      return { label, packet };
    });
  Object.assign(t.context, { tool: compileTool(path), remove, corpus });
});

test.after.always((t) => t.context.remove());

const numberOf = ({ name }: Mac): number => ALGORITHMS.indexOf(name);

/** A bit of the last byte, which is payload in every packet. */
function altered(packet: string): string {
  const copy = Buffer.from(packet, "hex");
  const last = copy.length - 1;
  copy.writeUInt8(copy.readUInt8(last) ^ 1, last);
  return copy.toString("hex");
}

for (const algorithm of MACS) {
  test(`${algorithm.name}: every packet of scapy's verifies, and comes out as it went in`, (t) => {
    const { corpus, tool } = t.context;
    const theirs = scapy(
      corpus.map(({ packet }) => `protect ${algorithm.theirs} ${algorithm.key} ${SPI} ${SEQUENCE} ${packet}`),
    );
    const ours = (packets: readonly string[]): readonly string[] =>
      converse(
        tool,
        [],
        packets.map((packet) => `verify ${numberOf(algorithm)} ${algorithm.key} ${packet}`),
      );
    t.deepEqual(
      ours(theirs),
      corpus.map(({ packet }) => `ok ${SPI} ${SEQUENCE} ${packet}`),
    );
    t.deepEqual(
      ours(theirs.map(altered)),
      corpus.map(() => "bad-icv"),
    );
  });

  test(`${algorithm.name}: scapy accepts every packet of ours`, (t) => {
    const { corpus, tool } = t.context;
    const ours = converse(
      tool,
      [],
      corpus.map(
        ({ packet }) => `insert ${numberOf(algorithm)} ${algorithm.key} ${SPI} ${SEQUENCE} ${packet}`,
      ),
    ).map((line) => line.replace(/^ok /, ""));
    const theirs = (packets: readonly string[]): readonly string[] =>
      scapy(packets.map((packet) => `verify ${algorithm.theirs} ${algorithm.key} ${packet}`));
    const accepted = theirs(ours);
    for (const [i, { label, packet }] of corpus.entries())
      // After a routing header the packet is that of the last hop.
      if (label === "ipv6-routing") t.is(accepted[i]?.length, packet.length, label);
      else t.is(accepted[i], packet, label);
    t.deepEqual(
      theirs(ours.map(altered)),
      corpus.map(() => "refused"),
    );
  });
}
