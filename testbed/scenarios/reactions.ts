/**
 * What follows a finding is policy: only what would be done, only an event, a revocation, or a block with an end. The router
 * reports half of what it counts: that alone raises nothing, and what happens is placed beside it.
 */
import { BLOCKED_SET } from "../../src/traffic/firewall-rules.js";
import { Injector } from "../attackers/injector.js";
import type { Report, Step } from "../lib/report.js";
import { preloaded } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { pause, until } from "../lib/wait.js";
import { eventAfter, type Ports, showEvent, Stream } from "./attack.js";
import { flowMatching, GRANT_ALL, THREE_NODE, wallClock } from "./common.js";
import type { Scenario } from "./scenario.js";

const DRY: Ports = { source: 4001, port: 9001 };
const REVOKED: Ports = { source: 4002, port: 9002 };
const ALARM: Ports = { source: 4003, port: 9003 };
const CHEATED: Ports = { source: 4004, port: 9004 };
const HONEST: Ports = { source: 4000, port: 9000 };
const REFRESHES = 5;
const SIZE = 972;
const RATE = 200;
const INJECTED = 500;
const BLOCKED_FOR = "6s";

function rules(): object[] {
  const rule = (name: string, { port }: Ports, more: object): object => ({
    ...GRANT_ALL,
    name,
    protocol: "udp",
    ports: String(port),
    refresh: "1s",
    ...more,
  });
  return [
    rule("honest", HONEST, {}),
    rule("dry run", DRY, { detection: "dry-run" }),
    rule("revoke", REVOKED, { on_excess: "revoke" }),
    rule("alarm", ALARM, { on_excess: "alarm" }),
    rule("block", CHEATED, { authentication: "public-key", on_sender: "block" }),
    { ...GRANT_ALL, name: "ping", protocol: "icmp" },
  ];
}

export const reactions: Scenario = {
  name: "reactions",
  summary: "one kind of attack and four policies: dry run, alarm, revocation, and a block with an end",
  run: (report) =>
    withTestbed(THREE_NODE, async (testbed) => {
      const receiver1 = { rule: rules() as never, detection: { block_for: BLOCKED_FOR } };
      await testbed.start({ receiver1 }, ["sender1", "receiver1"]);
      // One reports, the other signs, half of what it counts.
      for (const name of ["router", "sender2"])
        await testbed.daemon(name).start({ ...preloaded("attackers/cheat"), CHEAT: "0.5" });
      await lied(report, testbed);
      await forged(report, testbed);
      await cheated(report, testbed);
    }),
};

async function lied(report: Report, testbed: Testbed): Promise<void> {
  const receiver = testbed.daemon("receiver1");
  await report.step("a router that reports half of what it counts raises no alarm", async (step) => {
    const stream = await Stream.listen(testbed, "sender1", "receiver1", HONEST);
    const sending = stream.send({ count: 0, size: SIZE, rate: 5 * RATE });
    const enough = async () => (await flowMatching(receiver, stream.flow)).refreshes >= REFRESHES;
    await until(`${REFRESHES} refreshes`, 30_000, enough);
    const { detection } = await flowMatching(receiver, stream.flow);
    const [hop] = detection?.hops ?? [];
    const received = step.measure("received", detection?.last?.received ?? 0);
    const said = step.measure("reported by the router", hop?.counted ?? 0);
    step.expect("it lies", said < 0.7 * received);
    step.expect("no finding", step.measure("findings", detection?.findings ?? -1) === 0);
    await sending.stop();
    await stream.stop();
  });
}

