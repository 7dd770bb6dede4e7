/**
 * A network in memory for tests: hosts in a line, some of them GIST nodes, under a clock that the test moves. What is
 * sent is recorded, and may be lost or changed on the way.
 */
import { IpAddress } from "../../base/address.js";
import { silentLogger } from "../../base/log.js";
import { seededRandom } from "../../base/random.js";
import { FakeTime, TICK } from "../../base/time.js";
import { type Milliseconds, ms } from "../../base/units.js";
import { GistNode } from "../node.js";
import type { GistOptions } from "../options.js";
import type {
  MessageStatus,
  NetworkNotification,
  Nslp,
  PeerDecision,
  ReceivedMessage,
  SendMessage,
} from "../service.js";
import type { AuthorisedPeer } from "../authorised-peers.js";
import type {
  Connection,
  Interception,
  PeerCertificate,
  Route,
  Transport,
  TransportHandler,
} from "../transport/transport.js";
import { decodeGist, newSessionId } from "../wire/codec.js";
import {
  GIST_PORT,
  type GistMessage,
  type Mri,
  type PathCoupledMri,
  type SessionId,
} from "../wire/messages.js";

export type Mode = "query" | "datagram" | "association";

/** A message on the network. */
export interface Sent {
  readonly at: Milliseconds;
  readonly from: string;
  readonly to: string;
  readonly mode: Mode;
  readonly message: GistMessage;
  readonly bytes: Uint8Array;
}

/** What happens to a message: undefined: it arrives; "lost"; or other bytes arrive in its place. */
export type Fate = (sent: Sent) => "lost" | Uint8Array | undefined;

export const TEST_NSLP = 32704;
const TLS_PORT = 5270;
const TCP_PORT = 5271;
const HOP: Milliseconds = TICK;
const ANY_MTU = 1500;

export class MemoryNetwork {
  readonly time = new FakeTime();
  readonly sent: Sent[] = [];
  /** Hosts in their order on the line. */
  readonly hosts: Host[] = [];
  fate: Fate = () => undefined;
  /** Whether associations can be opened. */
  connects = true;
  /** Hosts that packets in Query mode do not come by now. */
  readonly offPath = new Set<Host>();
  readonly #random = seededRandom(7);

  /** A GIST node at the end of the line so far. */
  addNode(address: string, options: Partial<GistOptions> = {}, more: NodeSetting = {}): TestNode {
    const node = new TestNode(this, address, this.hosts.length + 1, options, more);
    this.hosts.push(node);
    return node;
  }

  /** A host that knows no GIST. */
  addPlain(address: string): void {
    this.hosts.push({ address: IpAddress.parse(address) });
  }

  newSession(): SessionId {
    return newSessionId(this.#random);
  }

  host(address: IpAddress): Host | undefined {
    return this.hosts.find((h) => h.address.equals(address));
  }

  /** Lets time pass a tick at a time; promises settle between ticks. */
  async run(duration: number): Promise<void> {
    await settle();
    const end = this.time.now() + duration;
    while (this.time.now() < end) {
      this.time.advance(ms(Math.min(TICK, end - this.time.now())));
      await settle();
    }
  }

  /** Messages of a type, in the order in which they were sent. */
  of<T extends GistMessage["type"]>(type: T, from?: TestNode): (Sent & { message: { type: T } })[] {
    const isOf = (s: Sent): s is Sent & { message: { type: T } } => s.message.type === type;
    return this.sent.filter(isOf).filter((s) => from === undefined || s.from === from.name);
  }

  /** Sends from one host to the next ones until one takes it. */
  queryMode(from: Host, to: IpAddress, bytes: Uint8Array, source: IpAddress, ttl: number): void {
    const arriving = this.record(from, to.toString(), "query", bytes);
    if (arriving === undefined) return;
    const start = this.hosts.indexOf(from);
    const end = this.hosts.findIndex((h) => h.address.equals(to));
    if (end < 0 || end === start) return;
    this.#pass(Uint8Array.from(arriving), { source, to, ttl, at: start, step: end > start ? 1 : -1 });
  }

  datagram(from: Host, to: IpAddress, port: number, bytes: Uint8Array): void {
    const arriving = this.record(from, to.toString(), "datagram", bytes);
    if (arriving === undefined || port !== GIST_PORT) return;
    this.time.after(HOP, () => {
      void this.host(to)?.handler?.datagram({
        message: arriving,
        source: from.address,
        sourcePort: GIST_PORT,
        destination: to,
        ipTtl: 64,
        inboundInterface: "",
        intercepted: false,
      });
    });
  }

  /** Records a message and says what arrives of it. */
  record(from: Host, to: string, mode: Mode, bytes: Uint8Array): Uint8Array | undefined {
    const message = decodeGist(bytes);
    const sent = { at: this.time.now(), from: from.address.toString(), to, mode, message, bytes };
    this.sent.push(sent);
    const fate = this.fate(sent);
    return fate === "lost" ? undefined : (fate ?? bytes);
  }

  #pass(
    bytes: Uint8Array,
    packet: { source: IpAddress; to: IpAddress; ttl: number; at: number; step: 1 | -1 },
  ): void {
    const at = packet.at + packet.step;
    const host = this.hosts[at];
    if (host === undefined || packet.ttl < 1) return;
    if (this.offPath.has(host)) {
      this.#pass(bytes, { ...packet, at });
      return;
    }
    this.time.after(HOP, () => {
      const answer = host.handler?.datagram({
        message: bytes,
        source: packet.source,
        sourcePort: GIST_PORT,
        destination: packet.to,
        ipTtl: packet.ttl,
        inboundInterface: packet.step === 1 ? "left" : "right",
        intercepted: true,
      });
      const follow = (interception: Interception | undefined): void => {
        if (interception === "taken" || interception === "drop" || host.address.equals(packet.to)) return;
        if (interception === "decrement-hops") bytes[1] = (bytes[1] ?? 0) - 1;
        this.#pass(bytes, { ...packet, at, ttl: packet.ttl - 1 });
      };
      if (answer instanceof Promise) void answer.then(follow);
      else follow(answer);
    });
  }
}

