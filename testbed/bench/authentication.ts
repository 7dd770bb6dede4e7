/**
 * What AH costs: one TCP flow, and datagrams of some sizes, from a sender that inserts it over a router that verifies to a
 * receiver that takes it out, against the same path with the same engines and without AH, measured in turn.
 */
import { once } from "node:events";
import { ALGORITHMS, type Algorithm } from "../../src/base/algorithm.js";
import { AhPath, type Cost, type Node, NODES, type RouterEngine } from "./ah-path.js";
import { deliver, FILLING_SECONDS, fillingRate, OVERHEAD_SECONDS } from "./datagrams.js";
import { ADDRESS, Lab } from "./lab.js";
import { type Case, paired, type Report, report, single, unmeasured } from "./result.js";

const TCP_SECONDS = 3;
const UDP_SECONDS = 1;
const START_SECONDS = 8;
const LIMIT_MS = 30_000;
/** A window that failed is measured again, twice for a figure. */
const SPARE_WINDOWS = 2;
const CLIENT_PORT = 41_000;
/** The kernel set knows no source port, so plain flows and those with AH go to servers of their own. */
const PLAIN_PORT = 5201;
const AH_PORT = { tcp: 5202, udp: 5203 } as const;
const SIZES = [64, 512, 1400] as const;
/** Of the datagrams by which what a packet costs is told. */
const COST_SIZE = 1400;

interface Plan {
  readonly algorithms: readonly Algorithm[];
  readonly sizes: readonly number[];
  readonly runs: number;
}

const QUICK: Plan = { algorithms: ["hmac-sha256-128", "tree-ed25519"], sizes: [1400], runs: 1 };
const WHOLE: Plan = { algorithms: ALGORITHMS, sizes: SIZES, runs: 3 };

interface Pair {
  readonly value: number;
  readonly baseline: number;
}

/** Pairs of windows, and why some are missing. */
interface Windows {
  readonly pairs: readonly Pair[];
  readonly problem?: string;
}

/** Minutes that it takes when no window fails. */
function budget({ algorithms, sizes, runs }: Plan): number {
  const tcp = 2 * runs * (TCP_SECONDS + OVERHEAD_SECONDS);
  const udp = 2 * FILLING_SECONDS + 2 * runs * (UDP_SECONDS + OVERHEAD_SECONDS);
  return Math.ceil((algorithms.length * (2 * (START_SECONDS + tcp) + sizes.length * udp)) / 60);
}

interface IperfResult {
  readonly end: { readonly sum_received: { readonly bits_per_second: number } };
}

/** Gb/s that arrive. The data flow has a fixed port, iperf3's control connection one of the ten after it. */
async function tcpRate(lab: Lab, port: number): Promise<number> {
  const server = lab.start("receiver", "iperf3", "-s", "-1", "-p", String(port));
  const gone = once(server, "exit");
  server.stdout.resume();
  try {
    const listening = `until ss -ltn | grep -q :${port}; do sleep 0.02; done`;
    await lab.finish("receiver", LIMIT_MS, "sh", "-c", listening);
    const text = await lab.finish(
      "sender",
      LIMIT_MS,
      ...["iperf3", "-c", ADDRESS.receiver, "-p", String(port), "--cport", String(CLIENT_PORT)],
      ...["-t", String(TCP_SECONDS), "-J"],
    );
    return (JSON.parse(text) as IperfResult).end.sum_received.bits_per_second / 1e9;
  } finally {
    server.kill();
    await gone;
  }
}

function flows(protocol: "tcp" | "udp", from: number, to: number): [string, string] {
  const [sender, receiver] = [`${ADDRESS.sender}:${from}`, `${ADDRESS.receiver}:${to}`];
  return [`${protocol} ${sender} > ${receiver}`, `${protocol} ${receiver} > ${sender}`];
}

/** Measures without AH and with it in turn. A window that fails is left out, and measured again where there are any to spare. */
async function compare(
  runs: number,
  ports: readonly [number, number],
  measure: (port: number) => Promise<number>,
): Promise<Windows> {
  const pairs: Pair[] = [];
  let problem: string | undefined;
  for (let window = 0; pairs.length < runs && window < runs + SPARE_WINDOWS; window++) {
    try {
      const baseline = await measure(ports[0]);
      pairs.push({ baseline, value: await measure(ports[1]) });
    } catch (error) {
      problem = firstLine(error);
    }
  }
  return { pairs, ...(problem !== undefined && pairs.length < runs && { problem }) };
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n", 1)[0] ?? "";
}

function result(name: string, unit: string, { pairs, problem }: Windows): Case {
  if (pairs.length === 0) return unmeasured(name, unit, problem ?? "no window");
  return { ...paired(name, unit, pairs), ...(problem !== undefined && { problem }) };
}

