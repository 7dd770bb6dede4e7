/**
 * Forwarding of permitted flows through the nfqueue engine against plain forwarding by the same kernel, always in
 * pairs measured one after the other. The router's receive path and the queue thread share one core unless said.
 */
import { forwardingRate, generatorCommand } from "./generator.js";
import { ADDRESS, Lab, LOAD_CORE, median, percentile, ROUTER_CORE } from "./lab.js";
import { LineProgram } from "./lines.js";
import { type Case, paired, type Report, report, single } from "./result.js";

const FLOW_COUNTS = [1, 36_000, 1_000_000] as const;
const SIZES = [64, 512, 1400] as const;
const WINDOW_SECONDS = 2;

/** A million flows take seconds to install, and as long to leave the kernel again. */
const ENGINE_LIMIT_MS = 60_000;

/** The engine as a process in the router, spoken to by lines. */
class Engine {
  readonly #program: LineProgram;

  private constructor(program: LineProgram) {
    this.#program = program;
  }

  /** @param cores processors the engine may run on, as taskset writes them */
  static async start(lab: Lab, flows: number, cores: string): Promise<Engine> {
    const wrapper = ["taskset", "-c", cores];
    const engine = new Engine(await LineProgram.start(lab.namespace("router"), "engine", {}, wrapper));
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
): Promise<Awaited<T>> {
  const engine = await Engine.start(lab, flows, cores);
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

interface IperfResult {
  readonly end: { readonly sum_received: { readonly bits_per_second: number } };
}

/** One TCP flow for some seconds, with a fixed source port so that it can be permitted; bits a second received. */
function iperf(lab: Lab, seconds: number, ...options: string[]): number {
  const server = lab.start("receiver", "iperf3", "-s", "-1", "-p", "5201");
  try {
    lab.run("receiver", "sh", "-c", "until ss -ltn | grep -q :5201; do :; done");
    const text = lab.run(
      "sender",
      "iperf3",
      "-c",
      ADDRESS.receiver,
      "-p",
      "5201",
      "--cport",
      "41000",
      "-t",
      String(seconds),
      "-J",
      ...options,
    );
    return (JSON.parse(text) as IperfResult).end.sum_received.bits_per_second;
  } finally {
    server.kill();
  }
}

/** iperf3 opens a control connection of any port beside the data connection, so that needs a permission too. */
async function permitIperf(lab: Lab, engine: Engine): Promise<void> {
  lab.run("sender", "sysctl", "-qw", "net.ipv4.ip_local_port_range=41001 41010");
  const flows: string[] = [];
  for (let port = 41_000; port <= 41_010; port++) {
    flows.push(`tcp ${ADDRESS.sender}:${port} > ${ADDRESS.receiver}:5201`);
    flows.push(`tcp ${ADDRESS.receiver}:5201 > ${ADDRESS.sender}:${port}`);
  }
  for (const flow of flows) await engine.ask(`permit ${flow}`);
}

async function tcp(lab: Lab, runs: number): Promise<Case> {
  const pairs: { value: number; baseline: number }[] = [];
  for (let run = 0; run < runs; run++) {
    const baseline = iperf(lab, 3) / 1e9;
    const value = await withEngine(lab, 0, `${ROUTER_CORE},${LOAD_CORE}`, async (engine) => {
      await permitIperf(lab, engine);
      return iperf(lab, 3) / 1e9;
    });
    pairs.push({ value, baseline });
  }
  return paired("one TCP flow through nfqueue", "Gb/s", pairs);
}

/** Round trips of ping in microseconds. Both directions cross the queue once each. */
function roundTrips(lab: Lab): number[] {
  const text = lab.run("sender", "ping", "-n", "-i", "0.002", "-c", "2000", ADDRESS.receiver);
  return [...text.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]) * 1000);
}

async function latency(lab: Lab, runs: number): Promise<Case[]> {
  const medians: { value: number; baseline: number }[] = [];
  const tails: { value: number; baseline: number }[] = [];
  for (let run = 0; run < runs; run++) {
    const plain = roundTrips(lab);
    const queued = await withEngine(lab, 0, `${ROUTER_CORE},${LOAD_CORE}`, async (engine) => {
      await engine.ask(`permit icmp ${ADDRESS.sender} > ${ADDRESS.receiver}`);
      await engine.ask(`permit icmp ${ADDRESS.receiver} > ${ADDRESS.sender}`);
      return roundTrips(lab);
    });
    medians.push({ value: median(queued), baseline: median(plain) });
    tails.push({ value: percentile(queued, 0.99), baseline: percentile(plain, 0.99) });
  }
  return [
    paired("round trip of ping, two verdicts, median", "us", medians),
    paired("round trip of ping, two verdicts, p99", "us", tails),
  ];
}

/** Goodput of a permitted TCP flow held at 1 Gb/s while the attacker sends packets that nobody permitted. */
async function flood(lab: Lab, rate: number | undefined, runs: number): Promise<Case> {
  const pairs: { value: number; baseline: number }[] = [];
  for (let run = 0; run < runs; run++) {
    const pair = await withEngine(lab, 0, `${ROUTER_CORE},${LOAD_CORE}`, async (engine) => {
      await permitIperf(lab, engine);
      const quiet = iperf(lab, 3, "-b", "1G");
      lab.pinRouter();
      const attack = lab.start(
        "attacker",
        ...generatorCommand(lab, {
          from: "attacker",
          size: 64,
          flows: 65_536,
          seconds: 8,
          ...(rate === undefined ? {} : { rate }),
        }),
      );
      try {
        return { value: iperf(lab, 3, "-b", "1G") / 1e6, baseline: quiet / 1e6 };
      } finally {
        attack.kill();
      }
    });
    pairs.push(pair);
  }
  return paired(
    `1 Gb/s TCP beside ${rate === undefined ? "all" : rate / 1000 + " kpps"} unpermitted`,
    "Mb/s",
    pairs,
  );
}

async function table(lab: Lab): Promise<Case[]> {
  return withEngine(lab, 0, `${ROUTER_CORE},${LOAD_CORE}`, async (engine) => {
    const empty = (await engine.ask("status"))["memory"] as number;
    const { perSecond } = (await engine.ask("install 1000000")) as { perSecond: number };
    const full = (await engine.ask("status"))["memory"] as number;
    return [
      single("install of 1,000,000 flows, kernel set included", "flows/s", [perSecond]),
      single("resident memory for each of 1,000,000 flows", "bytes", [(full - empty) / 1_000_000]),
    ];
  });
}

/** @param quick one run of the main cases, to see that all works */
export async function dataplane(quick: boolean): Promise<Report> {
  const runs = quick ? 1 : 5;
  const lab = new Lab();
  try {
    lab.run("receiver", "iptables", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "-j", "DROP");
    const results: Case[] = await table(lab);
    const counts = quick ? [1, 1_000_000] : FLOW_COUNTS;
    for (const flows of counts) {
      for (const size of quick ? [64] : SIZES)
        results.push(...(await forwarding(lab, size, flows, String(ROUTER_CORE), runs)));
    }
    results.push(await tcp(lab, runs), ...(await latency(lab, runs)), await flood(lab, 300_000, runs));
    return report("dataplane", results);
  } finally {
    lab.close();
  }
}
