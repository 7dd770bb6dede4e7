/** Scenario: many flows of one pair of hosts are refreshed by few messages; a router restarts; an old node is on the path. */
import type { StatusView } from "../../src/control/status.js";
import type { Report, Step } from "../lib/report.js";
import { helper } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { CHAIN, eventsOf, flowsOf, GRANT_ALL } from "./common.js";
import type { Scenario } from "./scenario.js";

const NODES = ["sender", "first", "last", "receiver"] as const;
type NodeName = (typeof NODES)[number];
const FLOWS = 60;
const REFRESH_MS = 2000;
/** Until all flows of the pair have met in one message. */
const MEETING_MS = 3 * REFRESH_MS;
const WATCHED_MS = 3 * REFRESH_MS;
const EVERY_MS = 250;
const FIRST_PORT = 20_000;
const PORT = 9000;
const BACK_LIMIT_MS = 12_000;
/** Events by which a sender says that a flow goes without permission. */
const LOST: ReadonlySet<string> = new Set(["refused", "expired", "revoked"]);

export const summary: Scenario = {
  name: "summary",
  summary: `${FLOWS} flows of a pair refresh in one message, through a router that restarts and one that cannot`,
  run: (report) => withTestbed(CHAIN, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  await testbed.start({ receiver: { rule: [{ ...GRANT_ALL, refresh: `${REFRESH_MS}ms` }] } });
  const listener = testbed.spawn("receiver", helper("programs/udp-many", "listen", String(PORT)));
  await listener.says("listening");
  const words = [FIRST_PORT, testbed.address("receiver", 4), PORT, FLOWS, EVERY_MS].map(String);
  const sender = testbed.spawn("sender", helper("programs/udp-many", "send", ...words));
  await sender.says("sending");
  await report.step(`${FLOWS} flows of one pair are refreshed together at every node`, async (step) => {
    await permittedEverywhere(testbed);
    await pass(MEETING_MS);
    const { refreshes, messages, signatures } = await watch(step, testbed);
    step.expect("each flow is refreshed", refreshes >= 2 * FLOWS);
    step.expect("by few messages", messages <= refreshes / 10);
    step.expect("few signatures are checked at each router", signatures <= refreshes / 5);
    await dataOfAll(step, () => listener.stdout);
  });
  await report.step("a router that restarts asks for each flow, and they meet again", async (step) => {
    await testbed.daemon("first").kill();
    await testbed.daemon("first").start();
    const started = performance.now();
    await permittedEverywhere(testbed);
    step.measure("milliseconds from ready to all permissions", Math.round(performance.now() - started));
    await dataOfAll(step, () => listener.stdout);
    await pass(MEETING_MS);
    const { refreshes, messages } = await watch(step, testbed);
    step.expect("by few messages", messages <= refreshes / 10);
  });
  await report.step("with a router that can do neither, each flow refreshes by itself", async (step) => {
    const last = testbed.daemon("last");
    await last.stop();
    last.configure({ refresh: { tree: false, summary: false } });
    await last.start();
    await permittedEverywhere(testbed);
    await pass(MEETING_MS);
    const { refreshes, messages } = await watch(step, testbed);
    step.expect("each flow is refreshed", refreshes >= 2 * FLOWS);
    step.expect("by a message of its own", messages >= refreshes * 0.9);
    const refused = await counter(testbed, "last", "rejected.not-supported");
    step.expect("it says so", step.measure("Queries that it refused for that", refused) > 0);
    await dataOfAll(step, () => listener.stdout);
  });
  await report.step("no flow lost its permission at the sender at any time", async (step) => {
    const bad = (await eventsOf(testbed.daemon("sender"))).filter(({ type }) => LOST.has(type));
    step.expect("none", step.measure("permissions lost", bad.length) === 0);
  });
  await sender.stop();
  await listener.stop();
}

/** Refreshes at the receiver, Queries of the sender, signatures that the router in the middle checked: in the time watched. */
async function watch(
  step: Step,
  testbed: Testbed,
): Promise<{ readonly refreshes: number; readonly messages: number; readonly signatures: number }> {
  const read = async () => ({
    refreshes: (await flowsAt(testbed, "receiver")).reduce((sum, { refreshes }) => sum + refreshes, 0),
    messages: await counter(testbed, "sender", "query.sent"),
    signatures: await counter(testbed, "first", "signature.checked"),
  });
  const before = await read();
  await pass(WATCHED_MS);
  const after = await read();
  return {
    refreshes: step.measure("refreshes of flows", after.refreshes - before.refreshes),
    messages: step.measure("Queries for them", after.messages - before.messages),
    signatures: step.measure("signatures checked at a router", after.signatures - before.signatures),
  };
}

async function pass(duration: number): Promise<void> {
  const began = performance.now();
  await until("some time to pass", duration * 2, () => performance.now() - began > duration);
}

async function permittedEverywhere(testbed: Testbed): Promise<void> {
  for (const node of NODES)
    await until(`${FLOWS} permissions at ${node}`, BACK_LIMIT_MS, async () => {
      const permitted = (await flowsAt(testbed, node)).filter(({ allowedVolume }) => allowedVolume > 0);
      return permitted.length === FLOWS;
    });
}

async function dataOfAll(step: Step, heard: () => string): Promise<void> {
  const before = heard().split("\n").length;
  const began = performance.now();
  await until("data of all flows in one second", BACK_LIMIT_MS, () =>
    // A line that is not finished is not looked at.
    heard()
      .split("\n")
      .slice(before, -1)
      .some((line) => new Set(line.split(" ")).size === FLOWS),
  );
  step.measure("milliseconds until data of all arrives", Math.round(performance.now() - began));
}

async function flowsAt(testbed: Testbed, node: NodeName) {
  return (await flowsOf(testbed.daemon(node))).filter(({ flow }) => flow.endsWith(`:${PORT}`));
}

async function counter(testbed: Testbed, node: NodeName, name: string): Promise<number> {
  const { counters } = await testbed.daemon(node).client.get<StatusView>("/v1/status");
  return counters.pbs[name] ?? 0;
}
