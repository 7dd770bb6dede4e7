/**
 * A router alone, with many flows: the daemon's own GIST and PBS and its flow table, in one process with a sender and a
 * receiver that keep nothing of a flow but its number. What the process grows by is the router's. No kernel and no sockets
 * are in it. Argument: {@link CrowdOptions} as JSON; prints one {@link Crowd} as JSON. Run with --expose-gc.
 */
import { verify, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { type KeyChoice, loadIdentity } from "../../src/authorization/keys.js";
import { RulePolicy } from "../../src/authorization/policy.js";
import { Signer } from "../../src/authorization/signing.js";
import { Trust } from "../../src/authorization/trust.js";
import { IpAddress } from "../../src/base/address.js";
import { type Flow, PROTOCOL } from "../../src/base/flow.js";
import { silentLogger } from "../../src/base/log.js";
import { systemRandom } from "../../src/base/random.js";
import { SystemTime } from "../../src/base/time.js";
import { bytes, ms, seconds } from "../../src/base/units.js";
import { GistNode } from "../../src/gist/node.js";
import type { Connection, Route, Transport, TransportHandler } from "../../src/gist/transport/transport.js";
import { decodeGist, encodeGist, flipMri, sessionIdFromBytes } from "../../src/gist/wire/codec.js";
import {
  type GistMessage,
  MA_PROTOCOL,
  type Mri,
  type NetworkLayerInformation,
  type SessionId,
} from "../../src/gist/wire/messages.js";
import { mriOf } from "../../src/nslp/mri.js";
import { PbsNode } from "../../src/nslp/node.js";
import { NO_DEFENSE } from "../../src/nslp/receiver-keys.js";
import { encodeUnsigned, signatureInput, withSignature } from "../../src/nslp/wire/codec.js";
import { PBS_NSLP_ID } from "../../src/nslp/wire/messages.js";
import { NfqueueDatapath } from "../../src/traffic/nfqueue.js";
import { makeNodeKeys, makeTestAuthority } from "../lib/daemon.js";

export interface CrowdOptions {
  readonly flows: number;
  readonly keys: KeyChoice;
}

export interface Crowd {
  /** Bytes for each flow: JavaScript heap, typed arrays outside of it, the packet path's table, and all that is resident. */
  readonly heap: number;
  readonly arrays: number;
  readonly table: number;
  readonly resident: number;
  /** Bytes of the whole process at the end. */
  readonly process: number;
  /** Microseconds of processor time for a new flow, hosts included, and for a refresh, the router alone. */
  readonly setUp: number;
  readonly refresh: number;
  /** The same for checking the two signatures of a refresh, and nothing else. */
  readonly signatures: number;
}

const HOSTS = { sender: "192.168.20.1", router: "192.168.20.3", receiver: "192.168.21.4" } as const;
const ROUTER_DOWN = "192.168.21.3";
const TLS_PORT = 5270;
const MANY = 2_000_000;
const PORTS = 50_000;
const FIRST_PORT = 10_000;
const AT_ONCE = 256;
/** Refreshes that are signed ahead, so that signing is not measured. */
const REFRESHES = 2000;
/** The best of so many counts: whatever else runs on the machine only makes it worse. */
const ROUNDS = 5;
const LONG = seconds(86_400);
/** After the last flow everything has gone to rest. */
const REST_MS = 3000;
const STACK = {
  proposal: [[MA_PROTOCOL.tls, MA_PROTOCOL.forwardsTcp]],
  configuration: { holdTime: LONG, options: [] },
};

/** An association's other end; what the router sends is handed over as bytes. */
class Line implements Connection {
  readonly protocol = "tls";
  readonly queued = 0;
  readonly remoteAddress: IpAddress;
  readonly localAddress: IpAddress;
  readonly initiator: boolean;
  readonly peer: NonNullable<Connection["peer"]>;
  readonly #take: (message: Uint8Array) => void;

  constructor(signer: Signer, ends: [string, string], initiator: boolean, take: (m: Uint8Array) => void) {
    this.remoteAddress = IpAddress.parse(ends[0]);
    this.localAddress = IpAddress.parse(ends[1]);
    this.initiator = initiator;
    this.peer = { subject: ends[0], names: [ends[0]], identity: signer.identity };
    this.#take = take;
  }

  send(message: Uint8Array): boolean {
    this.#take(message);
    return true;
  }

  close(): void {}
}

/** Sender and receiver, and the network between them and the router. */
class Hosts implements Transport {
  readonly tlsPort = TLS_PORT;
  readonly tcpPort = undefined;
  readonly #sender: Signer;
  readonly #receiver: Signer;
  readonly #flows: number;
  readonly #up: Line;
  readonly #down: Line;
  /** Messages on their way to the router. */
  #inbound: (() => void)[] = [];
  #handler: TransportHandler | undefined;
  #known = false;
  #accepted = false;
  #done = 0;
  /** Answers to refreshes, signed ahead, by flow. */
  #permissions: readonly Uint8Array[] = [];
  #sequence = Date.now() >>> 0;

  constructor(sender: Signer, receiver: Signer, flows: number) {
    this.#sender = sender;
    this.#receiver = receiver;
    this.#flows = flows;
    this.#up = new Line(sender, [HOSTS.sender, HOSTS.router], false, (m) => this.#toSender(m));
    this.#down = new Line(receiver, [HOSTS.receiver, ROUTER_DOWN], true, (m) => this.#toReceiver(m));
  }

  start(handler: TransportHandler): Promise<void> {
    this.#handler = handler;
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  route(mri: Mri): Promise<Route> {
    return Promise.resolve(this.cachedRoute(mri));
  }

  cachedRoute(mri: Mri): Route {
    const down = mri.destination.toString() === HOSTS.receiver && mri.direction === "downstream";
    return {
      interfaceAddress: IpAddress.parse(down ? ROUTER_DOWN : HOSTS.router),
      interfaceName: down ? "right" : "left",
      mtu: 1500,
    };
  }

  connect(): Promise<Connection> {
    return Promise.resolve(this.#down);
  }

  /** The router's Query; the receiver answers over the association, or tells how to open it. */
  sendQueryMode(_mri: Mri, bytes: Uint8Array): void {
    const query = decodeGist(bytes);
    if (query.type !== "query") return;
    const response = {
      type: "response",
      hops: 32,
      nslpId: PBS_NSLP_ID,
      signallingSource: true,
      confirmRequested: true,
      mri: flipMri(query.mri),
      sessionId: query.sessionId,
      nli: nliOf(this.#receiver, HOSTS.receiver),
      queryCookie: query.queryCookie,
      responderCookie: new Uint8Array(28).fill(7),
    } as const;
    if (this.#known) return this.#deliver(this.#down, response);
    this.#known = true;
    const { proposal } = STACK;
    const options = [{ protocol: 1, profile: 0, doNotUse: false, data: Uint8Array.of(20, 150, 0, 0) }];
    this.#datagram(
      encodeGist({ ...response, stack: { proposal, configuration: { holdTime: LONG, options } } }),
      HOSTS.receiver,
    );
  }

  /** The Response to the sender's first Query: it opens its association and confirms. */
  sendDatagram(_to: IpAddress, _port: number, bytes: Uint8Array): void {
    const message = decodeGist(bytes);
    if (message.type !== "response") return;
    if (!this.#accepted) this.#later(() => this.#handler?.accepted(this.#up));
    this.#accepted = true;
    this.#confirm(message, true);
  }

  /** New flows from `first` on; resolves when all have their permission. */
  async setUp(first: number, count: number): Promise<void> {
    const before = this.#done;
    let asked = 0;
    while (this.#done < before + count) {
      // The first flow opens the associations.
      const most = this.#known ? AT_ONCE : 1;
      while (asked < count && asked - (this.#done - before) < most) this.#ask(first + asked++);
      await this.#step();
    }
  }

  /** Refreshes of the flows from `first` on; returns the processor time of the router, in microseconds. */
  async refresh(first: number, count: number): Promise<number> {
    const queries = Array.from({ length: count }, (_, i) => this.#queryData(first + i));
    this.#permissions = Array.from({ length: this.#flows }, (_, i) =>
      i >= first && i < first + count ? this.#permissionData(i) : NOTHING,
    );
    const before = this.#done;
    const started = process.cpuUsage();
    let asked = 0;
    while (this.#done < before + count) {
      for (; asked < count && asked - (this.#done - before) < AT_ONCE; asked++) {
        const message = queries[asked];
        if (message !== undefined) this.#later(() => this.#handler?.message(this.#up, message));
      }
      await this.#step();
    }
    const { user, system } = process.cpuUsage(started);
    this.#permissions = [];
    return user + system;
  }

  /** Microseconds of processor time to check two signatures, on this thread. */
  checkTwo(times: number): number {
    const message = this.#sender.certificate;
    const signature = this.#sender.signSync(message);
    const key = new X509Certificate(message).publicKey;
    const digest = this.#sender.keyType === "ed25519" ? null : "sha256";
    const input = this.#sender.keyType === "p256" ? ({ key, dsaEncoding: "ieee-p1363" } as const) : key;
    const started = process.cpuUsage();
    for (let i = 0; i < 2 * times; i++)
      if (!verify(digest, message, input, signature)) throw new Error("a signature of ours is not good");
    const { user, system } = process.cpuUsage(started);
    return (user + system) / times;
  }

  async #step(): Promise<void> {
    const batch = this.#inbound;
    this.#inbound = [];
    for (const deliver of batch) deliver();
    await turn();
  }

  #ask(index: number): void {
    const flow = flowOf(index);
    const query = encodeGist({
      type: "query",
      hops: 32,
      nslpId: PBS_NSLP_ID,
      signallingSource: false,
      mri: mriOf(flow, "downstream"),
      sessionId: sessionOf(index),
      nli: nliOf(this.#sender, HOSTS.sender),
      queryCookie: new Uint8Array(16).fill(1),
      stack: STACK,
    });
    this.#later(
      () =>
        void this.#handler?.datagram({
          message: query,
          source: flow.source,
          sourcePort: 270,
          destination: flow.destination,
          ipTtl: 64,
          inboundInterface: "left",
          intercepted: true,
        }),
    );
  }

  #confirm({ sessionId, mri, responderCookie }: GistMessage & { type: "response" }, first: boolean): void {
    this.#deliver(this.#up, {
      type: "confirm",
      hops: 32,
      nslpId: PBS_NSLP_ID,
      signallingSource: true,
      mri: flipMri(mri),
      sessionId,
      nli: nliOf(this.#sender, HOSTS.sender),
      ...(responderCookie !== undefined && { responderCookie }),
      ...(first && STACK),
    });
    const message = this.#queryData(indexOf(sessionId));
    this.#later(() => this.#handler?.message(this.#up, message));
  }

  #toSender(bytes: Uint8Array): void {
    const type = typeOf(bytes);
    if (type === TYPE.data) this.#done++;
    else if (type === TYPE.response) {
      const message = decodeGist(bytes);
      if (message.type === "response") this.#confirm(message, false);
    } else this.#answerHello(this.#up, bytes);
  }

  #toReceiver(bytes: Uint8Array): void {
    const type = typeOf(bytes);
    if (type === TYPE.hello) return this.#answerHello(this.#down, bytes);
    if (type !== TYPE.data) return;
    const index = indexIn(bytes);
    const ready = this.#permissions[index] ?? NOTHING;
    const message = ready === NOTHING ? this.#permissionData(index) : ready;
    this.#later(() => this.#handler?.message(this.#down, message));
  }

  #answerHello(line: Line, bytes: Uint8Array): void {
    const hello = decodeGist(bytes);
    if (hello.type === "hello" && hello.replyRequested)
      this.#deliver(line, { ...hello, replyRequested: false });
  }

  #queryData(index: number): Uint8Array {
    return this.#data(index, "downstream", this.#sender, {
      type: "query",
      flow: flowOf(index),
      sequence: this.#next(),
      requestedVolume: bytes(1_000_000),
      sentVolume: bytes(0),
      certificate: this.#sender.certificate,
    });
  }

  #permissionData(index: number): Uint8Array {
    return this.#data(index, "upstream", this.#receiver, {
      type: "permission",
      flow: flowOf(index),
      sequence: this.#next(),
      allowedVolume: bytes(1_000_000),
      ttl: ms(86_400_000),
      refresh: ms(3_600_000),
      certificate: this.#receiver.certificate,
      defense: NO_DEFENSE,
    });
  }

  #data(
    index: number,
    direction: Mri["direction"],
    signer: Signer,
    message: Parameters<typeof encodeUnsigned>[0],
  ): Uint8Array {
    const sessionId = sessionOf(index);
    const unsigned = encodeUnsigned(message);
    const signature = signer.signSync(signatureInput(sessionId, PBS_NSLP_ID, unsigned));
    return encodeGist({
      type: "data",
      hops: 32,
      nslpId: PBS_NSLP_ID,
      signallingSource: true,
      mri: mriOf(message.flow, direction),
      sessionId,
      queryMode: false,
      explicitlyRouted: false,
      data: withSignature(unsigned, signature),
    });
  }

  /** Rises by one, as the wall clock does by a millisecond. */
  #next(): number {
    this.#sequence = Math.max(this.#sequence + 1, Math.floor(Date.now() % 2 ** 32));
    return this.#sequence >>> 0;
  }

  #deliver(line: Line, message: GistMessage): void {
    const encoded = encodeGist(message);
    this.#later(() => this.#handler?.message(line, encoded));
  }

  #datagram(message: Uint8Array, from: string): void {
    const source = IpAddress.parse(from);
    this.#later(
      () =>
        void this.#handler?.datagram({
          message,
          source,
          sourcePort: 270,
          destination: IpAddress.parse("0.0.0.0"),
          ipTtl: 64,
          inboundInterface: "",
          intercepted: false,
        }),
    );
  }

  #later(deliver: () => void): void {
    this.#inbound.push(deliver);
  }
}

