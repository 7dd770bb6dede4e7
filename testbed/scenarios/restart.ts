/** Scenario 7: the router's daemon is killed. Nothing unpermitted passes; permitted flows come back by themselves. */
import type { SeenPacket } from "../lib/pcap.js";
import type { Report } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { PATIENCE, until } from "../lib/wait.js";
import {
  comparableRules,
  firstSeen,
  flowMatching,
  GRANT_ALL,
  matches,
  THREE_NODE,
  udpSender,
  wallClock,
} from "./common.js";
import type { Scenario } from "./scenario.js";

const REFRESH_MS = 2000;
const PERMITTED = 9000;
const UNPERMITTED = 9001;
const DOWN_MS = 1500;
/** Packets that were on their way when the daemon died. */
const IN_FLIGHT_MS = 50 * PATIENCE;

const FOREIGN_RULES = `*mangle
:theirs - [0:0]
-A FORWARD -p tcp --dport 22 -j theirs
-A theirs -j MARK --set-mark 7
COMMIT
*filter
-A FORWARD -p tcp --dport 25 -j DROP
COMMIT
`;

export const restart: Scenario = {
  name: "restart",
  summary:
    "the router's pbsd is killed: nothing unpermitted passes at any time, flows recover, --cleanup restores",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  for (const tool of ["iptables", "ip6tables"])
    await testbed.run("router", [`${tool}-restore`], { input: FOREIGN_RULES });
  const before = await savedRules(testbed);
  await testbed.start({ receiver1: { rule: [{ ...GRANT_ALL, refresh: `${REFRESH_MS}ms` }] } }, [
    "sender1",
    "router",
    "receiver1",
  ]);
  const wire = await testbed.captureTowards("receiver1");
  const to = testbed.address("receiver1", 4);
  const permitted = matches({ protocol: 17, destinationPort: PERMITTED });
  testbed.spawn("sender1", udpSender({ from: 4000, to, port: PERMITTED, count: 0, size: 200, rate: 500 }));
  // sender2 runs no pbsd and does not ask.
  testbed.spawn("sender2", udpSender({ from: 4000, to, port: UNPERMITTED, count: 0, size: 200, rate: 500 }));
  testbed.spawn("sender2", ["ping", "-i", "0.05", to]);
  await firstSeen(wire, permitted);

  let killed = 0;
  let recovered = 0;
  const counted = (await flowMatching(testbed.daemon("router"), /:9000$/)).countedVolume;
  await report.step(
    "killed with SIGKILL: the permitted flow stops too, because nobody decides",
    async (step) => {
      killed = wallClock();
      await testbed.daemon("router").kill();
      await until("a while without a daemon", DOWN_MS * 2, () => wallClock() - killed > DOWN_MS);
      const leaked = wire
        .packets()
        .filter((packet) => permitted(packet) && packet.time > killed + IN_FLIGHT_MS);
      step.expect("silence", step.measure("packets while it was dead", leaked.length) === 0);
    },
  );
  await report.step("started again: the flow recovers by itself within one refresh period", async (step) => {
    await testbed.daemon("router").start();
    const ready = wallClock();
    const after = (packet: SeenPacket) => permitted(packet) && packet.time > killed + DOWN_MS;
    const { time } = await firstSeen(wire, after, REFRESH_MS * 5);
    step.measure("milliseconds from start to ready", Math.round(ready - killed - DOWN_MS));
    recovered = time;
    const took = step.measure("milliseconds from ready to the first packet", Math.round(time - ready));
    step.expect("within one refresh period", took <= REFRESH_MS * PATIENCE);
    const view = await flowMatching(testbed.daemon("router"), /:9000$/);
    step.expect("count goes on", step.measure("bytes counted", view.countedVolume) > counted);
  });
  await report.step("nothing unpermitted was on the wire, before, during or after", async (step) => {
    const all = await stopAndCount(testbed, () => wire.quiet(), recovered);
    await wire.stop();
    const fromStranger = all.filter(({ source }) => source === testbed.address("sender2", 4));
    step.measure("permitted packets", all.filter(permitted).length);
    step.expect("none", step.measure("unpermitted packets", fromStranger.length) === 0);
  });
  await report.step("--cleanup restores the machine's own rules exactly", async (step) => {
    const installed = await savedRules(testbed);
    step.expect("rules stay without the daemon", step.measure("rules stay", /PBS-/.test(installed)));
    const { status, stderr } = await testbed.daemon("router").cleanup();
    step.expect(`exit status 0 ${stderr}`, status === 0);
    const same = (await savedRules(testbed)) === before;
    step.expect("as before", step.measure("rule sets are equal", same));
    const sets = await testbed.mustRun("router", ["ipset", "list", "-n"]);
    step.expect("no sets", step.measure("sets left", sets.trim()) === "");
  });
}

/** Lets the unpermitted senders go on for a while with the daemon back, then stops it. */
async function stopAndCount(
  testbed: Testbed,
  quiet: () => Promise<SeenPacket[]>,
  recovered: number,
): Promise<SeenPacket[]> {
  await until("a while with the daemon", DOWN_MS * 3, () => wallClock() - recovered > DOWN_MS);
  await testbed.daemon("router").stop();
  return quiet();
}

async function savedRules(testbed: Testbed): Promise<string> {
  const saved = ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"].map((tool) =>
    testbed.mustRun("router", [`${tool}-save`]),
  );
  return comparableRules((await Promise.all(saved)).join("\n"));
}
