/** Scenario 1: without a permission nothing but signalling reaches the receiver's wire. */
import { kindOf } from "../lib/capture.js";
import type { Report } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { PATIENCE } from "../lib/wait.js";
import { curl, matches, THREE_NODE, udpListener, udpSender, WEB_PORT, webServer } from "./common.js";
import type { Scenario } from "./scenario.js";

const DISCARD_PORT = 9000;
/** curl's status for a connection that was refused. */
const REFUSED = 7;
const AT_ONCE_MS = 5000 * PATIENCE;

export const closed: Scenario = {
  name: "closed",
  summary: "without a permission no TCP, UDP or ICMP echo reaches the receiver's wire; signalling does",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  // sender2 and receiver2 run no pbsd: hosts that do not ask.
  await testbed.start({}, ["sender1", "router", "receiver1"]);
  await testbed.serve("receiver1", webServer(), WEB_PORT);
  const wire = await testbed.captureTowards("receiver1");
  const families = [4, 6] as const;
  for (const family of families) await refusedHost(report, testbed, family);
  for (const family of families) await ignorantHost(report, testbed, family);

  await report.step("the receiver's wire has seen signalling and no data", async (step) => {
    const packets = await wire.quiet();
    await wire.stop();
    const count = (kind: string) => packets.filter((packet) => kindOf(packet) === kind).length;
    step.expect("no data packet", step.measure("data packets", count("data")) === 0);
    step.expect("signalling", step.measure("signalling packets", count("signalling")) > 0);
  });
  await neighbour(report, testbed);
}

async function refusedHost(report: Report, testbed: Testbed, family: 4 | 6): Promise<void> {
  const receiver = testbed.address("receiver1", family);
  await report.step(
    `IPv${family}: curl on a host with pbsd fails at once with a clear error`,
    async (step) => {
      const { status, stderr, milliseconds } = await testbed.run("sender1", curl(receiver, "/1000"));
      step.measure("curl says", stderr.trim());
      step.expect("connection refused", step.measure("exit status", status) === REFUSED);
      step.expect("at once", step.measure("milliseconds", Math.round(milliseconds)) < AT_ONCE_MS);
    },
  );
  await report.step(`IPv${family}: UDP and ICMP echo from that host stay without answer`, async (step) => {
    const stream = { from: 4000, to: receiver, port: DISCARD_PORT, count: 20, size: 100, rate: 100 };
    await testbed.run("sender1", udpSender(stream));
    const ping = await testbed.run("sender1", ["ping", "-c", "2", "-W", "1", receiver]);
    step.measure("ping says", ping.stdout.split("\n").find((line) => line.includes("transmitted")) ?? "");
    step.expect("no echo", ping.status !== 0);
  });
}

async function ignorantHost(report: Report, testbed: Testbed, family: 4 | 6): Promise<void> {
  const receiver = testbed.address("receiver1", family);
  await report.step(
    `IPv${family}: a host that does not ask gets nothing through the router`,
    async (step) => {
      const web = await testbed.run("sender2", curl(receiver, "/1000", "--connect-timeout", "2"));
      const stream = { from: 4000, to: receiver, port: DISCARD_PORT, count: 100, size: 100, rate: 1000 };
      await testbed.run("sender2", udpSender(stream));
      const ping = await testbed.run("sender2", ["ping", "-c", "2", "-i", "0.2", "-W", "1", receiver]);
      step.expect("curl fails", step.measure("curl exit status", web.status) !== 0);
      step.expect("ping fails", step.measure("ping exit status", ping.status) !== 0);
    },
  );
}

/** No router stands between two hosts of one wire, so the receiver itself has to refuse. */
async function neighbour(report: Report, testbed: Testbed): Promise<void> {
  await report.step("a neighbour on the receiver's own wire is kept out by the receiver", async (step) => {
    const listener = testbed.spawn("receiver1", udpListener(DISCARD_PORT));
    await listener.says("listening");
    const wire = await testbed.captureTowards("receiver1");
    const to = testbed.address("receiver1", 4);
    await testbed.run(
      "receiver2",
      udpSender({ from: 4000, to, port: DISCARD_PORT, count: 50, size: 64, rate: 500 }),
    );
    const isData = matches({ protocol: 17, destinationPort: DISCARD_PORT });
    const packets = (await wire.quiet(isData)).filter(isData);
    await listener.stop();
    const received = listener.stdout.split("\n").filter((line) => /^\d+$/.test(line)).length;
    step.expect("they were sent", step.measure("datagrams on the wire", packets.length) > 0);
    step.expect("none received", step.measure("datagrams that the program got", received) === 0);
  });
}
