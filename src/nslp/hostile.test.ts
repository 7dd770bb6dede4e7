/** What a hostile or restarted node, or bad timing, must not do to a session. */
import test from "ava";
import type { Signer } from "../authorization/signing.js";
import { IpAddress } from "../base/address.js";
import { type Flow, flowKey, reverse } from "../base/flow.js";
import { bytes, type Milliseconds, ms, seconds } from "../base/units.js";
import type { SendMessage } from "../gist/service.js";
import type { SessionId } from "../gist/wire/messages.js";
import { mriOf } from "./mri.js";
import { nextSequence } from "./sequence.js";
import { inject, signed } from "./testing/forge.js";
import {
  ADDRESSES,
  FLOW,
  Line,
  makeCredentials,
  type Place,
  ask,
  EVERYWHERE,
  permitted,
  traffic,
} from "./testing/line.js";
import { decodePbs, encodeNotify, encodeUnsigned, signatureInput, withSignature } from "./wire/codec.js";
import { AUTH_ALGORITHM, INFO_CLASS, INFO_CODE, PBS_NSLP_ID, SOLUTION } from "./wire/messages.js";

const credentials = makeCredentials();
const TLS = { reliable: true, secure: true };

const grant = { volume: bytes(10_000), lifetime: seconds(600), refresh: seconds(60), extend: true };

function sessionAt(line: Line, place: Place): SessionId {
  return (line.flows(place)[0]?.id ?? "") as SessionId;
}

function query(id: SessionId, flow: Flow, sequence: number, signer: Signer): SendMessage {
  const { certificate } = signer;
  const volumes = { requestedVolume: bytes(1_000_000), sentVolume: bytes(0) };
  const unsigned = encodeUnsigned({ type: "query", flow, sequence, certificate, ...volumes });
  const signature = signer.signSync(signatureInput(id, PBS_NSLP_ID, unsigned));
  return {
    data: withSignature(unsigned, signature),
    nslpId: PBS_NSLP_ID,
    sessionId: id,
    mri: mriOf(flow, "downstream"),
    transfer: TLS,
  };
}

function notify(id: SessionId, code: number, retryAfter: Milliseconds): SendMessage {
  const cls = code === INFO_CODE.pending ? INFO_CLASS.informational : INFO_CLASS.permanentFailure;
  const info = { class: cls, code, objectType: 0, retryAfter, text: "" };
  return {
    data: encodeNotify({ type: "notify", flow: FLOW, info }),
    nslpId: PBS_NSLP_ID,
    sessionId: id,
    mri: mriOf(FLOW, "upstream"),
    transfer: TLS,
  };
}

function sequenceOf({ data }: SendMessage): number {
  const { message } = decodePbs(data);
  return message.type === "notify" ? 0 : message.sequence;
}

/** A door that holds back installations until it is opened. */
function door(): { readonly gate: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { gate, open: () => open() };
}

test("what a peer sends explicitly, and not along the path, is not read", async (t) => {
  const line = new Line(credentials);
  line.tamper = (message, from) => (from === "router" ? [] : [message]);
  line.datapath("sender").want(FLOW);
  await line.until(() => line.flows("router").length === 1, "the router waits");
  const id = sessionAt(line, "sender");
  line.deliver(notify(id, INFO_CODE.refusedByPolicy, ms(0)), "router", true);
  t.is(line.flows("sender").length, 1);
  t.is(line.node("sender").counters()["rejected.explicitly-routed"], 1);
});

test("a Session-ID in use is of no use to another flow or another signer", async (t) => {
  const line = new Line(credentials);
  let last = 0;
  line.tamper = (message, from) => {
    if (from === "sender") last = Math.max(last, sequenceOf(message));
    return [message];
  };
  await ask(line);
  const id = sessionAt(line, "sender");
  const allowed = line.flows("receiver")[0]?.allowedVolume;
  const other = { ...FLOW, source: IpAddress.parse(ADDRESSES.router) };
  for (const from of ["sender", "router"] as const) {
    line.deliver(query(id, other, last + 1000, credentials.signers.router), from);
    line.deliver(query(id, FLOW, last + 1000, credentials.signers.double), from);
  }
  await line.settle();
  for (const place of ["router", "receiver"] as const)
    t.true((line.node(place).counters()["rejected.session-of-another"] ?? 0) >= 1);
  t.is(line.flows("receiver")[0]?.allowedVolume, allowed);
  // Nor do their sequence numbers count: the sender's own refreshes still do.
  traffic(line, 100);
  await line.pass(seconds(95));
  t.true((line.flows("receiver")[0]?.refreshes ?? 0) >= 1);
});

