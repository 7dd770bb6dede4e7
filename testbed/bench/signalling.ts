/**
 * (Query, Permission) pairs a second through one router: pbsd with all its checks, between two hosts that keep many
 * flows under way and need no packets for it. All share this machine, so what counts is pairs for each second of
 * processor time that the router's process takes, all its threads together.
 *
 * Refreshes are forced by making flows that are there ask for more, one after the other: the same messages, and at the
 * router the same work. GIST's own refreshes are kept out. Each host has one certificate and one association, so the
 * chain of a certificate is verified once.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { KeyChoice } from "../../src/authorization/keys.js";
import type { StatusView } from "../../src/control/status.js";
import { addressesOf, makeNodeKeys, type NodeKeys } from "../lib/daemon.js";
import { Testbed } from "../lib/testbed.js";
import { THREE_NODE } from "../scenarios/common.js";
import type { EndpointOptions } from "./endpoint.js";
import { LineProgram } from "./lines.js";
import { median } from "./lab.js";
import { type Case, type Report, report, single } from "./result.js";

/** Pairs a second of the router in the 2009 measurements of PBS NSLP (IETF 74 slides). */
const RATE_OF_2009 = 600;
const FLOWS = 5000;
const WARM_UP = 500;
export const AT_ONCE = 200;
const LIMIT_MS = 180_000;
const CLOCK_TICKS = 100;

/** Routing state and permissions are refreshed so late that only what is asked for is measured. */
export const LATE_MS = 3_600_000;

export const TYPES: readonly { readonly type: KeyChoice; readonly name: string }[] = [
  { type: "p256", name: "P-256" },
  { type: "rsa2048", name: "RSA-2048" },
];

interface Load {
  /** Pairs a second, and for each second of the router's processor time. */
  readonly perSecond: number;
  readonly perCpuSecond: number;
}

interface Run {
  readonly setUp: Load;
  readonly refresh: Load;
  readonly bytesPerFlow: number;
}

/** @param quick one run with fewer flows, to see that all works */
export async function signalling(quick: boolean): Promise<Report> {
  const runs = quick ? 1 : 5;
  const flows = quick ? 1000 : FLOWS;
  const testbed = await Testbed.create(THREE_NODE);
  try {
    const results: Case[] = [];
    for (const { type, name } of TYPES) {
      const keys = keysOf(testbed, type);
      const measured: Run[] = [];
      for (let run = 0; run < runs; run++) measured.push(await measure(testbed, keys, flows));
      results.push(...casesOf(name, measured));
    }
    return report("signalling", results);
  } finally {
    testbed.remove();
  }
}

function casesOf(name: string, runs: readonly Run[]): Case[] {
  const against2009 = (what: string, unit: string, values: readonly number[]): Case => ({
    ...single(`${what}, ${name}`, unit, values),
    baseline: RATE_OF_2009,
    ratio: Number((median(values) / RATE_OF_2009).toPrecision(4)),
  });
  const perCpu = "pairs/CPU s";
  return [
    against2009(
      "new flows",
      perCpu,
      runs.map(({ setUp }) => setUp.perCpuSecond),
    ),
    against2009(
      "new flows, hosts on the same machine",
      "pairs/s",
      runs.map(({ setUp }) => setUp.perSecond),
    ),
    against2009(
      "refreshes",
      perCpu,
      runs.map(({ refresh }) => refresh.perCpuSecond),
    ),
    against2009(
      "refreshes, hosts on the same machine",
      "pairs/s",
      runs.map(({ refresh }) => refresh.perSecond),
    ),
    single(
      `router's memory for each flow, ${name}`,
      "bytes",
      runs.map(({ bytesPerFlow }) => bytesPerFlow),
    ),
  ];
}

type NodeName = "sender1" | "router" | "receiver1";
export type AllKeys = Readonly<Record<NodeName, NodeKeys>>;

export function keysOf(testbed: Testbed, type: KeyChoice): AllKeys {
  const keys = (name: NodeName): NodeKeys =>
    makeNodeKeys({
      authority: testbed.authority,
      prefix: join(testbed.record.directory, `${type}-${name}`),
      name,
      addresses: addressesOf(testbed.shape(name)),
      type,
    });
  return { sender1: keys("sender1"), router: keys("router"), receiver1: keys("receiver1") };
}

/** One router's life, from its start to its end. */
async function measure(testbed: Testbed, keys: AllKeys, flows: number): Promise<Run> {
  const router = testbed.daemon("router");
  const configuration = {
    identity: { ...keys.router },
    // None of the limits is to be what is measured.
    signalling: { intercept_rate: 1_000_000, routing_state_validity: "1h" },
    log: { level: "info" },
  };
  const hosts: LineProgram[] = [];
  const start = async (name: "sender1" | "receiver1"): Promise<LineProgram> => {
    const options: EndpointOptions = {
      keys: keys[name],
      from: testbed.address("sender1", 4),
      to: testbed.address("receiver1", 4),
      receives: name === "receiver1",
      refresh: LATE_MS,
      validity: LATE_MS,
      saving: { tree: false, summary: false },
    };
    const host = await LineProgram.start(testbed.namespace(name), "endpoint", options);
    hosts.push(host);
    return host;
  };
  try {
    await testbed.start({ router: configuration }, ["router"]);
    await start("receiver1");
    const sender = await start("sender1");
    await load(sender, router.pid, "request", 0, WARM_UP);
    const before = router.residentBytes();
    const setUp = await load(sender, router.pid, "request", WARM_UP, flows);
    const bytesPerFlow = (router.residentBytes() - before) / flows;
    const refresh = await load(sender, router.pid, "renew", WARM_UP, flows);
    await checkAll(router.client.get<StatusView>("/v1/status"), WARM_UP + 2 * flows);
    return { setUp, refresh, bytesPerFlow };
  } finally {
    for (const host of hosts) await host.stop();
    await router.stop();
  }
}

async function load(
  sender: LineProgram,
  pid: number,
  command: "request" | "renew",
  first: number,
  count: number,
): Promise<Load> {
  const before = cpuSeconds(pid);
  const answer = await sender.ask(`${command} ${first} ${count} ${AT_ONCE}`, LIMIT_MS);
  const { granted, milliseconds } = answer as { granted: number; milliseconds: number };
  if (granted !== count) throw new Error(`only ${granted} of ${count} flows were granted`);
  return {
    perSecond: count / (milliseconds / 1000),
    perCpuSecond: count / (cpuSeconds(pid) - before),
  };
}

/** No limit was met at the router. */
export function checkLimits({ counters: { pbs, gist } }: StatusView): void {
  const limits = Object.entries({ ...pbs, ...gist }).filter(
    ([name, count]) => /^(limited|rejected)\./.test(name) && count > 0,
  );
  if (limits.length > 0) throw new Error(`the router refused work: ${JSON.stringify(limits)}`);
}

/** The router verified each message once, and no limit was met. */
async function checkAll(asked: Promise<StatusView>, pairs: number): Promise<void> {
  const status = await asked;
  checkLimits(status);
  const { pbs } = status.counters;
  for (const counter of ["query.forwarded", "permission.forwarded"])
    if ((pbs[counter] ?? 0) < pairs)
      throw new Error(`${counter} is ${pbs[counter] ?? 0} at the router after ${pairs} pairs`);
}

/** Nanoseconds that the threads of a process have run so far; those that have ended are not in it. */
export function threadTime(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  const times = threads.map((thread) =>
    Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]),
  );
  return times.reduce((sum, time) => sum + time, 0);
}

/** Processor time of a process and all its threads so far: fields 14 and 15 of /proc/PID/stat. */
function cpuSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}
