/**
 * A process of the load tool: one GIST node that plays all senders, or all receivers, of one link. Argument:
 * {@link HostOptions} as JSON. Commands come on standard input, answers go to standard output; it ends with its input.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { monitorEventLoopDelay, type IntervalHistogram } from "node:perf_hooks";
import { loadIdentity } from "../authorization/keys.js";
import { Signer } from "../authorization/signing.js";
import { Trust } from "../authorization/trust.js";
import { IpAddress } from "../base/address.js";
import { silentLogger } from "../base/log.js";
import { systemRandom } from "../base/random.js";
import { SystemTime } from "../base/time.js";
import { ms } from "../base/units.js";
import { GistNode } from "../gist/node.js";
import { PBS_NSLP_ID } from "../nslp/wire/messages.js";
import { Driver } from "./driver.js";
import { hostSigners, issueNode, KeyStock, readAuthority } from "./identities.js";
import type { HostOptions } from "./options.js";
import type { Answer, Command, Snapshot } from "./protocol.js";
import { ReceiverSide } from "./receiver.js";
import { SenderSide } from "./sender.js";
import { FlowSpace } from "./space.js";
import { OneWayTransport } from "./transport.js";

const TURN_MS = 5;
const MANY = 10_000_000;
const MTU = 1500;
const RUN_BYTES = 8;

/** None of the tool's own limits is to be what is measured. */
const UNLIMITED = {
  datagramRate: MANY,
  datagramBurst: MANY,
  interceptRate: MANY,
  interceptBurst: MANY,
  sourceRate: MANY,
  sourceBurst: MANY,
  newStateRate: MANY,
  newStateBurst: MANY,
  maxPendingHandshakes: MANY,
  maxQueued: MANY,
};

interface Identities {
  readonly node: Signer;
  readonly credentials: { certificate: string; key: string; authorities: readonly string[] };
  readonly signers: readonly Signer[];
}

function identitiesOf(options: HostOptions, hosts: readonly IpAddress[]): Identities {
  const own = IpAddress.parse(options.address);
  if (options.authority === undefined) return fromFiles(options, hosts.length);
  const authority = readAuthority(options.authority);
  const keys = KeyStock.make(options.keyType, options.keys);
  // Of the node alone, so that the hosts take theirs from the first on.
  const nodeKey = KeyStock.make(options.keyType, 1).take();
  const { signer, credentials } = issueNode(authority, nodeKey, `load ${options.role}`, [own]);
  const file = join(options.authority, `${options.role}-${options.address}.json`);
  const signers = hostSigners(file, { authority, keys, hosts });
  return { node: signer, credentials: { ...credentials }, signers };
}

function fromFiles({ identity }: HostOptions, hosts: number): Identities {
  if (identity === undefined) throw new Error("there is neither an authority nor an identity");
  const { certificate, key, authorities } = identity;
  const read = loadIdentity({ certificateFile: certificate, keyFile: key, authorityFiles: authorities });
  const signer = new Signer(read.privateKey, read.certificateDer);
  return {
    node: signer,
    credentials: { certificate: read.certificatePem, key: read.keyPem, authorities: read.authoritiesPem },
    signers: Array.from({ length: hosts }, () => signer),
  };
}

interface Host {
  readonly driver: Driver;
  readonly snapshot: () => Snapshot;
}

async function start(options: HostOptions): Promise<Host> {
  const space = new FlowSpace(options);
  const time = new SystemTime();
  const sending = options.role === "sender";
  const { node, credentials, signers } = identitiesOf(options, sending ? space.senders : space.receivers);
  const interfaceAddress = IpAddress.parse(options.address);
  const transport = new OneWayTransport({
    route: { interfaceAddress, interfaceName: options.interface, mtu: MTU },
    credentials,
    tlsPort: options.tlsPort,
    queueNumber: sending ? undefined : options.queue,
    time,
    logger: silentLogger,
  });
  const own = new Set((sending ? space.senders : space.receivers).map((address) => address.toString()));
  const gist = new GistNode({
    time,
    random: systemRandom,
    log: silentLogger,
    identity: node.identity,
    transport,
    isLocal: (address) => address.equals(interfaceAddress) || own.has(address.toString()),
    options: {
      ...UNLIMITED,
      maxRoutingStates: 2 * options.flows + MANY,
      ...(options.validity !== undefined && { validity: ms(options.validity) }),
    },
  });
  const { verifiedShare } = options;
  const trust = new Trust(credentials.authorities, { capacity: 65_536 });
  const parts = {
    gist,
    space,
    signers,
    trust,
    time,
    random: systemRandom,
    verifiedShare,
    later: setImmediate,
  };
  const run = Buffer.from(systemRandom.bytes(RUN_BYTES)).toString("hex");
  const side = sending
    ? new SenderSide(parts, options.sending, run)
    : new ReceiverSide(parts, options.receiving);
  await gist.start();
  gist.register(PBS_NSLP_ID, side);
  const driver = new Driver(side, time, systemRandom);
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  setInterval(() => {
    side.advance();
    driver.advance();
  }, TURN_MS);
  return { driver, snapshot: () => snapshotOf(options, side, gist, transport, delay) };
}

function snapshotOf(
  options: HostOptions,
  side: SenderSide | ReceiverSide,
  gist: GistNode,
  transport: OneWayTransport,
  delay: IntervalHistogram,
): Snapshot {
  const { user, system } = process.cpuUsage();
  const stalled = delay.max / 1e6;
  delay.reset();
  const sender = side instanceof SenderSide ? side : undefined;
  return {
    live: sender?.live ?? 0,
    underWay: sender?.underWay ?? 0,
    cpuSeconds: (user + system) / 1e6,
    residentBytes: process.memoryUsage.rss(),
    wire: wireCounts(options.interface),
    stalled,
    pbs: side.counters(),
    gist: { ...gist.view().counters, ...transport.counters() },
    ...(sender && { setUp: sender.setUp.data(), refreshed: sender.refreshed.data() }),
  };
}

/** From /proc/net/dev: bytes and packets received stand first and second, those sent ninth and tenth. */
function wireCounts(name: string): Snapshot["wire"] {
  const line = readFileSync("/proc/net/dev", "utf8")
    .split("\n")
    .find((text) => text.trim().startsWith(`${name}:`));
  const numbers = (line?.split(":")[1] ?? "").trim().split(/\s+/).map(Number);
  return {
    receivedBytes: numbers[0] ?? 0,
    receivedPackets: numbers[1] ?? 0,
    sentBytes: numbers[8] ?? 0,
    sentPackets: numbers[9] ?? 0,
  };
}

function say(answer: Answer): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

const host = await start(JSON.parse(process.argv[2] ?? "") as HostOptions);
say({ ready: true });

for await (const line of createInterface({ input: process.stdin })) {
  const { id, ...command } = JSON.parse(line) as Command & { id: number };
  const result = command.do === "snapshot" ? Promise.resolve(host.snapshot()) : host.driver.carryOut(command);
  result.then(
    (value) => say({ id, result: value ?? null }),
    (error: unknown) => say({ id, error: String(error) }),
  );
}
// The kernel's queue would keep the process alive.
process.exit(0);
