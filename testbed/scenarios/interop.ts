/** Scenario 12: AH between our packet engine and scapy, over real wires, and read by tshark. */
import { randomBytes } from "node:crypto";
import type { Algorithm } from "../../src/base/algorithm.js";
import { LineProgram } from "../bench/lines.js";
import type { Capture } from "../lib/capture.js";
import { mustRun } from "../lib/programs.js";
import type { Report, Step } from "../lib/report.js";
import { pythonHelper } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { THREE_NODE, udpListener } from "./common.js";
import type { Scenario } from "./scenario.js";

const PORT = 9000;
/** IPv4 options, or IPv6 extension headers, that the program sends with each algorithm. */
const KINDS = 4;
const LIMIT_MS = 15_000;

interface Mac {
  readonly ours: Algorithm;
  readonly theirs: string;
  readonly keyBytes: number;
}

const MACS: readonly Mac[] = [
  { ours: "hmac-sha256-128", theirs: "SHA2-256-128", keyBytes: 32 },
  { ours: "hmac-sha384-192", theirs: "SHA2-384-192", keyBytes: 48 },
  { ours: "aes-cmac-96", theirs: "AES-CMAC-96", keyBytes: 16 },
  { ours: "hmac-sha1-96", theirs: "HMAC-SHA1-96", keyBytes: 20 },
];

/** One flow for each algorithm, by source port. */
interface Flow {
  readonly port: number;
  readonly spi: number;
  readonly key: Buffer;
  readonly algorithm: Mac;
}

export const interop: Scenario = {
  name: "interop",
  summary: "scapy accepts every packet of ours, we accept every packet of its, and tshark reads them all",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  for (const family of [4, 6] as const) {
    const wire = await testbed.captureBothWays("router");
    await report.step(`IPv${family}: scapy sends, our engine checks and takes AH out`, (step) =>
      theirsToOurs(step, testbed, family),
    );
    await report.step(`IPv${family}: our engine puts AH in, scapy accepts`, (step) =>
      oursToTheirs(step, testbed, family),
    );
    await report.step(`IPv${family}: tshark reads all of it without complaint`, (step) => read(step, wire));
  }
}

function makeFlows(): Flow[] {
  return MACS.map((algorithm, i) => ({
    port: 4000 + i,
    spi: 1000 + i,
    key: randomBytes(algorithm.keyBytes),
    algorithm,
  }));
}

async function theirsToOurs(step: Step, testbed: Testbed, family: 4 | 6): Promise<void> {
  const flows = makeFlows();
  const [from, to] = [testbed.address("sender1", family), testbed.address("receiver1", family)];
  await withEngine(testbed, "receiver1", flows, "strip", from, to, async () => {
    const listener = testbed.spawn("receiver1", udpListener(PORT));
    await listener.says("listening");
    await testbed.mustRun("sender1", pythonHelper("programs/ah.py", "send", plan(flows, from, to)));
    const count = (kind: number) => listener.stdout.split("\n").filter((line) => line === `${kind}`).length;
    const kinds = Array.from({ length: KINDS }, (_, kind) => kind);
    await until("all datagrams", 3000, () => kinds.every((kind) => count(kind) >= flows.length)).catch(
      () => undefined,
    );
    for (const kind of kinds)
      step.expect(
        `kind ${kind}`,
        step.measure(`datagrams with headers ${kind}`, count(kind)) === flows.length,
      );
    await listener.stop();
  });
}

async function oursToTheirs(step: Step, testbed: Testbed, family: 4 | 6): Promise<void> {
  const flows = makeFlows();
  const [from, to] = [testbed.address("sender2", family), testbed.address("receiver2", family)];
  await withEngine(testbed, "sender2", flows, "insert", from, to, async () => {
    const text = plan(flows, from, to);
    const receiver = testbed.spawn("receiver2", pythonHelper("programs/ah.py", "receive", text));
    await receiver.says("ready");
    await testbed.mustRun("sender2", pythonHelper("programs/ah.py", "plain", text));
    await until("scapy's verdicts", LIMIT_MS, () => !receiver.running).catch(() => undefined);
    const lines = receiver.stdout.split("\n").slice(1, -1);
    await receiver.stop();
    if (receiver.stderr !== "") step.measure("scapy says", receiver.stderr.trim());
    for (const { port, algorithm } of flows) {
      const accepted = lines.filter((line) => line.startsWith(`${port} `)).sort();
      step.measure(`${algorithm.ours}`, accepted.map((line) => line.split(" ")[1]).join(" "));
      const wanted = Array.from({ length: KINDS }, (_, kind) => `${port} ${kind}`);
      step.expect(`${algorithm.ours}: all accepted`, accepted.join() === wanted.join());
    }
  });
}

async function read(step: Step, wire: Capture): Promise<void> {
  await wire.quiet();
  await wire.stop();
  const tshark = async (filter: string): Promise<number> => {
    const lines = await mustRun([
      "tshark",
      "-r",
      wire.file,
      "-Y",
      filter,
      "-T",
      "fields",
      "-e",
      "frame.number",
    ]);
    return lines.split("\n").filter(Boolean).length;
  };
  const all = step.measure("packets with AH", await tshark("ah && udp"));
  step.expect("both ways", all >= 2 * MACS.length * KINDS);
  const bad = step.measure(
    "malformed or in error",
    await tshark("ah && (_ws.malformed || _ws.expert.severity == error)"),
  );
  step.expect("none is wrong", bad === 0);
}

async function withEngine(
  testbed: Testbed,
  node: string,
  flows: readonly Flow[],
  action: "insert" | "strip",
  from: string,
  to: string,
  use: () => Promise<void>,
): Promise<void> {
  const engine = await LineProgram.start(testbed.namespace(node), "engine", {});
  try {
    for (const { port, spi, key, algorithm } of flows) {
      const flow = `udp ${endpoint(from, port)} > ${endpoint(to, PORT)}`;
      const protect = { flow, action, algorithm: algorithm.ours, spi, key: key.toString("base64") };
      await engine.ask(`protect ${JSON.stringify(protect)}`, LIMIT_MS);
    }
    await use();
  } finally {
    await engine.stop();
  }
}

function endpoint(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

function plan(flows: readonly Flow[], source: string, destination: string): string {
  const described = flows.map(({ port, spi, key, algorithm }) => ({
    port,
    spi,
    key: key.toString("hex"),
    algorithm: algorithm.theirs,
  }));
  return JSON.stringify({ source, destination, port: PORT, flows: described });
}
