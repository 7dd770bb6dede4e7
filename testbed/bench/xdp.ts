/**
 * Forwarding of permitted flows by XDP programs against plain forwarding by the same kernel, in pairs measured one right
 * after the other. What is compared is what the router's core does in a second of its own time: the receiver has the other
 * core, and ends the packets there, so that its work is no part of either figure.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { InterfaceEngine } from "../../src/traffic/datapath.js";
import { authenticated } from "./xdp-authentication.js";
import { forwardingRate, generatorCommand, type Load } from "./generator.js";
import { type Lab, LOAD_CORE } from "./lab.js";
import { LineProgram } from "./lines.js";
import { pin, routerSeconds, threads } from "./processor-time.js";
import { type Case, paired, single } from "./result.js";

const FLOWS = 1_000_000;
const SIZES = [64, 1400] as const;
const WINDOW_SECONDS = 1;
const ENGINE_LIMIT_MS = 60_000;

function file(...places: readonly string[]): string {
  const found = places
    .map((place) => fileURLToPath(new URL(place, import.meta.url)))
    .find((path) => existsSync(path));
  if (found === undefined) throw new Error(`${places[0]} is missing`);
  return found;
}

/** Ends UDP at the receiver before its stack, on the core that the router does not have. */
export function sinkAtReceiver(lab: Lab): void {
  const object = join(lab.directory, "sink.bpf.o");
  const compiler = file("../../native/bpf/compile", "../../../native/bpf/compile");
  execFileSync("sh", [compiler, file("sink.bpf.c", "../../../testbed/bench/sink.bpf.c"), object]);
  lab.run("receiver", "tc", "qdisc", "add", "dev", "in", "clsact");
  lab.run("receiver", "tc", "filter", "add", "dev", "in", "ingress", "bpf", "da", "obj", object, "sec", "tc");
  lab.run("receiver", "sh", "-c", "echo 1 > /sys/class/net/in/threaded");
}

export function pinReceiver(): void {
  const ids = threads(/^\s*(\d+)\s+napi\/in-/);
  if (ids.length === 0) throw new Error("the receiver's thread is missing");
  pin(ids, LOAD_CORE);
}

/** Packets that the router's stack has forwarded. */
export function forwardedByStack(lab: Lab): number {
  const lines = lab.run("router", "grep", "^Ip:", "/proc/net/snmp").trim().split("\n");
  const [names = [], values = []] = lines.map((line) => line.split(" "));
  return Number(values[names.indexOf("ForwDatagrams")]);
}

interface Bench {
  readonly lab: Lab;
  readonly engine: LineProgram;
}

async function sent({ lab, engine }: Bench): Promise<number> {
  const answer = await engine.ask("sent", ENGINE_LIMIT_MS);
  return forwardedByStack(lab) + Number(answer["sent"]);
}

/** Thousands of packets that the router sent on in a second of its core's time. */
async function window(bench: Bench, load: Load): Promise<number> {
  const { lab } = bench;
  lab.pinRouter();
  pinReceiver();
  const packets = await sent(bench);
  const start = routerSeconds();
  lab.run("sender", ...generatorCommand(lab, load));
  const took = routerSeconds() - start;
  return ((await sent(bench)) - packets) / took / 1000;
}

async function install(engine: LineProgram): Promise<void> {
  const { interfaces } = (await engine.ask(`install ${FLOWS}`, ENGINE_LIMIT_MS)) as {
    interfaces: readonly InterfaceEngine[];
  };
  const other = interfaces.find((one) => one.engine !== "xdp");
  if (other !== undefined) throw new Error(`${other.name} has no native program: ${other.reason}`);
}

async function forwarding(bench: Bench, size: number, runs: number): Promise<Case> {
  const load: Load = { from: "sender", size, flows: FLOWS, seconds: WINDOW_SECONDS };
  const pairs: { value: number; baseline: number }[] = [];
  for (let run = 0; run < runs; run++) {
    await bench.engine.ask("detach", ENGINE_LIMIT_MS);
    const before = await window(bench, load);
    await install(bench.engine);
    const value = await window(bench, load);
    await bench.engine.ask("detach", ENGINE_LIMIT_MS);
    pairs.push({ value, baseline: (before + (await window(bench, load))) / 2 });
  }
  return paired(`xdp ${size} B, ${FLOWS} flows, one core`, "kpps a core", pairs);
}

/**
 * The same with the receiver's stack on the router's core, by the clock, and counted where it arrives: dearer for packets
 * that XDP has sent, because the receiver has to make what the router's stack made before.
 */
async function withReceiver({ lab, engine }: Bench, size: number, runs: number): Promise<Case> {
  const load: Load = { from: "sender", size, flows: FLOWS, seconds: WINDOW_SECONDS };
  lab.run("receiver", "sh", "-c", "echo 0 > /sys/class/net/in/threaded");
  const pairs: { value: number; baseline: number }[] = [];
  for (let run = 0; run < runs; run++) {
    await engine.ask("detach", ENGINE_LIMIT_MS);
    const before = forwardingRate(lab, load);
    await install(engine);
    const value = forwardingRate(lab, load) / 1000;
    await engine.ask("detach", ENGINE_LIMIT_MS);
    pairs.push({ value, baseline: (before + forwardingRate(lab, load)) / 2000 });
  }
  return paired(`xdp ${size} B, ${FLOWS} flows, router and receiver on one core`, "kpps", pairs);
}

async function changes(lab: Lab, runs: number): Promise<Case[]> {
  const measured: Record<string, number>[] = [];
  for (let run = 0; run < runs; run++) {
    const engine = await start(lab);
    measured.push((await engine.ask(`rates ${FLOWS}`, ENGINE_LIMIT_MS)) as Record<string, number>);
    await engine.stop(ENGINE_LIMIT_MS);
  }
  return ["install", "update", "remove"].map((name) =>
    single(
      `${name} ${FLOWS} flows in batches, the programs' table`,
      "flows a processor second",
      measured.map((rates) => rates[name] ?? Number.NaN),
    ),
  );
}

function start(lab: Lab): Promise<LineProgram> {
  return LineProgram.start(lab.namespace("router"), "xdp-engine", {}, ["taskset", "-c", String(LOAD_CORE)]);
}

/** In a lab whose receiver is free of rules of its own. */
export async function xdpCases(lab: Lab, runs: number): Promise<Case[]> {
  sinkAtReceiver(lab);
  const results = await changes(lab, runs);
  const engine = await start(lab);
  try {
    for (const size of SIZES) results.push(await forwarding({ lab, engine }, size, runs));
    for (const size of SIZES) results.push(await withReceiver({ lab, engine }, size, runs));
    results.push(...(await authenticated(lab, engine, runs)));
  } finally {
    await engine.stop(ENGINE_LIMIT_MS);
  }
  return results;
}