test("a replay is known in a session that is older than the memory of ended ones", async (t) => {
  const line = new Line(credentials, { remember: seconds(10) });
  let first: SendMessage | undefined;
  line.tamper = (message, from) => {
    if (from === "sender") first ??= message;
    return [message];
  };
  await ask(line);
  await line.pass(seconds(20));
  if (first === undefined) return t.fail();
  line.deliver(first, "sender");
  await line.settle();
  t.is(line.node("router").counters()["rejected.replayed"], 1);
});

test("a Query of another time opens nothing at a node that has restarted", async (t) => {
  const line = new Line(credentials);
  let first: SendMessage | undefined;
  line.tamper = (message, from) => {
    if (from === "sender") first ??= message;
    return [message];
  };
  await ask(line);
  await line.node("sender").revoke(sessionAt(line, "sender"), "done");
  for (const place of ["router", "receiver"] as const) line.boot(place);
  if (first === undefined) return t.fail();
  line.deliver(first, "sender");
  await line.settle();
  t.is(line.flows("router").length, 1, "within the first minutes it might be the first to come");
  for (const place of ["router", "receiver"] as const) line.boot(place);
  await line.pass(seconds(301), seconds(301));
  line.deliver(first, "sender");
  await line.settle();
  t.is(line.flows("router").length, 0);
  t.is(line.node("router").counters()["rejected.untimely"], 1);
});

test("a sender whose clock is wrong learns that it is", async (t) => {
  const line = new Line(credentials);
  const id = "cd".repeat(16) as SessionId;
  const reasons: string[] = [];
  line.tamper = (message, from) => {
    const { message: content } = decodePbs(message.data);
    if (from === "router" && content.type === "notify") reasons.push(content.info.text);
    return [message];
  };
  for (const off of [-301_000, 301_000, -299_000]) {
    const sequence = nextSequence(undefined, line.time.wall() + off);
    line.deliver(query(id, FLOW, sequence, credentials.signers.sender), "sender");
    await line.settle();
  }
  t.is(reasons.length, 2);
  t.regex(reasons[0] ?? "", /301 s behind this node's: it is an old one, or the clocks differ/);
  t.regex(reasons[1] ?? "", /301 s ahead of this node's/);
  t.is(line.flows("router").length, 1);
});

test("a second signer of Permissions has no part in a session", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  const id = sessionAt(line, "sender");
  const { allowedVolume } = line.flows("sender")[0] ?? {};
  let sequence = nextSequence(undefined, line.time.wall()) + 1000;
  const permission = (signer: Signer, volume: number) =>
    signed(signer, id, {
      type: "permission",
      flow: FLOW,
      sequence: ++sequence,
      allowedVolume: bytes(volume),
      ttl: seconds(60),
      refresh: seconds(60),
      defense: { solution: SOLUTION.noAction, algorithm: AUTH_ALGORITHM.none, key: new Uint8Array() },
    });
  for (const volume of [0, 77])
    for (const [from, to] of [
      ["receiver", "router"],
      ["router", "sender"],
    ] as const)
      inject(line, permission(credentials.signers.understudy, volume), from, to);
  await line.settle();
  for (const place of ["router", "sender"] as const) {
    t.is(line.node(place).counters()["rejected.session-of-another"], 2);
    t.is(line.flows(place)[0]?.allowedVolume, allowedVolume);
  }
  // Nor do its sequence numbers count.
  inject(line, permission(credentials.signers.receiver, 88), "receiver", "router");
  await line.settle();
  t.is(line.flows("sender")[0]?.allowedVolume, bytes(88));
});

test("a Query that its successor overtook while it was checked is no replay", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  const last = nextSequence(undefined, line.time.wall());
  const { gate, open } = door();
  const checks: Promise<boolean>[] = [];
  line.verified = (good) => {
    checks.push(good);
    return checks.length === 1 ? gate.then(() => good) : good;
  };
  const id = sessionAt(line, "sender");
  for (const next of [1, 2, 2]) {
    inject(line, query(id, FLOW, last + next, credentials.signers.sender), "sender", "router");
    if (checks.length === 2) await line.settle();
  }
  open();
  await line.settle();
  const counters = line.node("router").counters();
  t.is(counters["dropped.overtaken"], 1);
  t.is(counters["rejected.replayed"], 1);
});

test("a restarted receiver takes up its flows at the next refresh", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  for (let restart = 0; restart < 6; restart++) {
    traffic(line, 100);
    const before = line.flows("sender")[0]?.refreshes ?? 0;
    line.boot("receiver");
    await line.pass(seconds(91));
    t.true(permitted(line, "receiver"));
    t.true((line.flows("sender")[0]?.refreshes ?? 0) > before);
  }
  t.is(line.node("router").counters()["rejected.replayed"], undefined);
});

