/**
 * (a) Somebody sends as the sender: a router that was taken over, a neighbour with the stolen key, and a neighbour without one
 * where packets need none. The receiver finds out, asks for signed packets, and the flow goes on with its own volume.
 */
import { BY_THE_STACK } from "../attackers/on-path.js";
import { type Injected, Injector, type InjectPlan, stolenKey, thief } from "../attackers/injector.js";
import type { Report, Step } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { eventAfter, showEvent, Stream } from "./attack.js";
import { flowMatching, IPERF_PORT, THREE_NODE, wallClock } from "./common.js";
import type { Scenario } from "./scenario.js";

const GRANTED = 10_000_000;
const SIZE = 972;
/** One megabyte, as on the slide, then what is left of ten with signatures in every packet. */
const FIRST = 1000;
/** Of an injected packet, and how many come once packets have to be signed. */
const FORGED_SIZE = 1372;
const AGAIN = 300;

interface Attack {
  readonly what: string;
  readonly authentication: "hmac" | "none";
  /** Where the attacker is, and the wire and the node that its packets go to. */
  readonly at: string;
  readonly wire: string;
  readonly to: string;
  /** Between which nodes its bytes appear. */
  readonly from: string;
  readonly before: string;
  readonly packets: number;
  readonly rate: number;
  /** Datagrams of the sender's afterwards. */
  readonly rest: number;
}

const ATTACKS: readonly Attack[] = [
  {
    what: "a router with the stolen key",
    authentication: "hmac",
    at: "router",
    wire: "right",
    to: "receiver1",
    from: "router",
    before: "receiver",
    // Two megabytes.
    packets: 1458,
    rate: 2000,
    rest: 6000,
  },
  {
    what: "a neighbour with the stolen key",
    authentication: "hmac",
    at: "sender2",
    wire: "left",
    to: "router",
    from: "sender",
    before: "router",
    packets: 700,
    rate: 2000,
    rest: 1500,
  },
  {
    what: "a neighbour that uses up the volume",
    authentication: "none",
    at: "sender2",
    wire: "left",
    to: "router",
    from: "sender",
    before: "router",
    // More than all that is left.
    packets: 8000,
    rate: 10_000,
    rest: 1500,
  },
];

export const spoof: Scenario = {
  name: "spoof",
  summary: "packets with a forged source and a stolen key: found at the next refresh, shut out by signatures",
  run: async (report) => {
    for (const attack of ATTACKS) await withTestbed(THREE_NODE, (testbed) => show(report, testbed, attack));
  },
};

