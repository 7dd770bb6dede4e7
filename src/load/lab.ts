/**
 * A network of its own on this machine: for each lane a namespace with the senders and one with the receivers, all joined
 * by one namespace with the router. Nothing leaves the machine; all of it goes with the process that made it.
 *
 *   senders 10.64.0.0/16 ── 10.200.0.2 ── 10.200.0.1 router 10.201.0.1 ── 10.201.0.2 ── receivers 10.128.0.0/16   (lane 0)
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { knownHostsRange } from "../base/queues.js";
import type { AddressBlock } from "./space.js";

const PREFIX = "pbsload";
export const MOST_LANES = 32;
/** Addresses of one block, its first and its last left out. */
export const MOST_HOSTS = 65_000;

export interface LaneEnd {
  readonly namespace: string;
  readonly interface: string;
  /** Of the link towards the router. */
  readonly address: string;
}

export class Lab {
  readonly directory: string;
  readonly lanes: number;
  readonly #name = `${PREFIX}${process.pid}`;
  readonly #pids = new Set<number>();
  readonly #close = (): void => this.close();
  #closed = false;

  /** Throws, and leaves nothing behind, when the machine does not let it. */
  constructor(lanes: number) {
    this.lanes = lanes;
    removeLeftOver();
    this.directory = mkdtempSync(join(tmpdir(), "pbs-load-"));
    process.once("exit", this.#close);
    try {
      this.#build();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get router(): string {
    return `${this.#name}-router`;
  }

  sender(lane: number): LaneEnd {
    return { namespace: `${this.#name}-s${lane}`, interface: "net0", address: `10.200.${lane}.2` };
  }

  receiver(lane: number): LaneEnd {
    return { namespace: `${this.#name}-r${lane}`, interface: "net0", address: `10.201.${lane}.2` };
  }

  senders(lane: number, count: number): AddressBlock {
    return { first: `10.${64 + lane}.0.1`, count };
  }

  receivers(lane: number, count: number): AddressBlock {
    return { first: `10.${128 + lane}.0.1`, count };
  }

  /** The router's own addresses, for its certificate. */
  get routerAddresses(): readonly string[] {
    return lanesOf(this.lanes).flatMap((lane) => [`10.200.${lane}.1`, `10.201.${lane}.1`]);
  }

  /** A process that has to end with the network. */
  owns(pid: number): void {
    this.#pids.add(pid);
  }

  /** Synchronous, so that it works while the process exits. Doing it twice does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    process.removeListener("exit", this.#close);
    for (const pid of this.#pids) end(pid);
    removeNamespaces(this.#namespaces());
    rmSync(this.directory, { recursive: true, force: true });
  }

  #namespaces(): string[] {
    const ends = lanesOf(this.lanes).flatMap((lane) => [this.sender(lane), this.receiver(lane)]);
    return [this.router, ...ends.map(({ namespace }) => namespace)];
  }

  #build(): void {
    for (const namespace of this.#namespaces()) {
      ip("netns", "add", namespace);
      ip("-n", namespace, "link", "set", "lo", "up");
    }
    for (const lane of lanesOf(this.lanes)) {
      this.#join(this.sender(lane), `s${lane}`, `10.200.${lane}.1`, `10.${64 + lane}.0.0/16`);
      this.#join(this.receiver(lane), `r${lane}`, `10.201.${lane}.1`, `10.${128 + lane}.0.0/16`);
    }
    for (const namespace of this.#namespaces())
      inside(
        namespace,
        "sysctl",
        "-qw",
        "net.ipv4.conf.all.rp_filter=0",
        "net.ipv4.conf.default.rp_filter=0",
      );
    inside(this.router, "sysctl", "-qw", "net.ipv4.ip_forward=1");
  }

  /** All addresses of the block are the host's own, so that it sends from them and takes what comes to them. */
  #join(end: LaneEnd, name: string, router: string, block: string): void {
    const { namespace, address } = end;
    ip(
      "link",
      "add",
      "name",
      name,
      "netns",
      this.router,
      "type",
      "veth",
      "peer",
      "name",
      end.interface,
      "netns",
      namespace,
    );
    ip("-n", this.router, "addr", "add", `${router}/24`, "dev", name);
    ip("-n", this.router, "link", "set", "dev", name, "up");
    ip("-n", namespace, "addr", "add", `${address}/24`, "dev", end.interface);
    ip("-n", namespace, "link", "set", "dev", end.interface, "up");
    ip("-n", namespace, "route", "add", "local", block, "dev", "lo");
    ip("-n", namespace, "route", "add", "default", "via", router);
    ip("-n", this.router, "route", "add", block, "via", address);
  }
}

function lanesOf(count: number): number[] {
  return Array.from({ length: count }, (_, lane) => lane);
}

/** Puts Query-mode packets of a link into a kernel queue, in a namespace that does nothing else. */
export function interceptQueries({ namespace, interface: name }: LaneEnd, queue: number): void {
  const rule = ["-A", "PREROUTING", "-i", name, "-p", "udp", "--dport", "270"];
  inside(
    namespace,
    "iptables",
    "-t",
    "mangle",
    ...rule,
    "-j",
    "NFQUEUE",
    "--queue-balance",
    knownHostsRange(queue),
  );
}

function ip(...args: string[]): void {
  execute("ip", args);
}

function inside(namespace: string, ...command: string[]): void {
  execute("ip", ["netns", "exec", namespace, ...command]);
}

function execute(program: string, args: readonly string[]): void {
  try {
    execFileSync(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  } catch (error) {
    const stderr = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : String(error);
    throw new Error(`${program} ${args.join(" ")}: ${stderr}`);
  }
}

function removeNamespaces(names: readonly string[]): void {
  for (const name of names) {
    const { stdout } = spawnSync("ip", ["netns", "pids", name], { encoding: "utf8" });
    for (const pid of (stdout ?? "").split("\n").filter(Boolean)) end(Number(pid));
    spawnSync("ip", ["netns", "del", name], { stdio: "ignore" });
  }
}

/** What a run left that was ended without a chance to clean up. */
function removeLeftOver(): void {
  const { stdout } = spawnSync("ip", ["netns", "list"], { encoding: "utf8" });
  const names = (stdout ?? "").split("\n").map((line) => line.split(" ")[0] ?? "");
  removeNamespaces(names.filter((name) => isLeftOver(name)));
}

function isLeftOver(name: string): boolean {
  const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
  return pid !== undefined && !isRunning(Number(pid));
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}
