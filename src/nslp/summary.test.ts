/** Fewer signatures on a line in memory: hash trees over messages, and refreshes of many flows in one. */
import test from "ava";
import { DEFAULT_DETECTION } from "../authorization/reaction.js";
import { type Flow, flowKey, parseFlow } from "../base/flow.js";
import { bytes, ms, seconds } from "../base/units.js";
import type { SendMessage } from "../gist/service.js";
import type { SessionId } from "../gist/wire/messages.js";
import { mriOf } from "./mri.js";
import { nextSequence } from "./sequence.js";
import { carried, inject, signed } from "./testing/forge.js";
import { ADDRESSES, EVERYWHERE, Line, makeCredentials, permitted, type Place } from "./testing/line.js";
import { decodePbs, encodeNotify } from "./wire/codec.js";
import { INFO_CODE, type PbsMessage, SUPPORT } from "./wire/messages.js";

const credentials = makeCredentials();
const PERIOD = seconds(60);
const grant = { volume: bytes(1_000_000), lifetime: seconds(600), refresh: PERIOD, extend: true };

const flowAt = (index: number): Flow =>
  parseFlow(`tcp ${ADDRESSES.sender}:${4000 + index} > ${ADDRESSES.receiver}:80`);

interface Sent {
  readonly from: Place;
  readonly message: PbsMessage;
  readonly raw: SendMessage;
}

/** A line with so many flows, all permitted, and what was sent since then by its ends. */
async function lineWith(
  count: number,
  own: Line["own"] = {},
  refresh = PERIOD,
): Promise<{ line: Line; flows: Flow[]; sent: Sent[] }> {
  const line = new Line(credentials, { returns: { policy: "rules" } });
  line.decision = { type: "grant", rule: "test", grant: { ...grant, refresh } };
  for (const place of EVERYWHERE) {
    const options = own[place];
    if (options === undefined) continue;
    line.own[place] = options;
    line.boot(place);
  }
  const flows = Array.from({ length: count }, (_, i) => flowAt(i));
  for (const flow of flows) {
    line.datapath("sender").want(flow);
    await line.until(() => everywhere(line, [flow]), "permission everywhere");
  }
  await line.settle();
  const sent: Sent[] = [];
  line.tamper = (raw, from) => {
    sent.push({ from, message: decodePbs(raw.data).message, raw });
    return [raw];
  };
  return { line, flows, sent };
}

function everywhere(line: Line, flows: readonly Flow[]): boolean {
  return EVERYWHERE.every((place) => flows.every((flow) => permitted(line, place, flow)));
}

/** Keeps the flows in use, so that they are refreshed. */
function use(line: Line, flows: readonly Flow[], volume = 100): void {
  for (const flow of flows) EVERYWHERE.reduce((left, place) => line.datapath(place).pass(flow, left), volume);
}

async function periods(line: Line, count: number): Promise<void> {
  for (let i = 0; i < count * 60; i++) await line.pass(seconds(1), ms(250));
}

function by(sent: readonly Sent[], from: Place, type: PbsMessage["type"]): Sent[] {
  return sent.filter((one) => one.from === from && one.message.type === type);
}

function summaries(sent: readonly Sent[], from: Place): Sent[] {
  return sent.filter(
    ({ from: place, message }) =>
      place === from && message.type !== "notify" && message.summary !== undefined,
  );
}

const counter = (line: Line, place: Place, name: string): number => line.node(place).counters()[name] ?? 0;

test("flows of a pair soon refresh together, and each node extends and counts each of them", async (t) => {
  const { line, flows, sent } = await lineWith(20);
  use(line, flows);
  await periods(line, 3);
  sent.length = 0;
  const checked = counter(line, "router", "signature.checked");
  await periods(line, 5);
  t.true(everywhere(line, flows));
  // One interval is half a period at the least.
  const queries = by(sent, "sender", "query").length;
  t.true(queries >= 3 && queries <= 12, `${queries} Queries for 20 flows`);
  t.is(summaries(sent, "sender").length, queries);
  t.is(summaries(sent, "receiver").length, queries);
  t.is(by(sent, "receiver", "permission").length, queries);
  t.is(counter(line, "router", "signature.checked") - checked, 2 * queries);
  for (const place of EVERYWHERE)
    for (const view of line.flows(place)) {
      t.is(view.sentVolume, bytes(100));
      t.true(view.refreshes >= 6, `${view.refreshes} refreshes at ${place}`);
    }
  t.is(counter(line, "router", "summary.refused"), 0);
});

