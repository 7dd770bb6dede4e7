/**
 * Scenario: a host that everybody trusts floods with valid Queries for flows that policy grants. The router has it as one
 * neighbour among others; at the receiver it stands behind the same neighbour as the honest host. Both go on serving that one.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { StatusView } from "../../src/control/status.js";
import { machineCpuSeconds } from "../../src/load/router.js";
import type { RoguePlan } from "../attackers/peer.js";
import { type Daemon, makeNodeKeys } from "../lib/daemon.js";
import type { Outcome } from "../lib/programs.js";
import type { Report, Step } from "../lib/report.js";
import { helper } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { pause } from "../lib/wait.js";
import { Bystander } from "./bystander.js";
import { eventsOf, GRANT_ALL, statusOf, THREE_NODE, WEB_PORT, webServer } from "./common.js";
import type { Scenario } from "./scenario.js";
import { judge, setUps } from "./set-ups.js";

/** Queries a second; the attacker signs each of them, on the cores that all hosts share. */
const RATE = Number(process.env["TESTBED_RATE"] ?? 1500);
const SECONDS = 15;
/** Its associations and first sessions take a moment. */
const HEAD_START_MS = 3000;
const SET_UPS = 8;
const SET_UP_LIMIT_MS = 1000;
const IDLE_SET_UP_MS = 60;
/** Of a core: what else runs on this machine. With more, one set-up tells of that. */
const OTHERS_ALLOWED = 0.4;
const MIB = 1024 * 1024;
const GROWTH_ALLOWED = 100 * MIB;

export const insider: Scenario = {
  name: "insider",
  summary: `${RATE} valid Queries a second of a trusted host: set-ups and refreshes of others beside it go on`,
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

interface Sent {
  readonly sent: number;
  readonly opened: number;
  readonly undelivered: number;
  readonly seconds: number;
  readonly cpu: number;
  readonly answers: Readonly<Record<string, number>>;
}

async function show(report: Report, testbed: Testbed): Promise<void> {
  // sender2 has no pbsd, but an attacker's GIST node and a certificate of the right authority.
  const rule = [
    { ...GRANT_ALL, name: "others", from: testbed.address("sender1", 4), refresh: "2s" },
    { ...GRANT_ALL, name: "insider", refresh: "10s" },
  ];
  await testbed.start({ receiver1: { rule }, sender1: { rule } }, ["sender1", "router", "receiver1"]);
  await testbed.serve("receiver1", webServer(), WEB_PORT);
  const victims = ["router", "receiver1"].map((name) => testbed.daemon(name));
  const bystander = await Bystander.start(testbed);
  const plain = await setUps(testbed, 5, 0);
  await report.step("set-ups before the flood", async (step) => judge(step, plain, SET_UP_LIMIT_MS));
  const before = await Promise.all(victims.map(statusOf));
  const memory = victims.map((daemon) => daemon.residentBytes());
  const refreshes = await bystander.refreshes();
  const command = helper("attackers/insider", makePlan(testbed), String(RATE), String(SECONDS));
  const others = new Others(testbed);
  const outcome = testbed.run("sender2", command);
  await pause(HEAD_START_MS);
  const times = await setUps(testbed, SET_UPS, 1000);
  const ended = await outcome;
  const cores = others.cores(ended);
  // A machine that has no time for us; the median is judged all the same.
  const idle = Math.min(...plain) < IDLE_SET_UP_MS && cores <= OTHERS_ALLOWED;
  const after = await Promise.all(victims.map(statusOf));
  await report.step("what the trusted host sent, and what it was told", async (step) => offered(step, ended));
  for (const [i, { name }] of victims.entries())
    await report.step(`what ${name} did with it`, async (step) => done(step, before[i], after[i]));
  await report.step("set-ups of another host during the flood, one a second", async (step) => {
    step.measure("cores that other programs of this machine took", Math.round(cores * 100) / 100);
    judge(step, times, SET_UP_LIMIT_MS, idle ? 0 : 1);
  });
  await report.step("the permitted flow beside it goes on, and is refreshed", async (step) => {
    await bystander.check(step);
    const count = (await bystander.refreshes()) - refreshes;
    step.expect("refreshed", step.measure("refreshes during the flood", count) >= SECONDS / 4);
    const events = (await eventsOf(testbed.daemon("sender1"))).filter(({ flow }) => flow?.endsWith(":9000"));
    step.measure("its events at the sender", events.map(({ type }) => type).join(" "));
    step.expect("never lost", !events.some(({ type }) => /refused|expired|revoked|path/.test(type)));
  });
  await report.step("memory is bounded", async (step) => {
    for (const [i, daemon] of victims.entries()) {
      const grown = Math.round((daemon.residentBytes() - (memory[i] ?? 0)) / MIB);
      step.expect(daemon.name, step.measure(`MiB grown at ${daemon.name}`, grown) * MIB <= GROWTH_ALLOWED);
    }
  });
  await bystander.stop();
}

/** What takes processor time beside the testbed; its own small programs count among that. */
class Others {
  readonly #daemons: readonly Daemon[];
  readonly #began = performance.now();
  readonly #at: number;

  constructor(testbed: Testbed) {
    this.#daemons = ["sender1", "router", "receiver1"].map((name) => testbed.daemon(name));
    this.#at = this.#beside();
  }

  /** Until now, without the attacker, who has ended. */
  cores({ status, stdout }: Outcome): number {
    const attacker = status === 0 ? (JSON.parse(stdout) as Sent).cpu : 0;
    const passed = (performance.now() - this.#began) / 1000;
    return Math.max(0, this.#beside() - this.#at - attacker) / passed;
  }

  #beside(): number {
    const { user, system } = process.cpuUsage();
    const daemons = this.#daemons.reduce((sum, daemon) => sum + daemon.cpuTicks() / 100, 0);
    return machineCpuSeconds() - daemons - (user + system) / 1e6;
  }
}

function offered(step: Step, { status, stdout, stderr }: Outcome): void {
  step.expect(`the attacker ran: ${stderr}`, status === 0);
  const { sent, opened, undelivered, seconds, answers } = JSON.parse(stdout) as Sent;
  step.measure("valid Queries a second", Math.round(sent / seconds));
  step.measure("sessions opened", opened);
  step.measure("not delivered", undelivered);
  step.measure("answers", JSON.stringify(answers));
  step.expect("most of the flood got to the router", undelivered < sent / 2);
}

function done(step: Step, before: StatusView | undefined, after: StatusView | undefined): void {
  const was = before?.counters.pbs ?? {};
  const is = after?.counters.pbs ?? {};
  const moved = Object.keys(is).filter((name) =>
    /^(query|busy|rejected|limited|ticket|refused)\./.test(name),
  );
  for (const name of moved) {
    const count = (is[name] ?? 0) - (was[name] ?? 0);
    if (count > 0) step.measure(name, count);
  }
  step.measure("load at the end", JSON.stringify(after?.admission));
  step.expect("it runs", after !== undefined && after.pid === before?.pid);
}

function makePlan(testbed: Testbed): string {
  const directory = join(testbed.record.directory, "insider");
  const address = testbed.address("sender2", 4);
  const keys = { authority: testbed.authority, prefix: join(directory, "own"), name: "insider" };
  const plan: RoguePlan = {
    tlsPort: 5270,
    own: makeNodeKeys({ ...keys, addresses: [address] }),
    others: {},
    address,
    victim: testbed.address("receiver1", 4),
    spoofed: address,
  };
  const file = join(directory, "plan.json");
  writeFileSync(file, JSON.stringify(plan));
  return file;
}
