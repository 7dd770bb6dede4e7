/** Scenario 8: bad input of every kind is counted, answered or dropped, and the flow beside it is not disturbed. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { issueCertificate } from "../../src/authorization/keys.js";
import type { StatusView } from "../../src/control/status.js";
import type { RoguePlan } from "../attackers/peer.js";
import { type Daemon, makeNodeKeys, makeTestAuthority } from "../lib/daemon.js";
import type { Program } from "../lib/programs.js";
import type { Report, Step } from "../lib/report.js";
import { helper } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { settled, until } from "../lib/wait.js";
import { Bystander } from "./bystander.js";
import { flowsOf, GRANT_ALL, statusOf, THREE_NODE, udpSender } from "./common.js";
import type { Scenario } from "./scenario.js";

const FLOOD = 100_000;
const MEMORY_ALLOWED = 150 * 1024 * 1024;
/** Of many that differ in numbers only. */
const ANSWERS_SHOWN = 4;
const DAY_MS = 24 * 60 * 60 * 1000;

const DATAGRAM_ATTACKS = [
  { kind: "random", count: 5000, what: "random datagrams" },
  { kind: "magic", count: 5000, what: "the magic number and random bytes" },
  { kind: "truncated", count: 0, what: "GIST messages of every type, cut after each byte" },
  { kind: "mutated", count: 0, what: "GIST messages of every type, each byte changed in turn" },
] as const;

/** By name of the rogue's attack; whether a flow of it may be permitted. */
const PBS_ATTACKS = [
  { name: "honest", port: 7001, permitted: true, what: "a Query as it should be is granted" },
  { name: "altered-signature", port: 7002, permitted: false, what: "an altered signature" },
  { name: "altered-volume", port: 7003, permitted: false, what: "a volume changed after signing" },
  { name: "flow-unlike-mri", port: 7004, permitted: false, what: "a signed flow unlike the MRI" },
  { name: "replayed-query", port: 7005, permitted: true, what: "a Query played again in its session" },
  { name: "replayed-in-new-session", port: 7006, permitted: true, what: "a Query played into a new session" },
  {
    name: "replayed-permission",
    port: 7007,
    permitted: true,
    what: "a Permission played back along the path",
  },
  { name: "other-address", port: 7008, permitted: false, what: "a certificate without the flow's address" },
  { name: "other-authority", port: 7009, permitted: false, what: "a certificate of another authority" },
  { name: "expired", port: 7010, permitted: false, what: "an expired certificate" },
  { name: "not-yet-valid", port: 7011, permitted: false, what: "a certificate that is not valid yet" },
  { name: "each-byte-changed", port: 7012, permitted: false, what: "each byte of a Query changed in turn" },
  { name: "truncated", port: 7013, permitted: false, what: "a Query cut after each word" },
  { name: "random-payload", port: 7014, permitted: false, what: "random PBS messages" },
  {
    name: "forged-reports",
    port: 7015,
    permitted: true,
    what: "a Query with sixteen forged reports of routers",
  },
] as const;

/** The same of a receiver that answers. */
const FORGED_PERMISSIONS = [
  { name: "honest", what: "a Permission as it should be is taken" },
  { name: "altered-signature", what: "a Permission with an altered signature" },
  { name: "altered-volume", what: "a Permission whose volume was changed after signing" },
  { name: "other-flow", what: "a Permission for another flow" },
  { name: "other-address", what: "a Permission whose certificate lacks the flow's destination" },
  { name: "other-authority", what: "a Permission signed under another authority" },
  { name: "expired", what: "a Permission with an expired certificate" },
  { name: "each-byte-changed", what: "a Permission with each byte changed in turn" },
] as const;
const FORGED_PORT = 7100;
const QUEUE = 2700;

