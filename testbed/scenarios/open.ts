/** (g) An open network: what has no permission shares a small class, and what has one goes ahead of it. */
import type { Report } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { GRANT_ALL, IPERF_PORT, iperfServer, THREE_NODE } from "./common.js";
import type { Scenario } from "./scenario.js";
import {
  addSources,
  measureAlone,
  measureBeside,
  measureShares,
  narrowLink,
  sharedBy,
  sourcesOf,
  transfer,
} from "./shared-class.js";

const SENDERS = 10;
/** Bytes a second of all without permission, and of one source. */
const RATE = 1_250_000;
const SOURCE_RATE = 125_000;

const SOURCES = sourcesOf(SENDERS);
const SHARES = { sources: SENDERS, rate: RATE };
const OPEN = { node: { mode: "open" }, open: { rate: RATE, source_rate: SOURCE_RATE } };

export const open: Scenario = {
  name: "open",
  summary:
    "an open network: ten unpermitted senders at full rate share a small class beside a permitted flow",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const rule = [{ ...GRANT_ALL, volume: "4GB", from: testbed.address("sender1", 4) }];
  // sender2 has no pbsd, and speaks for ten hosts.
  await testbed.start({ sender1: OPEN, router: OPEN, receiver1: { ...OPEN, rule } }, [
    "sender1",
    "router",
    "receiver1",
  ]);
  await narrowLink(testbed);
  await addSources(testbed, SOURCES);
  await testbed.serve("receiver1", iperfServer(), IPERF_PORT);
  await report.step("a host of PBS reaches one that knows nothing of it", async (step) => {
    const ping = ["ping", "-c", "2", "-W", "20", testbed.address("receiver2", 4)];
    const { status, milliseconds } = await testbed.run("sender1", ping);
    step.measure("ms that it took", Math.round(milliseconds));
    step.expect("it is answered", status === 0);
  });
  let alone = 0;
  await report.step("the permitted flow alone", async (step) => {
    alone = step.measure("Mb/s", await transfer(testbed));
    step.expect("it flows", alone > 50);
  });
  await report.step("a packet without permission is not dropped", async (step) => {
    const ping = await testbed.run("sender2", [
      "ping",
      "-c",
      "3",
      "-i",
      "0.2",
      testbed.address("receiver2", 4),
    ]);
    step.measure("ping", ping.stdout.split("\n").at(-3) ?? "");
    step.expect("a host without PBS is reached", ping.status === 0);
  });
  await report.step(`${SENDERS} unpermitted senders beside it`, async (step) => {
    measureShares(step, await measureBeside(step, testbed, SOURCES, alone), SHARES);
  });
  await report.step("they alone, each with its part of the class", (step) =>
    measureAlone(step, testbed, SOURCES, SHARES),
  );
  await report.step("they flood in earnest", async (step) => {
    const { passed, dropped } = await sharedBy(testbed.daemon("router"), "open");
    step.measure("passed by the router", passed);
    step.expect("most is dropped", step.measure("dropped by the router", dropped) > 10_000);
  });
}
