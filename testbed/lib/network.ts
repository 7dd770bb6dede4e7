/** Builds a topology out of namespaces, veth pairs and bridges, and takes it away again. */
import { spawnSync } from "node:child_process";
import type { NodeShape, Topology } from "../topologies.js";
import { wiresOf } from "../topologies.js";
import { mustRun } from "./programs.js";

/** Namespaces of testbeds begin with this, then the run's id. */
export const NAMESPACE_PREFIX = "pbst-";

/** Every namespace of a run has a name that no other run has. */
export function namespaceOf(run: string, name: string): string {
  return `${NAMESPACE_PREFIX}${run}-${name}`;
}

/** The namespace in which a wire's bridge stands. */
export function wireNamespace(run: string, wire: string): string {
  return namespaceOf(run, `wire-${wire}`);
}

const BRIDGE = "bridge";

export async function buildNetwork(run: string, topology: Topology): Promise<void> {
  const wires = wiresOf(topology);
  const namespaces = [
    ...topology.nodes.map(({ name }) => namespaceOf(run, name)),
    ...wires.map((wire) => wireNamespace(run, wire)),
  ];
  await batch(
    undefined,
    namespaces.map((name) => `netns add ${name}`),
  );
  // Before there are interfaces: what is made later takes its settings from these.
  await Promise.all([
    ...topology.nodes.map((node) => setKernel(namespaceOf(run, node.name), nodeSettings(node))),
    ...wires.map((wire) => setKernel(wireNamespace(run, wire), WIRE_SETTINGS)),
  ]);
  await batch(
    undefined,
    topology.nodes.flatMap((node) => vethPairs(run, node)),
  );
  await Promise.all(wires.map((wire) => batch(wireNamespace(run, wire), wireSteps(topology, wire))));
  await Promise.all(topology.nodes.map((node) => batch(namespaceOf(run, node.name), nodeSteps(node))));
}

const NODE_SETTINGS: Readonly<Record<string, string>> = {
  // Duplicate address detection would keep addresses unusable for a second.
  "net.ipv6.conf.all.accept_dad": "0",
  "net.ipv6.conf.default.accept_dad": "0",
  "net.ipv6.conf.default.dad_transmits": "0",
  "net.ipv6.conf.all.accept_ra": "0",
  "net.ipv6.conf.default.accept_ra": "0",
  "net.ipv4.conf.all.rp_filter": "0",
  "net.ipv4.conf.default.rp_filter": "0",
};

const WIRE_SETTINGS: Readonly<Record<string, string>> = {
  "net.ipv6.conf.all.disable_ipv6": "1",
  "net.ipv6.conf.default.disable_ipv6": "1",
};

function nodeSettings(node: NodeShape): Readonly<Record<string, string>> {
  if (!node.forwards) return NODE_SETTINGS;
  return { ...NODE_SETTINGS, "net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1" };
}

async function setKernel(namespace: string, settings: Readonly<Record<string, string>>): Promise<void> {
  const input = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
  await mustRun(["sysctl", "-q", "-p", "-"], { namespace, input: input.join("") });
}

/** Both ends are made where they belong, so that names need to be unique only there. */
function vethPairs(run: string, node: NodeShape): string[] {
  const inside = namespaceOf(run, node.name);
  return node.links.map(
    ({ wire }) =>
      `link add name ${wire} netns ${inside} type veth peer name ${node.name} netns ${wireNamespace(run, wire)}`,
  );
}

function wireSteps(topology: Topology, wire: string): string[] {
  const ports = topology.nodes.filter((node) => node.links.some((link) => link.wire === wire));
  return [
    `link add name ${BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    `link set ${BRIDGE} up`,
    ...ports.map(({ name }) => `link set ${name} master ${BRIDGE} up`),
  ];
}

function nodeSteps(node: NodeShape): string[] {
  return [
    "link set lo up",
    ...node.links.flatMap(({ wire, ipv4, ipv6 }) => [
      `link set ${wire} up`,
      `addr add ${ipv4} dev ${wire}`,
      `addr add ${ipv6} dev ${wire} nodad`,
    ]),
    ...node.routes.map(({ to, via }) => `${via.includes(":") ? "-6 " : ""}route add ${to} via ${via}`),
  ];
}

/** Many steps with one process. */
async function batch(namespace: string | undefined, steps: readonly string[]): Promise<void> {
  for (const [family, lines] of byFamily(steps)) {
    const where = namespace === undefined ? [] : ["-n", namespace];
    await mustRun(["ip", ...family, ...where, "-batch", "-"], { input: `${lines.join("\n")}\n` });
  }
}

/** A batch is of one family; the option stands before it. */
function byFamily(steps: readonly string[]): [string[], string[]][] {
  const ipv6 = steps.filter((step) => step.startsWith("-6 ")).map((step) => step.slice(3));
  const others = steps.filter((step) => !step.startsWith("-6 "));
  return [[[], others], ...(ipv6.length > 0 ? ([[["-6"], ipv6]] as [string[], string[]][]) : [])];
}

/** Namespaces of a run that exist. */
export function namespacesOf(run: string): string[] {
  return allNamespaces().filter((name) => name.startsWith(namespaceOf(run, "")));
}

export function allNamespaces(): string[] {
  const { stdout } = spawnSync("ip", ["netns", "list"], { encoding: "utf8" });
  return stdout
    .split("\n")
    .map((line) => line.split(" ")[0] ?? "")
    .filter((name) => name.startsWith(NAMESPACE_PREFIX));
}

const KILL_LIMIT_MS = 5000;

/** Ends every process inside and removes the namespaces. Synchronous, so that it works while this process exits. */
export function removeNamespaces(names: readonly string[]): void {
  for (const pid of names.flatMap(processesIn)) kill(pid);
  const end = Date.now() + KILL_LIMIT_MS;
  while (names.some((name) => processesIn(name).length > 0) && Date.now() < end) sleepShortly();
  for (const name of names) spawnSync("ip", ["netns", "del", name]);
}

function processesIn(namespace: string): number[] {
  const { stdout } = spawnSync("ip", ["netns", "pids", namespace], { encoding: "utf8" });
  return stdout.split("\n").filter(Boolean).map(Number);
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

function sleepShortly(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
}
