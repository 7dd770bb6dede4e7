/** How flows end, by whose word, and whose word ends nothing. */
import test from "ava";
import { DEFAULT_ADMISSION } from "../authorization/admission.js";
import { flowKey, parseFlow } from "../base/flow.js";
import { bytes, ms, seconds } from "../base/units.js";
import type { SendMessage } from "../gist/service.js";
import { nextSequence } from "./sequence.js";
import { carried, inject, signed } from "./testing/forge.js";
import {
  ADDRESSES,
  FLOW,
  Line,
  makeCredentials,
  type Place,
  EVERYWHERE,
  permitted,
  traffic,
} from "./testing/line.js";
import { encodeNotify } from "./wire/codec.js";
import { AUTH_ALGORITHM, INFO_CLASS, INFO_CODE, type Info, SOLUTION } from "./wire/messages.js";

const credentials = makeCredentials();
const HALF = 2 ** 31;

const grant = { volume: bytes(10_000), lifetime: seconds(600), refresh: seconds(60), extend: true };

async function ask(line: Line): Promise<string> {
  line.datapath("sender").want(FLOW);
  await line.until(() => EVERYWHERE.every((place) => permitted(line, place)), "permission everywhere");
  await line.settle();
  return line.flows("sender")[0]?.id ?? "";
}

function counter(line: Line, place: Place, name: string): number {
  return line.node(place).counters()[name] ?? 0;
}

function notify(info: Partial<Info>): Uint8Array {
  const whole = { class: INFO_CLASS.transientFailure, code: INFO_CODE.tableFull, objectType: 0, text: "" };
  return encodeNotify({ type: "notify", flow: FLOW, info: { ...whole, retryAfter: ms(0), ...info } });
}

test("a Permission changed in any byte is refused", async (t) => {
  const line = new Line(credentials);
  let permission: SendMessage | undefined;
  line.tamper = (message, from) => {
    if (from !== "receiver") return [message];
    permission ??= message;
    return [];
  };
  line.datapath("sender").want(FLOW);
  await line.until(() => permission !== undefined, "a Permission");
  if (permission === undefined) return t.fail();
  line.tamper = (message) => [message];
  for (let at = 0; at < permission.data.length; at++) {
    const data = Uint8Array.from(permission.data);
    data[at] = (data[at] ?? 0) ^ 0x41;
    inject(line, { ...permission, data }, "receiver", "router");
  }
  await line.settle();
  t.false(permitted(line, "router"));
  t.is(line.flows("router")[0]?.state, "2 wait for P");
  inject(line, permission, "receiver", "router");
  await line.until(() => permitted(line, "sender"), "the true one counts");
});

test("a Permission of somebody else, or that nobody asked for, is not installed", async (t) => {
  const line = new Line(credentials);
  const id = await ask(line);
  const content = {
    type: "permission",
    flow: FLOW,
    allowedVolume: bytes(1e9),
    ttl: seconds(60),
    refresh: seconds(20),
    defense: { solution: SOLUTION.noAction, algorithm: AUTH_ALGORITHM.none, key: new Uint8Array() },
  } as const;
  for (const sequence of [7, 7 + HALF])
    inject(line, signed(credentials.signers.router, id, { ...content, sequence }), "router", "sender");
  const unknown = signed(credentials.signers.receiver, "ab".repeat(16), { ...content, sequence: 7 });
  inject(line, unknown, "router", "sender");
  await line.settle();
  t.is(counter(line, "sender", "rejected.permission-not-asked-for"), 1);
  t.true(counter(line, "sender", "rejected.certificate.wrong-address") > 0);
  t.is(line.flows("sender")[0]?.allowedVolume, bytes(10_000));
});

test("no Notify is ever answered with a Notify", async (t) => {
  const line = new Line(credentials);
  const whole = notify({ text: "hello" });
  const other = parseFlow(`tcp ${ADDRESSES.sender}:1 > ${ADDRESSES.receiver}:2`);
  const id = "cd".repeat(16);
  for (const direction of ["downstream", "upstream"] as const) {
    for (let length = 0; length <= whole.length; length++)
      inject(line, carried(id, FLOW, direction, whole.subarray(0, length)), "sender", "router");
    inject(line, carried(id, other, direction, whole), "sender", "router");
  }
  await line.settle();
  // An empty message is none of any kind, and is answered as such.
  t.is(counter(line, "router", "notify.sent"), 1);
});

test("a Notify ends waiting, but no permission", async (t) => {
  const line = new Line(credentials);
  const id = await ask(line);
  inject(line, carried(id, FLOW, "upstream", notify({ text: "go away" })), "receiver", "router");
  await line.settle();
  for (const place of EVERYWHERE) t.true(permitted(line, place));
});

