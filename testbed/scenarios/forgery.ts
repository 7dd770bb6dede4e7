/** Scenario 11: what a router in between makes of a flow with AH does not get past the next one that checks. */
import type { StatusView } from "../../src/control/status.js";
import type { AuthenticationFailures } from "../../src/traffic/datapath.js";
import type { Program } from "../lib/programs.js";
import type { Report, Step } from "../lib/report.js";
import { pythonHelper } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { pause, until } from "../lib/wait.js";
import { CHAIN, flowMatching, GRANT_ALL, numbersOf, statusOf, udpListener, udpSender } from "./common.js";
import type { Scenario } from "./scenario.js";

const PORT = 9000;
const STREAM = { from: 4000, port: PORT, count: 0, size: 100, rate: 300 };
const ATTACK_LIMIT_MS = 20_000;
/** For packets that were sent to be counted or to arrive. */
const SETTLE_LIMIT_MS = 3000;
/** The old association's time and a little more. */
const OVERLAP_MS = 2300;
/** Of the honest flow, on a machine that does other things too. */
const LOSS_ALLOWED = 0;

type Reason = keyof AuthenticationFailures;

interface Attack {
  readonly name: string;
  readonly what: string;
  /** Why the flow's check refuses each of them; undefined where it is various, or not this check. */
  readonly reason?: Reason;
  /** Datagrams that the attacker keeps for itself. */
  readonly lost?: number;
}

const ATTACKS: readonly Attack[] = [
  { name: "forged", what: "packets with the right SPI and another key", reason: "badIcv" },
  { name: "wrong-spi", what: "packets with a wrong SPI", reason: "unknownSpi" },
  { name: "altered", what: "each byte of header and payload changed in turn, three ways" },
  { name: "immutable", what: "a changed IP header" },
  { name: "no-ah", what: "packets without AH", reason: "missing" },
  { name: "truncated", what: "packets cut after each byte" },
  { name: "ah-length", what: "every wrong length of AH" },
  { name: "replayed", what: "packets of before, again", reason: "replayed" },
  { name: "duplicated", what: "packets twice", reason: "replayed" },
  { name: "fragmented", what: "packets in fragments" },
  { name: "mutable", what: "packets with other IP fields that routers may change: all arrive" },
  { name: "reordered", what: "packets in reverse order: all arrive" },
  { name: "late", what: "a packet that is out of the window", reason: "replayed", lost: 1 },
];
/** Packets that the attacker keeps until their association is no longer good. */
const WITHHELD = 10;

export const forgery: Scenario = {
  name: "forgery",
  summary:
    "a router in between forges, alters, replays, cuts and re-orders packets: what is not right reaches nobody",
  run: async (report) => {
    await withTestbed(CHAIN, (testbed) => attacked(report, testbed, 4, "hmac"));
    await withTestbed(CHAIN, (testbed) => attacked(report, testbed, 6, "hmac"));
    await withTestbed(CHAIN, (testbed) => attacked(report, testbed, 4, "public-key"));
  },
};

type Level = "hmac" | "public-key";

async function attacked(report: Report, testbed: Testbed, family: 4 | 6, level: Level): Promise<void> {
  const rule = [{ ...GRANT_ALL, authentication: level }];
  const title = `${level}, IPv${family}`;
  // Fragments are to be refused as such, not once they are put together.
  await testbed.start({ receiver: { rule }, last: { packets: { reassemble: false } } });
  const flow = await Victim.start(testbed, family);
  for (const attack of ATTACKS)
    await report.step(`${title}: ${attack.what}`, (step) => one(step, flow, attack));
  await report.step(`${title}: packets of the association before, after its time`, (step) =>
    outdated(step, flow, level),
  );
  await report.step(`${title}: the receiver had nothing left to refuse`, async (step) => {
    const { failures } = await flow.at("receiver");
    step.expect(
      "no failures",
      step.measure(
        "failures at the receiver",
        total(Object.values(failures as Readonly<Record<Reason, number>>)),
      ) === 0,
    );
  });
  await flow.stop();
}

async function one(step: Step, flow: Victim, { name, reason, lost = 0 }: Attack): Promise<void> {
  const before = await flow.refusals();
  const sent = step.measure("sent", await flow.attack(name));
  const refused = await flow.refusedSince(before, sent);
  step.measure("refused", describe(refused.reasons));
  step.expect("each is counted", step.measure("refused in all", refused.count) === sent);
  if (reason !== undefined) step.expect(`as ${reason}`, refused.failures[reason] === sent);
  await flow.check(step, lost);
}

async function outdated(step: Step, flow: Victim, level: Level): Promise<void> {
  await flow.attack("withhold");
  const { spi } = await flow.at("last");
  for (const other of [level === "hmac" ? "public-key" : "hmac", level]) await flow.authenticate(step, other);
  await until("another association", SETTLE_LIMIT_MS, async () => (await flow.at("last")).spi !== spi);
  await pause(OVERLAP_MS);
  await one(step, flow, { name: "release", what: "", reason: "unknownSpi", lost: WITHHELD });
}

function total(counts: Iterable<number>): number {
  return [...counts].reduce((sum, count) => sum + count, 0);
}

function describe(reasons: ReadonlyMap<string, number>): string {
  return [...reasons].map(([reason, count]) => `${reason} ${count}`).join(", ");
}

interface Refusals {
  readonly reasons: ReadonlyMap<string, number>;
  readonly failures: AuthenticationFailures;
}

/** A slow flow of numbered datagrams, with an attacker at the router in the middle. */
class Victim {
  readonly #testbed: Testbed;
  readonly #pattern: RegExp;
  readonly #sender: Program;
  readonly #listener: Program;
  readonly #attacker: Program;
  #checked = 0;
  #answers = 0;

