/** Scenario: a flood of Queries with forged sources. Memory stays flat, and legitimate set-ups beside it are quick. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { MOST_SOURCES } from "../../src/base/rate-limit.js";
import type { StatusView } from "../../src/control/status.js";
import { MOST_REMEMBERED } from "../../src/gist/routes.js";
import { DEFAULT_LIMITS } from "../../src/gist/transport/system.js";
import { type FloodSent, queryFlood } from "../attackers/query-flood.js";
import type { Daemon } from "../lib/daemon.js";
import type { Outcome } from "../lib/programs.js";
import type { Report, Step } from "../lib/report.js";
import { preloaded } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { pause, until } from "../lib/wait.js";
import { Bystander } from "./bystander.js";
import { GRANT_ALL, IPERF_PORT, iperfServer, THREE_NODE, WEB_PORT, webServer } from "./common.js";
import type { Scenario } from "./scenario.js";
import { goodput, judge, setUp, setUps } from "./set-ups.js";

const RATE = 50_000;
/** Of the rate: the generator shares the cores with all hosts. */
const OFFERED_AT_LEAST = 0.9;
/** Of the forged sources; the router has a route to them, so that it can answer. */
const FORGED_NETWORK = "10.0.0.0/8";
const FORGED_SOURCE = "10.201.202.203";

/** Of a permitted stream, of what arrives without the flood. */
const GOODPUT_KEPT = 0.95;
const STREAM_SECONDS = 6;

const SET_UP_EVERY_MS = 1000;
const SET_UP_LIMIT_MS = 1000;
/**
 * Who is not known is turned away at first, and tries again after half a second (T1 of RFC 5971), at each node that is flooded. If that
 * is lost too, a second more goes by: on a machine that is busy with other things it is missed.
 */
const STRANGER_LIMIT_MS = 1000;

const MIB = 1024 * 1024;
/** Of a source's bucket with its name, and of a route: a third more than they were seen to take (190 and 510 bytes). */
const BUCKET_BYTES = 256;
const ROUTE_BYTES = 680;
const BUCKETS = MOST_SOURCES * BUCKET_BYTES;
/** Remembered by GIST, and by its transport. */
const ROUTES = (MOST_REMEMBERED + DEFAULT_LIMITS.routes) * ROUTE_BYTES;
/** Of answers that wait to be sent, for each IP version. */
const BUFFERS = 2 * DEFAULT_LIMITS.datagramQueueBytes;
/**
 * No state is kept for a Query, so nothing stays but what has a limit of its own. Without garbage, when the flood ends, that is 17 MiB;
 * from its middle to its end 12 MiB, because the routes are all there in the middle, and the sources are not. What a collector lets lie
 * between two of its runs comes on top of it.
 */
const LEFT_ALLOWED = BUCKETS + ROUTES + BUFFERS;
const DRIFT_ALLOWED = BUCKETS + BUFFERS;
const GROWTH_ALLOWED = 160 * MIB;
const ROUTING_STATES_ALLOWED = 100;