async function show(report: Report, testbed: Testbed, attack: Attack): Promise<void> {
  const { what, authentication, from, before, rest } = attack;
  const volume = { volume: GRANTED, extend: false, lifetime: "10m", refresh: "2s" };
  const rule = [{ name: "ten megabytes", action: "grant", authentication, ...volume }];
  const stolen = thief(testbed.record.directory);
  // sender2 has no pbsd: its own kernel stops nothing that it sends.
  // The first datagrams come faster than the answer.
  const sender1 = { packets: { hold_packets_per_flow: 1000 } };
  await testbed.start({ sender1, receiver1: { rule } }, ["sender1", "receiver1"]);
  if (attack.at === "router") testbed.daemon("router").configure(BY_THE_STACK);
  await testbed.daemon("router").start(stolen.environment);
  const receiver = testbed.daemon("receiver1");
  const stream = await Stream.listen(testbed, "sender1", "receiver1");
  await report.step(`${what}: found, and packets have to be signed`, async (step) => {
    await sent(stream, FIRST, 1000);
    const watch = stream.watchInjected();
    const injected = await inject(testbed, stream, attack, { file: stolen.file, after: FIRST });
    const began = injected.first;
    step.measure("bytes granted", GRANTED);
    step.measure("datagrams of the sender's", FIRST);
    step.measure("bytes injected", injected.bytes);
    step.measure("ms that it took", Math.round(injected.last - began));
    const found = await eventAfter(receiver, "attack", began);
    showEvent(step, "attack", found, began);
    step.measure("evidence", JSON.stringify(found.evidence ?? null));
    const { where } = found.evidence ?? {};
    step.expect("the right hop is named", where?.from === from && where.to === before);
    if (before === "router") await expectNamedByRouter(step, testbed, attack, began);
    const changed = await eventAfter(receiver, "authentication", began, 30_000, ({ detail }) =>
      detail.includes("tree"),
    );
    showEvent(step, "reaction", changed, began);
    await overlapOver(testbed, stream);
    await stream.quiet();
    const last = (watch.stop() ?? began) - began;
    step.expect("the attack works at first", step.measure("injected and received", stream.injected) > 0);
    step.measure("last attack packet delivered, ms after the first bad byte", Math.round(last));
  });
  await report.step(`${what}: no injected packet reaches the program any more`, async (step) => {
    const before = stream.injected;
    const injected = await inject(
      testbed,
      stream,
      { ...attack, packets: AGAIN },
      { file: stolen.file, after: FIRST + attack.packets },
    );
    await stream.quiet();
    step.measure("injected", injected.sent);
    step.expect("none came", step.measure("received", stream.injected - before) === 0);
    const view = await flowMatching(receiver, stream.flow);
    step.measure("refused, by reason", JSON.stringify(view.authentication?.failures ?? null));
  });
  await report.step(`${what}: the honest transfer completes with its own volume`, async (step) => {
    const had = stream.received.length;
    await sent(stream, rest, 1500);
    await stream.quiet();
    step.expect("every datagram", step.measure("received", stream.received.length - had) === rest);
    const sender = await flowMatching(testbed.daemon("sender1"), stream.flow);
    const router = await flowMatching(testbed.daemon("router"), stream.flow);
    const end = await flowMatching(receiver, stream.flow);
    step.measure("counted at the sender", sender.countedVolume);
    step.measure("counted at the router", router.countedVolume);
    step.measure("counted at the receiver", end.countedVolume);
    step.expect("not charged for the attacker's", end.countedVolume <= sender.countedVolume);
  });
  if (authentication === "hmac" && attack.at === "router")
    await report.step("packets played again are refused", (step) => replay(step, testbed, attack, stream));
  if (authentication === "none")
    await report.step("TCP with little room for signatures goes on too", (step) =>
      tcp(step, testbed, attack),
    );
  await stream.stop();
}

/** A router that the bytes pass sees them, too. */
async function expectNamedByRouter(
  step: Step,
  testbed: Testbed,
  attack: Attack,
  began: number,
): Promise<void> {
  const alarm = await eventAfter(testbed.daemon("router"), "attack", began);
  showEvent(step, "alarm of the router", alarm, began);
  const { where } = alarm.evidence ?? {};
  step.expect("it names the right hop", where?.from === attack.from && where.to === attack.before);
}

async function sent(stream: Stream, count: number, rate: number): Promise<void> {
  const had = stream.received.length;
  await stream.send({ count, size: SIZE, rate }).exited;
  await until("the first datagrams", 20_000, () => stream.received.length > had);
  await stream.quiet();
}

/** @param stolen the file with the key, and the last sequence number that was used with it */
async function inject(
  testbed: Testbed,
  stream: Stream,
  attack: Attack,
  stolen: { readonly file: string; readonly after: number },
): Promise<Injected> {
  const { authentication, at, packets, rate } = attack;
  const key = authentication === "none" ? undefined : await stolenKey(stolen.file);
  const injector = await Injector.prepare(testbed, at, {
    ...planOf(stream, attack),
    count: packets,
    size: FORGED_SIZE,
    rate,
    ...(key && { ah: { ...key, sequence: stolen.after + 1 } }),
  });
  return injector.run();
}

function planOf({ tuple }: Stream, { wire, to }: Attack): Pick<InjectPlan, "flow" | "wire" | "to"> {
  return { flow: tuple, wire, to };
}

/** Both ends use the new association, and the one before is not taken any more. */
async function overlapOver(testbed: Testbed, stream: Stream): Promise<void> {
  for (const name of ["sender1", "router", "receiver1"])
    await until(`signed packets at ${name}`, 20_000, async () => {
      const { authentication } = await flowMatching(testbed.daemon(name), stream.flow);
      return authentication?.level === "public-key";
    });
}