/** Datagrams that arrive, in thousands a second, offered at a rate that just fills the path. */
async function compareDatagrams(lab: Lab, size: number, runs: number): Promise<Windows> {
  const rates = new Map<number, number>();
  for (const to of [PLAIN_PORT, AH_PORT.udp])
    rates.set(to, await fillingRate(lab, { from: CLIENT_PORT, to, size }));
  return await compare(runs, [PLAIN_PORT, AH_PORT.udp], async (to) => {
    const rate = rates.get(to) ?? 0;
    return (await deliver(lab, { from: CLIENT_PORT, to, size, rate, seconds: UDP_SECONDS })).arrived / 1000;
  });
}

/** Whatever fails is said in the figure's place, and the others are measured all the same. */
async function attempt(name: string, unit: string, windows: () => Promise<Windows>): Promise<Case> {
  try {
    return result(name, unit, await windows());
  } catch (error) {
    return unmeasured(name, unit, firstLine(error));
  }
}

async function costs(path: AhPath): Promise<Map<Node, Cost>> {
  const all = new Map<Node, Cost>();
  for (const node of NODES) all.set(node, await path.cost(node));
  return all;
}

/** Microseconds that a node's AH thread ran for each packet, with what of the kernel ran in its name. */
function costCases(algorithm: Algorithm, before: Map<Node, Cost>, after: Map<Node, Cost>): Case[] {
  return NODES.map((node) => {
    const [from, to] = [before.get(node), after.get(node)];
    const packets = (to?.packets ?? 0) - (from?.packets ?? 0);
    const time = (to?.nanoseconds ?? 0) - (from?.nanoseconds ?? 0);
    const name = `${node}, UDP ${COST_SIZE} B, ${algorithm}`;
    return packets === 0
      ? unmeasured(name, "us a packet", "no packets")
      : single(name, "us a packet", [time / packets / 1000]);
  });
}

/** The plain flows, and the control connections of iperf3. */
async function permitAll(path: AhPath, algorithm: Algorithm): Promise<void> {
  for (const protocol of ["tcp", "udp"] as const) {
    await path.permit(...flows(protocol, CLIENT_PORT, PLAIN_PORT), undefined);
    await path.permit(...flows(protocol, CLIENT_PORT, AH_PORT[protocol]), algorithm);
  }
  for (let port = CLIENT_PORT + 1; port <= CLIENT_PORT + 10; port++)
    for (const server of [PLAIN_PORT, AH_PORT.tcp])
      await path.permit(...flows("tcp", port, server), undefined);
}

async function onPath<T>(
  lab: Lab,
  algorithm: Algorithm,
  router: RouterEngine,
  use: (path: AhPath) => Promise<T>,
): Promise<T> {
  const path = await AhPath.open(lab, algorithm, router);
  try {
    await permitAll(path, algorithm);
    return await use(path);
  } finally {
    await path.close();
  }
}

async function measureTcp(lab: Lab, name: string, runs: number): Promise<Case> {
  return await attempt(name, "Gb/s", () =>
    compare(runs, [PLAIN_PORT, AH_PORT.tcp], (port) => tcpRate(lab, port)),
  );
}

/** The router verifies by AF_XDP; and TCP once more through one that has the queues alone. */
async function measure(lab: Lab, algorithm: Algorithm, { sizes, runs }: Plan): Promise<Case[]> {
  const results = await onPath(lab, algorithm, "xdp", async (path) => {
    const cases = [await measureTcp(lab, `TCP, ${algorithm}`, runs)];
    for (const size of sizes) {
      const before = await costs(path);
      const udp = async () => await compareDatagrams(lab, size, runs);
      cases.push(await attempt(`UDP ${size} B, ${algorithm}`, "kpps", udp));
      if (size === COST_SIZE) cases.push(...costCases(algorithm, before, await costs(path)));
    }
    return cases;
  });
  const queues = `TCP, ${algorithm}, router's queues alone`;
  return [...results, await onPath(lab, algorithm, "nfqueue", () => measureTcp(lab, queues, runs))];
}

export async function authentication(quick: boolean, only: readonly string[]): Promise<Report> {
  const all = quick ? QUICK : WHOLE;
  const algorithms =
    only.length === 0 ? all.algorithms : ALGORITHMS.filter((algorithm) => only.includes(algorithm));
  const plan = { ...all, algorithms };
  console.error(`${algorithms.length} algorithms, about ${budget(plan)} minutes`);
  const lab = new Lab();
  try {
    lab.run("sender", "sysctl", "-qw", "net.ipv4.ip_local_port_range=41001 41010");
    const results: Case[] = [];
    for (const algorithm of algorithms) results.push(...(await measure(lab, algorithm, plan)));
    return report("authentication", results);
  } finally {
    lab.close();
  }
}
