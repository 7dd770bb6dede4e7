/** One network with its daemons, from `create` to `remove`. */
import { join } from "node:path";
import type { NodeShape, Topology } from "../topologies.js";
import { Capture, WHOLE } from "./capture.js";
import { addressesOf, Daemon, makeTestAuthority, type NodeConfig } from "./daemon.js";
import { buildNetwork, namespaceOf, wireNamespace } from "./network.js";
import { mustRun, type Outcome, Program, run, type RunOptions } from "./programs.js";
import { register, removeRun, type RunRecord } from "./registry.js";
import { ensureBuilt } from "./repository.js";
import { until } from "./wait.js";

/** Configuration by node name. */
export type NodeConfigs = Readonly<Record<string, NodeConfig>>;

const live = new Set<Testbed>();
let watching = false;

/** Whatever way this process ends, its networks end with it. */
function watchForTheEnd(): void {
  if (watching) return;
  watching = true;
  process.once("exit", () => {
    for (const testbed of [...live]) testbed.remove();
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.once(signal, () => process.exit(signal === "SIGINT" ? 130 : 143));
}

export class Testbed {
  readonly record: RunRecord;
  readonly topology: Topology;
  readonly #daemons: ReadonlyMap<string, Daemon>;
  readonly #authority: string;
  #captures = 0;

  private constructor(record: RunRecord, topology: Topology) {
    this.record = record;
    this.topology = topology;
    this.#authority = makeTestAuthority(join(record.directory, "authority"));
    this.#daemons = new Map(
      topology.nodes.filter(({ pbs }) => pbs).map((shape) => [shape.name, this.#makeDaemon(shape)]),
    );
  }

  /** The network with keys and configurations; no daemon runs yet. */
  static async create(topology: Topology, options: { kept?: boolean } = {}): Promise<Testbed> {
    watchForTheEnd();
    const record = register(topology, options.kept ?? false);
    try {
      const testbed = new Testbed(record, topology);
      live.add(testbed);
      await buildNetwork(record.id, topology);
      return testbed;
    } catch (error) {
      removeRun(record);
      throw error;
    }
  }

  /** Starts the daemons of the named nodes, or of all that run PBS, side by side. */
  async start(
    configs: NodeConfigs = {},
    names: readonly string[] = [...this.#daemons.keys()],
  ): Promise<void> {
    ensureBuilt();
    for (const [name, config] of Object.entries(configs)) this.daemon(name).configure(config);
    await Promise.all(names.map((name) => this.daemon(name).start()));
  }

  daemon(name: string): Daemon {
    const daemon = this.#daemons.get(name);
    if (daemon === undefined) throw new Error(`node ${name} runs no pbsd`);
    return daemon;
  }

  get daemons(): readonly Daemon[] {
    return [...this.#daemons.values()];
  }

  get authority(): string {
    return this.#authority;
  }

  namespace(node: string): string {
    this.shape(node);
    return namespaceOf(this.record.id, node);
  }

  shape(node: string): NodeShape {
    const shape = this.topology.nodes.find(({ name }) => name === node);
    if (shape === undefined) throw new Error(`${this.topology.name} has no node ${node}`);
    return shape;
  }

  /** First IPv4 or IPv6 address of a node. */
  address(node: string, family: 4 | 6): string {
    const address = addressesOf(this.shape(node)).find((text) => text.includes(":") === (family === 6));
    if (address === undefined) throw new Error(`${node} has no IPv${family} address`);
    return address;
  }

  run(
    node: string,
    command: readonly string[],
    options: Omit<RunOptions, "namespace"> = {},
  ): Promise<Outcome> {
    return run(command, { ...options, namespace: this.namespace(node) });
  }

  mustRun(node: string, command: readonly string[]): Promise<string> {
    return mustRun(command, { namespace: this.namespace(node) });
  }

  /** Starts a program that goes on; it ends with the testbed at the latest. */
  spawn(node: string, command: readonly string[]): Program {
    return new Program(command, { namespace: this.namespace(node) });
  }

  /** Starts a server and waits until something listens on the TCP port, IPv4 or IPv6. */
  async serve(node: string, command: readonly string[], port: number): Promise<Program> {
    const server = this.spawn(node, command);
    await until(`${command[0]} to listen on port ${port}`, 15_000, async () => {
      const sockets = await this.mustRun(node, ["ss", "-Hltn", `sport = :${port}`]);
      if (sockets.trim() !== "") return true;
      if (!server.running) throw new Error(`${command.join(" ")} ended: ${server.stderr}`);
      return false;
    });
    return server;
  }

  /** What goes from the wire to a node, as it is on the wire: segmented, before the node's kernel sees it. */
  async captureTowards(node: string): Promise<Capture> {
    return this.#capture(node, "out");
  }

  async captureBothWays(node: string): Promise<Capture> {
    return this.#capture(node, "inout");
  }

  /** Both ways, and every packet whole. */
  async captureWhole(node: string): Promise<Capture> {
    return this.#capture(node, "inout", WHOLE);
  }

  remove(): void {
    live.delete(this);
    removeRun(this.record);
  }

  /** Stays after this process has ended; `testbed down` removes it. */
  release(): void {
    live.delete(this);
  }

  #makeDaemon(shape: NodeShape): Daemon {
    const directory = join(this.record.directory, shape.name);
    return new Daemon(shape, namespaceOf(this.record.id, shape.name), directory, this.#authority);
  }

  async #capture(node: string, direction: "out" | "inout", snap?: number): Promise<Capture> {
    const [link] = this.shape(node).links;
    if (link === undefined) throw new Error(`${node} is on no wire`);
    const namespace = wireNamespace(this.record.id, link.wire);
    // Else tcpdump would see 64 KiB packets where a wire has many small ones.
    await mustRun(["ethtool", "-K", node, "tso", "off", "gso", "off", "tx-udp-segmentation", "off"], {
      namespace,
    });
    const file = join(this.record.directory, `capture-${this.#captures++}.pcap`);
    return Capture.start(namespace, node, direction, file, snap);
  }
}

/** Runs `use` with a testbed that is gone afterwards, whatever happens. */
export async function withTestbed<T>(topology: Topology, use: (testbed: Testbed) => Promise<T>): Promise<T> {
  const testbed = await Testbed.create(topology);
  try {
    return await use(testbed);
  } finally {
    testbed.remove();
  }
}
