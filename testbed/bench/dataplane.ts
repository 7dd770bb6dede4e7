/**
 * What both engines do against plain forwarding by the same kernel, always in pairs measured one after the other. The
 * router's receive path and the queue thread share one core unless said.
 */
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { forwardingRate, generatorCommand, type Load } from "./generator.js";
import { ADDRESS, Lab, LOAD_CORE, median, percentile, ROUTER_CORE } from "./lab.js";
import type { Settings } from "./engine.js";
import { LineProgram } from "./lines.js";
import { processorSeconds, routerSeconds, threads } from "./processor-time.js";
import { type Case, paired, type Report, report, single } from "./result.js";
import { SIZE as AH_SIZE, verified } from "./xdp-authentication.js";
import { forwardedByStack, pinReceiver, sinkAtReceiver, xdpCases } from "./xdp.js";

const FLOW_COUNTS = [1, 1_000_000] as const;
const WINDOW_SECONDS = 2;

/** A million flows take seconds to install, and as long to leave the kernel again. */
const ENGINE_LIMIT_MS = 60_000;

type EngineKind = "nfqueue" | "xdp";

const BOTH_CORES = `${ROUTER_CORE},${LOAD_CORE}`;

/** The engine as a process in the router, spoken to by lines. */
class Engine {
  readonly #program: LineProgram;

  private constructor(program: LineProgram) {
    this.#program = program;
  }

  /** @param cores processors the engine may run on, as taskset writes them */
  static async start(lab: Lab, flows: number, cores: string, settings: Settings): Promise<Engine> {
    const wrapper = ["taskset", "-c", cores];
    const program = await LineProgram.start(lab.namespace("router"), "engine", settings, wrapper);
    const engine = new Engine(program);
    if (flows > 0) await engine.ask(`install ${flows}`);
    return engine;
  }

  ask(command: string): Promise<Readonly<Record<string, unknown>>> {
    return this.#program.ask(command, ENGINE_LIMIT_MS);
  }

  stop(): Promise<void> {
    return this.#program.stop(ENGINE_LIMIT_MS);
  }
}

async function withEngine<T>(
  lab: Lab,
  flows: number,
  cores: string,
  measure: (engine: Engine) => T,
  settings: Settings = {},
): Promise<Awaited<T>> {
  const engine = await Engine.start(lab, flows, cores, settings);
  try {
    return await measure(engine);
  } finally {
    await engine.stop();
  }
}

/** What is offered to find the most that the engine forwards; undefined: all that the generator gives, which is overload. */
const OFFERED: readonly (number | undefined)[] = [150_000, 250_000, 350_000, undefined];

/**
 * Packets a second through the engine, with plain forwarding before and after it: the most over all offered rates, and
 * what is left of it under overload.
 */
async function forwarding(
  lab: Lab,
  size: number,
  flows: number,
  cores: string,
  runs: number,
): Promise<Case[]> {
  const load = { from: "sender", size, flows, seconds: WINDOW_SECONDS } as const;
  const best: { value: number; baseline: number }[] = [];
  const overloaded: { value: number; baseline: number }[] = [];
  for (let run = 0; run < runs; run++) {
    const before = forwardingRate(lab, load);
    const rates = await withEngine(lab, flows, cores, () =>
      OFFERED.map((rate) => forwardingRate(lab, rate === undefined ? load : { ...load, rate })),
    );
    const baseline = (before + forwardingRate(lab, load)) / 2000;
    best.push({ value: Math.max(...rates) / 1000, baseline });
    overloaded.push({ value: (rates.at(-1) ?? 0) / 1000, baseline });
  }
  const where = cores === String(ROUTER_CORE) ? "one core" : "two cores";
  const name = `nfqueue ${size} B, ${flows} flows, ${where}`;
  return [paired(name, "kpps", best), paired(`${name}, overloaded`, "kpps", overloaded)];
}

/** Offered to find the most packets with AH that the queue verifies. */
const OFFERED_WITH_AH = [100_000, 150_000, 200_000];