const NOTHING = new Uint8Array();
const TYPE = { response: 1, data: 3, hello: 5 } as const;
/** Of an IPv4 flow with ports: behind the common header and the MRI object, the Session-ID object's value. */
const SESSION_AT = 8 + 24 + 4;

function typeOf(message: Uint8Array): number {
  return (message[6] ?? 0) & 0x7f;
}

function indexIn(message: Uint8Array): number {
  return new DataView(message.buffer, message.byteOffset + SESSION_AT + 12, 4).getUint32(0);
}

/** The number of a flow stands at the end of its Session-ID. */
function sessionOf(index: number): SessionId {
  const id = new Uint8Array(16).fill(0x5a);
  new DataView(id.buffer).setUint32(12, index);
  return sessionIdFromBytes(id);
}

function indexOf(id: SessionId): number {
  return Number.parseInt(id.slice(-8), 16);
}

function flowOf(index: number): Flow {
  return {
    protocol: PROTOCOL.udp,
    source: IpAddress.parse(HOSTS.sender),
    destination: IpAddress.parse(HOSTS.receiver),
    sourcePort: FIRST_PORT + Math.floor(index / PORTS),
    destinationPort: FIRST_PORT + (index % PORTS),
  };
}

function nliOf(signer: Signer, address: string): NetworkLayerInformation {
  return {
    ipTtl: 64,
    validity: LONG,
    peerIdentity: signer.identity,
    interfaceAddress: IpAddress.parse(address),
  };
}

