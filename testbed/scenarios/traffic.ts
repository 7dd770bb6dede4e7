/** Scenario 2: after a grant, real programs run unmodified. */
import type { Report, Step } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { PATIENCE } from "../lib/wait.js";
import {
  CHAIN,
  curl,
  flowMatching,
  GRANT_ALL,
  IPERF_PORT,
  iperf3,
  iperfServer,
  THREE_NODE,
  WEB_PORT,
  webServer,
} from "./common.js";
import type { Scenario } from "./scenario.js";

// Where everything takes longer there is less of it.
const DOWNLOAD = 10_000_000 / PATIENCE;
/** iperf3's server stops counting when the client says that it has sent all, with the rest still in buffers: these may hold 4 MB. */
const IPERF_TCP_BYTES = Math.max(20_000_000 / PATIENCE, 10_000_000);
const IPERF_COUNTED_AT_LEAST = 0.5;
const IPERF_UDP_BYTES = 5_000_000 / PATIENCE;
const IPERF_UDP_RATE = 20_000_000 / PATIENCE;
/** What is due while a flow is asked for, which takes longer on slow machines; 32 by default. */
const HELD = 32 * PATIENCE;
/** Of datagrams: what was held while the flow was asked for may be cut at the bound. */
const LOSS_ALLOWED = 0.05;

export const traffic: Scenario = {
  name: "traffic",
  summary:
    "after a grant curl and iperf3 run unmodified, IPv4 and IPv6, two senders and two receivers at once",
  run: async (report) => {
    await withTestbed(THREE_NODE, (testbed) => show(report, testbed));
    await withTestbed(CHAIN, (testbed) => acrossStranger(report, testbed));
  },
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const from = (node: string) => ([4, 6] as const).map((family) => testbed.address(node, family));
  await testbed.start({
    sender1: { packets: { hold_packets_per_flow: HELD } },
    receiver1: { rule: [{ ...GRANT_ALL, name: "first sender", from: from("sender1") }] },
    receiver2: {
      rule: [
        { ...GRANT_ALL, name: "second sender's web", from: from("sender2"), protocol: "tcp", ports: "80" },
        { name: "nobody else", action: "deny", reason: "only the web, only for the second sender" },
      ],
    },
  });
  for (const receiver of ["receiver1", "receiver2"]) await testbed.serve(receiver, webServer(), WEB_PORT);
  await testbed.serve("receiver1", iperfServer(), IPERF_PORT);

  for (const family of [4, 6] as const) {
    const receiver = testbed.address("receiver1", family);
    await report.step(`IPv${family}: curl of ${DOWNLOAD} bytes`, (step) =>
      download(step, testbed, "sender1", receiver),
    );
    await report.step(`IPv${family}: iperf3 over TCP`, (step) => iperfTcp(step, testbed, receiver));
    await report.step(`IPv${family}: iperf3 over UDP`, (step) => iperfUdp(step, testbed, receiver));
    await report.step(`IPv${family}: ping`, async (step) => {
      const ping = await testbed.run("sender1", [
        "ping",
        "-c",
        "3",
        "-i",
        "0.2",
        "-W",
        String(3 * PATIENCE),
        receiver,
      ]);
      step.expect("echo replies", step.measure("exit status", ping.status) === 0);
    });
  }
  await atOnce(report, testbed);
}

async function acrossStranger(report: Report, testbed: Testbed): Promise<void> {
  await testbed.start({ receiver: { rule: [GRANT_ALL] } });
  await testbed.serve("receiver", webServer(), WEB_PORT);
  for (const family of [4, 6] as const)
    await report.step(`IPv${family}: curl across three routers, the middle one without PBS`, async (step) => {
      await download(step, testbed, "sender", testbed.address("receiver", family));
      for (const router of ["first", "last"])
        step.expect(
          `${router} has the flow`,
          (await flowMatching(testbed.daemon(router), /:80$/)).allowedVolume > 0,
        );
    });
}

async function atOnce(report: Report, testbed: Testbed): Promise<void> {
  const [first, second] = [testbed.address("receiver1", 4), testbed.address("receiver2", 4)];
  await report.step(
    "two senders and two receivers at once, each receiver with rules of its own",
    async (step) => {
      const [iperf, web, notWeb, notAllowed] = await Promise.all([
        iperf3(testbed, "sender1", first, ["-n", String(IPERF_TCP_BYTES)]),
        testbed.run("sender2", curl(second, `/${DOWNLOAD}`)),
        testbed.run("sender1", curl(second, "/1000")),
        testbed.run("sender2", curl(first, "/1000")),
      ]);
      step.expect(
        "first pair",
        step.measure("bytes first pair", iperf.received) >= IPERF_TCP_BYTES * IPERF_COUNTED_AT_LEAST,
      );
      step.expect("second pair", step.measure("second pair", web.stdout).startsWith(`200 ${DOWNLOAD} `));
      step.expect("refused by rule", step.measure("sender1 to receiver2", notWeb.stderr.trim()) !== "");
      step.expect(
        "refused by no rule",
        step.measure("sender2 to receiver1", notAllowed.stderr.trim()) !== "",
      );
      step.expect("both refused", notWeb.status !== 0 && notAllowed.status !== 0);
    },
  );
  await report.step("the receivers name the rule that decided", async (step) => {
    const pair = [
      ["receiver1", /192\.168\.20\.1/, "first sender"],
      ["receiver2", /192\.168\.20\.2:\d+ > 192\.168\.21\.5:80/, "second sender's web"],
    ] as const;
    for (const [node, pattern, rule] of pair) {
      const view = await flowMatching(testbed.daemon(node), pattern);
      step.expect(`rule of ${node}`, step.measure(`rule at ${node}`, view.rule) === rule);
    }
  });
}

async function download(step: Step, testbed: Testbed, sender: string, receiver: string): Promise<void> {
  const { status, stdout, stderr } = await testbed.run(sender, curl(receiver, `/${DOWNLOAD}`));
  if (stderr !== "") step.measure("curl says", stderr.trim());
  const [code, size, , seconds] = stdout.split(" ");
  step.measure("seconds", Number(seconds));
  step.expect("exit status 0", status === 0);
  step.expect("HTTP 200", code === "200");
  step.expect("whole file", step.measure("bytes", Number(size)) === DOWNLOAD);
}

async function iperfTcp(step: Step, testbed: Testbed, receiver: string): Promise<void> {
  const options = ["-n", String(IPERF_TCP_BYTES)];
  const { received, megabits, retransmits } = await iperf3(testbed, "sender1", receiver, options);
  step.measure("Mb/s", megabits);
  step.measure("retransmits", retransmits);
  step.expect("bytes", step.measure("bytes received", received) >= IPERF_TCP_BYTES * IPERF_COUNTED_AT_LEAST);
}

async function iperfUdp(step: Step, testbed: Testbed, receiver: string): Promise<void> {
  // A length that fits IPv6: iperf3 would else make fragments of what it takes for 1500 bytes.
  const options = ["-u", "-b", String(IPERF_UDP_RATE), "-l", "1200", "-n", String(IPERF_UDP_BYTES)];
  const { loss, received, megabits } = await iperf3(testbed, "sender1", receiver, options);
  step.measure("Mb/s", megabits);
  step.measure("bytes", received);
  step.expect("hardly any loss", step.measure("loss", loss) <= LOSS_ALLOWED);
}
