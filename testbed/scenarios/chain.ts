/** Scenario: two PBS routers with one between them that knows nothing of PBS. It is transparent, and stays so. */
import type { FlowView } from "../../src/nslp/view.js";
import type { Capture } from "../lib/capture.js";
import type { SeenPacket } from "../lib/pcap.js";
import type { Report, Step } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { settled, until } from "../lib/wait.js";
import {
  CHAIN,
  curl,
  flowsOf,
  GRANT_ALL,
  matches,
  udpListener,
  udpSender,
  WEB_PORT,
  webServer,
} from "./common.js";
import type { Scenario } from "./scenario.js";

const DATAGRAMS = 400;
const DATAGRAM_RATE = 200;
/** So many are held at the sender while the flow is asked for, that none is lost there. */
const HELD = 1000;
const DOWNLOAD = 2_000_000;
const UDP = 17;
const GIST_PORT = 270;
const MAGIC = "4e04bda5";
/** Behind UDP header and magic number: version, hops, length, NSLPID, C flag and type. */
const QUERY_MODE_FLAG = 0x80;

type Family = 4 | 6;

export const chain: Scenario = {
  name: "chain",
  summary:
    "two PBS routers around one without: Queries pass it unchanged, both routers count alike, nothing is lost",
  run: (report) => withTestbed(CHAIN, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  await testbed.start({
    sender: { packets: { hold_packets_per_flow: HELD } },
    receiver: { rule: [GRANT_ALL] },
  });
  await testbed.serve("receiver", webServer(), WEB_PORT);
  // On the wire before the router in the middle, and on the wire behind it.
  const near = await testbed.captureWhole("middle");
  const far = await testbed.captureWhole("last");
  for (const family of [4, 6] as const) {
    await report.step(`IPv${family}: datagrams`, (step) => datagrams(step, testbed, family, near, far));
    await report.step(`IPv${family}: a file over TCP`, (step) => file(step, testbed, family));
  }
  await far.quiet(isQueryMode);
  for (const family of [4, 6] as const)
    await report.step(
      `IPv${family}: Queries pass the router without PBS unchanged but for the hop limit`,
      (step) => unchanged(step, testbed, family, near, far),
    );
  await near.stop();
  await far.stop();
  await report.step(
    "the router without PBS has no software of ours, and its kernel dropped nothing",
    async (step) => {
      const rules = await testbed.mustRun("middle", ["iptables-save"]);
      step.expect("no rules", step.measure("rules of ours", /PBS/.test(rules)) === false);
      const dropped = await droppedBy(testbed, "middle");
      step.expect("no drops", step.measure("packets dropped", dropped) === 0);
    },
  );
}

async function datagrams(
  step: Step,
  testbed: Testbed,
  family: Family,
  near: Capture,
  far: Capture,
): Promise<void> {
  const port = 9000 + family;
  const to = testbed.address("receiver", family);
  const listener = testbed.spawn("receiver", udpListener(port));
  await listener.says("listening");
  await testbed.run(
    "sender",
    udpSender({ from: 4000, to, port, count: DATAGRAMS, size: 400, rate: DATAGRAM_RATE }),
  );
  const lines = () => listener.stdout.split("\n").filter((line) => /^\d+$/.test(line)).length;
  await settled("the last datagram", 5000, 200, lines);
  await listener.stop();
  const received = step.measure(`datagrams received of ${DATAGRAMS}`, lines());
  step.expect("all arrive", received === DATAGRAMS);
  const wanted = matches({ protocol: UDP, destinationPort: port });
  const seen = (capture: Capture) => capture.packets().filter(wanted);
  const before = step.measure("on the wire before the middle router", seen(near).length);
  const behind = step.measure("on the wire behind it", seen(far).length);
  step.expect("none lost on the way", before === received && behind === received);
  const bytes = seen(far).reduce((sum: number, packet: SeenPacket) => sum + packet.length, 0);
  await countedAlike(step, testbed, new RegExp(`:${port}$`), bytes);
}

async function file(step: Step, testbed: Testbed, family: Family): Promise<void> {
  const to = testbed.address("receiver", family);
  const { status, stdout } = await testbed.run("sender", curl(to, `/${DOWNLOAD}`));
  step.expect("exit status 0", step.measure("exit status", status) === 0);
  step.expect("whole file", step.measure("curl says", stdout).startsWith(`200 ${DOWNLOAD} `));
  const source = to.replaceAll(".", "\\.");
  await countedAlike(step, testbed, new RegExp(`> .*${source}.*:${WEB_PORT}$`));
  await countedAlike(step, testbed, new RegExp(`tcp .*${source}.*:${WEB_PORT} >`));
}

/** The flow at both PBS routers: the same permission, and the same bytes. */
async function countedAlike(step: Step, testbed: Testbed, pattern: RegExp, expected?: number): Promise<void> {
  const view = async (node: string) => {
    const all = (await flowsOf(testbed.daemon(node))).filter(({ flow }) => pattern.test(flow));
    return all.length === 1 ? all[0] : undefined;
  };
  const pair = await until("the same count at both routers", 3000, async () => {
    const [first, last] = [await view("first"), await view("last")];
    if (first === undefined || last === undefined) return undefined;
    return first.countedVolume === last.countedVolume ? { first, last } : undefined;
  });
  const { first, last } = pair;
  step.measure(`counted of ${first.flow}`, `${first.countedVolume} at first, ${last.countedVolume} at last`);
  step.expect("counted at all", first.countedVolume > 0 && first.allowedVolume > 0);
  if (expected !== undefined) step.expect("as on the wire", first.countedVolume === expected);
  for (const field of ["id", "allowedVolume", "refresh"] satisfies (keyof FlowView)[])
    step.expect(`the same ${field}`, first[field] === last[field]);
}

/** A Query-mode packet as it is on both sides of a router that does not know what it is. */
interface QueryPacket {
  readonly hopLimit: number;
  readonly towardsReceiver: boolean;
  /** Hexadecimal digits of all of it but hop limit and header checksum. */
  readonly rest: string;
}

async function unchanged(
  step: Step,
  testbed: Testbed,
  family: Family,
  near: Capture,
  far: Capture,
): Promise<void> {
  const receiver = testbed.address("receiver", family);
  const [before, behind] = [near, far].map((capture) => queriesOf(capture, family, receiver)) as [
    QueryPacket[],
    QueryPacket[],
  ];
  for (const towardsReceiver of [true, false]) {
    const [came, left] = (towardsReceiver ? [before, behind] : [behind, before]).map((all) =>
      all.filter((query) => query.towardsReceiver === towardsReceiver),
    ) as [QueryPacket[], QueryPacket[]];
    const way = towardsReceiver ? "towards the receiver" : "towards the sender";
    step.expect(`there are some ${way}`, step.measure(`Query-mode packets ${way}`, came.length) > 0);
    const same = came.filter(({ rest }, i) => left[i]?.rest === rest).length;
    step.expect(`each unchanged ${way}`, same === came.length && left.length === came.length);
    const oneLess = came.filter(({ hopLimit }, i) => left[i]?.hopLimit === hopLimit - 1).length;
    step.expect(`one hop less ${way}`, step.measure(`of them one hop less ${way}`, oneLess) === came.length);
  }
}

function queriesOf(capture: Capture, family: Family, receiver: string): QueryPacket[] {
  const packets = capture.packets();
  return capture.ipPackets().flatMap((ip, i) => {
    const packet = packets[i];
    if (packet === undefined || packet.version !== family || !isQueryMode(packet)) return [];
    const hopLimit = ip[family === 4 ? 8 : 7] ?? 0;
    const copy = Buffer.from(ip.subarray(0, packet.length));
    copy[family === 4 ? 8 : 7] = 0;
    if (family === 4) copy.writeUInt16BE(0, 10);
    return [{ hopLimit, towardsReceiver: packet.destination === receiver, rest: copy.toString("hex") }];
  });
}

function isQueryMode({ protocol, destinationPort, payload }: SeenPacket): boolean {
  if (protocol !== UDP || destinationPort !== GIST_PORT || payload.length < 12) return false;
  return payload.toString("hex", 0, 4) === MAGIC && ((payload[10] ?? 0) & QUERY_MODE_FLAG) !== 0;
}

/** Of all its interfaces, both ways. */
async function droppedBy(testbed: Testbed, node: string): Promise<number> {
  const links = JSON.parse(await testbed.mustRun(node, ["ip", "-j", "-s", "link"])) as {
    ifname: string;
    stats64: Record<"rx" | "tx", { dropped: number; errors: number }>;
  }[];
  return links
    .filter(({ ifname }) => ifname !== "lo")
    .flatMap(({ stats64: { rx, tx } }) => [rx.dropped, rx.errors, tx.dropped, tx.errors])
    .reduce((sum, count) => sum + count, 0);
}