/** Packets with AH that the queue verifies, on the router's core with all that forwards. */
async function queueAuthenticated(lab: Lab, runs: number): Promise<Case> {
  const pairs: { value: number; baseline: number }[] = [];
  const plain = { from: "sender", size: AH_SIZE, flows: 1, seconds: 1 } as const;
  for (let run = 0; run < runs; run++) {
    const baseline = forwardingRate(lab, plain) / 1000;
    const rates = await withEngine(lab, 0, String(ROUTER_CORE), async (engine) => {
      const all: number[] = [];
      for (const rate of OFFERED_WITH_AH) all.push((await verified(lab, engine, ROUTER_CORE, rate)).rate);
      return all;
    });
    pairs.push({ value: Math.max(...rates) / 1000, baseline });
  }
  return paired(`nfqueue, hmac-sha256-128, ${AH_SIZE} B, one core`, "kpps", pairs);
}

const TCP_SECONDS = 3;

const QUEUE_THREAD = /^\s*(\d+)\s+pbs-permitted/;
/** Packets a second: so few that each costs wake-ups, and about the engine's most. */
const UNHURRIED = 120_000;
const HURRIED = 200_000;

/** Thousands of packets that the router's stack sends on in a second of processor time, the queue's thread included. */
function forwardedPerSecond(lab: Lab, load: Load): number {
  lab.pinRouter();
  pinReceiver();
  const spent = () => routerSeconds() + processorSeconds(threads(QUEUE_THREAD));
  const [packets, before] = [forwardedByStack(lab), spent()];
  lab.run("sender", ...generatorCommand(lab, load));
  return (forwardedByStack(lab) - packets) / (spent() - before) / 1000;
}

/**
 * As the cases of XDP are measured: what else runs on the machine is no part of it. Where few packets come, plain forwarding
 * pays for wake-ups too, so it gets the same few; at the engine's most it gets all that the generator gives.
 */
async function queueTime(lab: Lab, runs: number): Promise<Case[]> {
  const load = { from: "sender", size: 64, flows: 1_000_000, seconds: WINDOW_SECONDS } as const;
  const few = { ...load, rate: UNHURRIED };
  sinkAtReceiver(lab);
  const unhurried: { value: number; baseline: number }[] = [];
  const hurried: { value: number; baseline: number }[] = [];
  for (let run = 0; run < runs; run++) {
    const before = [forwardedPerSecond(lab, load), forwardedPerSecond(lab, few)] as const;
    const values = await withEngine(
      lab,
      load.flows,
      String(ROUTER_CORE),
      () => [forwardedPerSecond(lab, { ...load, rate: HURRIED }), forwardedPerSecond(lab, few)] as const,
    );
    const after = [forwardedPerSecond(lab, load), forwardedPerSecond(lab, few)] as const;
    hurried.push({ value: values[0], baseline: (before[0] + after[0]) / 2 });
    unhurried.push({ value: values[1], baseline: (before[1] + after[1]) / 2 });
  }
  const name = (rate: number) =>
    `nfqueue ${load.size} B, ${load.flows} flows, by processor time, ${rate / 1000} kpps offered`;
  return [
    paired(`${name(HURRIED)}, plain forwarding all`, "kpps a core", hurried),
    paired(`${name(UNHURRIED)}, plain forwarding too`, "kpps a core", unhurried),
  ];
}

interface IperfResult {
  readonly error?: string;
  readonly end: { readonly sum_received?: { readonly bits_per_second: number } };
}

interface IperfOptions {
  /** As iperf3 takes it; absent: all that goes. */
  readonly rate?: string;
  /** Processors that both ends may run on; absent: any. */
  readonly cores?: string;
}

/** One TCP flow for some seconds, with a fixed source port so that it can be permitted; bits a second received. */
function iperf(lab: Lab, seconds: number, { rate = "0", cores = BOTH_CORES }: IperfOptions = {}): number {
  const program = ["taskset", "-c", cores, "iperf3"];
  const server = lab.start("receiver", ...program, "-s", "-1", "-p", "5201");
  try {
    lab.run("receiver", "sh", "-c", "until ss -ltn | grep -q :5201; do :; done");
    const text = lab.run(
      "sender",
      ...program,
      "-c",
      ADDRESS.receiver,
      "-p",
      "5201",
      "--cport",
      "41000",
      "-t",
      String(seconds),
      "-J",
      "-b",
      rate,
    );
    const { error, end } = JSON.parse(text) as IperfResult;
    if (end.sum_received === undefined) throw new Error(`iperf3: ${error ?? "no result"}`);
    return end.sum_received.bits_per_second;
  } finally {
    server.kill();
  }
}

