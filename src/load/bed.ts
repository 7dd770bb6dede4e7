/**
 * All processes of a load: in a network of its own the router, and for each lane a sending and a receiving one; against
 * hosts that are there only one that sends.
 */
import { join } from "node:path";
import { makeAuthority } from "../authorization/keys.js";
import { Histogram } from "./histogram.js";
import { interceptQueries, Lab } from "./lab.js";
import type { HostOptions, IdentityFiles } from "./options.js";
import type { LoadPlan } from "./plan.js";
import { HostProcess, type Placement } from "./process.js";
import type { BatchResult, Command, PaceResult, Snapshot } from "./protocol.js";
import { machineCpuSeconds, Router, type Tables } from "./router.js";
import type { AddressBlock } from "./space.js";

const TLS_PORT = 5270;
const QUEUE = 2700;
/** More than any load offers, so that no limit of the router is what is measured. */
const INTERCEPT_RATE = 1_000_000;

/** Receivers that are there, and what this host is towards them. */
export interface Given {
  readonly receivers: AddressBlock;
  /** Own address and interface on the way to them. */
  readonly address: string;
  readonly interface: string;
  readonly identity: IdentityFiles;
}

/** Everything at one instant; counts of all lanes together, since the start. */
export interface Reading {
  /** Milliseconds of the monotonic clock. */
  readonly at: number;
  readonly routerCpu: number;
  readonly routerBytes: number;
  /** Processor seconds of everything on this machine. */
  readonly machineCpu: number;
  readonly sender: Snapshot;
  readonly receiver: Snapshot;
}

export class Bed {
  readonly plan: LoadPlan;
  readonly #own: { readonly lab: Lab; readonly router: Router } | undefined;
  readonly #senders: HostProcess[] = [];
  readonly #receivers: HostProcess[] = [];

  private constructor(plan: LoadPlan, own: { readonly lab: Lab; readonly router: Router } | undefined) {
    this.plan = plan;
    this.#own = own;
  }

  /** In a network of its own. Rejects, and leaves nothing behind, when the machine does not let it. */
  static async start(plan: LoadPlan): Promise<Bed> {
    const lab = new Lab(plan.lanes);
    try {
      const authority = join(lab.directory, "authority");
      makeAuthority({ directory: authority, name: "load" });
      const router = await Router.start(
        {
          directory: plan.keepIn ?? lab.directory,
          authority,
          addresses: lab.routerAddresses,
          keyType: plan.keyType,
          configuration: configurationOf(plan),
          nodeArguments: plan.routerArguments,
        },
        { namespace: lab.router, ...coresOf(plan.routerCores) },
      );
      lab.owns(router.pid);
      const bed = new Bed(plan, { lab, router });
      for (let lane = 0; lane < plan.lanes; lane++) {
        interceptQueries(lab.receiver(lane), QUEUE);
        bed.#receivers.push(await bed.#startInside(lab, "receiver", lane));
        bed.#senders.push(await bed.#startInside(lab, "sender", lane));
      }
      return bed;
    } catch (error) {
      lab.close();
      throw error;
    }
  }

  /** Against receivers that are there, from this host and with its identity. */
  static async towards(plan: LoadPlan, given: Given): Promise<Bed> {
    const bed = new Bed({ ...plan, lanes: 1, senders: 1 }, undefined);
    const options = {
      ...bed.#hostOptions("sender"),
      senders: { first: given.address, count: 1 },
      receivers: given.receivers,
      address: given.address,
      interface: given.interface,
      identity: given.identity,
    };
    bed.#senders.push(await HostProcess.start(options, coresOf(plan.hostCores)));
    return bed;
  }

