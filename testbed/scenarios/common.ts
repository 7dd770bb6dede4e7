/** What several scenarios need. */
import type { StatusView } from "../../src/control/status.js";
import type { FlowView, PbsEvent } from "../../src/nslp/view.js";
import type { Capture } from "../lib/capture.js";
import type { Daemon } from "../lib/daemon.js";
import type { SeenPacket } from "../lib/pcap.js";
import type { Program } from "../lib/programs.js";
import { findTopology } from "../lib/registry.js";
import { helper } from "../lib/repository.js";
import type { Testbed } from "../lib/testbed.js";
import { PATIENCE, until } from "../lib/wait.js";
import type { Topology } from "../topologies.js";

export const THREE_NODE = topology("three-node");
export const CHAIN = topology("chain");
export const DIAMOND = topology("diamond");
export const BYPASS = topology("bypass");
export const DETOUR = topology("detour");
export const MULTIHOMED = topology("multihomed");

function topology(name: string): Topology {
  const found = findTopology(name);
  if (found === undefined) throw new Error(`there is no topology ${name}`);
  return found;
}

export const WEB_PORT = 80;
export const IPERF_PORT = 5201;

/** A rule that lets everything through for as long as a scenario lasts. */
export const GRANT_ALL = {
  name: "everything",
  action: "grant",
  volume: "200MB",
  lifetime: "10m",
  refresh: "60s",
} as const;

export const webServer = (): string[] => helper("programs/http-server", String(WEB_PORT));

export const iperfServer = (): string[] => ["iperf3", "-s", "-p", String(IPERF_PORT)];

export const udpListener = (port: number): string[] => helper("programs/udp", "listen", String(port));

export interface UdpStream {
  readonly from: number;
  readonly to: string;
  readonly port: number;
  /** 0: until it is stopped. */
  readonly count: number;
  /** Payload bytes of one datagram. */
  readonly size: number;
  /** Datagrams a second. */
  readonly rate: number;
}

export function udpSender({ from, to, port, count, size, rate }: UdpStream): string[] {
  return helper("programs/udp", "send", String(from), to, ...[port, count, size, rate].map(String));
}

/** curl that prints status code, bytes down, bytes up and seconds. */
export function curl(address: string, path: string, ...options: string[]): string[] {
  const host = address.includes(":") ? `[${address}]` : address;
  const format = "%{http_code} %{size_download} %{size_upload} %{time_total}";
  const output = ["-sS", "-g", "-o", "/dev/null", "-w", format];
  return [
    "curl",
    ...output,
    "--max-time",
    String(30 * PATIENCE),
    ...options,
    `http://${host}:${WEB_PORT}${path}`,
  ];
}

interface Iperf {
  readonly received: number;
  readonly megabits: number;
  readonly loss: number;
  readonly retransmits: number;
}

interface IperfOutput {
  readonly error?: string;
  readonly end?: {
    readonly sum_sent?: { readonly retransmits?: number };
    readonly sum_received?: { readonly bytes: number; readonly bits_per_second: number };
    readonly sum?: {
      readonly bytes: number;
      readonly bits_per_second: number;
      readonly lost_percent?: number;
    };
  };
}

/** iperf3 from a node, with these options. Rejects with what it complains of. */
export async function iperf3(
  testbed: Testbed,
  from: string,
  to: string,
  options: readonly string[],
  limit?: number,
): Promise<Iperf> {
  const command = ["iperf3", "-c", to, "-p", String(IPERF_PORT), "-J", ...options];
  const { stdout } = await testbed.run(from, command, limit === undefined ? {} : { limit });
  const output = JSON.parse(stdout) as IperfOutput;
  const sum = output.end?.sum_received ?? output.end?.sum;
  if (output.error !== undefined || sum === undefined)
    throw new Error(`iperf3: ${output.error ?? "no result"}`);
  return {
    received: sum.bytes,
    megabits: Math.round(sum.bits_per_second / 1e5) / 10,
    retransmits: output.end?.sum_sent?.retransmits ?? 0,
    loss: (output.end?.sum?.lost_percent ?? 0) / 100,
  };
}

export interface FlowMatch {
  readonly protocol?: number;
  readonly source?: string;
  readonly destination?: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

export function matches(wanted: FlowMatch): (packet: SeenPacket) => boolean {
  const entries = Object.entries(wanted) as [keyof FlowMatch, unknown][];
  return (packet) => entries.every(([field, value]) => packet[field] === value);
}

/** The first packet that matches. */
export function firstSeen(
  capture: Capture,
  wanted: (packet: SeenPacket) => boolean,
  limit = 20_000,
): Promise<SeenPacket> {
  return until("a packet on the wire", limit, () => capture.packets().find(wanted));
}

export async function flowsOf(daemon: Daemon): Promise<readonly FlowView[]> {
  const answer = await daemon.client.get<{ flows: readonly FlowView[] }>("/v1/flows");
  return answer.flows;
}

/** The flow whose text matches, once the daemon has it. */
export function flowMatching(daemon: Daemon, pattern: RegExp, limit = 10_000): Promise<FlowView> {
  return until(`a flow ${pattern} at ${daemon.name}`, limit, async () =>
    (await flowsOf(daemon)).find(({ flow }) => pattern.test(flow)),
  );
}

export function statusOf(daemon: Daemon): Promise<StatusView> {
  return daemon.client.get<StatusView>("/v1/status");
}

export async function eventsOf(daemon: Daemon): Promise<readonly PbsEvent[]> {
  const { stdout } = await daemon.ctl("--json", "events");
  return stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as PbsEvent);
}

/** What a listener of {@link udpListener} has printed: the numbers of the datagrams that came. */
export function numbersOf(listener: Program): number[] {
  return listener.stdout
    .split("\n")
    .filter((line) => /^\d+$/.test(line))
    .map(Number);
}

/** Milliseconds since 1970 with fractions, on the clock that tcpdump stamps packets with. */
export function wallClock(): number {
  return performance.timeOrigin + performance.now();
}

/** What of the rules a person would save, without what changes by itself. */
export function comparableRules(saved: string): string {
  return saved.replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, "[]");
}