test("a flow with something new to say goes by itself, and comes back afterwards", async (t) => {
  const { line, flows, sent } = await lineWith(5);
  use(line, flows);
  await periods(line, 3);
  sent.length = 0;
  const [busy] = flows;
  if (busy === undefined) return t.fail();
  use(line, [busy], 850_000);
  await line.settle();
  const [query] = by(sent, "sender", "query");
  t.is(query && flowKey(query.message.flow), flowKey(busy));
  t.is(summaries(sent, "sender").length, 0);
  await line.until(
    () => line.flows("sender").some(({ allowedVolume }) => allowedVolume > 1_000_000),
    "more is granted",
  );
  await periods(line, 3);
  for (const { message } of summaries(sent, "sender").slice(-1))
    t.is(message.type === "query" ? message.summary?.length : 0, 4);
  const view = line.flows("receiver").find(({ flow }) => flow === flowKey(busy));
  t.is(view?.sentVolume, bytes(850_100));
});

test("a router that has restarted asks for each flow, and all come back within a refresh", async (t) => {
  const { line, flows, sent } = await lineWith(20);
  use(line, flows);
  await periods(line, 3);
  sent.length = 0;
  line.boot("router");
  t.false(everywhere(line, flows));
  await periods(line, 1.5);
  t.true(everywhere(line, flows));
  const [sentBack] = by(sent, "router", "notify");
  t.is(sentBack?.message.type === "notify" ? sentBack.message.info.code : 0, INFO_CODE.refreshSingly);
  t.is(sentBack?.message.type === "notify" ? sentBack.message.listed?.length : 0, 20);
  sent.length = 0;
  await periods(line, 3);
  t.true(summaries(sent, "sender").length >= 1);
  t.true(by(sent, "sender", "query").length <= 8);
});

test("a flow whose next node is another one is told apart; the others refresh without it at once", async (t) => {
  const { line, flows, sent } = await lineWith(6);
  use(line, flows);
  await periods(line, 3);
  sent.length = 0;
  const [strayed] = flows;
  const id = line.flows("router").find(({ flow }) => strayed && flow === flowKey(strayed))?.id ?? "";
  if (strayed === undefined) return t.fail();
  line.node("router").networkNotification({
    nslpId: 32704,
    sessionId: id as SessionId,
    mri: mriOf(strayed, "downstream"),
    type: "routing-status-change",
    detail: "test",
  });
  while (by(sent, "router", "notify").length === 0) await line.pass(ms(250), ms(250));
  await line.pass(seconds(2), ms(250));
  const [notify] = by(sent, "router", "notify");
  t.deepEqual(notify?.message.type === "notify" ? notify.message.listed : [], [id as SessionId]);
  // Nothing of the refused Query went on.
  t.is(summaries(sent, "router").filter(({ raw }) => raw.mri.direction === "downstream").length, 1);
  const [, again] = summaries(sent, "sender");
  t.is(again?.message.type === "query" ? again.message.summary?.length : 0, 4);
  const alone = by(sent, "sender", "query").filter(
    ({ message }) => flowKey(message.flow) === flowKey(strayed),
  );
  t.true(alone.some(({ message }) => message.type === "query" && message.summary === undefined));
  t.true(everywhere(line, flows));
  // Its Permission has shown the way.
  sent.length = 0;
  await periods(line, 3);
  t.is(by(sent, "router", "notify").length, 0);
});

/** A busy router turns so many summary Queries away from now on. */
function turnAway(line: Line, sent: Sent[], count: number): void {
  const info = { class: 3, code: INFO_CODE.busy, objectType: 0, retryAfter: ms(5000), text: "busy" };
  let left = count;
  line.tamper = (raw, from) => {
    const { message } = decodePbs(raw.data);
    sent.push({ from, message, raw });
    if (from !== "sender" || message.type !== "query" || message.summary === undefined || left === 0)
      return [raw];
    left--;
    const data = encodeNotify({ type: "notify", flow: message.flow, info });
    const notify = carried(raw.sessionId, message.flow, "upstream", data);
    queueMicrotask(() => inject(line, notify, "router", "sender"));
    return [];
  };
}

