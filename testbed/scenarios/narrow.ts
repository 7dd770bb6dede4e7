/** Scenario: a link on the way is narrower than the sender's own, and packets with AH fit it all the same. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Capture } from "../lib/capture.js";
import type { SeenPacket } from "../lib/pcap.js";
import type { Report, Step } from "../lib/report.js";
import { pythonHelper } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { pause } from "../lib/wait.js";
import {
  CHAIN,
  curl,
  firstSeen,
  flowMatching,
  GRANT_ALL,
  matches,
  numbersOf,
  statusOf,
  udpListener,
  udpSender,
  WEB_PORT,
  webServer,
} from "./common.js";
import type { Scenario } from "./scenario.js";

/**
 * Of the link between the first two routers, both ways. IPv6 hosts send 1280 bytes whatever they are told (RFC 8200
 * section 5), which with AH do not fit into the first of them: they are cut.
 */
const NARROW = 1300;
const LESS_NARROW = 1400;
const UPLOAD = 30_000_000;
const PORT = 9000;
/** What goes over the narrow link without AH, and over the sender's own link with it. */
const STREAM = { port: PORT, count: 500, size: 1260, rate: 500 };
/** More than the sender's own link takes once AH is in. */
const FULL = 1472;
/** What may be lost until the sender knows of the narrow link: what is under way when the first message comes back. */
const LOST_AT_FIRST = 100;
/** Longest silence of a TCP flow: one segment lost at the wrong moment costs it 200 ms. */
const STALL_ALLOWED = 500;
const SETTLING_MS = 1500;
const TCP = 6;
const FRAGMENT = 44;

export const narrow: Scenario = {
  name: "narrow",
  summary: "over a link narrower than the sender's own, TCP and UDP with AH go on at the size that fits",
  run: async (report) => {
    for (const mtu of [NARROW, LESS_NARROW])
      await withNarrowLink(mtu, (testbed) => segments(report, testbed, mtu));
    await withNarrowLink(NARROW, (testbed) => datagrams(report, testbed, NARROW, true));
    await withNarrowLink(LESS_NARROW, (testbed) => datagrams(report, testbed, LESS_NARROW, false));
    await withNarrowLink(NARROW, (testbed) => flooded(report, testbed));
  },
};

async function withNarrowLink(mtu: number, use: (testbed: Testbed) => Promise<void>): Promise<void> {
  await withTestbed(CHAIN, async (testbed) => {
    for (const node of ["first", "middle"])
      await testbed.mustRun(node, ["ip", "link", "set", "near", "mtu", String(mtu)]);
    await use(testbed);
  });
}

async function segments(report: Report, testbed: Testbed, mtu: number): Promise<void> {
  const file = join(testbed.record.directory, "upload");
  writeFileSync(file, Buffer.alloc(UPLOAD));
  await testbed.start({ receiver: { rule: [{ ...GRANT_ALL, volume: "1GB", authentication: "hmac" }] } });
  await testbed.serve("receiver", webServer(), WEB_PORT);
  for (const family of [4, 6] as const)
    await report.step(`IPv${family}, ${mtu} bytes: a file over TCP, and on with a larger AH`, (step) =>
      upload(step, testbed, family, file),
    );
}

