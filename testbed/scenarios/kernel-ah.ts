/** AH between our packet engine and the kernel's own (`ip xfrm`), both ways. */
import { randomBytes } from "node:crypto";
import type { Algorithm } from "../../src/base/algorithm.js";
import { LineProgram } from "../bench/lines.js";
import type { Program } from "../lib/programs.js";
import type { Report, Step } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { numbersOf, THREE_NODE, udpListener, udpSender } from "./common.js";
import type { Scenario } from "./scenario.js";

const PORT = 9000;
const COUNT = 20;
const LIMIT_MS = 60_000;

interface Mac {
  readonly ours: Algorithm;
  /** The kernel's name, and the bits of the tag. */
  readonly theirs: string;
  readonly bits: number;
  readonly keyBytes: number;
}

const MACS: readonly Mac[] = [
  { ours: "hmac-sha256-128", theirs: "hmac(sha256)", bits: 128, keyBytes: 32 },
  { ours: "hmac-sha384-192", theirs: "hmac(sha384)", bits: 192, keyBytes: 48 },
  { ours: "aes-cmac-96", theirs: "cmac(aes)", bits: 96, keyBytes: 16 },
  { ours: "hmac-sha1-96", theirs: "hmac(sha1)", bits: 96, keyBytes: 20 },
];

interface Flow {
  readonly mac: Mac;
  readonly number: number;
  readonly from: string;
  readonly to: string;
  readonly key: Buffer;
}

export const kernelAh: Scenario = {
  name: "kernel-ah",
  summary:
    "the kernel accepts every packet of ours, we accept every packet of its, and neither accepts another key",
  stockKernel: true,
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  for (const family of [4, 6] as const) {
    await report.step(`IPv${family}: the kernel puts AH in, our engine checks it and takes it out`, (step) =>
      exchange(step, testbed, family, "theirs to ours"),
    );
    await report.step(`IPv${family}: our engine puts AH in, the kernel checks it and takes it out`, (step) =>
      exchange(step, testbed, family, "ours to theirs"),
    );
  }
}

async function exchange(
  step: Step,
  testbed: Testbed,
  family: 4 | 6,
  way: "theirs to ours" | "ours to theirs",
): Promise<void> {
  const theirs = way === "theirs to ours";
  const [sender, receiver] = theirs ? ["sender1", "receiver1"] : ["sender2", "receiver2"];
  const [kernel, ours] = theirs ? [sender, receiver] : [receiver, sender];
  const [from, to] = [testbed.address(sender, family), testbed.address(receiver, family)];
  const flows = MACS.map((mac, number): Flow => {
    return { mac, number, from, to, key: randomBytes(mac.keyBytes) };
  });
  const [first] = flows;
  if (first === undefined) throw new Error("no algorithm");
  // The last one has another key at each end.
  const wrong: Flow = { ...first, number: flows.length };
  const all = [...flows, wrong];
  for (const flow of all) await teachKernel(testbed, kernel, flow, theirs ? "out" : "in");
  const engine = await LineProgram.start(testbed.namespace(ours), "engine", {});
  try {
    for (const flow of flows) await teachEngine(engine, flow, theirs ? "strip" : "insert");
    await teachEngine(engine, { ...wrong, key: randomBytes(wrong.key.length) }, theirs ? "strip" : "insert");
    for (const flow of flows)
      step.expect(
        flow.mac.ours,
        (await send(step, testbed, sender, receiver, flow, flow.mac.ours)) === COUNT,
      );
    const forged = await send(step, testbed, sender, receiver, wrong, "another key");
    step.expect("another key is refused", forged === 0);
  } finally {
    await engine.stop();
  }
}

/** How many datagrams of a flow came to its listener. */
async function send(
  step: Step,
  testbed: Testbed,
  sender: string,
  receiver: string,
  flow: Flow,
  name: string,
): Promise<number> {
  const listener = testbed.spawn(receiver, udpListener(PORT + flow.number));
  await listener.says("listening", LIMIT_MS);
  const stream = {
    from: 4000 + flow.number,
    to: flow.to,
    port: PORT + flow.number,
    count: COUNT,
    size: 700,
    rate: 50,
  };
  await testbed.mustRun(sender, udpSender(stream));
  await until("all datagrams", 3000, () => came(listener) >= COUNT).catch(() => undefined);
  const count = step.measure(name, came(listener));
  await listener.stop();
  return count;
}

function came(listener: Program): number {
  return numbersOf(listener).length;
}

async function teachEngine(engine: LineProgram, flow: Flow, action: "insert" | "strip"): Promise<void> {
  const { from, to, number, mac, key } = flow;
  const words = `udp ${endpoint(from, 4000 + number)} > ${endpoint(to, PORT + number)}`;
  const order = { flow: words, action, algorithm: mac.ours, spi: spi(flow), key: key.toString("base64") };
  await engine.ask(`protect ${JSON.stringify(order)}`, LIMIT_MS);
}

/** One security association, and the policy that the flow has to use it. */
async function teachKernel(
  testbed: Testbed,
  node: string,
  flow: Flow,
  direction: "in" | "out",
): Promise<void> {
  const { from, to, number, mac, key } = flow;
  const ends = ["src", from, "dst", to];
  const id = ["proto", "ah", "spi", String(spi(flow)), "reqid", String(spi(flow)), "mode", "transport"];
  // By itself the kernel takes only headers of a multiple of 8 bytes over IPv4 too; RFC 4302 section 2.2 says 4 there.
  const align = direction === "in" && !from.includes(":") ? ["flag", "align4"] : [];
  const tag = ["auth-trunc", mac.theirs, `0x${key.toString("hex")}`, String(mac.bits)];
  await testbed.mustRun(node, [
    "ip",
    "xfrm",
    "state",
    "add",
    ...ends,
    ...id,
    "replay-window",
    "32",
    ...align,
    ...tag,
  ]);
  const ports = ["proto", "udp", "sport", String(4000 + number), "dport", String(PORT + number)];
  const template = ["tmpl", ...ends, "proto", "ah", "reqid", String(spi(flow)), "mode", "transport"];
  const policy = ["ip", "xfrm", "policy", "add", ...ends, ...ports, "dir", direction, ...template];
  await testbed.mustRun(node, policy);
}

/** Of both directions and families apart: they are on different nodes or between different addresses. */
function spi({ number }: Flow): number {
  return 1000 + number;
}

function endpoint(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