/** iperf3 opens a control connection of any port beside the data connection, so that needs a permission too. */
async function permitIperf(lab: Lab, engine: Engine): Promise<void> {
  lab.run("sender", "sysctl", "-qw", "net.ipv4.ip_local_port_range=41001 41010");
  // Ports are free again at once: there are few, and many connections after each other.
  for (const host of ["sender", "receiver"] as const)
    lab.run(host, "sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0");
  const flows: string[] = [];
  for (let port = 41_000; port <= 41_010; port++) {
    flows.push(`tcp ${ADDRESS.sender}:${port} > ${ADDRESS.receiver}:5201`);
    flows.push(`tcp ${ADDRESS.receiver}:5201 > ${ADDRESS.sender}:${port}`);
  }
  for (const flow of flows) await engine.ask(`permit ${flow}`);
}

const ANYWHERE: Settings = {};
const KEPT: Settings = { processor: LOAD_CORE };

/** The queue's thread wherever the kernel puts it, and on one core, in turn. */
async function tcp(lab: Lab, runs: number): Promise<Case[]> {
  const anywhere: { value: number; baseline: number }[] = [];
  const kept: { value: number; baseline: number }[] = [];
  const measure = async (engine: Engine) => {
    await permitIperf(lab, engine);
    return iperf(lab, TCP_SECONDS) / 1e9;
  };
  for (let run = 0; run < runs; run++) {
    const before = iperf(lab, TCP_SECONDS);
    const values = new Map<object, number>();
    // Whoever comes first in one run comes last in the next.
    for (const settings of run % 2 === 0 ? [ANYWHERE, KEPT] : [KEPT, ANYWHERE])
      values.set(settings, await withEngine(lab, 0, BOTH_CORES, measure, settings));
    const baseline = (before + iperf(lab, TCP_SECONDS)) / 2e9;
    anywhere.push({ value: values.get(ANYWHERE) ?? 0, baseline });
    kept.push({ value: values.get(KEPT) ?? 0, baseline });
  }
  const name = "one TCP flow through nfqueue";
  return [paired(name, "Gb/s", anywhere), paired(`${name}, processor = ${LOAD_CORE}`, "Gb/s", kept)];
}

/** Round trips of ping in microseconds. Both directions cross the engine once each. */
function roundTrips(lab: Lab): number[] {
  const text = lab.run("sender", "ping", "-n", "-i", "0.002", "-c", String(PINGS), ADDRESS.receiver);
  return [...text.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]) * 1000);
}

const PINGS = 1000;
const LOAD_FLOWS = 1000;

/** About half of what the engine forwards at most, in packets a second. */
const HALF_LOAD: Readonly<Record<EngineKind, number>> = { nfqueue: 80_000, xdp: 300_000 };

/** The same beside a permitted load from the sender. */
async function roundTripsUnderLoad(lab: Lab, rate: number): Promise<number[]> {
  lab.pinRouter();
  const load = { from: "sender", size: 64, flows: LOAD_FLOWS, seconds: 10, rate } as const;
  const generator = lab.start("sender", ...generatorCommand(lab, load));
  try {
    await setTimeout(SETTLE_MS);
    return roundTrips(lab);
  } finally {
    generator.kill();
    await once(generator, "exit");
  }
}

async function latency(lab: Lab, kind: EngineKind, runs: number): Promise<Case[]> {
  const medians: { value: number; baseline: number }[] = [];
  const tails: { value: number; baseline: number }[] = [];
  const rate = HALF_LOAD[kind];
  for (let run = 0; run < runs; run++) {
    const plain = await roundTripsUnderLoad(lab, rate);
    const judged = await withEngine(
      lab,
      LOAD_FLOWS,
      BOTH_CORES,
      async (engine) => {
        await engine.ask(`permit icmp ${ADDRESS.sender} > ${ADDRESS.receiver}`);
        await engine.ask(`permit icmp ${ADDRESS.receiver} > ${ADDRESS.sender}`);
        return roundTripsUnderLoad(lab, rate);
      },
      { engine: kind },
    );
    medians.push({ value: median(judged), baseline: median(plain) });
    tails.push({ value: percentile(judged, 0.99), baseline: percentile(plain, 0.99) });
  }
  const name = `round trip of ping beside ${rate / 1000} kpps, two verdicts of ${kind}`;
  return [paired(`${name}, median`, "us", medians), paired(`${name}, p99`, "us", tails)];
}

