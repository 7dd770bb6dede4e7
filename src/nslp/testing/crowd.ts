/**
 * Very many senders behind many neighbours of one router, under a fake clock: real sessions, messages, queues and timers;
 * signatures are not made, and checking one takes the router a given time of its only core.
 */
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import type { Signer } from "../../authorization/signing.js";
import { Trust, type TrustedCertificate } from "../../authorization/trust.js";
import { IpAddress } from "../../base/address.js";
import { type Flow, flowKey } from "../../base/flow.js";
import { silentLogger } from "../../base/log.js";
import { seededRandom } from "../../base/random.js";
import { FakeTime } from "../../base/time.js";
import { bytes, type Milliseconds, ms, seconds } from "../../base/units.js";
import type { GistService, Nslp, SendMessage } from "../../gist/service.js";
import type { FlowCount } from "../../traffic/datapath.js";
import { PbsNode } from "../node.js";
import type { PbsOptions } from "../options.js";
import { FakeDatapath } from "./line.js";

const TICK = ms(10);
const SIGNATURE = 64;
const REFRESH = seconds(60);
const PORT = 4000;

type Role = "sender" | "router" | "receiver";

/** All flows are in use all the time. */
class BusyDatapath extends FakeDatapath {
  override read(flows: readonly Flow[]): (FlowCount | undefined)[] {
    return super.read(flows).map((count) => count && { ...count, idle: ms(0) });
  }
}

const KEY = createPublicKey(generateKeyPairSync("ed25519").privateKey);

/** Every certificate stands for the address that it has to. */
class AllTrusted extends Trust {
  constructor() {
    super([]);
  }

  override check(_der: Uint8Array, address: IpAddress | undefined): TrustedCertificate {
    const name = address?.toString() ?? "node";
    return {
      type: "trusted",
      subject: name,
      fingerprint: name,
      publicKey: KEY,
      keyType: "ed25519",
      keyId: name,
      addresses: [],
    };
  }
}

/** A core that does one thing after the other. */
class Core {
  readonly #time: FakeTime;
  readonly #each: number;
  #free = 0;

  constructor(time: FakeTime, each: number) {
    this.#time = time;
    this.#each = each;
  }

  work(): Promise<boolean> {
    const now = this.#time.now();
    this.#free = Math.max(now, this.#free) + this.#each;
    return new Promise((done) => this.#time.after(ms(this.#free - now), () => done(true)));
  }
}

/** The node of the senders stands for very many, each of which has limits of its own. */
const ONE_FOR_ALL = { notifyRate: 1e6, notifyBurst: 1e6 };

export interface CrowdOptions {
  readonly senders: number;
  /** Neighbours of the router, behind each of which there are as many senders. */
  readonly peers: number;
  /** What checking one signature takes the router, in milliseconds. */
  readonly check: number;
  readonly router?: Partial<PbsOptions>;
}

export class Crowd {
  readonly time = new FakeTime();
  readonly flows: readonly Flow[];
  readonly #options: CrowdOptions;
  readonly #nslps = new Map<Role, Nslp>();
  readonly #nodes: Readonly<Record<Role, PbsNode>>;
  readonly #datapaths: Readonly<Record<Role, FakeDatapath>>;
  readonly #places = new Map<string, number>();

  constructor(options: CrowdOptions) {
    this.#options = options;
    this.flows = Array.from({ length: options.senders }, (_, i) => flowOf(i));
    this.flows.forEach((flow, i) => this.#places.set(flow.source.toString(), i));
    const path = () => {
      const datapath = new BusyDatapath(this.time);
      datapath.capacity = Number.POSITIVE_INFINITY;
      return datapath;
    };
    this.#datapaths = { sender: path(), router: path(), receiver: path() };
    const core = new Core(this.time, options.check);
    this.#nodes = {
      sender: this.#node("sender", ONE_FOR_ALL, async () => true),
      router: this.#node("router", options.router ?? {}, () => core.work()),
      receiver: this.#node("receiver", {}, async () => true),
    };
  }

