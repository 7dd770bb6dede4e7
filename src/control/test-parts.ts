/** A PBS node, GIST and packet path that do nothing, for tests of the control API and of pbsctl. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AuthenticationLevel } from "../authorization/algorithm.js";
import { RulePolicy } from "../authorization/policy.js";
import { flowKey } from "../base/flow.js";
import { silentLogger } from "../base/log.js";
import { FakeTime } from "../base/time.js";
import { bytes, ms, seconds } from "../base/units.js";
import { parseConfig } from "../config/load.js";
import {
  type FlowView,
  NoSuchFlow,
  type PbsControl,
  type PbsEvent,
  type PendingView,
  type RequestOutcome,
} from "../nslp/view.js";
import type { RoutingStateView } from "../gist/service.js";
import type { AdmissionView } from "../nslp/admission/admission.js";
import type { Blocks, BlockView } from "../traffic/blocks.js";
import type { FlowCount } from "../traffic/datapath.js";
import { ok } from "./doctor/report.js";
import type { ControlParts } from "./routes.js";
import { ControlServer } from "./server.js";

export const FLOW = "tcp 192.168.20.1:4000 > 192.168.21.4:80";

export function viewOf(number: number, change: Partial<FlowView> = {}): FlowView {
  return {
    id: number.toString(16).padStart(8, "0") + "0".repeat(24),
    flow: `tcp 192.168.20.1:${1024 + (number % 60_000)} > 192.168.21.4:80`,
    role: "receiver",
    state: "permission",
    allowedVolume: bytes(10_000_000),
    sentVolume: bytes(1000),
    countedVolume: bytes(2000),
    packets: 3,
    overVolume: 0,
    authentication: null,
    remaining: seconds(100),
    refresh: seconds(60),
    refreshes: 1,
    requester: "sender1",
    rule: "web",
    path: null,
    detection: null,
    lastReason: null,
    ...change,
  };
}

export class FakePbs implements PbsControl {
  views: FlowView[] = [];
  waiting: PendingView[] = [];
  outcome: RequestOutcome = {
    granted: true,
    id: "ab".repeat(16),
    allowedVolume: bytes(10_000_000),
    reason: null,
  };
  failure: Error | undefined;
  /** Calls that change something, as text. */
  readonly calls: string[] = [];
  readonly listeners = new Set<(event: PbsEvent) => void>();

  flows(): Iterable<FlowView> {
    return this.views;
  }

  flow(id: string): FlowView {
    const found = this.views.filter((view) => view.id.startsWith(id));
    if (found.length !== 1 || found[0] === undefined) throw new NoSuchFlow(`no flow "${id}"`);
    return found[0];
  }

  async request(flow: string, volume: number | undefined): Promise<RequestOutcome> {
    this.#called(`request ${flow} ${volume}`);
    return this.outcome;
  }

  pending(): readonly PendingView[] {
    return this.waiting;
  }

  async grant(id: string, change: object): Promise<FlowView> {
    this.#called(`grant ${id} ${JSON.stringify(change)}`);
    return this.flow(id);
  }

  async authenticate(id: string, level: AuthenticationLevel): Promise<FlowView> {
    this.#called(`authenticate ${id} ${level}`);
    return this.flow(id);
  }

  async deny(id: string, reason: string | undefined): Promise<void> {
    this.#called(`deny ${id} ${reason}`);
    this.flow(id);
  }

  async revoke(id: string, reason: string | undefined): Promise<void> {
    this.#called(`revoke ${id} ${reason}`);
    this.flow(id);
  }

  listen(listener: (event: PbsEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  counters(): Readonly<Record<string, number>> {
    return { "query.received": 2, "rejected.bad-signature": 0 };
  }

  admission(): AdmissionView {
    const waiting = { kept: 1, returning: 2, new: 3 };
    return { waiting, running: 4, wait: ms(5), busy: true, puzzle: 8 };
  }

  emit(detail: string): void {
    const event = {
      time: 1_700_000_000_000,
      type: "granted",
      id: "ab".repeat(16),
      flow: FLOW,
      role: "sender",
      detail,
    };
    for (const listener of this.listeners) listener(event as PbsEvent);
  }

  #called(call: string): void {
    if (this.failure !== undefined) throw this.failure;
    this.calls.push(call);
  }
}

