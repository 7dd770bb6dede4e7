/** Scenario: a flow is moved from one router to another that knows nothing of it. It is permitted there too, and goes on. */
import type { Report } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { PATIENCE, until } from "../lib/wait.js";
import {
  DIAMOND,
  firstSeen,
  flowMatching,
  flowsOf,
  GRANT_ALL,
  matches,
  wallClock,
  WEB_PORT,
  webServer,
} from "./common.js";
import type { Scenario } from "./scenario.js";
import { IN_FLIGHT_MS, STREAM_PORT, Transfers } from "./stream.js";

const VALIDITY_MS = 3000;
/** Routing state is refreshed at three quarters of its validity at the latest; that is when another next node shows. */
const NOTICED_WITHIN_MS = VALIDITY_MS * 0.75 + 500 * PATIENCE;
/** From the Query to data: a handshake with TLS, and a Query and a Permission of PBS. */
const SET_UP_MS = 1000 * PATIENCE;
const TCP_BACK_OFF = 2;
const FILE_SECONDS = 6;
/** Until whoever runs the network has found another way. */
const DEAD_FOR_MS = 500;
const LIMIT_MS = (NOTICED_WITHIN_MS + SET_UP_MS) * 3;
const ENDS = { sender: "sender", receiver: "receiver" } as const;
const STREAM = new RegExp(`^udp .*:${STREAM_PORT}$`);
const isGist = matches({ protocol: 17, destinationPort: 270 });

export const pathchange: Scenario = {
  name: "pathchange",
  summary:
    "a flow moves to another router, by choice or because the first one dies: noticed in time, permitted there, and going on",
  run: async (report) => {
    await withTestbed(DIAMOND, (testbed) => show(report, testbed, "moved"));
    await withTestbed(DIAMOND, (testbed) => show(report, testbed, "dead"));
  },
};

async function show(report: Report, testbed: Testbed, why: "moved" | "dead"): Promise<void> {
  const common = {
    signalling: { association_hold: "2s", routing_state_validity: `${VALIDITY_MS}ms` },
    return: { refresh: "60s" },
  };
  // So rare a refresh of PBS does not notice for GIST.
  const rule = [{ ...GRANT_ALL, refresh: "60s" }];
  await testbed.start({ sender: common, upper: common, lower: common, receiver: { ...common, rule } });
  await testbed.serve("receiver", webServer(), WEB_PORT);
  const wire = await testbed.captureTowards("receiver");
  const atLower = await testbed.captureTowards("lower");
  const transfers = await Transfers.start(testbed, ENDS, wire, FILE_SECONDS);
  await report.step(`${why}: at first the flows go over the upper router alone`, async (step) => {
    step.measure("upper permits", (await flowMatching(testbed.daemon("upper"), STREAM)).allowedVolume);
    step.expect(
      "lower knows nothing",
      step.measure("flows at lower", (await flowsOf(testbed.daemon("lower"))).length) === 0,
    );
  });
  let outage = 0;
  let moved = 0;
  await report.step(
    why === "moved"
      ? "both hosts' routes are moved to the lower router"
      : "the upper router's links go down; then the routes are moved",
    async (step) => {
      outage = wallClock();
      if (why === "dead") await die(testbed, outage);
      moved = wallClock();
      await moveRoutes(testbed);
      step.measure("milliseconds from the outage to the routes", Math.round(moved - outage));
    },
  );
  await report.step(`${why}: noticed, permitted at the lower router, and going on`, async (step) => {
    const query = await firstSeen(
      atLower,
      (packet) => isGist(packet) && packet.time > moved,
      NOTICED_WITHIN_MS * 2,
    );
    const noticed = step.measure(
      "milliseconds from the route to the Query over it",
      Math.round(query.time - moved),
    );
    step.expect("noticed in time", noticed <= NOTICED_WITHIN_MS);
    const back = await transfers.resume(step, outage, moved + IN_FLIGHT_MS, LIMIT_MS);
    step.expect("the stream", back.stream - moved <= NOTICED_WITHIN_MS + SET_UP_MS);
    step.expect("the file", back.file - outage <= (back.stream - outage + SET_UP_MS) * TCP_BACK_OFF);
    const view = await flowMatching(testbed.daemon("lower"), STREAM);
    step.expect("permitted there", step.measure("lower permits", view.allowedVolume) > 0);
    await until(
      "lower to count it",
      2000,
      async () => (await flowMatching(testbed.daemon("lower"), STREAM)).countedVolume > 0,
    );
  });
  await report.step(`${why}: the application has noticed a stall, and no error`, (step) =>
    transfers.end(step),
  );
  await atLower.stop();
  await wire.stop();
}

async function die(testbed: Testbed, since: number): Promise<void> {
  for (const { wire } of testbed.shape("upper").links)
    await testbed.mustRun("upper", ["ip", "link", "set", wire, "down"]);
  await until("the network to find another way", DEAD_FOR_MS * 4, () => wallClock() - since > DEAD_FOR_MS);
}

/** The lower router's addresses on both wires take the place of the upper one's. */
async function moveRoutes(testbed: Testbed): Promise<void> {
  const [left, right] = testbed.shape("lower").links.map(({ ipv4 }) => ipv4.split("/")[0] ?? "");
  for (const [node, via] of [
    [ENDS.sender, left],
    [ENDS.receiver, right],
  ] as const)
    await testbed.mustRun(node, ["ip", "route", "replace", "default", "via", via ?? ""]);
}
