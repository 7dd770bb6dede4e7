/** Scenario 5: refreshes keep a flow alive, and its counters never start anew. */
import type { FlowView } from "../../src/nslp/view.js";
import { bytesOf } from "../lib/capture.js";
import type { Daemon } from "../lib/daemon.js";
import type { Report } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { firstSeen, flowsOf, GRANT_ALL, matches, THREE_NODE, udpSender, wallClock } from "./common.js";
import type { Scenario } from "./scenario.js";

const REFRESH_MS = 400;
const PERIODS = 14;
/** Half a second of the stream; it is asked for anew when four fifths are used. */
const VOLUME = 100_000;
/** Refreshes come at half the time at the soonest; the rest is for volume. */
const REFRESHES_AT_MOST = PERIODS * 2 + 20;
const PORT = 9000;
const NODES = ["sender1", "router", "receiver1"] as const;

export const refresh: Scenario = {
  name: "refresh",
  summary: "refreshes keep a flow alive over ten periods and more, with volumes that only grow",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  // So small a volume has to be extended again and again on the way.
  const rule = [{ ...GRANT_ALL, volume: VOLUME, lifetime: "30s", refresh: `${REFRESH_MS}ms` }];
  await testbed.start({ receiver1: { rule } });
  const wire = await testbed.captureTowards("receiver1");
  const data = matches({ protocol: 17, destinationPort: PORT });
  const to = testbed.address("receiver1", 4);
  const sender = testbed.spawn(
    "sender1",
    udpSender({ from: 4000, to, port: PORT, count: 0, size: 500, rate: 400 }),
  );
  const { time: began } = await firstSeen(wire, data);
  const history = new Map(NODES.map((node) => [node, [] as FlowView[]]));
  await until("the refresh periods to pass", REFRESH_MS * PERIODS * 4, async () => {
    for (const node of NODES) history.get(node)?.push(...(await ofPort(testbed.daemon(node))));
    return wallClock() - began > REFRESH_MS * PERIODS;
  });
  await sender.stop();
  const packets = (await wire.quiet(data)).filter(data);
  await wire.stop();

  await report.step("the flow went on through all periods", async (step) => {
    const gaps = packets.slice(1).map((packet, i) => packet.time - (packets[i]?.time ?? 0));
    const refreshes = history.get("receiver1")?.at(-1)?.refreshes ?? 0;
    step.measure("packets on the wire", packets.length);
    step.measure("longest gap ms", Math.round(Math.max(0, ...gaps)));
    step.expect("ten refreshes", step.measure("refreshes", refreshes) >= 10);
    step.expect("no storm of refreshes", refreshes <= REFRESHES_AT_MOST);
    step.expect("no gap of a refresh period", Math.max(0, ...gaps) < REFRESH_MS);
  });
  await report.step(
    "counted, sent and allowed volumes never went back, and the session stayed",
    async (step) => {
      for (const node of NODES) {
        const views = history.get(node) ?? [];
        step.measure(`samples at ${node}`, views.length);
        step.expect(`one session at ${node}`, new Set(views.map(({ id }) => id)).size === 1);
        for (const field of ["countedVolume", "sentVolume", "allowedVolume"] as const)
          step.expect(
            `${field} at ${node} only grows`,
            views.every((view, i) => i === 0 || view[field] >= (views[i - 1]?.[field] ?? 0)),
          );
      }
    },
  );
  await report.step("every node counted what was on the wire", async (step) => {
    const seen = step.measure("bytes on the wire", bytesOf(packets));
    for (const node of NODES) {
      const [view] = await ofPort(testbed.daemon(node));
      step.expect(
        `${node} agrees`,
        step.measure(`bytes counted by ${node}`, view?.countedVolume ?? 0) === seen,
      );
    }
  });
}

async function ofPort(daemon: Daemon): Promise<FlowView[]> {
  return (await flowsOf(daemon)).filter(({ flow }) => flow.endsWith(`:${PORT}`));
}
