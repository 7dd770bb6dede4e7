/** All processes of a load that stays on this machine: the router, and for each lane a sending and a receiving one. */
import { join } from "node:path";
import { makeAuthority } from "../authorization/keys.js";
import { Histogram } from "./histogram.js";
import { interceptQueries, Lab } from "./lab.js";
import type { HostOptions } from "./options.js";
import type { LoadPlan } from "./plan.js";
import { HostProcess, type Placement } from "./process.js";
import type { BatchResult, Command, PaceResult, Snapshot } from "./protocol.js";
import { Router, type Tables } from "./router.js";

const TLS_PORT = 5270;
const QUEUE = 2700;
/** More than any load offers, so that no limit of the router is what is measured. */
const INTERCEPT_RATE = 1_000_000;

/** Everything at one instant; counts of all lanes together, since the start. */
export interface Reading {
  /** Milliseconds of the monotonic clock. */
  readonly at: number;
  readonly routerCpu: number;
  readonly routerBytes: number;
  readonly sender: Snapshot;
  readonly receiver: Snapshot;
}

export class Bed {
  readonly router: Router;
  readonly plan: LoadPlan;
  readonly #lab: Lab;
  readonly #senders: HostProcess[];
  readonly #receivers: HostProcess[];

  private constructor(
    plan: LoadPlan,
    lab: Lab,
    router: Router,
    senders: HostProcess[],
    receivers: HostProcess[],
  ) {
    this.plan = plan;
    this.#lab = lab;
    this.router = router;
    this.#senders = senders;
    this.#receivers = receivers;
  }

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
      const bed = new Bed(plan, lab, router, [], []);
      for (let lane = 0; lane < plan.lanes; lane++) {
        interceptQueries(lab.receiver(lane), QUEUE);
        bed.#receivers.push(await bed.#startHost("receiver", lane));
        bed.#senders.push(await bed.#startHost("sender", lane));
      }
      return bed;
    } catch (error) {
      lab.close();
      throw error;
    }
  }

  /** Flows of each lane. */
  get perLane(): number {
    return Math.ceil(this.plan.flows / this.plan.lanes);
  }

  async read(): Promise<Reading> {
    const at = performance.now();
    const { cpuSeconds: routerCpu, residentBytes: routerBytes } = this.router.use();
    const [senders, receivers] = await Promise.all([
      Promise.all(this.#senders.map((host) => host.snapshot())),
      Promise.all(this.#receivers.map((host) => host.snapshot())),
    ]);
    return { at, routerCpu, routerBytes, sender: together(senders), receiver: together(receivers) };
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
      behind: Math.max(...results.map((r) => r.behind)),
    };
  }

  async stopPace(name: string): Promise<void> {
    await Promise.all([...this.#senders, ...this.#receivers].map((host) => host.stopPace(name)));
  }

  /** All senders lose their power, and come back with nothing but their addresses. */
  async restartSenders(): Promise<void> {
    await Promise.all(this.#senders.map((host) => host.kill()));
    for (let lane = 0; lane < this.plan.lanes; lane++)
      this.#senders[lane] = await this.#startHost("sender", lane);
  }

  async close(): Promise<void> {
    try {
      await Promise.all([...this.#senders, ...this.#receivers].map((host) => host.stop()));
      await this.router.stop();
    } finally {
      this.#lab.close();
    }
  }

  async #startHost(role: HostOptions["role"], lane: number): Promise<HostProcess> {
    const { plan } = this;
    const end = role === "sender" ? this.#lab.sender(lane) : this.#lab.receiver(lane);
    const options: HostOptions = {
      role,
      flows: this.perLane,
      senders: this.#lab.senders(lane, plan.senders),
      receivers: this.#lab.receivers(lane, plan.receivers),
      address: end.address,
      interface: end.interface,
      tlsPort: TLS_PORT,
      queue: QUEUE,
      authority: join(this.#lab.directory, "authority"),
      keyType: plan.keyType,
      keys: plan.keys,
      validity: plan.validity,
      verifiedShare: plan.verifiedShare,
      sending: plan.sending,
      receiving: plan.receiving,
    };
    const placement: Placement = { namespace: end.namespace, ...coresOf(plan.hostCores) };
    const host = await HostProcess.start(options, placement);
    this.#lab.owns(host.pid);
    return host;
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
    packets: { capacity: Math.max(100_000, Math.ceil(flows * 1.5)) },
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
    stalled: Math.max(...snapshots.map((s) => s.stalled)),
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