  private constructor(
    testbed: Testbed,
    programs: { sender: Program; listener: Program; attacker: Program },
    pattern: RegExp,
  ) {
    this.#testbed = testbed;
    this.#pattern = pattern;
    this.#sender = programs.sender;
    this.#listener = programs.listener;
    this.#attacker = programs.attacker;
  }

  static async start(testbed: Testbed, family: 4 | 6): Promise<Victim> {
    const listener = testbed.spawn("receiver", udpListener(PORT));
    await listener.says("listening");
    const to = testbed.address("receiver", family);
    const sender = testbed.spawn("sender", udpSender({ ...STREAM, to }));
    await listener.says("\n10\n");
    const tables = family === 4 ? "iptables" : "ip6tables";
    const flow = family === 4 ? ["-p", "ah"] : ["-m", "ah"];
    await testbed.mustRun("middle", [tables, "-A", "FORWARD", "-d", to, ...flow, "-j", "DROP"]);
    const attacker = testbed.spawn("middle", pythonHelper("attackers/ah.py", await plan(testbed, family)));
    await attacker.says("ready");
    const pattern = family === 4 ? /^udp 192\.168\.20\.1:4000 / : /^udp \[?fd20::1\]?:4000 /;
    const victim = new Victim(testbed, { sender, listener, attacker }, pattern);
    await victim.#arrives();
    victim.#checked = numbersOf(listener).length;
    return victim;
  }

  /** Resolves with the number of packets that were sent and may not arrive. */
  async attack(name: string): Promise<number> {
    this.#attacker.tell(name);
    const wanted = ++this.#answers;
    const line = await until(`the attack "${name}"`, ATTACK_LIMIT_MS, () => {
      if (!this.#attacker.running) throw new Error(`the attacker ended: ${this.#attacker.stderr}`);
      return this.#attacker.stdout.split("\n").slice(0, -1)[wanted];
    });
    return (JSON.parse(line) as { sent: number }).sent;
  }

  async at(node: string): Promise<{ spi: number; failures: AuthenticationFailures }> {
    const { authentication: proof } = await flowMatching(this.#testbed.daemon(node), this.#pattern);
    if (proof === null) throw new Error(`the flow has no AH at ${node}`);
    return proof;
  }

  async authenticate(step: Step, level: string): Promise<void> {
    const receiver = this.#testbed.daemon("receiver");
    const { id } = await flowMatching(receiver, this.#pattern);
    const { status, stderr } = await receiver.ctl("authenticate", id, level);
    step.expect(`pbsctl authenticate ${level}: ${stderr}`, status === 0);
  }

  /** Everything that the router behind the attacker has refused until now. */
  async refusals(): Promise<Refusals> {
    const last = this.#testbed.daemon("last");
    const { failures } = await this.at("last");
    return { reasons: drops(await statusOf(last)), failures };
  }

  /** What it has refused since then, as soon as it is as many as were sent, or after a while. */
  async refusedSince(before: Refusals, sent: number): Promise<Refusals & { readonly count: number }> {
    const look = async (): Promise<Refusals & { count: number }> => {
      const now = await this.refusals();
      const reasons = [...now.reasons]
        .map(([reason, count]) => [reason, count - (before.reasons.get(reason) ?? 0)] as const)
        .filter(([, count]) => count > 0);
      const failures = { ...now.failures };
      for (const reason of Object.keys(failures) as Reason[]) failures[reason] -= before.failures[reason];
      return { reasons: new Map(reasons), failures, count: total(reasons.map(([, count]) => count)) };
    };
    await until("all to be refused", SETTLE_LIMIT_MS, async () => (await look()).count >= sent).catch(
      () => undefined,
    );
    return look();
  }

  /** Each datagram that was sent since the last look has come once and unaltered, but for `lost` of them. */
  async check(step: Step, lost: number): Promise<void> {
    await this.#arrives();
    const numbers = numbersOf(this.#listener);
    const recent = numbers.slice(this.#checked);
    this.#checked = numbers.length;
    const sorted = recent.toSorted((a, b) => a - b);
    const missing = (sorted.at(-1) ?? 0) - (sorted[0] ?? 0) + 1 - new Set(sorted).size;
    step.measure("datagrams of the flow", recent.length);
    step.expect("none comes twice", new Set(recent).size === recent.length);
    step.expect("none is altered", !this.#listener.stdout.includes("altered"));
    step.expect("none is lost", step.measure("missing", missing) <= lost + LOSS_ALLOWED);
  }

  async stop(): Promise<void> {
    await this.#sender.stop();
    await this.#attacker.stop();
    await this.#listener.stop();
  }

  /** The flow goes on. */
  async #arrives(): Promise<void> {
    const before = numbersOf(this.#listener).length;
    await until("the flow to go on", SETTLE_LIMIT_MS, () => numbersOf(this.#listener).length > before + 30);
  }
}

/** Drops by reason, of the engine and of the rules in front of it. */
function drops({ datapath, counters }: StatusView): Map<string, number> {
  const all = { ...datapath.counters, ...counters.firewall };
  return new Map(Object.entries(all).filter(([name]) => /^(forward\.)?drop\./.test(name)));
}

async function plan(testbed: Testbed, family: 4 | 6): Promise<string> {
  const mac = async (node: string, wire: string): Promise<string> =>
    (await testbed.mustRun(node, ["cat", `/sys/class/net/${wire}/address`])).trim();
  return JSON.stringify({
    family,
    in: "near",
    out: "far",
    source: testbed.address("sender", family),
    destination: testbed.address("receiver", family),
    port: PORT,
    mac: await mac("middle", "far"),
    next: await mac("last", "far"),
  });
}
