/**
 * A host with many flows and no packets, for the signalling benchmark: the daemon's own GIST, PBS and transport over a
 * packet path that says yes to everything. Argument: {@link EndpointOptions} as JSON. Commands on standard input:
 * "request FIRST COUNT AT-ONCE" asks for new flows, "renew FIRST COUNT AT-ONCE" for more on flows that are there; the
 * answer says how many were granted. "watch MILLISECONDS" counts the permissions that are installed meanwhile.
 */
import { createInterface } from "node:readline";
import { loadIdentity } from "../../src/authorization/keys.js";
import { RulePolicy } from "../../src/authorization/policy.js";
import { Signer } from "../../src/authorization/signing.js";
import { Trust } from "../../src/authorization/trust.js";
import { type Flow, flowKey, parseFlow } from "../../src/base/flow.js";
import { silentLogger } from "../../src/base/log.js";
import { systemRandom } from "../../src/base/random.js";
import { SystemTime } from "../../src/base/time.js";
import { bytes, ms, seconds } from "../../src/base/units.js";
import { GistNode } from "../../src/gist/node.js";
import { SystemTransport } from "../../src/gist/transport/system.js";
import { PbsNode } from "../../src/nslp/node.js";
import type {
  Datapath,
  DatapathEvent,
  DatapathStatus,
  FlowCount,
  Installation,
} from "../../src/traffic/datapath.js";
import { Firewall } from "../../src/traffic/firewall.js";

export interface EndpointOptions {
  readonly keys: {
    readonly certificate: string;
    readonly key: string;
    readonly authorities: readonly string[];
  };
  readonly from: string;
  readonly to: string;
  /** Takes Queries out of the packet path, as a receiver must. */
  readonly receives: boolean;
  /** Milliseconds: refresh time of what is granted, and how long GIST keeps routing state. */
  readonly refresh: number;
  readonly validity: number;
  /** Options of the PBS node: how refreshes save signatures. */
  readonly saving: { readonly tree: boolean; readonly summary: boolean; readonly maxListed?: number };
}

const TLS_PORT = 5270;
const QUEUE = 2700;
const MANY = 1_000_000;
const VOLUME = bytes(10_000_000);
const LIFETIME = seconds(24 * 3600);
const PORTS_PER_SOURCE_PORT = 10_000;
const PAIR_LIMIT_MS = 10_000;
const IN_USE: FlowCount = { bytes: bytes(0), packets: 1, overVolume: 0, expired: 0, idle: ms(0) };

/** Takes note of what is installed, and makes sessions ask for more when it is told to. */
class NoPackets implements Datapath {
  readonly engine = "none";
  /** Permissions, refreshed ones among them. */
  installed = 0;
  readonly #waiting = new Map<string, (granted: boolean) => void>();
  #listener: (events: readonly DatapathEvent[]) => void = () => {};

  /** Whether an answer to the next Query of this flow was installed in time. */
  renew(flow: Flow): Promise<boolean> {
    const key = flowKey(flow);
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#settle(key, false), PAIR_LIMIT_MS);
      this.#waiting.set(key, (granted) => {
        clearTimeout(timer);
        resolve(granted);
      });
      this.#listener([{ type: "threshold", flow, bytes: VOLUME }]);
    });
  }

  install(permissions: readonly Installation[]): Promise<void> {
    this.installed += permissions.length;
    for (const { flow } of permissions) this.#settle(flowKey(flow), true);
    return Promise.resolve();
  }

  remove(flows: readonly Flow[]): Promise<void> {
    for (const flow of flows) this.#settle(flowKey(flow), false);
    return Promise.resolve();
  }

  refuse(flow: Flow): void {
    this.#settle(flowKey(flow), false);
  }

  read(flows: readonly Flow[]): FlowCount[] {
    return flows.map(() => IN_USE);
  }

  listen(listener: (events: readonly DatapathEvent[]) => void): void {
    this.#listener = listener;
  }

  status(): DatapathStatus {
    return { engine: this.engine, flows: 0, capacity: 0, held: 0, counters: {}, queues: [] };
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  #settle(key: string, granted: boolean): void {
    this.#waiting.get(key)?.(granted);
    this.#waiting.delete(key);
  }
}