  /** Throws against given hosts, whose routers are not the tool's. */
  get router(): Router {
    if (this.#own === undefined) throw new Error("the router is not the tool's own");
    return this.#own.router;
  }

  get hasRouter(): boolean {
    return this.#own !== undefined;
  }

  /** Flows of each lane. */
  get perLane(): number {
    return Math.ceil(this.plan.flows / this.plan.lanes);
  }

  async read(): Promise<Reading> {
    const at = performance.now();
    const use = this.#own?.router.use();
    const machineCpu = machineCpuSeconds();
    const [senders, receivers] = await Promise.all([
      Promise.all(this.#senders.map((host) => host.snapshot())),
      Promise.all(this.#receivers.map((host) => host.snapshot())),
    ]);
    return {
      at,
      routerCpu: use?.cpuSeconds ?? 0,
      routerBytes: use?.residentBytes ?? 0,
      machineCpu,
      sender: together(senders),
      receiver: together(receivers),
    };
  }

  /** Flow numbers are those of all lanes together; each lane does its share. */
  async batch(command: Omit<Extract<Command, { do: "batch" }>, "do">): Promise<BatchResult> {
    const { lanes } = this.plan;
    const share = (value: number): number => Math.ceil(value / lanes);
    const shares = {
      first: share(command.first),
      count: share(command.count),
      window: share(command.window),
    };
    const results = await Promise.all(this.#senders.map((host) => host.batch({ ...command, ...shares })));
    const sum = (pick: (result: BatchResult) => number): number =>
      results.reduce((all, r) => all + pick(r), 0);
    return {
      granted: sum((r) => r.granted),
      refused: sum((r) => r.refused),
      failed: sum((r) => r.failed),
      milliseconds: Math.max(...results.map((r) => r.milliseconds)),
    };
  }

  /** Rates and counts are those of all lanes together. */
  async pace(command: Omit<Extract<Command, { do: "pace" }>, "do">): Promise<PaceResult> {
    const { lanes } = this.plan;
    const hosts = command.deed === "revoke" ? this.#receivers : this.#senders;
    const shared = {
      ...command,
      first: Math.ceil(command.first / lanes),
      among: Math.ceil(command.among / lanes),
      rate: command.rate / lanes,
      ...(command.count !== undefined && { count: Math.ceil(command.count / lanes) }),
    };
    const results = await Promise.all(hosts.map((host) => host.pace(shared)));
    return {
      done: results.reduce((all, r) => all + r.done, 0),
      passedOver: results.reduce((all, r) => all + r.passedOver, 0),
      behind: Math.max(0, ...results.map((r) => r.behind)),
    };
  }

  async stopPace(name: string): Promise<void> {
    await Promise.all([...this.#senders, ...this.#receivers].map((host) => host.stopPace(name)));
  }

  /** Flows that are over are not replaced any more. */
  async windDown(): Promise<void> {
    await Promise.all(this.#senders.map((host) => host.windDown()));
  }

  /** All senders lose their power, and come back with nothing but their addresses. */
  async restartSenders(): Promise<void> {
    const lab = this.#own?.lab;
    if (lab === undefined) throw new Error("only senders of the tool's own network can be restarted");
    await Promise.all(this.#senders.map((host) => host.kill()));
    for (let lane = 0; lane < this.plan.lanes; lane++)
      this.#senders[lane] = await this.#startInside(lab, "sender", lane);
  }

  /** Ends all processes, then takes the network away. */
  async close(): Promise<void> {
    try {
      await Promise.all([...this.#senders, ...this.#receivers].map((host) => host.stop()));
      await this.#own?.router.stop();
    } finally {
      this.#own?.lab.close();
    }
  }

  async #startInside(lab: Lab, role: HostOptions["role"], lane: number): Promise<HostProcess> {
    const { plan } = this;
    const end = role === "sender" ? lab.sender(lane) : lab.receiver(lane);
    const options: HostOptions = {
      ...this.#hostOptions(role),
      senders: lab.senders(lane, plan.senders),
      receivers: lab.receivers(lane, plan.receivers),
      address: end.address,
      interface: end.interface,
      authority: join(lab.directory, "authority"),
    };
    const placement: Placement = { namespace: end.namespace, ...coresOf(plan.hostCores) };
    const host = await HostProcess.start(options, placement);
    lab.owns(host.pid);
    return host;
  }

  #hostOptions(role: HostOptions["role"]) {
    const { keyType, keys, validity, verifiedShare, sending, receiving } = this.plan;
    const behaviour = { keyType, keys, validity, verifiedShare, sending, receiving };
    return { role, flows: this.perLane, tlsPort: TLS_PORT, queue: QUEUE, ...behaviour };
  }
}

function coresOf(cores: string | undefined): { cores?: string } {
  return cores === undefined ? {} : { cores };
}

function configurationOf({ configuration, validity, flows }: LoadPlan): Tables {
  const own = {
    signalling: {
      intercept_rate: INTERCEPT_RATE,
      routing_state_validity: `${Math.round(validity / 1000)}s`,
    },
    // There are no packets to judge, and what XDP programs need beforehand would count as the signalling's.
    packets: { capacity: Math.max(100_000, Math.ceil(flows * 1.5)), engine: "nfqueue" },
  };
  const tables: Record<string, Readonly<Record<string, unknown>>> = { ...own };
  for (const [name, table] of Object.entries(configuration)) tables[name] = { ...tables[name], ...table };
  return tables;
}

function together(snapshots: readonly Snapshot[]): Snapshot {
  const sum = (pick: (snapshot: Snapshot) => number): number =>
    snapshots.reduce((all, snapshot) => all + pick(snapshot), 0);
  return {
    live: sum((s) => s.live),
    underWay: sum((s) => s.underWay),
    cpuSeconds: sum((s) => s.cpuSeconds),
    residentBytes: sum((s) => s.residentBytes),
    wire: {
      sentBytes: sum((s) => s.wire.sentBytes),
      sentPackets: sum((s) => s.wire.sentPackets),
      receivedBytes: sum((s) => s.wire.receivedBytes),
      receivedPackets: sum((s) => s.wire.receivedPackets),
    },
    stalled: Math.max(0, ...snapshots.map((s) => s.stalled)),
    pbs: sumOf(snapshots.map((s) => s.pbs)),
    gist: sumOf(snapshots.map((s) => s.gist)),
    setUp: merged(snapshots.map((s) => s.setUp)),
    refreshed: merged(snapshots.map((s) => s.refreshed)),
  };
}

function sumOf(counters: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const one of counters)
    for (const [name, count] of Object.entries(one)) sums[name] = (sums[name] ?? 0) + count;
  return sums;
}

function merged(parts: readonly Snapshot["setUp"][]) {
  const all = new Histogram();
  for (const part of parts) if (part !== undefined) all.add(part);
  return all.data();
}