export interface NodeSetting {
  /** Whether it has a certificate, and so TLS; default true. */
  readonly tls?: boolean;
  /** Whether it takes associations without TLS; default false. */
  readonly tcp?: boolean;
  readonly authorisedPeers?: readonly AuthorisedPeer[];
}

export interface Host {
  readonly address: IpAddress;
  readonly handler?: TransportHandler;
}

/** A GIST node with its transport and an NSLP that records what it is told. */
export class TestNode implements Host, Transport, Nslp {
  readonly address: IpAddress;
  readonly identity: Uint8Array;
  readonly gist: GistNode;
  readonly tlsPort: number;
  readonly tcpPort: number | undefined;
  /** Of its certificate. */
  readonly names: readonly string[];
  readonly received: ReceivedMessage[] = [];
  readonly asked: ReceivedMessage[] = [];
  readonly statuses: (MessageStatus & { at: Milliseconds })[] = [];
  readonly notifications: NetworkNotification[] = [];
  readonly connections = new Set<MemoryConnection>();
  /** The identity that this node's certificate stands for; its own unless a test says otherwise. */
  certified: Uint8Array;
  decide: (message: ReceivedMessage) => PeerDecision | Promise<PeerDecision> = () => ({ peer: true });
  /** Called with every message received, after it was recorded. */
  react: (message: ReceivedMessage) => void = () => {};
  /** The routing table; undefined as an answer: no route. */
  routeTo: (target: IpAddress) => Route | undefined;
  readonly network: MemoryNetwork;

  constructor(
    network: MemoryNetwork,
    address: string,
    number: number,
    options: Partial<GistOptions>,
    more: NodeSetting,
  ) {
    this.network = network;
    this.tlsPort = more.tls === false ? 0 : TLS_PORT;
    this.tcpPort = more.tcp === true ? TCP_PORT : undefined;
    this.names = [`n${number}.example.net`];
    this.routeTo = (target) => (network.host(target) === undefined ? undefined : this.wayOut());
    this.address = IpAddress.parse(address);
    this.identity = new Uint8Array(16).fill(number);
    this.certified = this.identity;
    this.gist = this.#newGist(number, options, more);
    this.gist.register(TEST_NSLP, this);
  }

  get name(): string {
    return this.address.toString();
  }

  get handler(): TransportHandler {
    return this.gist;
  }

  send(session: SessionId, mri: Mri, text: string, more: Partial<SendMessage> = {}): void {
    this.gist.sendMessage({
      data: words(text),
      nslpId: TEST_NSLP,
      sessionId: session,
      mri,
      transfer: { reliable: true, secure: true },
      ...more,
    });
  }

  /** Texts received, in order. */
  get texts(): string[] {
    return this.received.map((m) => text(m.data));
  }

  counter(name: string): number {
    return this.gist.view().counters[name] ?? 0;
  }

  /** Breaks all associations, as a crash of the peer or of the path does. */
  breakConnections(): void {
    for (const connection of [...this.connections]) connection.break("connection reset");
  }

  recvMessage(message: ReceivedMessage): PeerDecision | Promise<PeerDecision> {
    if (message.routingStateCheck) {
      this.asked.push(message);
      return this.decide(message);
    }
    this.received.push(message);
    this.react(message);
    return { peer: false };
  }

  messageStatus(status: MessageStatus): void {
    this.statuses.push({ ...status, at: this.network.time.now() });
  }