export const hostile: Scenario = {
  name: "hostile",
  summary:
    "malformed, forged and replayed messages and floods are refused; the permitted flow beside them goes on",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const plan = makePlan(testbed, "sender2", "sender1");
  // sender2 has no pbsd: its own kernel stops nothing that it sends.
  const rule = [
    { ...GRANT_ALL, name: "bystander", from: testbed.address("sender1", 4), refresh: "1s" },
    { ...GRANT_ALL, name: "rogue" },
  ];
  await testbed.start({ receiver1: { rule } }, ["sender1", "router", "receiver1"]);
  const bystander = await Bystander.start(testbed);
  const victims = ["router", "receiver1"].map((name) => testbed.daemon(name));
  const memory = new Map(victims.map((daemon) => [daemon.name, daemon.residentBytes()]));

  for (const { kind, count, what } of DATAGRAM_ATTACKS)
    for (const victim of victims)
      await report.step(`${what}, at ${victim.name}`, (step) =>
        attackWithDatagrams(step, testbed, kind, count, victim, bystander),
      );
  for (const attack of PBS_ATTACKS)
    await report.step(attack.what, (step) => attackWithPbs(step, testbed, plan, attack, bystander));
  await forgedPermissions(report, testbed, bystander);
  await report.step(`${FLOOD} Queries from one source`, async (step) => {
    const router = testbed.daemon("router");
    const refreshes = await bystander.refreshes();
    await attackWithDatagrams(step, testbed, "flood", FLOOD, testbed.daemon("receiver1"), bystander);
    await until(
      "a refresh of the flow beside it",
      5000,
      async () => (await bystander.refreshes()) > refreshes,
    );
    const { routingStates } = await statusOf(router);
    step.expect("no state for a Query alone", step.measure("routing states", routingStates.responding) < 100);
  });
  await report.step("memory is bounded", async (step) => {
    for (const daemon of victims) {
      const grown = daemon.residentBytes() - (memory.get(daemon.name) ?? 0);
      step.expect(daemon.name, step.measure(`bytes grown at ${daemon.name}`, grown) < MEMORY_ALLOWED);
    }
  });
  await bystander.stop();
}

async function attackWithDatagrams(
  step: Step,
  testbed: Testbed,
  kind: string,
  count: number,
  victim: Daemon,
  bystander: Bystander,
): Promise<void> {
  const target = testbed.address(victim.name, 4);
  const from = testbed.address("sender2", 4);
  // What is meant for the receiver has to come past the router, so both see it.
  const router = testbed.daemon("router");
  const before = await statusOf(router);
  const command = helper(
    "attackers/datagrams",
    kind,
    target,
    from,
    testbed.address("receiver1", 4),
    String(count),
  );
  const { status, stdout, stderr } = await testbed.run("sender2", command);
  step.expect(`attacker ran: ${stderr}`, status === 0);
  step.measure("sent", (JSON.parse(stdout) as { sent: number }).sent);
  const after = await statusOf(router);
  step.measure("router's counters that moved", moved(before, after).join(", "));
  for (const daemon of [router, testbed.daemon("receiver1")])
    step.expect(`${daemon.name} runs`, daemon.running && (await statusOf(daemon)).pid === daemon.pid);
  await bystander.check(step);
}

async function attackWithPbs(
  step: Step,
  testbed: Testbed,
  planFile: string,
  attack: (typeof PBS_ATTACKS)[number],
  bystander: Bystander,
): Promise<void> {
  const router = testbed.daemon("router");
  const receiver = testbed.daemon("receiver1");
  const refusedBefore = await settled("the counters to stand still", 10_000, 200, async () =>
    rejections(await statusOf(router)),
  );
  const { status, stdout, stderr } = await testbed.run(
    "sender2",
    helper("attackers/rogue", planFile, attack.name),
  );
  step.expect(`the rogue ran: ${stderr}`, status === 0);
  const { sent, refused, answers } = JSON.parse(stdout) as {
    sent: number;
    refused: number;
    answers: string[];
  };
  step.measure("sent", sent);
  step.expect("all of them", refused === 0);
  step.measure("kinds of answers", answers.length);
  step.measure("answers", answers.slice(0, ANSWERS_SHOWN).join(" / "));
  const refusals = rejections(await statusOf(router)) - refusedBefore;
  step.measure("counted as refused by the router", refusals);
  const isOnlyGood = attack.name === "honest";
  // A Query that is played again is counted once more than the first, which was good.
  step.expect("counted", isOnlyGood ? refusals === 0 : refusals >= sent - (attack.permitted ? 1 : 0));
  for (const daemon of [router, receiver]) {
    const view = (await flowsOf(daemon)).find(({ flow }) => flow.includes(`:${attack.port} >`));
    step.expect(
      `${daemon.name} permits only what is right`,
      (view?.allowedVolume ?? 0) > 0 === attack.permitted,
    );
    step.expect(`${daemon.name} runs`, daemon.running);
  }
  await bystander.check(step);
}