test("a session that made way for a new one has no hold on its permission", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  const old = sessionAt(line, "sender");
  const { gate, open } = door();
  line.datapath("receiver").gate = gate;
  traffic(line, 100);
  await line.pass(seconds(95));
  line.boot("sender");
  line.datapath("sender").want(FLOW);
  await line.settle();
  open();
  await line.until(() => EVERYWHERE.every((place) => permitted(line, place)), "permission everywhere");
  t.not(sessionAt(line, "sender"), old);
  for (let i = 0; i < 70; i++) {
    t.is(traffic(line, 50), 50);
    await line.pass(seconds(10));
  }
  t.false(line.events("receiver").some(({ type }) => type === "expired"));
  for (const place of EVERYWHERE) {
    t.true(permitted(line, place));
    t.is(line.flows(place).length, 1);
  }
});

test("a flow that is revoked while it is being installed is not left installed", async (t) => {
  for (const place of EVERYWHERE) {
    const line = new Line(credentials);
    const { gate, open } = door();
    line.datapath(place).gate = gate;
    line.datapath("sender").want(FLOW);
    await line.until(() => line.flows(place).length === 1, "a session");
    await line.settle();
    await line.node(place).revoke(sessionAt(line, place), undefined);
    open();
    await line.settle();
    t.false(permitted(line, place));
    t.is(line.flows(place).length, 0);
  }
});

test("return traffic is not extended once this host no longer asks", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  const back = reverse(FLOW);
  t.true((await line.node("receiver").request(flowKey(back), undefined)).granted);
  await line.node("sender").revoke(sessionAt(line, "sender"), undefined);
  for (let i = 0; i < 11; i++) {
    line.datapath("receiver").pass(back, 1_000_000);
    await line.pass(seconds(60));
  }
  t.false(permitted(line, "sender", back));
});

test("what was granted once stays used up, however often it is asked for", async (t) => {
  const line = new Line(credentials);
  line.decision = { type: "grant", rule: "once", grant: { ...grant, extend: false } };
  await ask(line);
  t.is(traffic(line, 9500), 9500);
  for (let again = 0; again < 4; again++) {
    line.boot("sender");
    const { granted, reason } = await line.node("sender").request(flowKey(FLOW), undefined);
    t.false(granted);
    t.regex(reason ?? "", /used up/);
  }
});

test("a new session does not make a lifetime granted once longer", async (t) => {
  const line = new Line(credentials);
  line.decision = {
    type: "grant",
    rule: "once",
    grant: { ...grant, extend: false, lifetime: seconds(100) },
  };
  await ask(line);
  await line.pass(seconds(60));
  line.boot("sender");
  t.true((await line.node("sender").request(flowKey(FLOW), undefined)).granted);
  await line.pass(seconds(41));
  for (const place of EVERYWHERE) t.false(permitted(line, place));
});

test("no Notify makes a node wait for long", async (t) => {
  const line = new Line(credentials);
  line.tamper = (message, from) =>
    from === "router" && message.mri.direction === "downstream" ? [] : [message];
  line.datapath("sender").want(FLOW);
  await line.until(() => line.flows("router").length === 1, "the router waits");
  line.deliver(notify(sessionAt(line, "sender"), INFO_CODE.pending, ms(2 ** 32 - 1)), "receiver");
  await line.pass(seconds(60));
  for (const place of ["sender", "router"] as const) t.is(line.flows(place).length, 1);
  await line.pass(seconds(600));
  for (const place of ["sender", "router"] as const) t.is(line.flows(place).length, 0);
});

test("the answer to an earlier Query does not end a flow that asks for more", async (t) => {
  const line = new Line(credentials, { requestVolume: bytes(10_000) });
  await ask(line);
  traffic(line, 100);
  const held: SendMessage[] = [];
  line.tamper = (message, from) => {
    if (from !== "receiver") return [message];
    held.push(message);
    return [];
  };
  for (let waited = 0; waited < 100 && held.length === 0; waited++) await line.pass(seconds(1), seconds(1));
  const [refresh] = held;
  if (refresh === undefined) return t.fail();
  t.true(traffic(line, 20_000) < 10_000);
  await line.until(() => held.length > 1, "more was asked for");
  line.tamper = (message) => [message];
  line.deliver(refresh, "receiver");
  await line.settle();
  t.is(line.flows("sender").length, 1);
  traffic(line, 1000);
  await line.until(() => (line.flows("sender")[0]?.allowedVolume ?? 0) > 10_000, "more is granted");
});

test("a lifetime shorter than the refresh time is prolonged in time", async (t) => {
  const line = new Line(credentials);
  line.decision = { type: "grant", rule: "short", grant: { ...grant, lifetime: seconds(20) } };
  await ask(line);
  for (let i = 0; i < 10; i++) {
    t.is(traffic(line, 100), 100);
    await line.pass(seconds(12), seconds(1));
  }
});
