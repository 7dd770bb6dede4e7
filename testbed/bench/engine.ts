/**
 * The packet engine alone, for the benchmarks: runs inside the router's namespace, installs as many flows as it is
 * told, and answers one JSON line per command line on standard input ("install FLOWS", "permit FLOW", "protect JSON",
 * "read FLOW", "status", "cost THREAD...").
 */
import { readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { IpAddress } from "../../src/base/address.js";
import { type Flow, PROTOCOL, parseFlow } from "../../src/base/flow.js";
import { silentLogger } from "../../src/base/log.js";
import { seconds } from "../../src/base/units.js";
import { Firewall } from "../../src/traffic/firewall.js";
import { NfqueueDatapath } from "../../src/traffic/nfqueue.js";
import { XdpDatapath, type XdpOptions } from "../../src/traffic/xdp.js";
import { FOREVER, type Protected, protectedInstallation } from "./protect.js";
import { BASE_PORT, FLOWS_PER_PORT } from "./shape.js";

const QUEUE_BASE = 2700;
const REFUSE_MARK = 0x50420000;
const BATCH = 10_000;
/** Room for the largest Authentication Header. */
const {
  reserve = 0,
  engine = "nfqueue",
  virtual = "native",
  ...packets
}: Settings = process.argv[2] === undefined ? {} : (JSON.parse(process.argv[2]) as Settings);

/** The argument. */
export interface Settings {
  /** Bytes that TCP segments leave free for an Authentication Header. */
  readonly reserve?: number;
  readonly engine?: "nfqueue" | "xdp";
  /** Programs on the lab's links. With native ones, hosts must not leave checksums to be filled in. */
  readonly virtual?: "native" | "generic";
  /** As in `[packets]`. */
  readonly receivePriority?: number;
  readonly processor?: number;
}

/** Flow i of the generator. */
function flowOf(i: number, destination: IpAddress): Flow {
  const low = i % FLOWS_PER_PORT;
  return {
    protocol: PROTOCOL.udp,
    source: IpAddress.fromBytes(Uint8Array.of(10, 1, low >> 8, low & 0xff)),
    destination,
    sourcePort: 4000,
    destinationPort: BASE_PORT + Math.floor(i / FLOWS_PER_PORT),
  };
}

async function installMany(
  datapath: NfqueueDatapath | XdpDatapath,
  count: number,
  destination: IpAddress,
): Promise<object> {
  const start = performance.now();
  for (let first = 0; first < count; first += BATCH) {
    const length = Math.min(BATCH, count - first);
    await datapath.install(
      Array.from({ length }, (_, i) => ({ flow: flowOf(first + i, destination), ...FOREVER })),
    );
  }
  return { installed: count, perSecond: count / ((performance.now() - start) / 1000) };
}

/** Nanoseconds that the threads of these names have run. */
function threadTime(names: readonly string[]): number {
  return readdirSync("/proc/self/task")
    .map((id) => `/proc/self/task/${id}`)
    .filter((task) => names.includes(readFileSync(`${task}/comm`, "utf8").trim()))
    .map((task) => Number(readFileSync(`${task}/schedstat`, "utf8").split(" ")[0]))
    .reduce((sum, time) => sum + time, 0);
}

const firewall = await Firewall.probe({
  queueBase: QUEUE_BASE,
  tlsPort: 5270,
  tcpPort: null,
  refuseMark: REFUSE_MARK,
  backend: "auto",
  exempt: [],
  interceptRate: 1000,
  setSize: 2 ** 21,
  reserve,
  reassemble: true,
});
await firewall.install();
const options: XdpOptions = {
  queueBase: QUEUE_BASE,
  capacity: 1_200_000,
  holdPacketsPerFlow: 16,
  holdPackets: 1024,
  holdTime: seconds(10),
  refuseMark: REFUSE_MARK,
  enforce: true,
  logger: silentLogger,
  exempt: [],
  interceptRate: 1000,
  virtual,
  ...packets,
};
const datapath = engine === "xdp" ? XdpDatapath.open(options) : NfqueueDatapath.open(options);
console.log(JSON.stringify({ ready: true }));

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...words] = line.trim().split(" ");
  const rest = words.join(" ");
  if (command === "install") {
    console.log(JSON.stringify(await installMany(datapath, Number(rest), IpAddress.parse("10.2.0.2"))));
  } else if (command === "permit") {
    await datapath.install([{ flow: parseFlow(rest), ...FOREVER }]);
    console.log(JSON.stringify({ permitted: rest }));
  } else if (command === "protect") {
    await datapath.install([protectedInstallation(JSON.parse(rest) as Protected)]);
    console.log(JSON.stringify({ protected: true }));
  } else if (command === "read") {
    console.log(JSON.stringify(datapath.read([parseFlow(rest)])[0] ?? {}));
  } else if (command === "cost") {
    console.log(JSON.stringify({ nanoseconds: threadTime(words), ...datapath.status().counters }));
  } else if (command === "status") {
    console.log(JSON.stringify({ ...datapath.status(), memory: process.memoryUsage().rss }));
  } else {
    break;
  }
}
await datapath.stop();
if (engine === "xdp") XdpDatapath.detach();
await firewall.remove();
process.exit(0);
