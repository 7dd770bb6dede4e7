/** What the kernel's own emulation of bad links does is no attack; a fifth of everything lost is. */
import type { Report } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { alarmsOf, eventAfter, showEvent, Stream } from "./attack.js";
import { CHAIN, GRANT_ALL, wallClock } from "./common.js";
import { expectNoAlarm, refreshed } from "./lossy.js";
import type { Scenario } from "./scenario.js";

const SIZE = 972;
/** Datagrams a second: what an emulated machine can do for four nodes. */
const RATE = 100;
/** A fifth of what is sent between two refreshes is more than this, a hundredth is less. */
const RULE = { ...GRANT_ALL, authentication: "hmac", refresh: "2s", lifetime: "1h", loss: "16kB" };
const DEVICE = "far";

/** On the way from sender to receiver, signalling included. */
const HONEST = [
  ["loss", "1%"],
  ["delay", "200ms", "50ms", "distribution", "normal"],
  ["delay", "50ms", "reorder", "25%", "50%"],
  ["duplicate", "1%"],
] as const;

export const netem: Scenario = {
  name: "netem",
  summary: "the kernel's own loss, delay, jitter, reordering and duplication are no attack; a fifth lost is",
  stockKernel: true,
  run: (report) => withTestbed(CHAIN, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  await testbed.start({ receiver: { rule: [RULE] } });
  const receiver = testbed.daemon("receiver");
  const stream = await Stream.listen(testbed, "sender", "receiver");
  const sending = stream.send({ count: 0, size: SIZE, rate: RATE });
  await until("the stream to flow", 30_000, () => stream.received.length > 50);
  for (const trouble of HONEST)
    await report.step(`${trouble.join(" ")} is no attack`, async (step) => {
      const alarms = (await alarmsOf(receiver)).length;
      await emulate(testbed, trouble);
      await refreshed(testbed, [stream]);
      await calm(testbed);
      await expectNoAlarm(step, testbed, alarms);
    });
  await report.step("a fifth lost is found", async (step) => {
    const began = wallClock();
    await emulate(testbed, ["loss", "20%"]);
    const attack = await eventAfter(receiver, "attack", began);
    showEvent(step, "attack", attack, began);
    step.expect("as a loss", attack.evidence?.kind === "loss");
    await calm(testbed);
  });
  await sending.stop();
}

async function emulate(testbed: Testbed, trouble: readonly string[]): Promise<void> {
  await testbed.mustRun("middle", ["tc", "qdisc", "replace", "dev", DEVICE, "root", "netem", ...trouble]);
}

async function calm(testbed: Testbed): Promise<void> {
  await testbed.mustRun("middle", ["tc", "qdisc", "del", "dev", DEVICE, "root"]);
}
