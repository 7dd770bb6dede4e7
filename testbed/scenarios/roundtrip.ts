/** Flows leave a bad path one after the other, one of them tries it again, and all come back only when it is good. */
import type { PbsEvent } from "../../src/nslp/view.js";
import { BY_THE_STACK, OnPath } from "../attackers/on-path.js";
import type { Report } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { Stream } from "./attack.js";
import { DIAMOND, eventsOf, flowsOf, GRANT_ALL, wallClock } from "./common.js";
import type { Scenario } from "./scenario.js";

const FLOWS = 6;
const SIZE = 972;
const RATE = 200;
/** Longer than it takes to find out that the path is still bad. */
const RETURN_MS = 7000;
const MOVES = {
  spread: "500ms",
  moves: 2,
  hold: "1s",
  return_after: `${RETURN_MS}ms`,
};
const OTHER_PATH = { via: "192.168.20.6", device: "left" };
const BACK = "the first path";

export const roundtrip: Scenario = {
  name: "roundtrip",
  summary:
    "six flows leave a bad path and come back to it when it is good: not at once, and without flapping",
  run: (report) => withTestbed(DIAMOND, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const rule = [{ ...GRANT_ALL, refresh: "500ms" }];
  await testbed.start({
    sender: { path: [OTHER_PATH], detection: MOVES },
    upper: BY_THE_STACK,
    receiver: { rule },
  });
  const streams = await Promise.all(
    Array.from({ length: FLOWS }, (_, i) =>
      Stream.listen(testbed, "sender", "receiver", { source: 4000 + i, port: 9000 + i }),
    ),
  );
  for (const stream of streams) stream.send({ count: 0, size: SIZE, rate: RATE });
  await until("all streams to flow", 30_000, () => streams.every(({ received }) => received.length > RATE));
  const trouble = await OnPath.start(testbed, "upper", { what: "data", device: "right", loss: 1 });
  let trials = 0;
  await report.step("all leave the bad path, and not all at once", async (step) => {
    const left = await until("six moves", 30_000, async () => {
      const moves = (await pathEvents(testbed, trouble.began)).filter(({ detail }) => !isBack(detail));
      return moves.length >= FLOWS ? moves : undefined;
    });
    const times = left.map(({ time }) => Math.round(time - trouble.began));
    step.measure("moves, ms after the first bad byte", times.join(", "));
    step.expect("spread over time", (times.at(-1) ?? 0) - (times[0] ?? 0) > 1000);
    step.expect("each flow once", new Set(left.map(({ id }) => id)).size === FLOWS);
  });
  await report.step("one tries the first path while it is bad; the others stay away", async (step) => {
    const events = await until("a trial, and its end", 60_000, async () => {
      const all = await pathEvents(testbed, trouble.began);
      const back = all.find(({ detail }) => isBack(detail));
      const again = all.some(
        ({ id, time, detail }) => id === back?.id && time > back.time && !isBack(detail),
      );
      return again ? all : undefined;
    });
    trials = events.filter(({ detail }) => isBack(detail)).length;
    step.expect("one of six", step.measure("flows that went back", trials) === 1);
  });
  await report.step("good again, one stays, then all come back", async (step) => {
    const damage = await trouble.stop();
    const good = wallClock();
    step.measure("packets swallowed", damage.dropped);
    await until("all flows to be back", 150_000, async () => {
      const flows = await flowsOf(testbed.daemon("sender"));
      return flows.every(({ path }) => path === null);
    });
    step.measure("ms after the path was good", Math.round(wallClock() - good));
    const events = await pathEvents(testbed, good);
    const times = events.map(({ time }) => Math.round(time - good));
    step.measure("moves, ms after the path was good", times.join(", "));
    step.expect(
      "nobody leaves again",
      events.every(({ detail }) => isBack(detail)),
    );
    step.expect("each once", events.length === FLOWS);
    const had = streams.map(({ received }) => received.length);
    await until("all streams to flow", 20_000, () =>
      streams.every(({ received }, i) => received.length > (had[i] ?? 0) + RATE),
    );
  });
}

function isBack(detail: string): boolean {
  return detail.startsWith(BACK);
}

async function pathEvents(testbed: Testbed, since: number): Promise<readonly PbsEvent[]> {
  const events = await eventsOf(testbed.daemon("sender"));
  return events.filter(({ type, time }) => type === "path" && time >= since);
}