/** receiver2 has no pbsd but an attacker, who gets the Query-mode packets that are meant for it. */
async function forgedPermissions(report: Report, testbed: Testbed, bystander: Bystander): Promise<void> {
  const plan = makePlan(testbed, "receiver2", "receiver1");
  const take = ["-t", "mangle", "-A", "PREROUTING", "-p", "udp", "--dport", "270"];
  await testbed.mustRun("receiver2", ["iptables", ...take, "-j", "NFQUEUE", "--queue-num", String(QUEUE)]);
  for (const [i, { name, what }] of FORGED_PERMISSIONS.entries())
    await report.step(what, async (step) => {
      const rogue = testbed.spawn("receiver2", helper("attackers/rogue-receiver", plan, name, String(QUEUE)));
      await rogue.says("listening");
      await forgedPermission(step, testbed, rogue, FORGED_PORT + i, name === "honest");
      await rogue.stop();
      await bystander.check(step);
    });
}

async function forgedPermission(
  step: Step,
  testbed: Testbed,
  rogue: Program,
  port: number,
  honest: boolean,
): Promise<void> {
  const router = testbed.daemon("router");
  const before = await statusOf(router);
  const to = testbed.address("receiver2", 4);
  await testbed.run("sender1", udpSender({ from: port, to, port, count: 1, size: 100, rate: 10 }));
  await rogue.says('"sent"');
  const sent = step.measure("sent", Number(/"sent":(\d+)/.exec(rogue.stdout)?.[1]));
  const refused = await until("the router to have judged them", 5000, async () => {
    const count = rejections(await statusOf(router)) - rejections(before);
    return honest || count >= sent ? { count } : undefined;
  });
  step.measure("counted as refused by the router", refused.count);
  for (const name of ["sender1", "router"]) {
    const permitted = async () =>
      (await flowsOf(testbed.daemon(name))).some(
        ({ flow, allowedVolume }) => flow.includes(`:${port} >`) && allowedVolume > 0,
      );
    if (honest) await until(`${name} to permit it`, 5000, permitted);
    else step.expect(`${name} permits nothing`, !(await permitted()));
  }
}

/** Refusals, drops and what GIST did not take, whatever their reason. */
function rejections({ counters }: StatusView): number {
  return Object.entries({ ...counters.pbs, ...counters.gist })
    .filter(([name]) => /reject|drop|invalid|refus|malformed|replay|limited/.test(name))
    .reduce((sum, [, count]) => sum + count, 0);
}

function moved(before: StatusView, after: StatusView): string[] {
  const old = flat(before);
  return Object.entries(flat(after))
    .filter(([name, count]) => count > (old[name] ?? 0) && /gist|reject|drop|intercept|rate/.test(name))
    .map(([name, count]) => `${name} +${count - (old[name] ?? 0)}`);
}

function flat({ counters }: StatusView): Record<string, number> {
  const named = Object.entries(counters).flatMap(([part, values]) =>
    Object.entries(values).map(([name, count]) => [`${part}.${name}`, count] as const),
  );
  return Object.fromEntries(named);
}

/** Identities for a rogue at `node`, and the file that tells it of them. It claims the address of `spoofed`. */
function makePlan(testbed: Testbed, node: string, spoofed: string): string {
  const directory = join(testbed.record.directory, `rogue-${node}`);
  const address = testbed.address(node, 4);
  const foreign = makeTestAuthority(join(directory, "foreign"), "another authority");
  const identity = (name: string, authority: string, addresses = [address]) =>
    makeNodeKeys({ authority, prefix: join(directory, name), name, addresses });
  const own = identity("rogue", testbed.authority);
  const dated = (name: string, now: number) => {
    const keys = identity(name, testbed.authority);
    issueCertificate({
      authorityDirectory: testbed.authority,
      csrFile: join(directory, `${name}.csr`),
      outFile: keys.certificate,
      days: 1,
      now,
      force: true,
    });
    return keys;
  };
  const plan: RoguePlan = {
    tlsPort: 5270,
    own,
    others: {
      "other-address": identity("other-address", testbed.authority, [testbed.address(spoofed, 4)]),
      "other-authority": identity("other-authority", foreign),
      expired: dated("expired", Date.now() - 10 * DAY_MS),
      "not-yet-valid": dated("not-yet-valid", Date.now() + 10 * DAY_MS),
    },
    address,
    victim: testbed.address("receiver1", 4),
    spoofed: testbed.address(spoofed, 4),
  };
  const file = join(directory, "plan.json");
  writeFileSync(file, JSON.stringify(plan));
  return file;
}
