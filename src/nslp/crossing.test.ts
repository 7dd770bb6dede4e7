/** Detection at a router, and places off the path at a router and a receiver, over a line in memory. */
import test from "ava";
import type { AuthenticationRule } from "../authorization/algorithm.js";
import { DEFAULT_DETECTION, type DetectionPolicy } from "../authorization/reaction.js";
import { flowKey } from "../base/flow.js";
import { bytes, seconds } from "../base/units.js";
import { makeReport } from "./hops.js";
import type { PbsOptions } from "./options.js";
import {
  ask,
  EVERYWHERE,
  FLOW,
  HERE,
  Line,
  makeCredentials,
  permitted,
  type Place,
  traffic,
} from "./testing/line.js";
import type { PbsEvent } from "./view.js";
import { decodePbs, withReport } from "./wire/codec.js";

const credentials = makeCredentials();
const MB = 1_000_000;
const ELSEWHERE = { interface: "eth1", address: "02:00:00:00:00:02" };
const BESIDE = { interface: "eth0", address: "02:00:00:00:00:03" };

interface Setup {
  readonly authentication?: AuthenticationRule;
  readonly detection?: Partial<DetectionPolicy>;
  readonly options?: Partial<PbsOptions>;
}

/** Nothing but an alarm at the receiver, so that what routers do can be seen alone. */
const ALARM: Partial<DetectionPolicy> = { onExcess: "alarm", onLoss: "alarm", onOffPath: "alarm" };

async function granted({ authentication, detection = ALARM, options = {} }: Setup = {}): Promise<Line> {
  const line = new Line(credentials, options);
  line.decision = {
    type: "grant",
    rule: "test",
    grant: {
      volume: bytes(100 * MB),
      lifetime: seconds(600),
      refresh: seconds(10),
      extend: true,
      ...(authentication && { authentication }),
      detection: { ...DEFAULT_DETECTION, ...detection },
    },
  };
  await ask(line);
  return line;
}

/** Seconds in which the flow sends, and something happens besides. */
async function flowing(line: Line, count: number, besides: () => void = () => undefined): Promise<void> {
  for (let i = 0; i < count; i++) {
    traffic(line, 100_000);
    besides();
    await line.pass(seconds(1));
  }
}

function said(line: Line, place: Place, type: PbsEvent["type"]): string[] {
  return line
    .events(place)
    .filter((event) => event.type === type)
    .map(({ detail }) => detail);
}

/** Injected before the router, so that the receiver gets it too. */
function inject(line: Line, volume: number, at = ELSEWHERE): void {
  const blocks = line.places("router").blocks;
  const dropped = blocks.some(
    (block) => block.interface === at.interface && (block.address ?? at.address) === at.address,
  );
  if (!dropped) line.datapath("receiver").pass(FLOW, line.datapath("router").pass(FLOW, volume, at));
}

test("a router compares what a sender signed with what came this far", async (t) => {
  const line = await granted();
  await flowing(line, 25);
  t.is(line.flows("router")[0]?.detection?.last?.verdict, "fits");
  t.deepEqual(said(line, "router", "attack"), []);
  await flowing(line, 25, () => inject(line, 50_000, HERE));
  const [attack] = line.events("router").filter(({ type }) => type === "attack");
  t.is(attack?.evidence?.kind, "excess");
  t.is(attack?.evidence?.reaction, "alarm");
  t.regex(attack?.detail ?? "", /more arrived than were sent .*; between sender and router$/);
  t.true((line.flows("router")[0]?.detection?.findings ?? 0) > 0);
  // It comes by the flow's own place: there is nothing that could be dropped.
  t.deepEqual(said(line, "router", "off-path"), []);
  t.deepEqual(line.places("router").calls, []);
});

/** Another router stands before this one, and reports what `counted` says. */
function reportBefore(line: Line, counted: () => number, forged = false): void {
  line.tamper = (message, from) => {
    const { message: content } = decodePbs(message.data);
    if (from !== "sender" || content.type !== "query") return [message];
    const said = { epoch: 0, counted: bytes(counted()), sequence: content.sequence };
    const report = makeReport(credentials.signers.double, message.sessionId, 0, said);
    if (forged) report.signature.fill(0, 0, 8);
    return [{ ...message, data: withReport(message.data, report) ?? message.data }];
  };
}

