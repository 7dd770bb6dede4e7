/**
 * Refreshes of flows through one router as they fall due by themselves, with what saves signatures and without: each alone,
 * by hash trees, by summaries. What counts is refreshed flows for each second of processor time that the router's process
 * takes, all its threads together. One sender, one receiver; GIST's own refreshes are kept out.
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
import { type Case, type Report, report, single, paired } from "./result.js";

const FLOWS = 3000;
const QUICK_FLOWS = 600;
const REFRESH_MS = 4000;
const WARM_UP_MS = 14_000;
const WATCHED_MS = 16_000;
const QUICK_WATCHED_MS = 8000;
const NANOSECONDS = 1e9;
const LIMIT_MS = 120_000;

const AT_ONCE = 200;
/** GIST's routing state is refreshed so late that only what is asked for is measured. */
const LATE_MS = 3_600_000;

const TYPES: readonly { readonly type: KeyChoice; readonly name: string }[] = [
  { type: "p256", name: "P-256" },
  { type: "rsa2048", name: "RSA-2048" },
];

type NodeName = "sender1" | "router" | "receiver1";
type AllKeys = Readonly<Record<NodeName, NodeKeys>>;

function keysOf(testbed: Testbed, type: KeyChoice): AllKeys {
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

/** Nanoseconds that the threads of a process have run so far; those that have ended are not in it. */
function threadTime(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  const times = threads.map((thread) =>
    Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]),
  );
  return times.reduce((sum, time) => sum + time, 0);
}

interface Way {
  readonly name: string;
  readonly saving: EndpointOptions["saving"];
}

const ALONE: Way = { name: "each by itself", saving: { tree: false, summary: false } };
const WAYS: readonly Way[] = [
  { name: "hash trees", saving: { tree: true, summary: false } },
  { name: "summaries of 100 flows", saving: { tree: true, summary: true, maxListed: 99 } },
];

interface Run {
  readonly perCpuSecond: number;
  readonly signatures: number;
  readonly messages: number;
}

/** @param quick one run with fewer flows, to see that all works */
export async function refreshing(quick: boolean): Promise<Report> {
  const testbed = await Testbed.create(THREE_NODE);
  try {
    const results: Case[] = [];
    for (const { type, name } of quick ? TYPES.slice(-1) : TYPES) {
      const keys = keysOf(testbed, type);
      // A router signs what it has counted into each Query; the figures without that show the rest.
      for (const reports of [true, false]) {
        const about = `${name}${reports ? "" : ", no reports of the router"}`;
        results.push(...(await compare(testbed, keys, about, reports, quick)));
      }
    }
    return report("refreshing", results);
  } finally {
    testbed.remove();
  }
}

async function compare(
  testbed: Testbed,
  keys: AllKeys,
  about: string,
  reports: boolean,
  quick: boolean,
): Promise<Case[]> {
  const alone = await measure(testbed, keys, ALONE, reports, quick);
  const cases: Case[] = [];
  for (const way of WAYS) {
    const run = await measure(testbed, keys, way, reports, quick);
    const pair = { value: run.perCpuSecond, baseline: alone.perCpuSecond };
    cases.push(
      paired(`${way.name}, against each by itself, ${about}`, "flows/CPU s", [pair]),
      single(`${way.name}: signatures checked a flow, ${about}`, "", [run.signatures]),
      single(`${way.name}: messages a flow, ${about}`, "", [run.messages]),
    );
  }
  return cases;
}

/** One router's life. */
async function measure(
  testbed: Testbed,
  keys: AllKeys,
  { saving }: Way,
  reports: boolean,
  quick: boolean,
): Promise<Run> {
  const router = testbed.daemon("router");
  const configuration = {
    identity: { ...keys.router },
    signalling: { intercept_rate: 1_000_000, routing_state_validity: "1h" },
    refresh: { tree: saving.tree, summary: saving.summary },
    detection: { reports: reports ? 1_000_000 : 0 },
    log: { level: "info" },
  };
  const hosts: LineProgram[] = [];
  const start = async (name: "sender1" | "receiver1"): Promise<LineProgram> => {
    const options: EndpointOptions = {
      keys: keys[name],
      from: testbed.address("sender1", 4),
      to: testbed.address("receiver1", 4),
      receives: name === "receiver1",
      refresh: REFRESH_MS,
      validity: LATE_MS,
      saving,
    };
    const host = await LineProgram.start(testbed.namespace(name), "endpoint", options);
    hosts.push(host);
    return host;
  };
  const status = () => router.client.get<StatusView>("/v1/status");
  try {
    await testbed.start({ router: configuration }, ["router"]);
    await start("receiver1");
    const sender = await start("sender1");
    await sender.ask(`request 0 ${quick ? QUICK_FLOWS : FLOWS} ${AT_ONCE}`, LIMIT_MS);
    await sender.ask(`watch ${WARM_UP_MS}`, LIMIT_MS);
    const before = { counters: (await status()).counters.pbs, cpu: threadTime(router.pid) };
    const watched = quick ? QUICK_WATCHED_MS : WATCHED_MS;
    const { installed } = (await sender.ask(`watch ${watched}`, LIMIT_MS)) as { installed: number };
    const cpu = (threadTime(router.pid) - before.cpu) / NANOSECONDS;
    const after = await status();
    const made = (name: string): number => (after.counters.pbs[name] ?? 0) - (before.counters[name] ?? 0);
    return {
      perCpuSecond: installed / cpu,
      signatures: made("signature.checked") / installed,
      messages: (made("query.received") + made("permission.received")) / installed,
    };
  } finally {
    for (const host of hosts) await host.stop();
    await router.stop();
  }
}