export const flood: Scenario = {
  name: "flood",
  summary: `${RATE} Queries a second with forged sources: memory stays flat, legitimate set-ups take less than a second, data keeps its goodput`,
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

interface Plan {
  readonly attacker: string;
  /** Where the flood ends: the first node with pbsd on its way answers. */
  readonly victim: string;
  readonly seconds: number;
  /** Looked at besides. */
  readonly bystander: string;
  /** A host with pbsd that has sent nothing yet. */
  readonly stranger?: string;
}

const AT_ROUTER: Plan = {
  attacker: "sender2",
  victim: "router",
  seconds: 15,
  bystander: "receiver1",
  stranger: "receiver2",
};
const AT_RECEIVER: Plan = { attacker: "receiver2", victim: "receiver1", seconds: 9, bystander: "router" };

async function show(report: Report, testbed: Testbed): Promise<void> {
  // sender2 runs no pbsd: it is the attacker, and the way to the sources that it forges.
  const configs = {
    receiver1: { rule: [{ ...GRANT_ALL, refresh: "2s" }] },
    sender1: { rule: [GRANT_ALL] },
  };
  await testbed.start(configs, ["sender1", "receiver2"]);
  for (const name of ["router", "receiver1"])
    await testbed
      .daemon(name)
      .start({ ...preloaded("programs/collect"), COLLECTED: collectedFile(testbed, name) });
  await testbed.mustRun("router", [
    "ip",
    "route",
    "add",
    FORGED_NETWORK,
    "via",
    testbed.address("sender2", 4),
  ]);
  for (const node of ["receiver1", "sender1"]) await testbed.serve(node, webServer(), WEB_PORT);
  await testbed.serve("receiver1", iperfServer(), IPERF_PORT);
  const bystander = await Bystander.start(testbed);
  await report.step("set-ups before the flood", async (step) =>
    judge(step, await setUps(testbed, 5, 0), SET_UP_LIMIT_MS),
  );
  const plain = await goodput(testbed, STREAM_SECONDS);
  await under(report, testbed, AT_ROUTER, bystander, plain);
  // From now on it is an attacker too, on the wire of the receiver.
  await testbed.daemon("receiver2").stop();
  await testbed.daemon("receiver2").cleanup();
  await under(report, testbed, AT_RECEIVER, bystander, plain);
  await bystander.stop();
}

async function under(
  report: Report,
  testbed: Testbed,
  plan: Plan,
  bystander: Bystander,
  plain: number,
): Promise<void> {
  const refreshes = await bystander.refreshes();
  const attack = new Attack(testbed, plan);
  const where = `a flood at ${plan.victim}`;
  const streamed = goodput(testbed, STREAM_SECONDS);
  const times = await setUps(testbed, plan.seconds - 3, SET_UP_EVERY_MS);
  const during = await streamed;
  const { stranger } = plan;
  const strangers =
    stranger === undefined ? [] : [await setUp(testbed, stranger, testbed.address("sender1", 4))];
  const still = attack.running;
  await attack.end(report);
  await report.step(`set-ups of a known host during ${where}, one a second`, async (step) => {
    judge(step, times, SET_UP_LIMIT_MS, attack.lost);
    step.expect("flooded to the last", still);
  });
  if (stranger !== undefined)
    await report.step(`the first set-up of a host that nobody has heard of, during ${where}`, async (step) =>
      judge(step, strangers, STRANGER_LIMIT_MS, attack.lost),
    );
  await report.step(`a permitted stream keeps its goodput during ${where}`, async (step) => {
    step.measure("Mb/s before", plain);
    const kept = step.measure(
      "share",
      Math.round((step.measure("Mb/s during", during) / plain) * 1000) / 1000,
    );
    step.expect(`${GOODPUT_KEPT * 100} %`, kept >= GOODPUT_KEPT);
  });
  await report.step(`the permitted flow beside ${where} goes on, and is refreshed`, async (step) => {
    await bystander.check(step);
    const count = (await bystander.refreshes()) - refreshes;
    step.expect("refreshed", step.measure("refreshes during the flood", count) >= plan.seconds / 4);
  });
}

/** The flood, with what two nodes spend on it, looked at each second. */
class Attack {
  readonly #victim: Daemon;
  readonly #seconds: number;
  readonly #meters: readonly Meter[];
  readonly #before: Promise<StatusView>;
  readonly #outcome: Promise<Outcome>;
  readonly #sampled: Promise<void>;
  running = true;
  /** Of what was sent: the share that came to no rule. Known once the flood has ended. */
  lost = 1;

  constructor(testbed: Testbed, { attacker, victim, seconds, bystander }: Plan) {
    this.#victim = testbed.daemon(victim);
    this.#seconds = seconds;
    this.#meters = [victim, bystander].map(
      (name) => new Meter(testbed.daemon(name), collectedFile(testbed, name)),
    );
    this.#before = statusOf(this.#victim);
    const command = queryFlood(testbed.record.directory, {
      source: FORGED_SOURCE,
      destination: testbed.address("receiver1", 4),
      rate: RATE,
      seconds,
    });
    this.#outcome = this.#before.then(() => testbed.run(attacker, command));
    void this.#outcome.then(() => {
      this.running = false;
    });
    this.#sampled = this.#sample();
  }

  async end(report: Report): Promise<void> {
    await report.step(`what was offered to ${this.#victim.name}, and what became of it`, async (step) =>
      this.#offered(step),
    );
    await this.#sampled;
    for (const meter of this.#meters) await meter.collect();
    for (const meter of this.#meters)
      await report.step(`memory of ${meter.name} stays flat`, async (step) =>
        meter.judge(step, this.#seconds),
      );
  }

  async #offered(step: Step): Promise<void> {
    const { stdout, stderr } = await this.#outcome;
    step.expect(`the attacker ran: ${stderr}`, stdout !== "");
    const { sent, seconds } = JSON.parse(stdout) as FloodSent;
    const rate = step.measure("Queries a second", Math.round(sent / seconds));
    step.expect("the whole flood", rate >= RATE * OFFERED_AT_LEAST);
    const before = await this.#before;
    const { counters, routingStates } = await statusOf(this.#victim);
    const moved = (name: string) => (counters.firewall[name] ?? 0) - (before.counters.firewall[name] ?? 0);
    const taken = step.measure("taken to the daemon", moved("intercept.queued"));
    const dropped = step.measure("dropped by the kernel", moved("intercept.drop.rate"));
    this.lost = Math.max(0, 1 - (taken + dropped) / sent);
    step.measure("share lost before the rules", Math.round(this.lost * 10_000) / 10_000);
    step.expect("it arrived", taken + dropped >= sent * OFFERED_AT_LEAST);
    step.expect("some are answered all the time", taken >= RATE / 100);
    const states = step.measure("routing states", routingStates.responding + routingStates.querying);
    step.expect("no state for a Query alone", states <= ROUTING_STATES_ALLOWED);
  }

  async #sample(): Promise<void> {
    await this.#before;
    for (const meter of this.#meters) await meter.collect();
    for (let second = 1; second <= this.#seconds; second++) {
      await pause(1000);
      for (const meter of this.#meters) meter.look();
      if (second === Math.floor(this.#seconds / 2)) for (const meter of this.#meters) await meter.collect();
    }
  }
}

class Meter {
  readonly name: string;
  readonly #daemon: Daemon;
  readonly #start: number;
  readonly #resident: number[] = [];
  readonly #load: number[] = [];
  readonly #file: string;
  /** Bytes without garbage: before, in the middle, at the end. */
  readonly #left: number[] = [];
  #ticks: number;

  constructor(daemon: Daemon, file: string) {
    this.#file = file;
    this.name = daemon.name;
    this.#daemon = daemon;
    this.#start = daemon.residentBytes();
    this.#ticks = daemon.cpuTicks();
  }

  async collect(): Promise<void> {
    const had = linesOf(this.#file).length;
    process.kill(this.#daemon.pid, "SIGUSR2");
    const said = await until("what is left in memory", 10_000, () => linesOf(this.#file)[had]);
    this.#left.push(Number(said));
  }

  look(): void {
    this.#resident.push(this.#daemon.residentBytes());
    const ticks = this.#daemon.cpuTicks();
    // A tick is a hundredth of a second, and looks are a second apart.
    this.#load.push(ticks - this.#ticks);
    this.#ticks = ticks;
  }

  judge(step: Step, seconds: number): void {
    const [start = 0, middle = 0, end = 0] = this.#left;
    const growth = Math.max(...this.#resident) - this.#start;
    step.measure("MiB before", mebibytes(this.#start));
    step.measure("MiB each second", this.#resident.map(mebibytes).join(" "));
    step.measure("per cent of one core each second", this.#load.join(" "));
    step.expect("every second", this.#resident.length === seconds);
    step.measure("MiB grown at most", mebibytes(growth));
    step.expect("bounded", growth <= GROWTH_ALLOWED);
    step.measure(
      "MiB without garbage: before, in the middle, at the end",
      this.#left.map(mebibytes).join(" "),
    );
    step.expect("nothing is kept", end - start <= LEFT_ALLOWED);
    step.expect("flat", end - middle <= DRIFT_ALLOWED);
  }
}

function statusOf(daemon: Daemon): Promise<StatusView> {
  return daemon.client.get<StatusView>("/v1/status");
}

function collectedFile(testbed: Testbed, name: string): string {
  return join(testbed.record.directory, `collected-${name}`);
}

function linesOf(file: string): readonly string[] {
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];
}

function mebibytes(size: number): number {
  return Math.round((size / MIB) * 10) / 10;
}