async function forged(report: Report, testbed: Testbed): Promise<void> {
  const receiver = testbed.daemon("receiver1");
  const attack = async (step: Step, ports: Ports, wanted: string): Promise<Stream> => {
    const stream = await Stream.listen(testbed, "sender1", "receiver1", ports);
    stream.send({ count: 0, size: SIZE, rate: RATE });
    await until("the stream to flow", 20_000, () => stream.received.length > RATE);
    const plan = { flow: stream.tuple, wire: "left", to: "router", size: SIZE, count: INJECTED, rate: 2000 };
    const injector = await Injector.prepare(testbed, "sender2", plan);
    const { first } = await injector.run();
    const about = ({ flow }: { flow: string | null }) => stream.flow.test(flow ?? "");
    const found = await eventAfter(receiver, "attack", first, 20_000, about);
    showEvent(step, "attack", found, first);
    const { kind, where } = found.evidence ?? {};
    step.expect("as bytes too many", kind === "excess");
    step.expect("beside the lying router", where?.from === "router" || where?.to === "router");
    const reaction = await eventAfter(receiver, "reaction", first, 5000, about);
    showEvent(step, "reaction", reaction, first);
    step.expect(wanted, reaction.detail.startsWith(wanted));
    return stream;
  };
  const goesOn = async (step: Step, stream: Stream): Promise<void> => {
    const had = stream.received.length;
    await until("more of the stream", 10_000, () => stream.received.length > had + RATE);
    const { id, authentication } = await flowMatching(receiver, stream.flow);
    step.expect("nothing has changed", authentication === null);
    const { stdout } = await receiver.ctl("flow", id);
    const shown = /^last finding.*$/m.exec(stdout)?.[0] ?? "";
    step.expect("pbsctl flow shows it", step.measure("pbsctl flow", shown) !== "");
  };
  await report.step("dry run: the event says what would be done, and nothing is", async (step) => {
    await goesOn(step, await attack(step, DRY, "dry run: would ask for packets signed"));
  });
  await report.step("alarm: an event, and nothing more", async (step) => {
    await goesOn(step, await attack(step, ALARM, "do nothing but report"));
  });
  await report.step("revoke: the permission ends everywhere, and stays refused", async (step) => {
    const stream = await attack(step, REVOKED, "revoke the permission");
    for (const name of ["sender1", "router"])
      await eventAfter(testbed.daemon(name), "revoked", 0, 10_000, ({ flow }) =>
        stream.flow.test(flow ?? ""),
      );
    await stream.quiet();
    const had = stream.received.length + stream.injected;
    await pause(1500);
    step.expect("nothing comes any more", stream.received.length + stream.injected === had);
  });
}

async function cheated(report: Report, testbed: Testbed): Promise<void> {
  const receiver = testbed.daemon("receiver1");
  const address = testbed.address("sender2", 4);
  const members = () => testbed.mustRun("receiver1", ["ipset", "list", BLOCKED_SET[4]]);
  const reaches = async (seconds: number): Promise<boolean> => {
    const ping = ["ping", "-c", "1", "-W", String(seconds), testbed.address("receiver1", 4)];
    return (await testbed.run("sender2", ping)).status === 0;
  };
  let blocked = 0;
  await report.step(
    "a sender that signs less than it sends is convicted, and its address blocked",
    async (step) => {
      step.expect("it is reached before", await reaches(10));
      const stream = await Stream.listen(testbed, "sender2", "receiver1", CHEATED);
      const began = wallClock();
      stream.send({ count: 0, size: SIZE, rate: RATE });
      const found = await eventAfter(receiver, "attack", began);
      showEvent(step, "attack", found, began);
      const reaction = await eventAfter(receiver, "reaction", began);
      showEvent(step, "reaction", reaction, began);
      step.expect("as the sender's doing", reaction.detail.startsWith("revoke the permission and block"));
      blocked = reaction.time;
      const listed = await until("the address in the set", 5000, async () =>
        (await members()).split("\n").find((line) => line.startsWith(address)),
      );
      step.measure("in the kernel's set", listed);
      step.expect("not even a ping passes", !(await reaches(1)));
      await stream.quiet();
    },
  );
  await report.step("the block ends by itself", async (step) => {
    await until("the end of the block", 15_000, async () => !(await members()).includes(address));
    step.measure("ms that it lasted", Math.round(wallClock() - blocked));
    step.expect("it is reached again", await reaches(20));
  });
}
