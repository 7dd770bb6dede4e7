/** Scenario 6: a person decides, and the very packets that waited are the ones that arrive. */
import type { PendingView } from "../../src/nslp/view.js";
import type { Daemon } from "../lib/daemon.js";
import type { Report } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import {
  curl,
  eventsOf,
  GRANT_ALL,
  THREE_NODE,
  udpListener,
  udpSender,
  WEB_PORT,
  webServer,
} from "./common.js";
import type { Scenario } from "./scenario.js";

const PORT = 9000;
const DATAGRAMS = 5;
/** Longer than the first tries of a Query: the asking host has to be told to wait. */
const THINKING_MS = 8000;

export const ask: Scenario = {
  name: "ask",
  summary:
    "a held flow shows in pbsctl pending; grant releases the very packets held; deny reaches the program",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const rule = [{ ...GRANT_ALL, name: "ask a person", action: "ask", timeout: "60s" }];
  await testbed.start({ sender1: { packets: { hold_time: "60s" } }, receiver1: { rule } });
  await testbed.serve("receiver1", webServer(), WEB_PORT);
  const receiver = testbed.daemon("receiver1");
  const to = testbed.address("receiver1", 4);

  await report.step("grant releases the very packets that were held, in order", async (step) => {
    const listener = testbed.spawn("receiver1", udpListener(PORT));
    await listener.says("listening");
    // The sender has ended before the answer comes: what arrives was not sent again.
    const stream = { from: 4000, to, port: PORT, count: DATAGRAMS, size: 100, rate: 100 };
    await testbed.run("sender1", udpSender(stream));
    const pending = await onePending(receiver);
    step.measure("pbsctl pending", `${pending.flow}, ${pending.requester}, rule ${pending.rule}`);
    const asked = performance.now();
    await until("a person to think", THINKING_MS * 2, () => performance.now() - asked > THINKING_MS);
    step.expect("nothing came before", !/^\d+$/m.test(listener.stdout));
    const grant = await receiver.ctl("grant", pending.id);
    step.expect("grant says so", step.measure("pbsctl grant exit status", grant.status) === 0);
    const wanted = Array.from({ length: DATAGRAMS }, (_, i) => `${i}\n`).join("");
    await until("the datagrams", 5000, () => listener.stdout.includes(wanted));
    await listener.stop();
  });
  await report.step("a TCP connection that waited goes on", async (step) => {
    const web = testbed.run("sender1", curl(to, "/100000"));
    const pending = await onePending(receiver);
    await receiver.ctl("grant", pending.id, "--volume", "1MB", "--lifetime", "1m");
    const { status, stdout } = await web;
    step.expect("curl succeeds", step.measure("curl exit status", status) === 0);
    step.expect("whole file", step.measure("curl says", stdout).startsWith("200 100000 "));
  });
  await report.step(
    "deny reaches the program at once, with the person's reason in pbsctl events",
    async (step) => {
      const web = testbed.run("sender1", curl(to, "/100000"));
      const pending = await onePending(receiver);
      await receiver.ctl("deny", pending.id, "--reason", "not today");
      const { status, stderr } = await web;
      step.measure("curl says", stderr.trim());
      step.expect("curl fails", step.measure("curl exit status", status) !== 0);
      const refused = (await eventsOf(testbed.daemon("sender1"))).filter(({ type }) => type === "refused");
      step.expect(
        "reason",
        step.measure("sender's event", refused.at(-1)?.detail ?? "").includes("not today"),
      );
    },
  );
}

async function onePending(daemon: Daemon): Promise<PendingView> {
  return until("a pending flow", 10_000, async () => {
    const { stdout } = await daemon.ctl("--json", "pending");
    return (JSON.parse(stdout) as { pending: PendingView[] }).pending[0];
  });
}
