/**
 * Somebody beside the path sends in the sender's name: on another interface of the router, on the sender's own wire, and on the
 * receiver's. It is proven where those packets come in, they are dropped there by a rule with an end, and the sender's go on.
 */
import type { BlockView } from "../../src/traffic/blocks.js";
import { Injector } from "../attackers/injector.js";
import type { Daemon } from "../lib/daemon.js";
import type { Report } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { pause, until } from "../lib/wait.js";
import { eventAfter, type Ports, showEvent, Stream } from "./attack.js";
import { flowMatching, GRANT_ALL, THREE_NODE } from "./common.js";
import type { Scenario } from "./scenario.js";

const SIZE = 972;
const RATE = 300;
/** The first show that the volumes fit, and by which place. */
const REFRESHES = 4;
const INJECTED = 6000;
const INJECTED_RATE = 1000;
const BLOCK_FOR = "8s";
/** Packets that are on their way when the rule is put in place. */
const UNDER_WAY_MS = 300;

interface Attack {
  readonly what: string;
  readonly authentication: "none" | "public-key";
  readonly ports: Ports;
  /** Where the attacker is, and the wire and the node that its packets go to. */
  readonly at: string;
  readonly wire: string;
  readonly to: "router" | "receiver1";
  /** Dropped by its hardware address, on a wire that the flow's own packets come by, too. */
  readonly sameWire: boolean;
  /** How the block ends. */
  readonly end: "time" | "pbsctl";
}

const ATTACKS: readonly Attack[] = [
  {
    what: "on another interface of the router",
    authentication: "none",
    ports: { source: 4001, port: 9001 },
    at: "receiver2",
    wire: "right",
    to: "router",
    sameWire: false,
    end: "time",
  },
  {
    what: "on the sender's own wire",
    authentication: "none",
    ports: { source: 4002, port: 9002 },
    at: "sender2",
    wire: "left",
    to: "router",
    sameWire: true,
    end: "pbsctl",
  },
  {
    what: "on the receiver's wire",
    authentication: "none",
    ports: { source: 4003, port: 9003 },
    at: "receiver2",
    wire: "right",
    to: "receiver1",
    sameWire: true,
    end: "time",
  },
  {
    what: "on the sender's own wire, against a flow of signed packets",
    authentication: "public-key",
    ports: { source: 4004, port: 9004 },
    at: "sender2",
    wire: "left",
    to: "router",
    sameWire: true,
    end: "time",
  },
];

export const offpath: Scenario = {
  name: "offpath",
  summary:
    "forged packets from beside the path are dropped where they come in, by a rule with an end; the sender's own go on",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const rule = ATTACKS.map(({ ports, authentication }) => ({
    ...GRANT_ALL,
    name: String(ports.port),
    protocol: "udp",
    ports: String(ports.port),
    refresh: "1s",
    authentication,
    // So that nothing but the drop keeps the attack out.
    on_excess: "alarm",
  }));
  const detection = { block_for: BLOCK_FOR };
  // Neither attacker has a pbsd, which would stop what it sends.
  // The first datagrams come faster than the answer.
  const sender1 = { packets: { hold_packets_per_flow: 1000 } };
  const receiver1 = { detection, rule: rule as never };
  const router = { detection };
  await testbed.start({ sender1, router, receiver1 }, ["sender1", "router", "receiver1"]);
  for (const attack of ATTACKS) await attacked(report, testbed, attack);
}

async function attacked(report: Report, testbed: Testbed, attack: Attack): Promise<void> {
  const { what, ports, at, wire, to, sameWire, end } = attack;
  const victim = testbed.daemon(to);
  const stream = await Stream.listen(testbed, "sender1", "receiver1", ports);
  const sending = stream.send({ count: 0, size: SIZE, rate: RATE });
  const enough = async () => (await flowMatching(victim, stream.flow)).refreshes >= REFRESHES;
  await until(`${REFRESHES} refreshes`, 30_000, enough);
  const plan = { flow: stream.tuple, wire, to, count: INJECTED, size: SIZE, rate: INJECTED_RATE };
  const injector = await Injector.prepare(testbed, at, plan);
  const address = (await testbed.mustRun(at, ["cat", `/sys/class/net/${wire}/address`])).trim();
  const had = stream.received.length;
  await report.step(`${what}: proven at the ${to}, and dropped there`, async (step) => {
    const began = Date.now();
    const injected = injector.run();
    const about = ({ flow }: { flow: string | null }) => stream.flow.test(flow ?? "");
    const proof = await eventAfter(victim, "off-path", began, 30_000, about);
    const reaction = await eventAfter(
      victim,
      "reaction",
      proof.time,
      5000,
      (event) => about(event) && event.detail.startsWith("drop what comes in there"),
    );
    await pause(UNDER_WAY_MS);
    const before = stream.injected;
    const { first, sent } = await injected;
    await pause(UNDER_WAY_MS);
    showEvent(step, "proof", proof, first);
    step.measure("evidence", JSON.stringify(proof.offPath ?? null));
    showEvent(step, "reaction", reaction, first);
    step.measure("injected", sent);
    step.measure("delivered before it was dropped", before);
    step.expect("none afterwards", step.measure("delivered afterwards", stream.injected - before) === 0);
    const blocked = await blocksOf(victim);
    const [place] = blocked;
    step.measure("pbsctl blocks", (await victim.ctl("blocks")).stdout.trim().split("\n").at(-1) ?? "");
    step.expect("one place is blocked", blocked.length === 1 && place?.type === "place");
    step.expect("where the attacker is", place?.interface === wire);
    step.expect(
      sameWire ? "by its hardware address" : "by the interface",
      place?.address === (sameWire ? address : null),
    );
  });
  await report.step(`${what}: the sender's own packets go on`, async (step) => {
    await sending.stop();
    await stream.quiet();
    const numbers = stream.received;
    const missing = 1 + Math.max(...numbers) - Math.min(...numbers) - new Set(numbers).size;
    step.measure("received meanwhile", numbers.length - had);
    step.expect("all of them", step.measure("missing", missing) === 0);
  });
  await report.step(`${what}: the block ends ${end === "time" ? "by itself" : "by pbsctl"}`, async (step) => {
    const [place] = await blocksOf(victim);
    if (end === "pbsctl") await victim.ctl("unblock", place?.id ?? "");
    await until("no block", 15_000, async () => (await blocksOf(victim)).length === 0);
    const { stdout } = await testbed.run(to, ["iptables", "-t", "mangle", "-S", "PBS-OFF-PATH"]);
    step.expect("the chain is empty", stdout.trim() === "-N PBS-OFF-PATH");
  });
  await stream.stop();
}

async function blocksOf(daemon: Daemon): Promise<readonly BlockView[]> {
  return (await daemon.client.get<{ blocks: readonly BlockView[] }>("/v1/blocks")).blocks;
}
