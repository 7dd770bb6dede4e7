/** Scenario 10: packets prove where they come from (IPsec AH), and programs notice nothing of it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { KeyChoice } from "../../src/authorization/keys.js";
import type { FlowView } from "../../src/nslp/view.js";
import { bytesOf, type Capture, kindOf } from "../lib/capture.js";
import { type Daemon, makeNodeKeys } from "../lib/daemon.js";
import type { SeenPacket } from "../lib/pcap.js";
import type { Report, Step } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { pause, until } from "../lib/wait.js";
import {
  CHAIN,
  curl,
  firstSeen,
  flowMatching,
  GRANT_ALL,
  IPERF_PORT,
  iperf3,
  iperfServer,
  matches,
  numbersOf,
  statusOf,
  udpListener,
  udpSender,
  WEB_PORT,
  webServer,
} from "./common.js";
import type { Scenario } from "./scenario.js";

const NODES = ["sender", "first", "last", "receiver"] as const;
/** Of each level over one IP version; over the other it is enough that it works. */
const DOWNLOAD = 100_000_000;
const SHORT_DOWNLOAD = 10_000_000;
const IPERF_BYTES = 20_000_000;
const UPLOAD = 250_000_000;
const PORT = 9000;
const STREAM = { from: 4000, port: PORT, count: 1000, size: 500, rate: 1000 };
/** More than two Ethernet frames. */
const LARGE = { from: 4001, port: PORT, count: 100, size: 4000, rate: 200 };
const FRAGMENTS = 3;
/** Of the largest Authentication Header, with IPv6: TCP segments leave room for it. */
const ROOM = { reserve: 376 };
/** Nothing of the first moments is lost while the flow is asked for. */
const PATIENT = { hold_packets_per_flow: 1000 };
const LOSS_ALLOWED = 0.05;
/** Longest silence of a flow that is switched. One lost segment at the wrong moment costs TCP 200 ms. */
const STALL_ALLOWED = 500;
/** What the old association may still be used for, and a little more. */
const OVERLAP_MS = 2100;

interface Level {
  readonly level: "hmac" | "public-key";
  /** Of the sender's certificate. */
  readonly key: KeyChoice;
  readonly algorithm: string;
  readonly families: readonly (4 | 6)[];
}

const LEVELS: readonly Level[] = [
  { level: "hmac", key: "p256", algorithm: "hmac-sha256-128", families: [4, 6] },
  { level: "public-key", key: "p256", algorithm: "tree-ecdsa-p256", families: [4, 6] },
  { level: "public-key", key: "ed25519", algorithm: "tree-ed25519", families: [6] },
  { level: "public-key", key: "rsa2048", algorithm: "tree-rsa-2048", families: [4] },
];

export const authentication: Scenario = {
  name: "authentication",
  summary:
    "with AH on every data packet programs run as before, through a change of the algorithm and in fragments too",
  run: async (report) => {
    for (const level of LEVELS) await withTestbed(CHAIN, (testbed) => programs(report, testbed, level));
    await withTestbed(CHAIN, (testbed) => inFullFlow(report, testbed));
    for (const reassemble of [true, false])
      await withTestbed(CHAIN, (testbed) => largeDatagrams(report, testbed, reassemble));
  },
};

async function programs(
  report: Report,
  testbed: Testbed,
  { level, key, algorithm, families }: Level,
): Promise<void> {
  const { directory } = testbed.daemon("sender");
  const addresses = ([4, 6] as const).map((family) => testbed.address("sender", family));
  const prefix = join(directory, "own");
  const identity = {
    ...makeNodeKeys({ authority: testbed.authority, prefix, name: "sender", addresses, type: key }),
  };
  const back = { volume: "200MB", authentication: level };
  await testbed.start({
    sender: { identity, authentication: ROOM, packets: PATIENT, return: back },
    receiver: { authentication: ROOM, rule: [{ ...GRANT_ALL, authentication: level }] },
  });
  await testbed.serve("receiver", webServer(), WEB_PORT);
  await testbed.serve("receiver", iperfServer(), IPERF_PORT);
  for (const family of families) {
    const name = `${algorithm}, IPv${family}`;
    const wire = await testbed.captureBothWays("receiver");
    const download = family === families[0] ? DOWNLOAD : SHORT_DOWNLOAD;
    await report.step(`${name}: curl and iperf3 over TCP and UDP`, (step) =>
      usual(step, testbed, family, download),
    );
    await report.step(`${name}: on the wire all of it has AH, both ways`, (step) => allWithAh(step, wire));
    await report.step(
      `${name}: programs get plain packets, and every node counts what is on the wire`,
      (step) => counted(step, testbed, family, algorithm),
    );
  }
}