for (const [times, again] of [
  [1, "together again"],
  [3, "each by itself"],
] as const)
  test(`a summary that is turned away ${times} times: its flows wait, are asked for ${again}, none is lost`, async (t) => {
    const { line, flows, sent } = await lineWith(20);
    use(line, flows);
    await periods(line, 3);
    sent.length = 0;
    turnAway(line, sent, times);
    while (by(sent, "sender", "query").length === 0) await line.pass(ms(100), ms(100));
    await line.pass(ms(4500), ms(100));
    t.is(by(sent, "sender", "query").length, 1);
    const turned = counter(line, "sender", "query.backed-off");
    t.is(turned, 20);
    await line.pass(seconds(60), ms(100));
    const asked = by(sent, "sender", "query").length;
    if (times === 1) t.true(asked <= 15, `${asked} Queries for 20 flows`);
    for (const view of line.flows("receiver")) t.true((view.remaining ?? 0) > 200_000);
    t.deepEqual(
      line.events("sender").filter(({ type }) => type === "no-answer"),
      [],
    );
    t.true(everywhere(line, flows));
    await periods(line, 3);
    t.true(summaries(sent, "sender").length > times);
    t.true(everywhere(line, flows));
  });

for (const old of ["router", "receiver"] as const)
  test(`with a ${old} that can do neither, each flow refreshes by itself and none is lost`, async (t) => {
    const { line, flows, sent } = await lineWith(5, { [old]: { tree: false, summary: false } });
    use(line, flows);
    await periods(line, 3);
    const unanswered = line.events("sender").filter(({ type }) => type === "no-answer");
    t.deepEqual(unanswered, []);
    t.true(everywhere(line, flows));
    t.is(summaries(sent, "sender").length, 0);
    // Both ways, and either alone, were tried once for the pair.
    t.is(counter(line, "sender", "support.refused"), 3);
    sent.length = 0;
    await periods(line, 2);
    const asking = by(sent, "sender", "query").filter(
      ({ message }) => message.type === "query" && message.support !== undefined,
    );
    t.is(asking.length, 0);
    // After a while it is tried again.
    line.own[old] = {};
    await periods(line, 12);
    t.true(counter(line, "sender", "support.refused") > 3);
  });

test("a router without summaries leaves the hash trees", async (t) => {
  const { line, flows, sent } = await lineWith(8, { router: { summary: false } });
  use(line, flows);
  await periods(line, 3);
  t.is(summaries(sent, "sender").length, 0);
  t.true(everywhere(line, flows));
  const [last] = by(sent, "sender", "query").slice(-1);
  t.is((last?.message.type === "query" ? (last.message.support ?? 0) : 0) & ~SUPPORT.patient, SUPPORT.tree);
});

/** So many flows refresh so often that several fall due within the time that they wait for each other. */
const TREES = { sender: { summary: false, collect: seconds(1.5) }, receiver: { collect: seconds(1) } };

test("messages that fall due together have one signature, and every node checks it once", async (t) => {
  const { line, flows, sent } = await lineWith(12, TREES, seconds(5));
  use(line, flows);
  await line.pass(seconds(20), ms(250));
  const before = EVERYWHERE.map((place) => counter(line, place, "signature.made"));
  const checked = counter(line, "router", "signature.checked");
  sent.length = 0;
  await line.pass(seconds(30), ms(250));
  const made = EVERYWHERE.map((place, i) => counter(line, place, "signature.made") - (before[i] ?? 0));
  const queries = by(sent, "sender", "query");
  t.true(queries.length >= 50);
  t.true((made[0] ?? 0) < queries.length / 2, `${made[0]} signatures of ${queries.length} Queries`);
  t.true((made[2] ?? 0) < queries.length / 2, `${made[2]} signatures of their Permissions`);
  t.true(queries.some(({ message }) => message.type === "query" && (message.tree?.leaves ?? 0) > 2));
  const sides = (made[0] ?? 0) + (made[2] ?? 0);
  t.true(Math.abs(counter(line, "router", "signature.checked") - checked - sides) <= 2);
  t.true(everywhere(line, flows));
});

