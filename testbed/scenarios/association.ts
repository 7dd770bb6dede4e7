/** Scenario: messaging associations are lost again and again while many flows are being asked for. No permission is. */
import type { StatusView } from "../../src/control/status.js";
import type { Daemon } from "../lib/daemon.js";
import type { Report, Step } from "../lib/report.js";
import { helper } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { eventsOf, flowsOf, GRANT_ALL, THREE_NODE } from "./common.js";
import type { Scenario } from "./scenario.js";

const NODES = ["sender1", "router", "receiver1"] as const;
const FLOWS = 200;
const EVERY_MS = 200;
const FIRST_PORT = 20_000;
const PORT = 9000;
const TLS_PORT = 5270;
const HOLD_SECONDS = 2;
const RETURN_LIMIT_MS = 10_000;
const SETTLED_WITHIN_MS = 15_000;

/** Events by which a sender says that a flow goes without permission. */
const LOST: ReadonlySet<string> = new Set(["refused", "no-answer", "expired", "revoked"]);

type Outage = "resets" | "router killed";

export const association: Scenario = {
  name: "association",
  summary: `associations are lost while ${FLOWS} flows are asked for and refreshed: no permission is lost`,
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const signalling = { association_hold: `${HOLD_SECONDS}s`, routing_state_validity: "4s" };
  const rule = [{ ...GRANT_ALL, refresh: "3s" }];
  await testbed.start(
    { sender1: { signalling }, router: { signalling }, receiver1: { signalling, rule } },
    NODES,
  );
  const listener = testbed.spawn("receiver1", helper("programs/udp-many", "listen", String(PORT)));
  await listener.says("listening");
  const to = testbed.address("receiver1", 4);
  const words = [FIRST_PORT, to, PORT, FLOWS, EVERY_MS].map(String);
  const sender = testbed.spawn("sender1", helper("programs/udp-many", "send", ...words));
  await sender.says("sending");
  await report.step("reset while the flows are being asked for", async (step) => {
    const before = await until("the first permissions", 5000, async () => {
      const count = await installed(testbed, "receiver1");
      return count > 0 && { count };
    });
    step.measure("flows granted by then", before.count);
    step.expect("others are under way", before.count < FLOWS);
    await outage(step, testbed, "resets");
    await judge(step, testbed, () => listener.stdout);
  });
  await report.step("reset again and again while they are refreshed", async (step) => {
    for (let i = 0; i < 3; i++) await outage(step, testbed, "resets");
    await judge(step, testbed, () => listener.stdout);
  });
  await report.step("the router's daemon killed and started again", async (step) => {
    await outage(step, testbed, "router killed");
    await judge(step, testbed, () => listener.stdout);
  });
  await sender.stop();
  await listener.stop();
}

/** Breaks the associations of the router with both hosts. */
async function outage(step: Step, testbed: Testbed, kind: Outage): Promise<void> {
  const hosts = (["sender1", "receiver1"] as const).map((name) => testbed.daemon(name));
  for (const host of hosts)
    await until(
      `an association at ${host.name}`,
      RETURN_LIMIT_MS,
      async () => (await statusOf(host)).associations > 0,
    );
  const before = await Promise.all(hosts.map(associationsEnded));
  const started = performance.now();
  if (kind === "resets") await resets(testbed, "-I");
  else await testbed.daemon("router").kill();
  for (const [i, host] of hosts.entries())
    await until(`an association of ${host.name} to end`, HOLD_SECONDS * 2000, async () => {
      const ended = (await associationsEnded(host)) - (before[i] ?? 0);
      return ended > 0;
    });
  if (kind === "resets") await resets(testbed, "-D");
  else await testbed.daemon("router").start();
  const lasted = `${Math.round(performance.now() - started)}`;
  step.measure(
    "milliseconds of outage",
    [step.measured["milliseconds of outage"], lasted].filter(Boolean).join(" "),
  );
}

/** From now on (or no longer) whatever comes to the router on an association is answered with a reset, and does not arrive. */
async function resets(testbed: Testbed, how: "-I" | "-D"): Promise<void> {
  const rules = ["--dport", "--sport"].map(
    (port) => `${how} INPUT -p tcp ${port} ${TLS_PORT} -j REJECT --reject-with tcp-reset\n`,
  );
  const input = `*filter\n${rules.join("")}COMMIT\n`;
  const { status, stderr } = await testbed.run("router", ["iptables-restore", "--noflush"], { input });
  if (status !== 0) throw new Error(`iptables-restore: ${stderr}`);
}

/** Every flow has its permission at every node, and data of every flow arrives. */
async function judge(step: Step, testbed: Testbed, heard: () => string): Promise<void> {
  const started = performance.now();
  const linesBefore = heard().split("\n").length;
  for (const name of NODES)
    await until(`${FLOWS} permissions at ${name}`, SETTLED_WITHIN_MS, async () => {
      const count = await installed(testbed, name);
      return count === FLOWS;
    });
  step.measure("milliseconds until every node has all permissions", Math.round(performance.now() - started));
  await until("data of all flows in one second", SETTLED_WITHIN_MS, () => {
    // The line of the second in which the outage ended is not looked at, nor one that is not finished.
    const whole = heard().split("\n").slice(linesBefore, -1);
    return whole.some((line) => new Set(line.split(" ")).size === FLOWS);
  });
  step.measure("milliseconds until data of all arrives", Math.round(performance.now() - started));
  const bad = (await eventsOf(testbed.daemon("sender1"))).filter(({ type }) => LOST.has(type));
  step.measure("permissions lost", bad.length);
  const [first] = bad;
  if (first !== undefined) step.measure("the first of them", `${first.type} ${first.flow}: ${first.detail}`);
  step.expect("none is lost", bad.length === 0);
}

async function installed(testbed: Testbed, node: string): Promise<number> {
  const flows = await flowsOf(testbed.daemon(node));
  return flows.filter(({ flow, allowedVolume }) => flow.endsWith(`:${PORT}`) && allowedVolume > 0).length;
}

function statusOf(daemon: Daemon): Promise<StatusView> {
  return daemon.client.get<StatusView>("/v1/status");
}

async function associationsEnded(daemon: Daemon): Promise<number> {
  const { gist } = (await statusOf(daemon)).counters;
  return (gist["association.closed"] ?? 0) + (gist["association.failed"] ?? 0);
}