export class FakeBlocks implements Blocks {
  views: BlockView[] = [
    {
      id: "192.168.20.2",
      type: "source",
      source: "192.168.20.2",
      flow: null,
      interface: null,
      address: null,
      remaining: seconds(90),
    },
    {
      id: "p1",
      type: "place",
      source: "192.168.20.1",
      flow: FLOW,
      interface: "eth1",
      address: "02:00:00:00:00:02",
      remaining: seconds(600),
    },
  ];

  async list(): Promise<readonly BlockView[]> {
    return this.views;
  }

  async unblock(id: string): Promise<boolean> {
    const before = this.views.length;
    this.views = this.views.filter((view) => view.id !== id);
    return this.views.length < before;
  }
}

const CONFIG = `
[identity]
certificate = "c"
key = "k"
authorities = ["a"]
[[exempt]]
name = "ssh"
protocol = "tcp"
ports = 22
rate = 100
[[rule]]
name = "web"
protocol = "tcp"
ports = 80
action = "grant"
[[rule]]
name = "rest"
action = "deny"
reason = "no"
`;

const ROUTE: RoutingStateView = {
  role: "querying",
  nslpId: 2,
  sessionId: "00112233445566778899aabbccddeeff" as RoutingStateView["sessionId"],
  mri: "downstream 192.168.20.1 > 192.168.21.4 tcp 4000 > 80",
  state: "established",
  peer: "192.168.20.3",
  peerIdentity: "0123456789abcdef0123456789abcdef",
  carriedBy: "tls",
  expiresIn: seconds(20),
};

export interface Fixture {
  readonly pbs: FakePbs;
  readonly time: FakeTime;
  /** Counters of the packet path by flow. */
  readonly counts: Map<string, FlowCount>;
  readonly socket: string;
  readonly server: ControlServer;
}

/** A control server on a socket of its own. */
export async function startFixture(teardown: (end: () => Promise<void>) => void): Promise<Fixture> {
  const directory = mkdtempSync(join(tmpdir(), "pbs-control-"));
  const socket = join(directory, "run", "control.sock");
  const pbs = new FakePbs();
  const time = new FakeTime();
  const counts = new Map<string, FlowCount>();
  const server = await ControlServer.start(partsOf(pbs, time, counts), { socket, group: null }, silentLogger);
  teardown(async () => {
    await server.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return { pbs, time, counts, socket, server };
}

export function partsOf(
  pbs: PbsControl,
  time: FakeTime,
  counts: ReadonlyMap<string, FlowCount>,
): ControlParts {
  const config = parseConfig(CONFIG, "/etc/pbsd/pbsd.toml");
  return {
    facts: { name: "test", mode: "closed", version: "1.2.3", config: config.file },
    time,
    pbs,
    gist: () => ({
      identity: "00ff",
      associations: [
        {
          peer: "p",
          peerIdentity: "0123456789abcdef0123456789abcdef",
          address: "192.168.21.3",
          subject: "router\u001b[31m",
          protocol: "tls",
          state: "connected",
          initiator: true,
          age: seconds(10),
          messagesSent: 1,
          messagesReceived: 2,
        },
      ],
      routingStates: { querying: 1, responding: 2 },
      counters: { "received.query": 7 },
      service: null,
    }),
    routingStates: () => [ROUTE],
    datapath: {
      engine: "fake",
      read: (flows) => flows.map((flow) => counts.get(flowKey(flow))),
      status: () => ({
        engine: "fake",
        flows: 1,
        capacity: 10,
        held: 0,
        counters: { accept: 5 },
        queues: [{ number: 2701, purpose: "permitted", packets: 5, dropped: 0 }],
      }),
    },
    isOwnAddress: (address) => address.toString() === "192.168.21.4",
    policy: () => new RulePolicy(config.rules),
    config: () => config,
    firewallCounters: async () => ({ "forward.drop.no-permission": 4 }),
    blocks: new FakeBlocks(),
    doctor: async () => ({ ok: true, checks: [ok("kernel", "6.1")] }),
  };
}

/** Counts of a flow with a permission. */
export function countOf(used: number): FlowCount {
  return { bytes: bytes(used), packets: 3, overVolume: 0, expired: 0, idle: seconds(1) };
}
