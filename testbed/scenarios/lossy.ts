/** Links as they are are no attack, a router that drops a fifth is: (d), over a chain whose middle router knows nothing of PBS. */
import { OnPath, type PathTrouble } from "../attackers/on-path.js";
import type { Report, Step } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { pause, until } from "../lib/wait.js";
import { alarmsOf, eventAfter, showEvent, Stream } from "./attack.js";
import { CHAIN, flowMatching, GRANT_ALL, IPERF_PORT, iperfServer } from "./common.js";
import type { Scenario } from "./scenario.js";

const SIZE = 972;
const RATE = 1000;
const REFRESHES = 6;

/** On the way from sender to receiver. */
const HONEST: readonly { readonly what: string; readonly trouble: PathTrouble }[] = [
  { what: "1 % random loss", trouble: { what: "data", loss: 0.01 } },
  { what: "1 % lost in bursts of 20", trouble: { what: "data", loss: 0.01, burst: 20 } },
  { what: "reordering within 30 ms", trouble: { what: "data", spread: 30 } },
  { what: "200 ms of delay, signalling too", trouble: { what: "everything", delay: 200 } },
  { what: "200 ms of delay and 100 ms of reordering", trouble: { what: "data", delay: 200, spread: 100 } },
];
/** Of a saturating TCP transfer; the environment may ask for the full ten minutes. */
const IPERF_SECONDS = Number(process.env["TESTBED_SECONDS"] ?? 15);

const LEVELS = ["none", "hmac"] as const;

export const lossy: Scenario = {
  name: "lossy",
  summary: "loss, bursts, reordering, delay and saturation are no attack; a fifth of the data dropped is",
  run: async (report) => {
    for (const authentication of LEVELS)
      await withTestbed(CHAIN, (testbed) => show(report, testbed, authentication));
  },
};

async function show(report: Report, testbed: Testbed, authentication: string): Promise<void> {
  const rule = [{ ...GRANT_ALL, authentication, volume: "4GB", refresh: "1s", lifetime: "1h" }];
  await testbed.start({ receiver: { rule } });
  const receiver = testbed.daemon("receiver");
  const stream = await Stream.listen(testbed, "sender", "receiver");
  const sending = stream.send({ count: 0, size: SIZE, rate: RATE });
  await until("the stream to flow", 20_000, () => stream.received.length > 100);
  for (const { what, trouble } of HONEST)
    await report.step(`${what} is no attack (${authentication})`, async (step) => {
      const before = (await flowMatching(receiver, stream.flow)).refreshes;
      const alarms = (await alarmsOf(receiver)).length;
      const link = await OnPath.start(testbed, "middle", { device: "far", ...trouble });
      await refreshed(testbed, stream, before);
      const { seen, dropped } = await link.stop();
      step.measure("packets on the link", seen);
      step.measure("dropped", dropped);
      await expectNoAlarm(step, testbed, alarms);
    });
  await report.step(`a fifth dropped is found, and the hop is named (${authentication})`, async (step) => {
    const link = await OnPath.start(testbed, "middle", { what: "data", device: "far", loss: 0.2 });
    const attack = await eventAfter(receiver, "attack", link.began);
    showEvent(step, "attack", attack, link.began);
    step.measure("evidence", JSON.stringify(attack.evidence ?? null));
    const { where, kind } = attack.evidence ?? {};
    step.expect("as a loss", kind === "loss");
    step.expect("between first and last", where?.from === "first" && where.to === "last");
    await link.stop();
  });
  await sending.stop();
  await report.step(
    `${IPERF_SECONDS} s of saturating iperf3 are no attack (${authentication})`,
    async (step) => {
      const alarms = (await alarmsOf(receiver)).length;
      const server = await testbed.serve("receiver", iperfServer(), IPERF_PORT);
      const to = testbed.address("receiver", 4);
      const command = ["iperf3", "-c", to, "-p", String(IPERF_PORT), "-t", String(IPERF_SECONDS), "-J"];
      const { status, stdout } = await testbed.run("sender", command, { limit: (IPERF_SECONDS + 60) * 1000 });
      step.expect("iperf3 ends well", status === 0);
      step.measure("Mb/s", Math.round(goodput(stdout) / 1e6));
      await pause(2000);
      await server.stop();
      await expectNoAlarm(step, testbed, alarms);
    },
  );
}

async function refreshed(testbed: Testbed, stream: Stream, before: number): Promise<void> {
  const receiver = testbed.daemon("receiver");
  const enough = async () => (await flowMatching(receiver, stream.flow)).refreshes >= before + REFRESHES;
  await until(`${REFRESHES} refreshes`, 60_000, enough);
}

async function expectNoAlarm(step: Step, testbed: Testbed, before: number): Promise<void> {
  const alarms = (await alarmsOf(testbed.daemon("receiver"))).slice(before);
  step.measure("false alarms", alarms.length);
  for (const [i, text] of alarms.entries()) step.measure(`alarm ${i + 1}`, text);
  step.expect("no alarm", alarms.length === 0);
}

function goodput(text: string): number {
  const { end } = JSON.parse(text) as { end?: { sum_received?: { bits_per_second?: number } } };
  return end?.sum_received?.bits_per_second ?? 0;
}
