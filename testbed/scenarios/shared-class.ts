/** Senders without permission beside a permitted flow, on a link that is too narrow for all of them. */
import type { Daemon } from "../lib/daemon.js";
import type { Program } from "../lib/programs.js";
import type { Step } from "../lib/report.js";
import type { Testbed } from "../lib/testbed.js";
import { pause } from "../lib/wait.js";
import { IPERF_PORT, matches, statusOf, udpListener } from "./common.js";

const KEPT = 0.95;
const FLOOD_PORT = 9100;
const SECONDS = 8;
/** Bits a second of the router's link to the receivers. */
const LINK = "100mbit";
/** Bursts of a second's worth, at the beginning. */
const SLACK = 1.5;
/** With less than this part of the class, the permitted flow left them no more, and the link's queue shared that out. */
const USED = 0.3;

interface Seen {
  readonly source: string;
  readonly length: number;
}

export interface Shares {
  /** How many of the flooding ones get a share. */
  readonly sources: number;
  /** Bytes a second of all of them. */
  readonly rate: number;
}

/** What the permitted flow keeps of its rate of `alone` Mb/s beside floods. Resolves to what of these came through. */
export async function measureBeside(
  step: Step,
  testbed: Testbed,
  flooding: readonly string[],
  alone: number,
): Promise<readonly Seen[]> {
  let kept = 0;
  const flooded = await flood(testbed, flooding, async () => {
    kept = step.measure("Mb/s", await transfer(testbed));
  });
  step.measure("of its own rate", Math.round((kept / alone) * 1000) / 1000);
  step.expect(`it keeps ${KEPT * 100} %`, kept >= alone * KEPT);
  return flooded;
}

/** With nothing beside them the class is what limits the sources, so that their shares are even. */
export async function measureAlone(
  step: Step,
  testbed: Testbed,
  flooding: readonly string[],
  shares: Shares,
): Promise<void> {
  const flooded = await flood(testbed, flooding, () => pause(SECONDS * 1000));
  const total = measureShares(step, flooded, shares);
  step.expect("the class is used", total > shares.rate * USED);
}

async function flood(
  testbed: Testbed,
  flooding: readonly string[],
  meanwhile: () => Promise<void>,
): Promise<readonly Seen[]> {
  const floods = await startFloods(testbed, flooding);
  const wire = await testbed.captureTowards("receiver1");
  await meanwhile();
  const packets = await wire.stop();
  await Promise.all(floods.map((one) => one.stop()));
  return packets.filter(matches({ protocol: 17, destinationPort: FLOOD_PORT }));
}

/** Bytes a second of all together. Each got about its part of the class, and all together no more than all of it. */
export function measureShares(step: Step, packets: readonly Seen[], { sources, rate }: Shares): number {
  const bytes = new Map<string, number>();
  for (const { source, length } of packets) bytes.set(source, (bytes.get(source) ?? 0) + length);
  const rates = [...bytes.values()].map((sum) => sum / SECONDS).sort((a, b) => a - b);
  const total = rates.reduce((sum, one) => sum + one, 0);
  step.measure("unpermitted sources that got through", rates.length);
  step.expect("every one of them", rates.length === sources);
  step.measure("least, bytes a second", Math.round(rates[0] ?? 0));
  step.measure("most, bytes a second", Math.round(rates.at(-1) ?? 0));
  step.expect(
    "all together within the class",
    step.measure("all, bytes a second", Math.round(total)) < rate * SLACK,
  );
  if (total > rate * USED)
    step.expect("no one twice as much as another", (rates.at(-1) ?? 0) < 2 * (rates[0] ?? 0));
  return total;
}

export interface Shared {
  readonly passed: number;
  /** Over the class's rates. */
  readonly dropped: number;
  readonly unpermitted: number;
}

/** Packets by what a router's rules, and XDP programs before them, did with those of a class. */
export async function sharedBy(router: Daemon, name: string): Promise<Shared> {
  const { counters, datapath } = await statusOf(router);
  const firewall = (what: string) => counters.firewall[`forward.${what}`] ?? 0;
  const programs = (what: string) => datapath.counters[what] ?? 0;
  return {
    passed: firewall(`${name}.passed`),
    dropped: firewall(`${name}.source-rate`) + firewall(`${name}.over-rate`) + programs("drop.rate.open"),
    unpermitted: firewall("drop.no-permission") + programs("drop.no-permission"),
  };
}

/** A link with a queue of the kernel's default kind, where the class without permission has to wait for the other. */
export async function narrowLink(testbed: Testbed): Promise<void> {
  const tc = (...args: string[]) =>
    testbed.mustRun("router", ["tc", "qdisc", "add", "dev", "right", ...args]);
  await tc("root", "handle", "1:", "tbf", "rate", LINK, "burst", "32kb", "latency", "50ms");
  await tc("parent", "1:1", "handle", "10:", "pfifo_fast");
}

/** 192.168.20.100 and so on: all in 192.168.20.96/27. */
export function sourcesOf(count: number): readonly string[] {
  return Array.from({ length: count }, (_, i) => `192.168.20.${100 + i}`);
}

/** sender2 speaks for them. */
export async function addSources(testbed: Testbed, sources: readonly string[]): Promise<void> {
  for (const source of sources)
    await testbed.mustRun("sender2", ["ip", "addr", "add", `${source}/24`, "dev", "left"]);
}

/** As fast as each can, 1000 bytes a packet. */
async function startFloods(testbed: Testbed, sources: readonly string[]): Promise<readonly Program[]> {
  const listener = testbed.spawn("receiver1", udpListener(FLOOD_PORT));
  await listener.says("listening");
  const to = testbed.address("receiver1", 4);
  const seconds = String(SECONDS + 30);
  const floods = sources.map((source) =>
    testbed.spawn("sender2", ["/usr/bin/python3", "-c", FLOOD, source, to, String(FLOOD_PORT), seconds]),
  );
  for (const flood of floods) await flood.says("flooding");
  return [...floods, listener];
}

/** 3000 packets a second and source: ten of them are far beyond the link. */
const FLOOD = `
import socket, sys, time
own, to, port, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((own, 0))
s.setblocking(False)
print("flooding", flush=True)
end, payload = time.time() + seconds, b"x" * 972
while time.time() < end:
    for _ in range(30):
        try: s.sendto(payload, (to, port))
        except OSError: pass
    time.sleep(0.01)
`;

/** Megabits a second that the receiver got, by TCP. */
export async function transfer(testbed: Testbed): Promise<number> {
  const to = testbed.address("receiver1", 4);
  const command = ["iperf3", "-c", to, "-p", String(IPERF_PORT), "-t", String(SECONDS), "-J"];
  const { stdout } = await testbed.run("sender1", command);
  const { end } = JSON.parse(stdout) as { end?: { sum_received?: { bits_per_second?: number } } };
  return Math.round((end?.sum_received?.bits_per_second ?? 0) / 1e5) / 10;
}