  networkNotification(notification: NetworkNotification): void {
    this.notifications.push(notification);
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  /** A route over an interface of this node. */
  wayOut(interfaceName = "right", nextHop?: string): Route {
    const route = { interfaceAddress: this.address, interfaceName, mtu: ANY_MTU };
    return nextHop === undefined ? route : { ...route, nextHop: IpAddress.parse(nextHop) };
  }

  route(mri: Mri): Promise<Route | undefined> {
    return Promise.resolve(this.routeTo(targetOf(mri)));
  }

  cachedRoute(mri: Mri): Route | undefined {
    return this.routeTo(targetOf(mri));
  }

  sendQueryMode(mri: Mri, message: Uint8Array, options: { spoofSource: boolean; ttl: number }): void {
    const source = options.spoofSource ? mri.source : this.address;
    this.network.queryMode(this, targetOf(mri), message, source, options.ttl);
  }

  sendDatagram(to: IpAddress, port: number, message: Uint8Array): void {
    this.network.datagram(this, to, port, message);
  }

  connect(to: IpAddress, port: number, protocol: "tls" | "tcp", timeout: Milliseconds): Promise<Connection> {
    const peer = this.network.host(to);
    const listens = peer instanceof TestNode && port === (protocol === "tls" ? peer.tlsPort : peer.tcpPort);
    if (!(peer instanceof TestNode) || !listens || !this.network.connects)
      return new Promise((_, reject) =>
        this.network.time.after(timeout, () => reject(new Error("timed out"))),
      );
    return new Promise((resolve) => {
      // TCP and TLS: two round trips.
      this.network.time.after(ms(4 * HOP), () => {
        const [here, there] = connected(this, peer, protocol);
        resolve(here);
        peer.gist.accepted(there);
      });
    });
  }

  #newGist(number: number, options: Partial<GistOptions>, { authorisedPeers = [] }: NodeSetting): GistNode {
    return new GistNode({
      identity: this.identity,
      transport: this,
      time: this.network.time,
      random: seededRandom(number),
      log: silentLogger,
      isLocal: (address) => address.equals(this.address),
      options,
      authorisedPeers,
    });
  }
}

export class MemoryConnection implements Connection {
  readonly protocol: "tls" | "tcp";
  queued = 0;
  open = true;
  other: MemoryConnection | undefined;
  readonly initiator: boolean;
  readonly #owner: TestNode;
  readonly #peer: TestNode;
  readonly peer: PeerCertificate | undefined;

  constructor(owner: TestNode, peer: TestNode, initiator: boolean, protocol: "tls" | "tcp") {
    this.protocol = protocol;
    this.#owner = owner;
    this.#peer = peer;
    this.initiator = initiator;
    this.peer =
      protocol === "tls"
        ? { subject: `host ${peer.name}`, names: peer.names, identity: peer.certified }
        : undefined;
    owner.connections.add(this);
  }

  get remoteAddress(): IpAddress {
    return this.#peer.address;
  }

  get localAddress(): IpAddress {
    return this.#owner.address;
  }

  send(message: Uint8Array): boolean {
    if (!this.open) return false;
    const { network } = this.#owner;
    const arriving = network.record(this.#owner, this.#peer.name, "association", message);
    const { other } = this;
    if (arriving !== undefined)
      network.time.after(HOP, () => {
        if (other?.open) this.#peer.gist.message(other, arriving);
      });
    return true;
  }

  /** The peer takes what is queued. */
  drain(): void {
    this.queued = 0;
    this.#owner.gist.drained(this);
  }

  close(): void {
    const { time } = this.#owner.network;
    time.after(HOP, () => this.break("closed"));
  }

  /** Both ends hear of it. */
  break(reason: string): void {
    this.#end(reason);
    if (this.other !== undefined) this.other.#end(reason);
  }

  /** Only this end hears of it. */
  #end(reason: string): void {
    if (!this.open) return;
    this.open = false;
    this.#owner.connections.delete(this);
    this.#owner.gist.closed(this, reason);
  }
}

function targetOf(mri: Mri): IpAddress {
  return mri.direction === "downstream" ? mri.destination : mri.source;
}

function connected(
  from: TestNode,
  to: TestNode,
  protocol: "tls" | "tcp",
): [MemoryConnection, MemoryConnection] {
  const here = new MemoryConnection(from, to, true, protocol);
  const there = new MemoryConnection(to, from, false, protocol);
  here.other = there;
  there.other = here;
  return [here, there];
}

/** MRI of a UDP flow between two hosts; `port` tells flows apart. */
export function flowMri(source: string, destination: string, port = 4000): PathCoupledMri {
  return {
    method: "path-coupled",
    direction: "downstream",
    source: IpAddress.parse(source),
    destination: IpAddress.parse(destination),
    sourcePrefix: 32,
    destinationPrefix: 32,
    protocol: 17,
    sourcePort: port,
    destinationPort: 9000,
  };
}

/** Text as whole 32-bit words. */
export function words(value: string): Uint8Array {
  const bytes = Buffer.from(value);
  const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  padded.set(bytes);
  return padded;
}

export function text(data: Uint8Array): string {
  return Buffer.from(data).toString().replace(/\0+$/, "");
}

async function settle(): Promise<void> {
  for (let i = 0; i < 8; i++) await Promise.resolve();
}