const SETTLE_MS = 300;
const FLOOD_SECONDS = 8;

interface Flood {
  readonly kind: EngineKind;
  /** From another interface, or by the sender's, into the receive ring of the permitted flow. */
  readonly from: "attacker" | "sender";
  /** Packets a second; undefined: all that the generator gives. */
  readonly rate?: number;
  /** Absent: the hosts' programs run wherever the scheduler puts them, the router's core included. */
  readonly arrangement?: keyof typeof ARRANGEMENTS;
}

/** Without and beside the flood alike. */
interface Arrangement {
  readonly name: string;
  readonly cores: string;
  readonly receivePriority: number;
}

const ARRANGEMENTS = {
  anywhere: { name: "", cores: BOTH_CORES, receivePriority: 0 },
  apart: { name: ", hosts on the other core", cores: String(LOAD_CORE), receivePriority: 0 },
  first: { name: ", receive_priority = 1", cores: BOTH_CORES, receivePriority: 1 },
} as const satisfies Readonly<Record<string, Arrangement>>;

/** Goodput of a permitted TCP flow held at 1 Gb/s beside packets that nobody permitted. */
async function flood(lab: Lab, settings: Flood, runs: number): Promise<Case> {
  const { kind, from, rate, arrangement = "anywhere" } = settings;
  const { name, cores, receivePriority } = ARRANGEMENTS[arrangement];
  const measure = () => {
    lab.pinRouter();
    if (cores === String(LOAD_CORE)) lab.pinHosts();
    return iperf(lab, 3, { rate: "1G", cores }) / 1e6;
  };

  const size = { size: 64, flows: 65_536, seconds: FLOOD_SECONDS };
  const load = { from, ...size, ...(rate === undefined ? {} : { rate }) };
  const pairs: { value: number; baseline: number }[] = [];
  for (let run = 0; run < runs; run++) {
    // The engine gives priorities to threads that are there.
    lab.pinRouter();
    const pair = await withEngine(
      lab,
      0,
      BOTH_CORES,
      async (engine) => {
        await permitIperf(lab, engine);
        const baseline = measure();
        const attack = lab.start(from, ...generatorCommand(lab, load));
        try {
          return { value: measure(), baseline };
        } finally {
          attack.kill();
          await once(attack, "exit");
        }
      },
      { engine: kind, receivePriority },
    );
    pairs.push(pair);
  }
  lab.releaseHosts();
  const ring = from === "sender" ? " in the same receive ring" : "";
  const what = rate === undefined ? "all" : `${rate / 1000} kpps`;
  return paired(`1 Gb/s TCP beside ${what} unpermitted${ring}, ${kind}${name}`, "Mb/s", pairs);
}

/** 1 Gb/s of packets with AH, which the programs hand to a thread on the router's core. */
const AUTHENTICATED_RATE = 90_000;
/** Longer than the packets take, however little of their core the flood leaves to who sends them. */
const LONG_SECONDS = 60;

/** How many of a flow's packets with AH arrive beside all the unpermitted packets that another interface gives, and without. */
async function floodedAuthenticated(lab: Lab, runs: number): Promise<Case> {
  const load = { from: "attacker", size: 64, flows: 65_536, seconds: LONG_SECONDS } as const;
  const pairs: { value: number; baseline: number }[] = [];
  for (let run = 0; run < runs; run++) {
    const share = (engine: Engine) => verified(lab, engine, ROUTER_CORE, AUTHENTICATED_RATE);
    const measure = async (engine: Engine) => {
      const quiet = await share(engine);
      const attack = lab.start("attacker", ...generatorCommand(lab, load));
      try {
        return { value: (await share(engine)).share, baseline: quiet.share };
      } finally {
        attack.kill();
        await once(attack, "exit");
      }
    };
    pairs.push(await withEngine(lab, 0, BOTH_CORES, measure, { engine: "xdp" }));
  }
  const name = `hmac-sha256-128 at ${AUTHENTICATED_RATE / 1000} kpps beside all unpermitted, xdp and AF_XDP`;
  return paired(name, "of those sent", pairs);
}