async function upload(step: Step, testbed: Testbed, family: 4 | 6, file: string): Promise<void> {
  const to = testbed.address("receiver", family);
  const receiver = testbed.daemon("receiver");
  const wire = await testbed.captureTowards("receiver");
  const data = matches({ protocol: 6, destination: to, destinationPort: WEB_PORT });
  const before = await engineCounters(testbed, "sender");
  const sending = testbed.run("sender", curl(to, "/", "-T", file, "--limit-rate", "6M"));
  await firstSeen(wire, data);
  const { id } = await flowMatching(receiver, family === 4 ? / 192\S+:80$/ : / \[\S+:80$/);
  await pause(SETTLING_MS);
  const changed = await receiver.ctl("authenticate", id, "public-key");
  step.expect(`pbsctl authenticate: ${changed.stderr}`, changed.status === 0);
  const { status, stdout, stderr } = await sending;
  if (stderr !== "") step.measure("curl says", stderr.trim());
  step.expect("the transfer succeeds", status === 0 && stdout.split(" ")[2] === String(UPLOAD));
  step.measure("seconds", Number(stdout.split(" ")[3]));
  const seen = await wire.quiet();
  await wire.stop();
  const packets = seen.filter(data);
  const spis = new Set(packets.map(({ ah }) => ah?.spi));
  step.expect("two associations", step.measure("associations", spis.size) === 2);
  const longest = step.measure("longest gap ms", longestGap(seen.filter(segmentOrFragment(to))));
  step.expect(`no stall of ${STALL_ALLOWED} ms`, longest < STALL_ALLOWED);
  await measureMessages(step, testbed, before);
}

function segmentOrFragment(to: string): (packet: SeenPacket) => boolean {
  return ({ protocol, destination, destinationPort }) =>
    destination === to && (protocol === FRAGMENT || (protocol === TCP && destinationPort === WEB_PORT));
}

function longestGap(packets: readonly SeenPacket[]): number {
  const times = packets.map(({ time }) => time);
  const longest = times.slice(1).reduce((most, time, i) => Math.max(most, time - (times[i] ?? time)), 0);
  return Math.round(longest * 10) / 10;
}

async function datagrams(report: Report, testbed: Testbed, mtu: number, reassemble: boolean): Promise<void> {
  const packets = { reassemble };
  const rule = [{ ...GRANT_ALL, authentication: "hmac" }];
  await testbed.start({ first: { packets }, last: { packets }, receiver: { packets, rule } });
  const how = reassemble ? "" : ", without reassembly";
  for (const family of [4, 6] as const) {
    await report.step(`IPv${family}: datagrams that must not be cut${how}`, (step) =>
      uncut(step, testbed, family, mtu),
    );
    if (reassemble)
      await report.step(`IPv${family}: datagrams that may be cut`, (step) => cut(step, testbed, family));
  }
}

/** The program does what a program does that looks for the path's MTU: it makes its datagrams smaller when told so. */
async function uncut(step: Step, testbed: Testbed, family: 4 | 6, mtu: number): Promise<void> {
  const to = testbed.address("receiver", family);
  const before = await engineCounters(testbed, "sender");
  const listener = testbed.spawn("receiver", udpListener(PORT));
  await listener.says("listening");
  const wire = await testbed.captureTowards("receiver");
  const program = pythonHelper("programs/path-mtu.py", "4000", to, String(PORT), "300", String(FULL));
  const said = await testbed.mustRun("sender", program);
  step.measure("the program says", said.trim().replaceAll("\n", "; "));
  const size = Number(/^done (\d+)$/m.exec(said)?.[1]);
  step.expect(
    "it is told of less than the link takes",
    step.measure("datagrams in the end", size) < mtu - 28,
  );
  await measureStream(step, wire, listener, 300, size);
  await measureMessages(step, testbed, before);
}

async function cut(step: Step, testbed: Testbed, family: 4 | 6): Promise<void> {
  const to = testbed.address("receiver", family);
  for (const [i, size] of [STREAM.size, FULL].entries()) {
    const listener = testbed.spawn("receiver", udpListener(PORT));
    await listener.says("listening");
    const wire = await testbed.captureTowards("receiver");
    await testbed.mustRun("sender", udpSender({ ...STREAM, size, from: 4001 + i, to }));
    await measureStream(step, wire, listener, STREAM.count, size);
  }
}

/** More than ten times what the host's rules took of such messages when they all shared one rate. */
const FORGED_RATE = 2500;
const FLOODED_UPLOAD = 3_000_000;
const FLOODED_SECONDS = 3;

/** Messages with made-up addresses and SPIs reach the sender all the time; its router's true one has to come through. */
async function flooded(report: Report, testbed: Testbed): Promise<void> {
  const file = join(testbed.record.directory, "upload");
  writeFileSync(file, Buffer.alloc(FLOODED_UPLOAD));
  await testbed.start({ receiver: { rule: [{ ...GRANT_ALL, authentication: "hmac" }] } });
  await testbed.serve("receiver", webServer(), WEB_PORT);
  const mac = (await testbed.mustRun("sender", ["cat", "/sys/class/net/left/address"])).trim();
  for (const family of [4, 6] as const)
    await report.step(`IPv${family}: a file over TCP under ${FORGED_RATE} forged messages a second`, (step) =>
      uploadBesideForgeries(step, testbed, family, mac, file),
    );
}

async function uploadBesideForgeries(
  step: Step,
  testbed: Testbed,
  family: 4 | 6,
  mac: string,
  file: string,
): Promise<void> {
  const [from, to] = [testbed.address("sender", family), testbed.address("receiver", family)];
  const forging = ["left", mac, from, to, String(FORGED_RATE)];
  const forger = testbed.spawn("first", pythonHelper("attackers/too-big.py", ...forging));
  await forger.says("sending");
  await pause(SETTLING_MS);
  const before = await engineCounters(testbed, "sender");
  const { status, stdout } = await testbed.run("sender", curl(to, "/", "-T", file));
  const now = await engineCounters(testbed, "sender");
  await forger.stop();
  const since = (name: string) => (now[name] ?? 0) - (before[name] ?? 0);
  const taken = Number(stdout.split(" ")[3]);
  step.expect("the transfer succeeds", status === 0 && stdout.split(" ")[2] === String(FLOODED_UPLOAD));
  step.expect(`within ${FLOODED_SECONDS} s`, step.measure("seconds", taken) < FLOODED_SECONDS);
  step.expect("the kernel was told", step.measure("too-big.told", since("too-big.told")) > 0);
  const forgeries = step.measure("forged messages looked at meanwhile", since("too-big.other"));
  step.expect("the forged ones come to the check", forgeries > (FORGED_RATE * taken) / 2);
}

type Listener = ReturnType<Testbed["spawn"]>;

async function measureStream(
  step: Step,
  wire: Capture,
  listener: Listener,
  count: number,
  size: number,
): Promise<void> {
  await wire.quiet();
  await wire.stop();
  const came = new Set(numbersOf(listener));
  await listener.stop();
  const missing = Array.from({ length: count }, (_, i) => i).filter((i) => !came.has(i));
  step.measure(`datagrams of ${size} bytes lost`, missing.length);
  const last = missing.at(-1) ?? -1;
  step.expect(`all arrive once the size is known (${size} bytes)`, last < LOST_AT_FIRST);
}

async function engineCounters(testbed: Testbed, node: string): Promise<Readonly<Record<string, number>>> {
  return (await statusOf(testbed.daemon(node))).datapath.counters;
}

async function measureMessages(
  step: Step,
  testbed: Testbed,
  before: Readonly<Record<string, number>>,
): Promise<void> {
  const now = await engineCounters(testbed, "sender");
  const since = (name: string) => (now[name] ?? 0) - (before[name] ?? 0);
  for (const name of ["too-big.told", "too-big.local", "ah.emitted"]) step.measure(name, since(name));
  step.expect("the kernel was told", since("too-big.told") > 0);
  step.expect(
    "no message was turned away",
    Object.keys(now).every((name) => !name.startsWith("drop.too-big") || since(name) === 0),
  );
}