async function start(options: EndpointOptions, datapath: Datapath): Promise<PbsNode> {
  const identity = loadIdentity({
    certificateFile: options.keys.certificate,
    keyFile: options.keys.key,
    authorityFiles: options.keys.authorities,
  });
  const signer = new Signer(identity.privateKey, identity.certificateDer);
  const time = new SystemTime();
  if (options.receives) await closeAndIntercept();
  const transport = new SystemTransport({
    tlsPort: TLS_PORT,
    queueNumber: options.receives ? QUEUE : undefined,
    certificate: identity.certificatePem,
    key: identity.keyPem,
    authorities: identity.authoritiesPem,
    logger: silentLogger,
    time,
  });
  const common = {
    time,
    random: systemRandom,
    isLocal: (address: Flow["source"]) => transport.isLocal(address),
  };
  const gist = new GistNode({
    ...common,
    identity: signer.identity,
    transport,
    log: silentLogger,
    options: {
      validity: ms(options.validity),
      datagramRate: MANY,
      datagramBurst: MANY,
      interceptRate: MANY,
      interceptBurst: MANY,
      sourceRate: MANY,
      sourceBurst: MANY,
    },
  });
  const grant = { volume: VOLUME, lifetime: LIFETIME, refresh: ms(options.refresh), extend: true };
  const pbs = new PbsNode({
    ...common,
    gist,
    datapath,
    trust: new Trust(identity.authoritiesPem),
    signer,
    policy: new RulePolicy([{ name: "everything", action: { type: "grant", grant } }]),
    options: options.saving,
    logger: silentLogger,
  });
  await gist.start();
  pbs.start();
  return pbs;
}

async function closeAndIntercept(): Promise<void> {
  const firewall = await Firewall.probe({
    queueBase: QUEUE,
    tlsPort: TLS_PORT,
    tcpPort: null,
    refuseMark: 0x5042_0000,
    backend: "auto",
    exempt: [],
    interceptRate: MANY,
    setSize: 1024,
    reserve: 0,
    reassemble: false,
  });
  await firewall.install();
}

function flowAt(index: number, { from, to }: EndpointOptions): Flow {
  const sourcePort = 10_000 + Math.floor(index / PORTS_PER_SOURCE_PORT);
  return parseFlow(`udp ${from}:${sourcePort} > ${to}:${10_000 + (index % PORTS_PER_SOURCE_PORT)}`);
}

/** Counts the indices for which `one` says yes, `atOnce` of them under way at a time. */
async function inParallel(
  first: number,
  count: number,
  atOnce: number,
  one: (index: number) => Promise<boolean>,
): Promise<number> {
  let next = first;
  let granted = 0;
  const worker = async (): Promise<void> => {
    while (next < first + count) if (await one(next++)) granted++;
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return granted;
}

const options = JSON.parse(process.argv[2] ?? "") as EndpointOptions;
const datapath = new NoPackets();
const node = await start(options, datapath);
console.log(JSON.stringify({ ready: true }));

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...numbers] = line.trim().split(" ");
  const [first = 0, count = 0, atOnce = 1] = numbers.map(Number);
  const ask = async (index: number): Promise<boolean> =>
    (await node.request(flowKey(flowAt(index, options)), undefined)).granted;
  const renew = (index: number): Promise<boolean> => datapath.renew(flowAt(index, options));
  if (command === "watch") {
    const before = datapath.installed;
    await new Promise((resolve) => setTimeout(resolve, first));
    console.log(JSON.stringify({ installed: datapath.installed - before }));
    continue;
  }
  const started = performance.now();
  const granted = await inParallel(first, count, atOnce, command === "renew" ? renew : ask);
  console.log(JSON.stringify({ granted, milliseconds: performance.now() - started }));
}
// The kernel's queue would keep the process alive.
process.exit(0);