const FLOODS: readonly Flood[] = [
  { kind: "nfqueue", from: "attacker", rate: 300_000 },
  { kind: "nfqueue", from: "attacker", rate: 1_000_000 },
  { kind: "xdp", from: "attacker" },
];
/** The last one last: threads keep the priority that they were given. */
const FLOODS_IN_RING: readonly Flood[] = (["anywhere", "apart", "first"] as const).map((arrangement) => ({
  kind: "xdp",
  from: "sender",
  rate: 1_000_000,
  arrangement,
}));

/** Native programs send on what the other end of a veth has left to be filled in, so hosts fill it in themselves. */
function fillInChecksums(lab: Lab): void {
  lab.run("sender", "ethtool", "-K", "out", "tx", "off");
  lab.run("receiver", "ethtool", "-K", "in", "tx", "off");
}

async function table(lab: Lab): Promise<Case[]> {
  return withEngine(lab, 0, BOTH_CORES, async (engine) => {
    const empty = (await engine.ask("status"))["memory"] as number;
    const { perSecond } = (await engine.ask("install 1000000")) as { perSecond: number };
    const full = (await engine.ask("status"))["memory"] as number;
    return [
      single("install of 1,000,000 flows, kernel set included", "flows/s", [perSecond]),
      single("resident memory for each of 1,000,000 flows", "bytes", [(full - empty) / 1_000_000]),
    ];
  });
}

/** The load ends where it arrives, and costs its host no more than that. */
function dropAtReceiver(lab: Lab): void {
  for (const protocol of ["udp", "ah"])
    lab.run("receiver", "iptables", "-t", "raw", "-A", "PREROUTING", "-p", protocol, "-j", "DROP");
}

async function queue(lab: Lab, size: number, runs: number): Promise<Case[]> {
  const results: Case[] = [];
  for (const flows of FLOW_COUNTS)
    results.push(...(await forwarding(lab, size, flows, String(ROUTER_CORE), runs)));
  return results;
}

/** Each in a lab of its own. */
const PARTS: Readonly<Record<string, (lab: Lab, runs: number) => Promise<Case[]>>> = {
  table,
  "queue-64": (lab, runs) => queue(lab, 64, runs),
  "queue-1400": (lab, runs) => queue(lab, 1400, runs),
  "queue-time": queueTime,
  "queue-ah": async (lab, runs) => [await queueAuthenticated(lab, runs)],
  tcp,
  flood: async (lab, runs) => {
    fillInChecksums(lab);
    const results: Case[] = [];
    for (const one of FLOODS) results.push(await flood(lab, one, runs));
    return results;
  },
  "flood-ring": async (lab, runs) => {
    fillInChecksums(lab);
    const results: Case[] = [];
    for (const one of FLOODS_IN_RING) results.push(await flood(lab, one, runs));
    return results;
  },
  "flood-ah": async (lab, runs) => {
    fillInChecksums(lab);
    return [await floodedAuthenticated(lab, runs)];
  },
  latency: async (lab, runs) => {
    fillInChecksums(lab);
    return [...(await latency(lab, "nfqueue", runs)), ...(await latency(lab, "xdp", runs))];
  },
  xdp: xdpCases,
};

export const DATAPLANE_CASES = Object.keys(PARTS);

/**
 * @param quick one run of each, to see that all works
 * @param only these parts; none: all
 */
export async function dataplane(quick: boolean, only: readonly string[]): Promise<Report> {
  const results: Case[] = [];
  for (const [name, part] of Object.entries(PARTS)) {
    if (only.length > 0 && !only.includes(name)) continue;
    const lab = new Lab();
    try {
      if (name !== "xdp" && name !== "queue-time") dropAtReceiver(lab);
      results.push(...(await part(lab, quick ? 1 : 5)));
    } finally {
      lab.close();
    }
  }
  return report("dataplane", results);
}