  /** The applications of all these senders send a packet at the same instant. */
  want(flows: readonly Flow[]): void {
    for (const flow of flows) this.#datapaths.sender.want(flow);
  }

  /** A message that no sender of the crowd has made, from the neighbour with this number. */
  inject(message: SendMessage, peer: number): void {
    this.#deliver("router", message, `peer ${peer}`);
  }

  async pass(duration: Milliseconds): Promise<void> {
    for (let left = duration; left > 0; left = ms(left - TICK)) {
      this.time.advance(TICK);
      // Installations of one turn are made in the next.
      for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Of these flows: those that the router lets pass now. */
  permitted(flows: readonly Flow[]): number {
    const { entries } = this.#datapaths.router;
    const now = this.time.now();
    return flows.filter((flow) => (entries.get(flowKey(flow))?.until ?? 0) > now).length;
  }

  /** Flows whose applications have been told no. */
  get refused(): number {
    return this.#datapaths.sender.refused.length;
  }

  node(role: Role): PbsNode {
    return this.#nodes[role];
  }

  stop(): void {
    for (const node of Object.values(this.#nodes)) node.stop();
  }

  #node(role: Role, options: Partial<PbsOptions>, verify: () => Promise<boolean>): PbsNode {
    const node = new PbsNode({
      gist: this.#gist(role),
      datapath: this.#datapaths[role],
      trust: new AllTrusted(),
      signer: fakeSigner(role),
      policy: {
        decide: () => ({
          type: "grant",
          rule: "all",
          grant: { volume: bytes(1e9), lifetime: seconds(600), refresh: REFRESH, extend: true },
        }),
      },
      time: this.time,
      random: seededRandom(role.length),
      logger: silentLogger,
      isLocal: (address) => (address.bytes[1] === (role === "sender" ? 1 : 2) ? role !== "router" : false),
      options: { maxPending: 40_000, maxPendingPerPeer: 40_000, ...options },
      verify,
    });
    node.start();
    return node;
  }

  #gist(role: Role): GistService {
    const down: Role = role === "sender" ? "router" : "receiver";
    const up: Role = role === "receiver" ? "router" : "sender";
    return {
      register: (_id, nslp) => void this.#nslps.set(role, nslp),
      sendMessage: (message) => {
        if (message.mri.direction === "upstream") return this.#deliver(up, message, role);
        const place = this.#places.get(message.mri.source.toString()) ?? 0;
        const peer = `peer ${place % this.#options.peers}`;
        this.#deliver(down, message, role === "sender" ? peer : role);
      },
      setStateLifetime: () => undefined,
      invalidateRoutingState: () => undefined,
    };
  }

  #deliver(to: Role, message: SendMessage, from: string): void {
    void this.#nslps.get(to)?.recvMessage({
      data: message.data,
      nslpId: message.nslpId,
      sessionId: message.sessionId,
      mri: message.mri,
      routingStateCheck: false,
      siiHandle: from,
      transfer: {
        ...message.transfer,
        explicitlyRouted: false,
        returnRoutable: true,
        lastNode: to === "receiver",
      },
      ipTtl: 64,
      ipDistance: 1,
      hopCount: 15,
      inboundInterface: "eth0",
    });
  }
}

/** Source 10.1.x.y, destination 10.2.x.y. */
function flowOf(i: number): Flow {
  const at = (network: number) => IpAddress.fromBytes(Uint8Array.of(10, network, i >> 8, i & 0xff));
  return { protocol: 17, source: at(1), destination: at(2), sourcePort: PORT, destinationPort: PORT };
}

function fakeSigner(role: Role): Signer {
  const parts: Partial<Signer> = {
    certificate: Uint8Array.from(Buffer.from(role)),
    keyType: "ed25519",
    packetAlgorithm: undefined,
    identity: new Uint8Array(16).fill(role.length),
    signSync: () => new Uint8Array(SIGNATURE).fill(1),
    sign: async () => new Uint8Array(SIGNATURE).fill(1),
  };
  return parts as Signer;
}