test("a message of a tree cannot be changed, moved to another session, or played again", async (t) => {
  const { line, flows, sent } = await lineWith(12, TREES, seconds(5));
  use(line, flows);
  await line.pass(seconds(20), ms(250));
  const trees = by(sent, "sender", "query").filter(
    ({ message }) => message.type === "query" && message.tree !== undefined,
  );
  const [first, second] = trees.slice(-2);
  if (first === undefined || second === undefined) return t.fail();
  const rejected = (name: string): number => counter(line, "router", `rejected.${name}`);
  const replayed = rejected("replayed");
  inject(line, first.raw, "sender", "router");
  await line.settle();
  t.is(rejected("replayed"), replayed + 1);
  const bad = rejected("bad-signature");
  // Message-Seq is signed: one that is newer leads to no root.
  const newer = Uint8Array.from(first.raw.data);
  const at = Buffer.from(newer).indexOf(Buffer.from([0x00, 0x20, 0x00, 0x04])) + 4;
  newer[at + 2] = (newer[at + 2] ?? 0) + 8;
  inject(line, { ...first.raw, data: newer }, "sender", "router");
  await line.settle();
  t.is(rejected("bad-signature"), bad + 1);
  // The same message for another session: the flow is not that session's.
  inject(line, { ...first.raw, sessionId: second.raw.sessionId }, "sender", "router");
  await line.settle();
  t.is(rejected("bad-signature"), bad + 1);
  t.true(everywhere(line, flows));
});

test("a summary counts only for flows of its signer, whoever has a certificate for the same address", async (t) => {
  const { line, flows } = await lineWith(3);
  use(line, flows);
  await periods(line, 2);
  const { double, understudy } = credentials.signers;
  const views = line.flows("router");
  const own = flowAt(77);
  const id = "ab".repeat(16);
  const wall = line.time.wall();
  const query = {
    type: "query",
    flow: own,
    sequence: nextSequence(undefined, wall),
    requestedVolume: bytes(1000),
    sentVolume: bytes(0),
  } as const;
  // The stranger has a flow of its own through the router.
  inject(line, signed(double, id, query), "sender", "router");
  await line.until(() => permitted(line, "router", own), "the stranger's own flow");
  const claims = views.map((view) => ({
    id: view.id as SessionId,
    sequence: nextSequence(undefined, wall + 5000),
    sentVolume: bytes(999_999),
    epoch: 0,
    heard: 0,
  }));
  const support = SUPPORT.summary;
  const sequence = nextSequence(undefined, wall + 1000);
  inject(line, signed(double, id, { ...query, sequence, support, summary: claims }), "sender", "router");
  await line.settle();
  t.is(counter(line, "router", "summary.refused"), 1);
  const sent = new Map(line.flows("router").map(({ id: session, sentVolume }) => [session, sentVolume]));
  t.deepEqual(
    [...views.map((view) => sent.get(view.id)), sent.get(id)],
    [...views.map(({ sentVolume }) => sentVolume), bytes(0)],
  );
  // Nor does another receiver's word extend them; its own flow it may extend.
  const [held] = views;
  const until = line.datapath("router").entries.get(held?.flow ?? "")?.until;
  const grants = claims.map((claim) => ({
    ...claim,
    allowedVolume: bytes(7_777_777),
    ttl: seconds(3600),
    refresh: seconds(3600),
  }));
  const [one] = flows;
  if (one === undefined) return t.fail();
  const permission = {
    type: "permission",
    flow: own,
    sequence: nextSequence(undefined, wall + 2000),
    allowedVolume: bytes(1000),
    ttl: seconds(60),
    refresh: seconds(60),
    defense: { solution: 1, algorithm: 0, key: new Uint8Array() },
    summary: grants,
  } as const;
  inject(line, signed(understudy, id, permission), "receiver", "router");
  await line.settle();
  t.is(line.datapath("router").entries.get(held?.flow ?? "")?.until, until);
  t.true(line.flows("router").every(({ allowedVolume }) => allowedVolume !== 7_777_777));
});

