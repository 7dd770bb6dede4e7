/** Hosts that know nothing of PBS, by prefix, in a closed network: they share a small class; whoever is not listed stays out. */
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

const LISTED = sourcesOf(5);
/** Not of the prefix below. */
const UNLISTED = "192.168.20.50";
/** Bytes a second of all hosts of the prefix, and of one. */
const RATE = 1_250_000;
const SOURCE_RATE = 250_000;
const SHARES = { sources: LISTED.length, rate: RATE };
const LEGACY = {
  legacy: [{ name: "old", prefix: "192.168.20.96/27", rate: RATE, source_rate: SOURCE_RATE }],
};

export const legacy: Scenario = {
  name: "legacy",
  summary:
    "a closed network with legacy hosts by prefix: a small fair class beside a permitted flow; others stay out",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const rule = [{ ...GRANT_ALL, volume: "4GB", from: testbed.address("sender1", 4) }];
  // sender2 has no pbsd, and speaks for all hosts without permission.
  await testbed.start({ router: LEGACY, receiver1: { ...LEGACY, rule } }, ["sender1", "router", "receiver1"]);
  await narrowLink(testbed);
  await addSources(testbed, [...LISTED, UNLISTED]);
  await testbed.serve("receiver1", iperfServer(), IPERF_PORT);
  const reaches = async (source: string): Promise<boolean> => {
    const ping = ["ping", "-c", "2", "-i", "0.2", "-W", "1", "-I", source, testbed.address("receiver1", 4)];
    return (await testbed.run("sender2", ping)).status === 0;
  };
  await report.step("a host of the prefix is let through without asking, another is not", async (step) => {
    step.expect("the listed one", await reaches(LISTED[0] ?? ""));
    step.expect("not the other", !(await reaches(UNLISTED)));
  });
  let alone = 0;
  await report.step("the permitted flow alone", async (step) => {
    alone = step.measure("Mb/s", await transfer(testbed));
    step.expect("it flows", alone > 50);
  });
  await report.step(
    `${LISTED.length} hosts of the prefix, and one that is not listed, beside it`,
    async (step) => {
      const flooded = await measureBeside(step, testbed, [...LISTED, UNLISTED], alone);
      const strange = flooded.filter(({ source }) => source === UNLISTED).length;
      step.expect(
        "nothing of the one that is not listed",
        step.measure("of the unlisted one", strange) === 0,
      );
      measureShares(step, flooded, SHARES);
    },
  );
  await report.step("they alone, each with its part of the class", (step) =>
    measureAlone(step, testbed, [...LISTED, UNLISTED], SHARES),
  );
  await report.step("they flood in earnest", async (step) => {
    const { passed, dropped, unpermitted } = await sharedBy(testbed.daemon("router"), "legacy.old");
    step.measure("passed by the router", passed);
    step.expect("most is dropped", step.measure("dropped by the router", dropped) > 10_000);
    step.measure("dropped for lack of permission", unpermitted);
    step.expect("all of the unlisted one's", unpermitted > 10_000);
  });
}
