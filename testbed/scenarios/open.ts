/** (g) An open network: what has no permission shares a small class, and what has one goes ahead of it. */
import type { Program } from "../lib/programs.js";
import type { Report, Step } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { GRANT_ALL, IPERF_PORT, iperfServer, matches, THREE_NODE, udpListener } from "./common.js";
import type { Scenario } from "./scenario.js";

const SENDERS = 10;
const FLOOD_PORT = 9100;
const SECONDS = 8;
/** Bits a second of the router's link to the receivers. */
const LINK = "100mbit";
/** Bytes a second of all without permission, and of one source. */
const RATE = 1_250_000;
const SOURCE_RATE = 125_000;
const KEPT = 0.95;
/** Bursts of a second's worth, at the beginning. */
const SLACK = 1.5;

const OPEN = { node: { mode: "open" }, open: { rate: RATE, source_rate: SOURCE_RATE } };

export const open: Scenario = {
  name: "open",
  summary:
    "an open network: ten unpermitted senders at full rate share a small class beside a permitted flow",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const rule = [{ ...GRANT_ALL, volume: "4GB", from: testbed.address("sender1", 4) }];
  // sender2 has no pbsd, and speaks for ten hosts.
  await testbed.start({ sender1: OPEN, router: OPEN, receiver1: { ...OPEN, rule } }, [
    "sender1",
    "router",
    "receiver1",
  ]);
  await narrowLink(testbed);
  await addSources(testbed);
  await testbed.serve("receiver1", iperfServer(), IPERF_PORT);
  await report.step("a host of PBS reaches one that knows nothing of it", async (step) => {
    const ping = ["ping", "-c", "2", "-W", "20", testbed.address("receiver2", 4)];
    const { status, milliseconds } = await testbed.run("sender1", ping);
    step.measure("ms that it took", Math.round(milliseconds));
    step.expect("it is answered", status === 0);
  });
  let alone = 0;
  await report.step("the permitted flow alone", async (step) => {
    alone = step.measure("Mb/s", await transfer(testbed));
    step.expect("it flows", alone > 50);
  });
  await report.step("a packet without permission is not dropped", async (step) => {
    const ping = await testbed.run("sender2", [
      "ping",
      "-c",
      "3",
      "-i",
      "0.2",
      testbed.address("receiver2", 4),
    ]);
    step.measure("ping", ping.stdout.split("\n").at(-3) ?? "");
    step.expect("a host without PBS is reached", ping.status === 0);
  });
  await report.step(`${SENDERS} unpermitted senders beside it`, async (step) => {
    const floods = await startFloods(testbed);
    const wire = await testbed.captureTowards("receiver1");
    const kept = step.measure("Mb/s", await transfer(testbed));
    const packets = await wire.stop();
    await Promise.all(floods.map((flood) => flood.stop()));
    step.measure("of its own rate", Math.round((kept / alone) * 1000) / 1000);
    step.expect(`it keeps ${KEPT * 100} %`, kept >= alone * KEPT);
    measureShares(step, packets.filter(matches({ protocol: 17, destinationPort: FLOOD_PORT })));
  });
  await report.step("they flood in earnest", async (step) => {
    const { counters } = await testbed
      .daemon("router")
      .client.get<{ counters: { firewall: Counters } }>("/v1/status");
    const { firewall = {} } = counters;
    const dropped = (firewall["forward.open.source-rate"] ?? 0) + (firewall["forward.open.over-rate"] ?? 0);
    step.measure("passed by the router", firewall["forward.open.passed"] ?? 0);
    step.expect("most is dropped", step.measure("dropped by the router", dropped) > 10_000);
  });
}

type Counters = Readonly<Record<string, number>>;

interface Seen {
  readonly source: string;
  readonly length: number;
}

/** Each got about a tenth of the class, and all together no more than all of it. */
function measureShares(step: Step, packets: readonly Seen[]): void {
  const bytes = new Map<string, number>();
  for (const { source, length } of packets) bytes.set(source, (bytes.get(source) ?? 0) + length);
  const rates = [...bytes.values()].map((sum) => sum / SECONDS).sort((a, b) => a - b);
  const total = rates.reduce((sum, rate) => sum + rate, 0);
  step.measure("unpermitted sources that got through", rates.length);
  step.expect("every one of them", rates.length === SENDERS);
  step.measure("least, bytes a second", Math.round(rates[0] ?? 0));
  step.measure("most, bytes a second", Math.round(rates.at(-1) ?? 0));
  step.expect(
    "all together within the class",
    step.measure("all, bytes a second", Math.round(total)) < RATE * SLACK,
  );
  step.expect("no one twice as much as another", (rates.at(-1) ?? 0) < 2 * (rates[0] ?? 0));
}

/** A link with a queue of the kernel's default kind, where the class without permission has to wait for the other. */
async function narrowLink(testbed: Testbed): Promise<void> {
  const tc = (...args: string[]) =>
    testbed.mustRun("router", ["tc", "qdisc", "add", "dev", "right", ...args]);
  await tc("root", "handle", "1:", "tbf", "rate", LINK, "burst", "32kb", "latency", "50ms");
  await tc("parent", "1:1", "handle", "10:", "pfifo_fast");
}

function sourceOf(number: number): string {
  return `192.168.20.${100 + number}`;
}

async function addSources(testbed: Testbed): Promise<void> {
  for (let i = 0; i < SENDERS; i++)
    await testbed.mustRun("sender2", ["ip", "addr", "add", `${sourceOf(i)}/24`, "dev", "left"]);
}

/** As fast as each can, 1000 bytes a packet. */
async function startFloods(testbed: Testbed): Promise<readonly Program[]> {
  const listener = testbed.spawn("receiver1", udpListener(FLOOD_PORT));
  await listener.says("listening");
  const to = testbed.address("receiver1", 4);
  const seconds = String(SECONDS + 30);
  const floods = Array.from({ length: SENDERS }, (_, i) =>
    testbed.spawn("sender2", ["/usr/bin/python3", "-c", FLOOD, sourceOf(i), to, String(FLOOD_PORT), seconds]),
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
async function transfer(testbed: Testbed): Promise<number> {
  const to = testbed.address("receiver1", 4);
  const command = ["iperf3", "-c", to, "-p", String(IPERF_PORT), "-t", String(SECONDS), "-J"];
  const { stdout } = await testbed.run("sender1", command);
  const { end } = JSON.parse(stdout) as { end?: { sum_received?: { bits_per_second?: number } } };
  return Math.round((end?.sum_received?.bits_per_second ?? 0) / 1e5) / 10;
}