async function usual(step: Step, testbed: Testbed, family: 4 | 6, download: number): Promise<void> {
  const to = testbed.address("receiver", family);
  const { status, stdout, stderr } = await testbed.run("sender", curl(to, `/${download}`));
  const [code, size, , seconds] = stdout.split(" ");
  if (stderr !== "") step.measure("curl says", stderr.trim());
  step.expect("curl succeeds", status === 0 && code === "200" && Number(size) === download);
  step.measure("curl Mb/s", Math.round((download * 8) / Number(seconds) / 1e6));
  const tcp = await iperf3(testbed, "sender", to, ["-n", String(IPERF_BYTES)]);
  step.measure("iperf3 TCP Mb/s", tcp.megabits);
  step.measure("retransmits", tcp.retransmits);
  step.expect("iperf3 over TCP", tcp.received >= IPERF_BYTES / 2);
  const udp = await iperf3(testbed, "sender", to, ["-u", "-b", "10M", "-l", "1000", "-n", "2M"]);
  step.expect("iperf3 over UDP", step.measure("UDP loss", udp.loss) <= LOSS_ALLOWED);
}

async function allWithAh(step: Step, wire: Capture): Promise<void> {
  const data = (await wire.quiet()).filter((packet) => kindOf(packet) === "data");
  await wire.stop();
  step.expect("packets", step.measure("data packets", data.length) > 1000);
  step.expect("none plain", step.measure("plain", data.filter(({ ah }) => ah === undefined).length) === 0);
}

async function counted(step: Step, testbed: Testbed, family: 4 | 6, algorithm: string): Promise<void> {
  const wire = await testbed.captureTowards("receiver");
  const listener = testbed.spawn("receiver", udpListener(PORT));
  await listener.says("listening");
  const tables = family === 4 ? "iptables" : "ip6tables";
  await testbed.mustRun("receiver", [tables, "-A", "INPUT", "-p", "udp", "--dport", String(PORT)]);
  await testbed.mustRun("receiver", [tables, "-A", "INPUT", ...(family === 4 ? ["-p", "ah"] : ["-m", "ah"])]);
  await testbed.mustRun("sender", udpSender({ ...STREAM, to: testbed.address("receiver", family) }));
  await until("the datagrams", 5000, () => numbersOf(listener).length >= STREAM.count).catch(() => undefined);
  const came = new Set(numbersOf(listener));
  await listener.stop();
  const packets = (await wire.quiet()).filter(matches({ protocol: 17, destinationPort: PORT }));
  await wire.stop();

  step.expect("all arrive", step.measure("datagrams that came", came.size) === STREAM.count);
  const rules = await testbed.mustRun("receiver", [tables, "-nvxL", "INPUT"]);
  // The last two; what stands before them is pbsd's.
  const [plain, withAh] = [...rules.matchAll(/^ +(\d+) +\d+ /gm)].slice(-2).map(([, count]) => Number(count));
  step.expect(
    "the receiver's kernel sees UDP",
    step.measure("packets behind pbsd: UDP", plain ?? -1) === came.size,
  );
  step.expect("and no AH", step.measure("packets behind pbsd: AH", withAh ?? -1) === 0);
  const seen = step.measure("bytes on the wire", bytesOf(packets));
  const spis = new Set(packets.map(({ ah }) => ah?.spi));
  step.expect("one SPI", spis.size === 1);
  for (const node of NODES) {
    const view = await flowMatching(testbed.daemon(node), ofFamily(family));
    const { authentication: proof } = view;
    step.expect(`${node} counts them`, step.measure(`bytes counted by ${node}`, view.countedVolume) === seen);
    step.expect(`${node} has the algorithm`, proof?.algorithm === algorithm && spis.has(proof.spi));
    step.expect(`${node} has the sequence`, proof?.sequence === packets.at(-1)?.ah?.sequence);
    step.expect(
      `${node} has no failures`,
      Object.values(proof?.failures ?? { none: 1 }).every((n) => n === 0),
    );
    await besideTheStack(step, testbed.daemon(node), node);
    const { stdout } = await testbed.daemon(node).ctl("flow", view.id);
    const shown = /^authentication\s+(.*)$/m.exec(stdout)?.[1] ?? "";
    if (node === "receiver") step.measure("pbsctl flow", shown);
    step.expect(
      `pbsctl flow at ${node}`,
      shown.startsWith(`${algorithm}, SPI 0x`) && /^failures/m.test(stdout),
    );
  }
}

/** Where a router has AF_XDP, its packets with AH do not go through the queue. */
async function besideTheStack(step: Step, daemon: Daemon, node: string): Promise<void> {
  const { interfaces = [], counters } = (await statusOf(daemon)).datapath;
  if (!interfaces.some(({ authenticates }) => authenticates === "af_xdp")) return;
  const handed = step.measure(`verified beside the stack by ${node}`, counters["xdp.handed"] ?? 0);
  step.expect(`${node} verifies beside its stack`, handed > 0);
}

function ofFamily(family: 4 | 6): RegExp {
  return family === 4 ? /^udp 192\.168\.20\.1:4000 / : /^udp \[?fd20::1\]?:4000 /;
}

async function inFullFlow(report: Report, testbed: Testbed): Promise<void> {
  const file = join(testbed.record.directory, "upload");
  writeFileSync(file, Buffer.alloc(UPLOAD));
  const rule = [{ ...GRANT_ALL, volume: "1GB", authentication: "hmac" }];
  await testbed.start({ sender: { authentication: ROOM }, receiver: { authentication: ROOM, rule } });
  await testbed.serve("receiver", webServer(), WEB_PORT);
  for (const family of [4, 6] as const)
    await report.step(`IPv${family}: the algorithm is changed twice while a file is sent`, (step) =>
      switched(step, testbed, family, file),
    );
}

