/**
 * Scenario: a daemon dies, or hangs, and comes back. Meanwhile nothing passes but what XDP programs of a router have the
 * permission for, and applications notice a stall at most.
 */
import type { StatusView } from "../../src/control/status.js";
import type { Program } from "../lib/programs.js";
import type { Report } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { settled, until } from "../lib/wait.js";
import {
  curl,
  GRANT_ALL,
  statusOf,
  THREE_NODE,
  udpListener,
  wallClock,
  WEB_PORT,
  webServer,
} from "./common.js";
import type { Scenario } from "./scenario.js";
import { STREAM_PORT, Transfers } from "./stream.js";

const REFRESH_MS = 2000;
const HOLD_MS = 2000;
const DOWN_MS = 1000;
const FILE_SECONDS = 12;
/** TCP tries again ever more rarely: its last pause is as long as the outage was, at the most. */
const TCP_BACK_OFF = 2;
const SLACK_MS = 1000;
/** A daemon that hangs was heard just before, at the latest; then comes its hold time, and a look every 20 ms. */
const DEAD_WITHIN_MS = HOLD_MS + 500;
const SET_UP_LIMIT_MS = 2000;

export const crash: Scenario = {
  name: "crash",
  summary:
    "the router's and the receiver's pbsd die by SIGKILL, or hang: what XDP judges goes on, all else stops until it is back",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const common = {
    signalling: { association_hold: `${HOLD_MS}ms`, routing_state_validity: "3s" },
    return: { refresh: `${REFRESH_MS}ms` },
  };
  const rule = [{ ...GRANT_ALL, refresh: `${REFRESH_MS}ms` }];
  await testbed.start({ sender1: common, router: common, receiver1: { ...common, rule } }, [
    "sender1",
    "router",
    "receiver1",
  ]);
  await testbed.serve("receiver1", webServer(), WEB_PORT);
  const listener = testbed.spawn("receiver1", udpListener(STREAM_PORT));
  await listener.says("listening");
  const wire = await testbed.captureTowards("receiver1");
  const ends = { sender: "sender1", receiver: "receiver1" };
  const transfers = await Transfers.start(testbed, ends, wire, FILE_SECONDS);

  await routerDies(report, testbed, transfers);
  await receiverDies(report, testbed, listener);
  await report.step("the application has noticed a stall, and no error", (step) => transfers.end(step));
  await listener.stop();
  await wire.stop();
  await routerDiesIdle(report, testbed);
  await routerHangs(report, testbed);
}

async function routerDies(report: Report, testbed: Testbed, transfers: Transfers): Promise<void> {
  const router = testbed.daemon("router");
  const byXdp = (await statusOf(router)).datapath.engine === "xdp";
  let killed = 0;
  const meanwhile = byXdp ? "XDP goes on with what is permitted" : "they stop";
  await report.step(`the router's pbsd dies while two transfers run: ${meanwhile}`, async (step) => {
    await router.kill();
    killed = wallClock();
    await until("a while without a daemon", DOWN_MS * 2, () => wallClock() - killed > DOWN_MS);
    const passed = step.measure("packets while it was dead", transfers.since(killed).length);
    step.expect(meanwhile, byXdp ? passed > 0 : passed === 0);
  });
  await report.step("it returns: both go on", async (step) => {
    await router.start();
    const ready = wallClock();
    step.measure("milliseconds without a router", Math.round(ready - killed));
    const back = await transfers.resume(step, killed, killed + DOWN_MS, (ready - killed + REFRESH_MS) * 3);
    step.expect("the stream within one refresh", back.stream - ready <= REFRESH_MS + SLACK_MS);
    const patience = (back.stream - killed) * TCP_BACK_OFF + SLACK_MS;
    step.expect("the file when TCP tries again", back.file - killed <= patience);
  });
}

/** What counts is what the application gets: the wire is before the receiver's own rules. */
async function receiverDies(report: Report, testbed: Testbed, listener: Program): Promise<void> {
  const receiver = testbed.daemon("receiver1");
  const heard = () => listener.stdout.length;
  await report.step("the receiver's pbsd dies: nothing reaches the application", async (step) => {
    await receiver.kill();
    const killed = wallClock();
    const before = await settled("what was on its way", DOWN_MS, 100, heard);
    await until("a while without a daemon", DOWN_MS * 2, () => wallClock() - killed > DOWN_MS);
    step.expect(
      "silence",
      step.measure("bytes from the application while it was dead", heard() - before) === 0,
    );
  });
  await report.step("it returns: the stream goes on", async (step) => {
    const before = heard();
    const started = wallClock();
    await receiver.start();
    const ready = wallClock();
    await until("the stream at the application", (REFRESH_MS + SLACK_MS) * 2, () => heard() > before);
    step.measure("milliseconds from start to ready", Math.round(ready - started));
    const took = step.measure("milliseconds from ready to the stream", Math.round(wallClock() - ready));
    step.expect("within one refresh", took <= REFRESH_MS + SLACK_MS);
  });
}

async function routerDiesIdle(report: Report, testbed: Testbed): Promise<void> {
  await report.step(
    "the router's pbsd dies and returns while nothing runs: the next flow is set up",
    async (step) => {
      await testbed.daemon("router").kill();
      await testbed.daemon("router").start();
      const took = step.measure("milliseconds of a new transfer", await transfer(testbed));
      step.expect("quick", took < SET_UP_LIMIT_MS);
    },
  );
}

async function routerHangs(report: Report, testbed: Testbed): Promise<void> {
  const { pid } = testbed.daemon("router");
  await report.step(
    `the router's pbsd hangs: it is given up within its hold time of ${HOLD_MS} ms`,
    async (step) => {
      step.expect("an association before", (await associations(testbed, "sender1")) > 0);
      process.kill(pid, "SIGSTOP");
      const hung = performance.now();
      const gone = async () => (await associations(testbed, "sender1")) === 0;
      await until("sender1 to give the association up", DEAD_WITHIN_MS * 3, gone).finally(() => {
        step.measure("milliseconds until it was given up", Math.round(performance.now() - hung));
        process.kill(pid, "SIGCONT");
      });
      step.expect(
        "within the hold time",
        Number(step.measured["milliseconds until it was given up"]) <= DEAD_WITHIN_MS,
      );
      step.expect("not at once, as if it had been closed", performance.now() - hung > HOLD_MS / 4);
    },
  );
  await report.step("it goes on: the next flow is set up", async (step) => {
    const took = step.measure("milliseconds of a new transfer", await transfer(testbed));
    step.expect("quick", took < SET_UP_LIMIT_MS);
  });
}

/** Milliseconds of a small transfer that is a flow of its own; Infinity when it fails. */
async function transfer(testbed: Testbed): Promise<number> {
  const { status, stdout } = await testbed.run("sender1", curl(testbed.address("receiver1", 4), "/1000"));
  const [code, , , seconds] = stdout.split(" ");
  return status === 0 && code === "200" ? Math.round(Number(seconds) * 1000) : Number.POSITIVE_INFINITY;
}

async function associations(testbed: Testbed, node: string): Promise<number> {
  return (await testbed.daemon(node).client.get<StatusView>("/v1/status")).associations;
}
