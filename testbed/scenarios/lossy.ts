/**
 * Links as they are are no attack, a router that drops a fifth or holds data back is: (d), over a chain whose middle router knows
 * nothing of PBS. Two flows cross it side by side, one with AH.
 */
import type { PbsEvent } from "../../src/nslp/view.js";
import { OnPath, type PathTrouble } from "../attackers/on-path.js";
import type { Report, Step } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { pause, until } from "../lib/wait.js";
import { alarmsOf, eventAfter, showEvent, Stream } from "./attack.js";
import { CHAIN, eventsOf, flowMatching, GRANT_ALL, IPERF_PORT, iperf3 } from "./common.js";
import type { Scenario } from "./scenario.js";

const SIZE = 972;
const RATE = 1000;
/** A loss is found within twice five seconds. */
const REFRESHES = 11;

/** On the way from sender to receiver. */
const HONEST: readonly { readonly what: string; readonly trouble: PathTrouble }[] = [
  { what: "1 % random loss, reordering within 30 ms", trouble: { what: "data", loss: 0.01, spread: 30 } },
  {
    what: "200 ms of delay, signalling too, and 1 % lost in bursts of 20",
    trouble: { what: "everything", delay: 200, loss: 0.01, burst: 20 },
  },
  { what: "200 ms of delay and 100 ms of reordering", trouble: { what: "data", delay: 200, spread: 100 } },
];
/** Of a saturating TCP transfer; the environment may ask for the full ten minutes. */
const IPERF_SECONDS = Number(process.env["TESTBED_SECONDS"] ?? 8);

const LEVELS = [
  { level: "none", ports: { source: 4000, port: 9000 }, iperf: IPERF_PORT },
  { level: "hmac", ports: { source: 4001, port: 9001 }, iperf: IPERF_PORT + 1 },
] as const;

export const lossy: Scenario = {
  name: "lossy",
  summary:
    "loss, bursts, reordering, delay and saturation are no attack; a fifth dropped, or data held back, is",
  run: (report) => withTestbed(CHAIN, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const common = { ...GRANT_ALL, volume: "4GB", refresh: "1s", lifetime: "1h" };
  const rule = LEVELS.map(({ level, ports, iperf }) => ({
    ...common,
    name: level,
    protocol: ["tcp", "udp"],
    ports: [String(ports.port), String(iperf)],
    authentication: level,
  }));
  await testbed.start({ receiver: { rule } });
  const streams = await Promise.all(
    LEVELS.map(({ ports }) => Stream.listen(testbed, "sender", "receiver", ports)),
  );
  const sending = streams.map((stream) => stream.send({ count: 0, size: SIZE, rate: RATE }));
  await until("the streams to flow", 20_000, () => streams.every(({ received }) => received.length > 100));
  for (const { what, trouble } of HONEST)
    await report.step(`${what}: no attack`, async (step) => {
      const alarms = (await alarmsOf(testbed.daemon("receiver"))).length;
      const link = await OnPath.start(testbed, "middle", { device: "far", ...trouble });
      await refreshed(testbed, streams);
      const { seen, dropped } = await link.stop();
      step.measure("packets on the link", seen);
      step.measure("dropped", dropped);
      await expectNoAlarm(step, testbed, alarms);
    });
  await report.step("a fifth dropped is found, and the hop is named", async (step) => {
    await expectFound(step, testbed, streams, "loss", { what: "data", device: "far", loss: 0.2 });
  });
  await report.step("data held back for 6 s, signalling not: found, and the hop is named", async (step) => {
    await expectFound(step, testbed, streams, "black-hole", { what: "data", device: "far", delay: 6000 });
  });
  for (const one of sending) await one.stop();
  const what = `${IPERF_SECONDS} s of saturating iperf3, with and without AH side by side, are no attack`;
  await report.step(what, (step) => saturate(step, testbed));
}

async function saturate(step: Step, testbed: Testbed): Promise<void> {
  // What was held back before, and lost, may be found only now.
  const about = new RegExp(`:(${LEVELS.map(({ iperf }) => iperf).join("|")})\\b`);
  const alarms = (await alarmsOf(testbed.daemon("receiver"), about)).length;
  const to = testbed.address("receiver", 4);
  const limit = (IPERF_SECONDS + 60) * 1000;
  await Promise.all(
    LEVELS.map(async ({ level, iperf }) => {
      const server = await testbed.serve("receiver", ["iperf3", "-s", "-p", String(iperf)], iperf);
      const options = ["-p", String(iperf), "-t", String(IPERF_SECONDS)];
      const { megabits, retransmits } = await iperf3(testbed, "sender", to, options, limit);
      step.measure(`Mb/s (${level})`, megabits);
      step.measure(`retransmits (${level})`, retransmits);
      await pause(2000);
      await server.stop();
    }),
  );
  await expectNoAlarm(step, testbed, alarms, about);
}

/** Waits until the receiver has compared often enough for a finding. */
export async function refreshed(testbed: Testbed, streams: readonly Stream[]): Promise<void> {
  const receiver = testbed.daemon("receiver");
  await Promise.all(
    streams.map(async ({ flow }) => {
      const { refreshes } = await flowMatching(receiver, flow);
      const enough = async () => (await flowMatching(receiver, flow)).refreshes >= refreshes + REFRESHES;
      await until(`${REFRESHES} refreshes`, 60_000, enough);
    }),
  );
}

async function expectFound(
  step: Step,
  testbed: Testbed,
  streams: readonly Stream[],
  kind: string,
  trouble: PathTrouble,
): Promise<void> {
  const link = await OnPath.start(testbed, "middle", trouble);
  for (const [i, { flow }] of streams.entries()) {
    const about = (event: { flow: string | null }) => flow.test(event.flow ?? "");
    const level = LEVELS[i]?.level ?? "";
    const attack = await eventAfter(testbed.daemon("receiver"), "attack", link.began, 30_000, about);
    showEvent(step, `attack (${level})`, attack, link.began);
    step.measure(`evidence (${level})`, JSON.stringify(attack.evidence ?? null));
    step.expect(`as ${kind} (${level})`, attack.evidence?.kind === kind);
    step.expect(`between first and last (${level})`, isBetween(attack));
    // Where the receiver reacts first, the router's comparison begins anew before it has come to a finding.
    const own = (await eventsOf(testbed.daemon("last"))).find(
      (event) => event.type === "attack" && event.time >= link.began && about(event),
    );
    if (own === undefined) continue;
    showEvent(step, `alarm of the last router (${level})`, own, link.began);
    step.expect(`it names the same (${level})`, isBetween(own));
  }
  await link.stop();
}

function isBetween({ evidence }: PbsEvent): boolean {
  return evidence?.where?.from === "first" && evidence.where.to === "last";
}

export async function expectNoAlarm(
  step: Step,
  testbed: Testbed,
  before: number,
  about?: RegExp,
): Promise<void> {
  const alarms = (await alarmsOf(testbed.daemon("receiver"), about)).slice(before);
  step.measure("false alarms", alarms.length);
  for (const [i, text] of alarms.entries()) step.measure(`alarm ${i + 1}`, text);
  step.expect("no alarm", alarms.length === 0);
}