async function switched(step: Step, testbed: Testbed, family: 4 | 6, file: string): Promise<void> {
  const to = testbed.address("receiver", family);
  const receiver = testbed.daemon("receiver");
  const wire = await testbed.captureTowards("receiver");
  const data = matches({ protocol: 6, destination: to, destinationPort: WEB_PORT });
  const upload = testbed.run("sender", curl(to, "/", "-T", file, "--limit-rate", "20M"));
  await firstSeen(wire, data);
  const { id } = await flowMatching(receiver, family === 4 ? / 192\S+:80$/ : / \[\S+:80$/);
  for (const level of ["public-key", "hmac"] as const) {
    await pause(OVERLAP_MS);
    const { status, stderr } = await receiver.ctl("authenticate", id, level);
    step.expect(`pbsctl authenticate ${level}: ${stderr}`, status === 0);
  }
  const views = await Promise.all(
    NODES.map((node) => testbed.daemon(node).client.get<FlowView>(`/v1/flows/${id}`)),
  );
  const { status, stdout, stderr } = await upload;
  if (stderr !== "") step.measure("curl says", stderr.trim());
  const packets = (await wire.quiet()).filter(data);
  await wire.stop();
  step.expect("the transfer succeeds", status === 0 && stdout.split(" ")[2] === String(UPLOAD));
  step.measure("seconds", Number(stdout.split(" ")[3]));
  measureSwitches(step, packets);
  for (const [i, { authentication: proof }] of views.entries())
    step.measure(`failures at ${NODES[i]}`, JSON.stringify(proof?.failures));
}

function measureSwitches(step: Step, packets: readonly SeenPacket[]): void {
  step.expect(
    "no plain packet",
    packets.every(({ ah }) => ah !== undefined),
  );
  const spis = [...new Set(packets.map(({ ah }) => ah?.spi))];
  step.expect("three associations", step.measure("associations", spis.length) === 3);
  const gaps = packets.slice(1).map(({ time }, i) => time - (packets[i]?.time ?? time));
  const longest = step.measure("longest gap ms", longestOf(gaps));
  step.expect(`no stall of ${STALL_ALLOWED} ms`, longest < STALL_ALLOWED);
  for (const [i, spi] of spis.slice(1).entries()) {
    const began = packets.findIndex(({ ah }) => ah?.spi === spi);
    const around = gaps.slice(Math.max(0, began - 100), began + 100);
    step.measure(`longest gap ms at change ${i + 1}`, longestOf(around));
    const late = packets.slice(began).filter(({ ah }) => ah?.spi === spis[i]).length;
    step.measure(`packets of the old association after change ${i + 1}`, late);
  }
}

function longestOf(gaps: readonly number[]): number {
  const longest = gaps.reduce((most, gap) => Math.max(most, gap), 0);
  return Math.round(longest * 10) / 10;
}

async function largeDatagrams(report: Report, testbed: Testbed, reassemble: boolean): Promise<void> {
  const packets = { reassemble };
  const rule = [{ ...GRANT_ALL, authentication: "hmac" }];
  await testbed.start({ first: { packets }, last: { packets }, receiver: { packets, rule } });
  const what = reassemble
    ? "pass in fragments"
    : "are dropped and counted where fragments are not put together";
  for (const family of [4, 6] as const)
    await report.step(`IPv${family}: datagrams of ${LARGE.size} bytes ${what}`, (step) =>
      large(step, testbed, family, reassemble),
    );
}

async function large(step: Step, testbed: Testbed, family: 4 | 6, reassemble: boolean): Promise<void> {
  const to = testbed.address("receiver", family);
  const wire = await testbed.captureTowards(reassemble ? "receiver" : "first");
  const listener = testbed.spawn("receiver", udpListener(PORT));
  await listener.says("listening");
  const first = testbed.daemon("first");
  const before = await fragmentsDropped(first);
  await testbed.mustRun("sender", udpSender({ ...LARGE, to }));
  const seen = (await wire.quiet()).filter(
    matches({ source: testbed.address("sender", family), destination: to }),
  );
  await wire.stop();
  const came = new Set(numbersOf(listener)).size;
  await listener.stop();
  step.measure("datagrams that came", came);
  step.expect("fragments on the wire", step.measure("packets on the wire", seen.length) > LARGE.count);
  step.expect(reassemble ? "all arrive" : "none arrives", came === (reassemble ? LARGE.count : 0));
  const dropped = step.measure(
    "fragments dropped by the first router",
    (await fragmentsDropped(first)) - before,
  );
  step.expect("counted as fragments", reassemble ? dropped === 0 : dropped >= LARGE.count * FRAGMENTS);
}

async function fragmentsDropped(daemon: Daemon): Promise<number> {
  const { firewall } = (await statusOf(daemon)).counters;
  return firewall["forward.drop.fragment"] ?? 0;
}