const TCP_SOURCE = 4100;
const TCP_SECONDS = 8;
const INTERVAL_MS = 500;

/** Segments leave 40 bytes free (the default), a signature needs more: they go in fragments from then on. */
async function tcp(step: Step, testbed: Testbed, { wire, to, at }: Attack): Promise<void> {
  const address = testbed.address("receiver1", 4);
  const listen = ["iperf3", "-s", "-1", "-J", "-i", String(INTERVAL_MS / 1000), "-p", String(IPERF_PORT)];
  const server = await testbed.serve("receiver1", listen, IPERF_PORT);
  const fragments = await fragmentsMade(testbed);
  const began = wallClock();
  const options = ["-c", address, "-p", String(IPERF_PORT), "--cport", String(TCP_SOURCE)];
  const client = testbed.spawn("sender1", ["iperf3", ...options, "-b", "4M", "-t", String(TCP_SECONDS)]);
  const pattern = new RegExp(`:${TCP_SOURCE} > .*:${IPERF_PORT}$`);
  const receiver = testbed.daemon("receiver1");
  await until("a megabyte", 20_000, async () => (await flowMatching(receiver, pattern)).countedVolume > 1e6);
  const flow = {
    protocol: 6 as const,
    source: testbed.address("sender1", 4),
    sport: TCP_SOURCE,
    destination: address,
    dport: IPERF_PORT,
  };
  const plan = { flow, wire, to, count: 500, size: FORGED_SIZE, rate: 2000 };
  const { first } = await (await Injector.prepare(testbed, at, plan)).run();
  const signed = await eventAfter(receiver, "authentication", began, 20_000, ({ flow: text }) =>
    pattern.test(text ?? ""),
  );
  showEvent(step, "reaction", signed, first);
  step.expect("iperf3 ends well", (await client.exited) === 0);
  await server.exited;
  const { intervals } = JSON.parse(server.stdout) as { intervals: { sum: { bytes: number } }[] };
  const received = intervals.map(({ sum }) => sum.bytes);
  step.measure("received in each half second", received.join(", "));
  step.measure("fragmented since", (await fragmentsMade(testbed)) - fragments);
  const stalls = received.join(" ").match(/(?:\b0\b ?)+/g) ?? [];
  const longest = Math.max(0, ...stalls.map((stall) => stall.trim().split(" ").length));
  step.expect("no stall of 2 s", step.measure("longest stall, ms", longest * INTERVAL_MS) < 2000);
}

/** Packets that the sender's kernel sent in fragments. */
async function fragmentsMade(testbed: Testbed): Promise<number> {
  const text = await testbed.mustRun("sender1", ["cat", "/proc/net/snmp"]);
  const [names = [], values = []] = text.split("\n").map((line) => line.split(" "));
  return Number(values[names.indexOf("FragOKs")]);
}

/** What comes to the router from the sender is sent on to the receiver once more. */
async function replay(step: Step, testbed: Testbed, attack: Attack, stream: Stream): Promise<void> {
  const receiver = testbed.daemon("receiver1");
  const before = (await flowMatching(receiver, stream.flow)).authentication?.failures.replayed ?? 0;
  const had = stream.received.length;
  const plan = { ...planOf(stream, attack), replay: { seconds: 4, wire: "left" } };
  const injector = await Injector.prepare(testbed, "router", { ...plan, count: 2, size: 0, rate: 1000 });
  const listening = injector.run();
  const count = 100;
  await stream.send({ count, size: 200, rate: 50 }).exited;
  const { sent: again } = await listening;
  await stream.quiet();
  const { authentication } = await flowMatching(receiver, stream.flow);
  step.measure("played again", again);
  step.measure("received", stream.received.length - had);
  step.expect("each datagram once", stream.received.length - had === count);
  const refused = step.measure("refused", (authentication?.failures.replayed ?? 0) - before);
  step.expect("all refused as replays", again > 0 && refused >= again);
}