interface Router {
  readonly hosts: Hosts;
  readonly table: () => number;
}

async function start({ keys, flows }: CrowdOptions): Promise<Router> {
  const directory = mkdtempSync(join(tmpdir(), "pbs-crowd-"));
  try {
    const authority = makeTestAuthority(join(directory, "ca"));
    const identity = (name: keyof typeof HOSTS) => {
      const made = makeNodeKeys({
        authority,
        prefix: join(directory, name),
        name,
        addresses: [HOSTS[name]],
        type: keys,
      });
      return loadIdentity({
        certificateFile: made.certificate,
        keyFile: made.key,
        authorityFiles: made.authorities,
      });
    };
    const signer = ({ privateKey, certificateDer }: ReturnType<typeof identity>) =>
      new Signer(privateKey, certificateDer);
    const own = identity("router");
    const hosts = new Hosts(signer(identity("sender")), signer(identity("receiver")), flows);
    return await route(hosts, signer(own), own.authoritiesPem, flows);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function route(
  hosts: Hosts,
  signer: Signer,
  authorities: readonly string[],
  flows: number,
): Promise<Router> {
  const common = { time: new SystemTime(), random: systemRandom, isLocal: () => false };
  const datapath = NfqueueDatapath.open({
    queueBase: 0,
    capacity: flows + 1000,
    holdPacketsPerFlow: 1,
    holdPackets: 1,
    holdTime: seconds(1),
    refuseMark: 1,
    enforce: true,
    logger: silentLogger,
    kernel: false,
  });
  const gist = new GistNode({
    ...common,
    identity: signer.identity,
    transport: hosts,
    log: silentLogger,
    options: {
      validity: LONG,
      holdTime: LONG,
      datagramRate: MANY,
      datagramBurst: MANY,
      interceptRate: MANY,
      interceptBurst: MANY,
      sourceRate: MANY,
      sourceBurst: MANY,
      newStateRate: MANY,
      newStateBurst: MANY,
      maxRoutingStates: 3 * flows,
    },
  });
  const pbs = new PbsNode({
    ...common,
    gist,
    datapath,
    trust: new Trust(authorities),
    signer,
    policy: new RulePolicy([]),
    logger: silentLogger,
    options: { maxSessions: 2 * flows + 1000, queryRate: MANY, queryBurst: MANY },
  });
  await gist.start();
  pbs.start();
  return { hosts, table: () => datapath.tableBytes() };
}

async function atRest(): Promise<NodeJS.MemoryUsage> {
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await turn();
  }
  return process.memoryUsage();
}

const options = JSON.parse(process.argv[2] ?? "") as CrowdOptions;
const { hosts, table } = await start(options);
const WARM_UP = Math.min(2000, options.flows);
await hosts.setUp(0, WARM_UP);
await hosts.refresh(0, WARM_UP);
const empty = await atRest();
const emptyTable = table();
const began = process.cpuUsage();
await hosts.setUp(WARM_UP, options.flows - WARM_UP);
const { user, system } = process.cpuUsage(began);
const full = await atRest();
const added = options.flows - WARM_UP;
const refreshed = Math.min(REFRESHES, options.flows);
const rounds: number[] = [];
for (let i = 0; i < ROUNDS; i++) rounds.push((await hosts.refresh(0, refreshed)) / refreshed);
const crowd: Crowd = {
  heap: (full.heapUsed - empty.heapUsed) / added,
  arrays: (full.arrayBuffers - empty.arrayBuffers) / added,
  table: (table() - emptyTable) / added,
  resident: (full.rss - empty.rss) / added,
  process: full.rss,
  setUp: (user + system) / added,
  refresh: Math.min(...rounds),
  signatures: Math.min(...rounds.map(() => hosts.checkTwo(refreshed))),
};
console.log(JSON.stringify(crowd));
process.exit(0);