for (const [what, by, forged, from, to] of [
  ["behind the one before", "sender", false, "double", "router"],
  ["before that one", "router", false, "sender", "double"],
  ["as far as forged reports allow", "router", true, "sender", "router"],
] as const)
  test(`a router says between which nodes bytes appeared: ${what}`, async (t) => {
    const line = await granted();
    reportBefore(line, () => line.datapath(by).entries.get(flowKey(FLOW))?.count ?? 0, forged);
    await flowing(line, 25);
    t.is(line.flows("router")[0]?.detection?.hops[0]?.node, "double");
    await flowing(line, 25, () => inject(line, 50_000, HERE));
    const [attack] = line.events("router").filter(({ type }) => type === "attack");
    t.like(attack?.evidence?.where, { from, to });
    t.is(attack?.evidence?.hops.length, forged ? 0 : 1);
    t.true((attack?.evidence?.where?.change ?? 0) > 40_000);
  });

test("a router sees what is lost before it", async (t) => {
  const line = await granted();
  await flowing(line, 25);
  const all = line.datapath("sender");
  for (let i = 0; i < 60; i++) {
    const sent = all.pass(FLOW, 100_000);
    const came = line.datapath("router").pass(FLOW, sent * 0.8);
    line.datapath("receiver").pass(FLOW, came);
    await line.pass(seconds(1));
  }
  const { evidence } = line.events("router").find(({ type }) => type === "attack") ?? {};
  t.is(evidence?.kind, "loss");
  t.like(evidence?.where, { from: "sender", to: "router" });
});

for (const [what, at, place] of [
  ["another interface", ELSEWHERE, "eth1 all"],
  ["another address of the same interface", BESIDE, `eth0 ${BESIDE.address}`],
] as const)
  test(`bytes too many by ${what} are dropped there, and the flow goes on`, async (t) => {
    const line = await granted();
    await flowing(line, 25);
    await flowing(line, 25, () => inject(line, 50_000, at));
    t.deepEqual(line.places("router").calls, [`block ${place} 600000`]);
    const proof = line.events("router").find(({ type }) => type === "off-path")?.offPath;
    t.is(proof?.how, "counted");
    t.deepEqual(
      proof?.own.map(({ address }) => address),
      [HERE.address],
    );
    t.deepEqual(said(line, "router", "reaction").length, 1);
    // By policy the receiver only tells.
    t.deepEqual(line.places("receiver").calls, []);
    for (const node of EVERYWHERE) t.true(permitted(line, node));
  });

test("dry run, alarm, and what the kernel cannot", async (t) => {
  const attacked = async (detection: Partial<DetectionPolicy>, failure?: Error): Promise<Line> => {
    const line = await granted({ options: { detection: { ...DEFAULT_DETECTION, ...detection } } });
    line.places("router").failure = failure;
    await flowing(line, 25);
    await flowing(line, 35, () => inject(line, 50_000));
    t.deepEqual(line.places("router").calls, []);
    return line;
  };
  const dry = await attacked({ mode: "dry-run" });
  t.deepEqual(said(dry, "router", "reaction"), ["dry run: would drop what comes in there (eth1)"]);
  const alarm = await attacked({ onOffPath: "alarm" });
  t.deepEqual(said(alarm, "router", "reaction"), ["do nothing but report (eth1)"]);
  const unable = await attacked({}, new Error("xt_mac is missing"));
  t.deepEqual(said(unable, "router", "reaction"), ["cannot: xt_mac is missing (eth1)"]);
  const off = await attacked({ mode: "off" });
  t.is(off.flows("router")[0]?.detection, null);
});

test("signed packets: who sends others elsewhere is dropped there", async (t) => {
  const line = await granted({ authentication: { level: "public-key" }, detection: {} });
  await flowing(line, 25, () => {
    line.datapath("router").fail(FLOW, 30, ELSEWHERE);
    line.datapath("router").fail(FLOW, 30, HERE);
  });
  t.deepEqual(line.places("router").calls, ["block eth1 all 600000"]);
  const proof = line.events("router").find(({ type }) => type === "off-path")?.offPath;
  t.is(proof?.how, "signed");
});

test("a block that keeps out the flow itself is lifted, and not made again for a while", async (t) => {
  const line = await granted();
  await flowing(line, 25);
  await flowing(line, 25, () => inject(line, 50_000));
  t.deepEqual(line.places("router").calls, ["block eth1 all 600000"]);
  // The flow comes by eth1 from now on.
  for (let i = 0; i < 30 && line.places("router").blocks.length > 0; i++) {
    line.datapath("sender").pass(FLOW, 100_000);
    await line.pass(seconds(1));
  }
  t.deepEqual(line.places("router").calls, ["block eth1 all 600000", "lift"]);
  t.regex(
    said(line, "router", "reaction").at(-1) ?? "",
    /everywhere again: its own packets no longer arrive$/,
  );
});

test("no more flows are compared than there is room for", async (t) => {
  const line = await granted({ options: { maxCompared: 0 } });
  await flowing(line, 25);
  t.is(line.flows("router")[0]?.detection, null);
});
