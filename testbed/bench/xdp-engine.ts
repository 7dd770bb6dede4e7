/**
 * The XDP engine alone, for the benchmarks: runs inside the router's namespace and answers one JSON line per command
 * line on standard input ("install FLOWS", "sent", "rates FLOWS", "detach").
 */
import { createInterface } from "node:readline";
import { IpAddress } from "../../src/base/address.js";
import { PROTOCOL } from "../../src/base/flow.js";
import { silentLogger } from "../../src/base/log.js";
import { seconds } from "../../src/base/units.js";
import { encodeFlow, KEY_BYTES, PERMIT_VALUES } from "../../src/traffic/native.js";
import { XdpDatapath } from "../../src/traffic/xdp.js";
import { type Protected, protectedInstallation } from "./protect.js";
import { BASE_PORT, FLOWS_PER_PORT } from "./shape.js";

const DESTINATION = IpAddress.parse("10.2.0.2");
const CAPACITY = 1_200_000;
/** Flows in one call; more would keep other work of the process waiting. */
const BATCH = 10_000;

interface Encoded {
  readonly keys: Uint8Array;
  readonly values: Float64Array;
}

/** Batches of the generator's flows. */
function encode(count: number): Encoded[] {
  return Array.from({ length: Math.ceil(count / BATCH) }, (_, batch) => {
    const length = Math.min(BATCH, count - batch * BATCH);
    const keys = new Uint8Array(length * KEY_BYTES);
    const values = new Float64Array(length * PERMIT_VALUES);
    for (let i = 0; i < length; i++) {
      const flow = batch * BATCH + i;
      const low = flow % FLOWS_PER_PORT;
      const source = IpAddress.fromBytes(Uint8Array.of(10, 1, low >> 8, low & 0xff));
      const destinationPort = BASE_PORT + Math.floor(flow / FLOWS_PER_PORT);
      encodeFlow(
        { protocol: PROTOCOL.udp, source, destination: DESTINATION, sourcePort: 4000, destinationPort },
        keys,
        i,
      );
      values.set([2 ** 50, 3_600_000, -1, 0, -1, 0], i * PERMIT_VALUES);
    }
    return { keys, values };
  });
}

/** Without queues and kernel sets: what the programs do by themselves. */
function open(): XdpDatapath {
  return XdpDatapath.open({
    queueBase: 0,
    capacity: CAPACITY,
    holdPacketsPerFlow: 16,
    holdPackets: 1024,
    holdTime: seconds(10),
    refuseMark: 1,
    enforce: true,
    logger: silentLogger,
    kernel: false,
    exempt: [],
    interceptRate: 1000,
    virtual: "native",
  });
}

async function installAll(datapath: XdpDatapath, batches: readonly Encoded[]): Promise<number> {
  const start = processorSeconds();
  for (const { keys, values } of batches) await datapath.installEncoded(keys, values);
  return processorSeconds() - start;
}

/** Of this process: what else runs on the machine is no part of it. */
function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

let datapath: XdpDatapath | undefined = open();

/** Flows a second of processor time: new ones, and changes of those that are there, and removals. */
async function rates(flows: number): Promise<object> {
  if (datapath === undefined) throw new Error("there is no engine");
  const batches = encode(flows);
  const install = flows / (await installAll(datapath, batches));
  const update = flows / (await installAll(datapath, batches));
  const start = processorSeconds();
  for (const { keys } of batches) await datapath.removeEncoded(keys);
  return { install, update, remove: flows / (processorSeconds() - start) };
}

async function perform(command: string, argument: string): Promise<object> {
  switch (command) {
    case "install": {
      datapath ??= open();
      await installAll(datapath, encode(Number(argument)));
      return { interfaces: datapath.status().interfaces };
    }
    case "protect":
      datapath ??= open();
      await datapath.install([protectedInstallation(JSON.parse(argument) as Protected)]);
      return { interfaces: datapath.status().interfaces };
    case "counters":
      return datapath?.status().counters ?? {};
    case "rates":
      return rates(Number(argument));
    case "sent":
      return { sent: datapath?.status().counters["accept"] ?? 0 };
    case "detach":
      await datapath?.stop();
      datapath = undefined;
      return { detached: XdpDatapath.detach() };
    default:
      return { error: `there is no command ${command}` };
  }
}

console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const [command = "", ...words] = line.trim().split(" ");
  console.log(JSON.stringify(await perform(command, words.join(" "))));
}
await datapath?.stop();
XdpDatapath.detach();
process.exit(0);
