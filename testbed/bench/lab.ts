/**
 * The measuring lab: sender, router, receiver and attacker as network namespaces joined by veth, the router with a
 * processor core of its own. Addresses differ from the three-node testbed because the generator spreads its flows over a /16.
 *
 *   sender 10.1.0.1/16 ── 10.1.255.254 router 10.2.0.1 ── 10.2.0.2 receiver
 *   attacker 10.3.0.1/16 ── 10.3.255.254 ┘
 */
import { execFile, execFileSync, type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { pin, threads } from "./processor-time.js";

export const HOSTS = ["sender", "router", "receiver", "attacker"] as const;
export type Host = (typeof HOSTS)[number];

export const ADDRESS = { sender: "10.1.0.1", receiver: "10.2.0.2", attacker: "10.3.0.1" } as const;

/** Core of the router's receive path, and of everything else. */
export const ROUTER_CORE = 0;
export const LOAD_CORE = 1;

interface Link {
  readonly host: Host;
  readonly name: string;
  readonly address: string;
}

const LINKS: readonly (readonly [Link, Link])[] = [
  [
    { host: "sender", name: "out", address: `${ADDRESS.sender}/16` },
    { host: "router", name: "from-sender", address: "10.1.255.254/16" },
  ],
  [
    { host: "router", name: "to-receiver", address: "10.2.0.1/24" },
    { host: "receiver", name: "in", address: `${ADDRESS.receiver}/24` },
  ],
  [
    { host: "attacker", name: "out", address: `${ADDRESS.attacker}/16` },
    { host: "router", name: "from-attacker", address: "10.3.255.254/16" },
  ],
];

const ROUTER_RECEIVES = /^\s*(\d+)\s+napi\/(?:from-sende|to-receive|from-attac)/;
const HOST_RECEIVES = /^\s*(\d+)\s+napi\/(?:in|out)-/;

export class Lab {
  readonly directory: string;
  readonly #prefix = `pbsb${process.pid}`;

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), "pbs-bench-"));
    try {
      this.#build();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  namespace(host: Host): string {
    return `${this.#prefix}-${host}`;
  }

  /** Runs a program in a host and returns what it printed. Throws when it fails. */
  run(host: Host, ...command: string[]): string {
    return execFileSync("ip", ["netns", "exec", this.namespace(host), ...command], {
      encoding: "utf8",
      maxBuffer: 64 << 20,
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  /** The same without waiting for it; a program that takes longer than `limit` milliseconds is ended, and has failed. */
  async finish(host: Host, limit: number, ...command: string[]): Promise<string> {
    const options = { encoding: "utf8", maxBuffer: 64 << 20, timeout: limit, killSignal: "SIGKILL" } as const;
    const all = ["netns", "exec", this.namespace(host), ...command];
    return (await promisify(execFile)("ip", all, options)).stdout;
  }

  /** The same, for a program whose failure is an answer too. */
  try(host: Host, ...command: string[]): SpawnSyncReturns<string> {
    return spawnSync("ip", ["netns", "exec", this.namespace(host), ...command], { encoding: "utf8" });
  }

  /** Starts a program in a host; the caller ends it. */
  start(host: Host, ...command: string[]) {
    return spawn("ip", ["netns", "exec", this.namespace(host), ...command], {
      stdio: ["pipe", "pipe", "inherit"],
    });
  }

  /** Packets that have arrived on an interface. */
  received(host: Host, link: string): number {
    return Number(this.run(host, "cat", `/sys/class/net/${link}/statistics/rx_packets`));
  }

  mac(host: Host, link: string): string {
    return this.run(host, "cat", `/sys/class/net/${link}/address`).trim();
  }

  /**
   * Gives the router's receive path a kernel thread per interface on {@link ROUTER_CORE}. Changing offloads makes
   * the threads anew, so this is asked for again before each window.
   */
  pinRouter(): void {
    this.#threaded("router", ["from-sender", "to-receiver", "from-attacker"]);
    const pinned = pinThreads(ROUTER_RECEIVES, ROUTER_CORE);
    if (pinned < LINKS.length)
      throw new Error(`only ${pinned} receive threads of the router could be pinned`);
  }

  /** The same for the hosts at both ends, on {@link LOAD_CORE}: what they receive is no work of the router's core. */
  pinHosts(): void {
    this.#threaded("sender", ["out"]);
    this.#threaded("receiver", ["in"]);
    if (pinThreads(HOST_RECEIVES, LOAD_CORE) < 2)
      throw new Error("the hosts' receive threads could not be pinned");
  }

  /** Takes {@link pinHosts} back. */
  releaseHosts(): void {
    this.#threaded("sender", ["out"], false);
    this.#threaded("receiver", ["in"], false);
  }

  #threaded(host: Host, links: readonly string[], wanted = true): void {
    for (const name of links)
      this.run(host, "sh", "-c", `echo ${wanted ? 1 : 0} > /sys/class/net/${name}/threaded`);
  }

  close(): void {
    for (const host of HOSTS) spawnSync("ip", ["netns", "del", this.namespace(host)], { stdio: "ignore" });
    rmSync(this.directory, { recursive: true, force: true });
  }

  #build(): void {
    for (const host of HOSTS) {
      execFileSync("ip", ["netns", "add", this.namespace(host)]);
      this.run(host, "ip", "link", "set", "lo", "up");
    }
    for (const [a, b] of LINKS) {
      const end = (link: Link): string[] => ["name", link.name, "netns", this.namespace(link.host)];
      execFileSync("ip", ["link", "add", ...end(a), "type", "veth", "peer", ...end(b)]);
      for (const link of [a, b]) {
        this.run(link.host, "ip", "addr", "add", link.address, "dev", link.name);
        this.run(link.host, "ip", "link", "set", link.name, "up");
        // A veth takes frames from XDP only while its peer's receive path is driven by NAPI, which GRO turns on.
        this.run(link.host, "ethtool", "-K", link.name, "gro", "on");
      }
    }
    for (const setting of ["ip_forward=1", "conf.all.rp_filter=0", "conf.default.rp_filter=0"]) {
      this.run("router", "sysctl", "-qw", `net.ipv4.${setting}`);
    }
    for (const [host, gateway] of [
      ["sender", "10.1.255.254"],
      ["receiver", "10.2.0.1"],
      ["attacker", "10.3.255.254"],
    ] as const) {
      this.run(host, "ip", "route", "add", "default", "via", gateway);
      this.run(host, "ping", "-c", "1", "-W", "2", gateway);
    }
    this.run("sender", "ping", "-c", "1", "-W", "2", ADDRESS.receiver);
  }
}

/** How many there are. */
function pinThreads(pattern: RegExp, core: number): number {
  const ids = threads(pattern);
  pin(ids, core);
  return ids.length;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** What the figures were measured on. */
export function machine(): string {
  const cpu = /model name\s*:\s*(.*)/.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "unknown processor";
  const kernel = readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();
  const cores = execFileSync("nproc", { encoding: "utf8" }).trim();
  return `${cpu}, ${cores} cores, Linux ${kernel}, Node ${process.version}`;
}