test("a flood of Notify from one peer is cut before it is passed on", async (t) => {
  const line = new Line(credentials, { notifyRate: 1, notifyBurst: 4 });
  const id = await ask(line);
  for (let i = 0; i < 20; i++) inject(line, carried(id, FLOW, "upstream", notify({})), "receiver", "router");
  t.is(counter(line, "router", "notify.forwarded"), 4);
  t.is(counter(line, "router", "rejected.rate-limited"), 16);
});

test("sessions of one flow share what was granted once", async (t) => {
  const line = new Line(credentials);
  line.decision = { type: "grant", rule: "once", grant: { ...grant, extend: false } };
  await ask(line);
  let arrived = traffic(line, 3000);
  for (const left of [7000, 4000]) {
    line.boot("sender");
    const { allowedVolume } = await line.node("sender").request(flowKey(FLOW), undefined);
    t.is(allowedVolume, bytes(left));
    await line.settle();
    arrived += traffic(line, 3000);
  }
  t.is(arrived, 9000);
});

test("a revocation at a router is not undone by the sender's refresh", async (t) => {
  const line = new Line(credentials);
  const id = await ask(line);
  traffic(line, 1000);
  await line.node("router").revoke(id, "not through here");
  line.loseAssociation("sender");
  await line.pass(seconds(1), ms(100));
  t.false(permitted(line, "router"));
  t.is(counter(line, "router", "refused.revoked"), 1);
  line.boot("sender");
  const again = await line.node("sender").request(flowKey(FLOW), undefined);
  t.regex(again.reason ?? "", /not through here/);
});

test("a revocation at the sender holds against the application's next packet", async (t) => {
  const line = new Line(credentials);
  await line.node("sender").revoke(await ask(line), undefined);
  t.is(line.datapath("sender").refused[0]?.duration, seconds(600));
});

test("why a flow of this host ended can be asked afterwards", async (t) => {
  const line = new Line(credentials, { maxEnded: 2 });
  line.decision = { type: "deny", reason: "not today", rule: "test" };
  const ids: string[] = [];
  for (let i = 0; i < 3; i++) ids.push((await line.node("sender").request(flowKey(FLOW), undefined)).id);
  t.is(line.node("sender").flow(ids[2]?.slice(0, 8) ?? "").lastReason, "not today");
  t.throws(() => line.node("sender").flow(ids[0] ?? ""), { name: "NoSuchFlow" });
  t.throws(() => line.node("sender").flow(""), { name: "NoSuchFlow" });
});

test("a sender's revocation overtakes its own installation", async (t) => {
  const line = new Line(credentials);
  line.datapath("sender").want(FLOW);
  await line.until(() => line.flows("sender")[0]?.state === "3 permission", "the Permission came");
  await line.node("sender").revoke(line.flows("sender")[0]?.id ?? "", "no");
  await line.settle();
  t.false(permitted(line, "sender"));
});

test("a person changes a grant, unasked, at every node", async (t) => {
  const line = new Line(credentials);
  const id = await ask(line);
  await line.node("receiver").grant(id, { volume: bytes(55_555), lifetime: seconds(30) });
  const cap = (place: Place) => line.datapath(place).entries.get(flowKey(FLOW))?.installation.allowedVolume;
  await line.until(() => EVERYWHERE.every((place) => cap(place) === 55_555), "enforced everywhere");
  t.true((line.flows("sender")[0]?.remaining ?? 0) <= 30_000);
});

test("rejected Queries leave nothing behind", async (t) => {
  const admission = { ...DEFAULT_ADMISSION, waiting: 16 };
  const line = new Line(credentials, { maxVerifying: 4, admission });
  const query = (id: string, sequence: number): SendMessage =>
    signed(credentials.signers.sender, id, {
      type: "query",
      flow: FLOW,
      sequence,
      requestedVolume: bytes(1),
      sentVolume: bytes(0),
    });
  for (let i = 0; i < 50; i++) {
    const message = query(i.toString(16).padStart(32, "0"), nextSequence(undefined, line.time.wall()));
    message.data[message.data.length - 1] = (message.data.at(-1) ?? 0) ^ 1;
    inject(line, message, "sender", "router");
  }
  await line.settle();
  t.is(line.flows("router").length, 0);
  t.is(counter(line, "router", "rejected.busy") + counter(line, "router", "rejected.bad-signature"), 50);
  t.true(counter(line, "router", "rejected.bad-signature") <= 4 + 16);
  t.true(counter(line, "router", "rejected.bad-signature") >= 4);
});