test("a summary that a node has not been asked to do, or that names a flow twice, changes nothing", async (t) => {
  const { line, flows } = await lineWith(2);
  use(line, flows);
  const [one, other] = line.flows("router");
  if (one === undefined || other === undefined || flows[0] === undefined) return t.fail();
  const wall = line.time.wall() + 1000;
  const claim = {
    id: other.id as SessionId,
    sequence: nextSequence(undefined, wall),
    sentVolume: bytes(500),
    epoch: 0,
    heard: 0,
  };
  const base = {
    type: "query",
    flow: flows[0],
    requestedVolume: bytes(1000),
    sentVolume: bytes(0),
  } as const;
  const { sender } = credentials.signers;
  const without = { ...base, sequence: nextSequence(undefined, wall), summary: [claim] };
  inject(line, signed(sender, one.id, without), "sender", "router");
  await line.settle();
  t.is(counter(line, "router", "rejected.not-supported"), 1);
  const twice = [claim, { ...claim, sentVolume: bytes(900) }];
  const asked = { ...base, support: SUPPORT.summary, sequence: nextSequence(undefined, wall + 1) };
  inject(line, signed(sender, one.id, { ...asked, summary: twice }), "sender", "router");
  await line.settle();
  t.is(line.flows("router").find(({ id }) => id === other.id)?.sentVolume, bytes(500));
});

test("who cheats on a flow that is refreshed with others is found all the same", async (t) => {
  const { line, flows } = await lineWith(4);
  line.decision = { type: "grant", rule: "test", grant: { ...grant, detection: DEFAULT_DETECTION } };
  use(line, flows);
  await periods(line, 3);
  const [attacked] = flows;
  if (attacked === undefined) return t.fail();
  line.datapath("receiver").pass(attacked, 200_000);
  await periods(line, 3);
  const attacks = line.events("receiver").filter(({ type }) => type === "attack");
  t.deepEqual(
    attacks.map(({ flow }) => flow),
    [flowKey(attacked)],
  );
  t.true(everywhere(line, flows));
});

test("an association that is lost has each flow refreshed by itself, because its next node may be another", async (t) => {
  const { line, flows, sent } = await lineWith(5);
  use(line, flows);
  await periods(line, 3);
  sent.length = 0;
  line.loseAssociation("sender");
  await line.pass(seconds(1), ms(250));
  t.is(by(sent, "sender", "query").length, 5);
  t.is(summaries(sent, "sender").length, 0);
});

test("what is over is not refreshed: a flow that ends while a summary is gathered is not in it", async (t) => {
  const { line, flows, sent } = await lineWith(3, { sender: { collect: seconds(10) } });
  use(line, flows);
  await periods(line, 3);
  sent.length = 0;
  for (const view of line.flows("sender").slice(1)) await line.node("sender").revoke(view.id, "test");
  await periods(line, 2);
  t.is(summaries(sent, "sender").length, 0);
  t.is(line.flows("sender").length, 1);
});

for (const lost of [0, 2])
  test(`an excess that a summary proves waits for the routers to say where: ${lost} Queries lost`, async (t) => {
    const { line, flows } = await lineWith(3, {}, seconds(2));
    for (let i = 0; i < 30; i++) {
      use(line, flows, 24_000);
      await line.pass(ms(250));
    }
    const spoofed = flows.at(-1);
    if (spoofed === undefined) return t.fail();
    // Less than may be under way beside a fast sender, which then stops: only the summary after the next proves it. The first
    // flow's own Query carries the lists.
    line.datapath("router").pass(spoofed, 5000);
    line.datapath("receiver").pass(spoofed, 5000);
    let left = lost;
    line.tamper = (raw, from) => {
      const { message } = decodePbs(raw.data);
      const own = from === "sender" && message.type === "query" && message.summary === undefined;
      if (!own || flowKey(message.flow) !== flowKey(spoofed) || left === 0) return [raw];
      left--;
      return [];
    };
    await periods(line, 0.2);
    t.is(left, 0);
    const attacks = line.events("receiver").filter(({ type }) => type === "attack");
    t.deepEqual(
      attacks.map(({ evidence }) => evidence?.where),
      [{ from: "sender", to: "router", change: 5000 }],
    );
  });
