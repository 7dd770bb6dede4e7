/** A router on the path swallows everything, or data only: the sender's flow moves to the other path, alone. */
import { BY_THE_STACK, OnPath } from "../attackers/on-path.js";
import type { PbsEvent } from "../../src/nslp/view.js";
import type { Daemon } from "../lib/daemon.js";
import type { Report, Step } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { pause, until } from "../lib/wait.js";
import { eventAfter, showEvent, Stream } from "./attack.js";
import { BYPASS, DIAMOND, eventsOf, flowMatching, GRANT_ALL, matches, wallClock } from "./common.js";
import type { Scenario } from "./scenario.js";

const SIZE = 972;
const RATE = 1000;
const DATA = matches({ protocol: 17, destinationPort: 9000 });

/** The second way out of the sender. */
const OTHER_PATH = { via: "192.168.20.6", device: "left" };
/** Both routers know the way to every host; the receiver's answers go back as they came. */
const QUICK = { spread: "100ms", hold: "2s", return_after: "0s", settle: "200ms" };

export const blackhole: Scenario = {
  name: "blackhole",
  summary: "a router swallows everything, then another only the data: the flow moves to the other path",
  run: async (report) => {
    await withTestbed(DIAMOND, (testbed) => everything(report, testbed));
    await withTestbed(DIAMOND, (testbed) => dataOnly(report, testbed));
    for (const way of WAYS_AROUND) await withTestbed(BYPASS, (testbed) => routerMoves(report, testbed, way));
  },
};

async function startAll(testbed: Testbed, authentication: string): Promise<void> {
  const rule = [{ ...GRANT_ALL, authentication, refresh: "1s" }];
  await testbed.start({
    sender: { path: [OTHER_PATH], detection: QUICK },
    upper: { ...BY_THE_STACK, detection: QUICK },
    receiver: { rule, detection: QUICK },
  });
}

/** (b) Nothing leaves the upper router: a set-up that is under way finds the other path. */
async function everything(report: Report, testbed: Testbed): Promise<void> {
  await startAll(testbed, "none");
  const stream = await Stream.listen(testbed, "sender", "receiver");
  await report.step("a black hole: path changed after two tries without an answer", async (step) => {
    const trouble = await OnPath.start(testbed, "upper", { what: "everything", device: "right", loss: 1 });
    const asked = wallClock();
    const sender = testbed.daemon("sender");
    const wire = await testbed.captureTowards("lower");
    const sending = stream.send({ count: 20, size: SIZE, rate: 100 });
    const moved = await eventAfter(sender, "path", asked, 60_000);
    showEvent(step, "path", moved, asked);
    await until("the first datagram", 30_000, () => stream.received.length > 0);
    step.measure("ms from the first Query to the first datagram received", Math.round(wallClock() - asked));
    await sending.exited;
    await stream.quiet();
    const came = step.measure("datagrams of 20 received", stream.received.length);
    step.expect("every one held came", came === 20);
    const below = (await wire.quiet(DATA)).filter(DATA).length;
    step.expect("all by the other router", step.measure("data past the lower router", below) === 20);
    await wire.stop();
    const { path } = await flowMatching(sender, stream.flow);
    step.measure("path of the flow", path);
    const damage = await trouble.stop();
    step.measure("packets swallowed", damage.dropped);
  });
  await report.step("other flows stay on their path", (step) => otherFlowStays(step, testbed));
  await report.step("a clean end leaves no rule and no route", async (step) => {
    await testbed.daemon("sender").stop();
    const rules = await testbed.mustRun("sender", ["ip", "rule"]);
    step.expect("no rule of ours", !rules.includes("270"));
    const routes = await testbed.mustRun("sender", ["ip", "route", "show", "table", "all"]);
    step.expect("no table of ours", !routes.includes("table 27"));
  });
}

/** ICMP to the same receiver, with the upper router good again. */
async function otherFlowStays(step: Step, testbed: Testbed): Promise<void> {
  const wire = await testbed.captureTowards("upper");
  const to = testbed.address("receiver", 4);
  const ping = await testbed.run("sender", ["ping", "-c", "1", "-W", "10", to]);
  const echo = matches({ protocol: 1, destination: to });
  const seen = (await wire.quiet(echo)).filter(echo).length;
  await wire.stop();
  step.expect("ping is answered", ping.status === 0);
  step.expect("by the first path", step.measure("echo requests past the upper router", seen) > 0);
}

/** (c) Signalling passes, data does not. */
async function dataOnly(report: Report, testbed: Testbed): Promise<void> {
  await startAll(testbed, "hmac");
  const stream = await Stream.listen(testbed, "sender", "receiver");
  const receiver = testbed.daemon("receiver");
  const sender = testbed.daemon("sender");
  await report.step(
    "data dropped while signalling passes: found, path changed, transfer goes on",
    async (step) => {
      const sending = stream.send({ count: 0, size: SIZE, rate: RATE });
      await until("the stream to flow", 20_000, () => stream.received.length > 500);
      const trouble = await OnPath.start(testbed, "upper", { what: "data", device: "right", loss: 1 });
      const attack = await eventAfter(receiver, "attack", trouble.began);
      showEvent(step, "attack", attack, trouble.began);
      step.measure("evidence", JSON.stringify(attack.evidence ?? null));
      const { where, kind } = attack.evidence ?? {};
      step.expect("as a black hole", kind === "black-hole");
      step.expect("the right hop is named", where?.from === "upper" && where.to === "receiver");
      const moved = await eventAfter(sender, "path", trouble.began);
      showEvent(step, "path", moved, trouble.began);
      const before = stream.received.length;
      await until("data by the other path", 20_000, () => stream.received.length > before + 500);
      const late = lastGap(stream);
      step.measure("datagrams lost in the gap", late.missing);
      step.measure("gap, ms", Math.round((late.missing / RATE) * 1000));
      await pause(3000);
      await sending.stop();
      await stream.quiet();
      const damage = await trouble.stop();
      step.measure("packets swallowed", damage.dropped);
      const after = (await eventsAfter(receiver, moved.time + 1500)).length;
      step.expect("no new finding on the good path", step.measure("findings after the move", after) === 0);
      const { detection } = await flowMatching(receiver, stream.flow);
      step.measure("last comparison", JSON.stringify(detection?.last ?? null));
    },
  );
}

/** Address of the router without PBS beside the culprit, and of the one behind both. */
const ASIDE = "192.168.22.7";
const BEHIND = "192.168.23.9";

interface WayAround {
  readonly what: string;
  readonly path: Readonly<Record<string, string>>;
  /** The router behind the culprits serves as a relay, which is reached past them. */
  readonly relay: boolean;
}

const WAYS_AROUND: readonly WayAround[] = [
  { what: "moves the flow around it", path: { via: ASIDE }, relay: false },
  { what: "sends it through a relay", path: { relay: BEHIND }, relay: true },
];

/** The router before the culprit knows a way around it, which the sender has not. */
async function routerMoves(
  report: Report,
  testbed: Testbed,
  { what, path, relay }: WayAround,
): Promise<void> {
  const rule = [{ ...GRANT_ALL, authentication: "hmac", refresh: "1s" }];
  const carriers = [{ ...GRANT_ALL, from: "192.168.22.0/24", protocol: "udp", ports: "6080" }];
  if (relay) await testbed.mustRun("first", ["ip", "route", "add", `${BEHIND}/32`, "via", ASIDE]);
  await testbed.start({
    first: { path: [path], detection: QUICK },
    ...(relay && { last: { relay: { serve: true }, rule: carriers } }),
    receiver: { rule, detection: QUICK },
  });
  const stream = await Stream.listen(testbed, "sender", "receiver");
  await report.step(`a router before the culprit ${what}`, async (step) => {
    const sending = stream.send({ count: 0, size: SIZE, rate: RATE });
    await until("the stream to flow", 20_000, () => stream.received.length > 500);
    const trouble = await OnPath.start(testbed, "middle", { what: "data", device: "far", loss: 1 });
    const attack = await eventAfter(testbed.daemon("receiver"), "attack", trouble.began);
    showEvent(step, "attack", attack, trouble.began);
    const { where } = attack.evidence ?? {};
    step.expect("the right hop is named", where?.from === "first" && where.to === "last");
    const moved = await eventAfter(testbed.daemon("first"), "path", trouble.began);
    showEvent(step, "path", moved, trouble.began);
    const before = stream.received.length;
    await until("data by the other path", 20_000, () => stream.received.length > before + 500);
    step.measure("gap, ms", Math.round((lastGap(stream).missing / RATE) * 1000));
    if (relay) await flowMatching(testbed.daemon("last"), /^udp 192\.168\.22\.3:.*:6080$/);
    await sending.stop();
    await trouble.stop();
    await testbed.daemon("first").stop();
    const rules = await testbed.mustRun("first", ["ip", "rule"]);
    step.expect("no rule is left", !rules.includes("270"));
  });
}

async function eventsAfter(daemon: Daemon, time: number): Promise<readonly PbsEvent[]> {
  return (await eventsOf(daemon)).filter((event) => event.type === "attack" && event.time > time);
}

function lastGap(stream: Stream): { readonly missing: number } {
  const numbers = stream.received.sort((a, b) => a - b);
  let missing = 0;
  for (let i = 1; i < numbers.length; i++)
    missing = Math.max(missing, (numbers[i] ?? 0) - (numbers[i - 1] ?? 0) - 1);
  return { missing };
}
