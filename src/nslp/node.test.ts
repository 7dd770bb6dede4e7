import test from "ava";
import { flowKey, reverse } from "../base/flow.js";
import { bytes, ms, seconds } from "../base/units.js";
import type { SendMessage } from "../gist/service.js";
import {
  FLOW,
  Line,
  makeCredentials,
  type Place,
  ask,
  EVERYWHERE,
  permitted,
  traffic,
} from "./testing/line.js";
import { decodePbs } from "./wire/codec.js";

const credentials = makeCredentials();

const grant = { volume: bytes(10_000), lifetime: seconds(600), refresh: seconds(60), extend: true };

function type(message: SendMessage): string {
  return decodePbs(message.data).message.type;
}

test("a wanted flow is asked for, granted, and permitted at every node", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  for (const place of EVERYWHERE) {
    const [flow] = line.flows(place);
    t.is(flow?.flow, flowKey(FLOW));
    t.is(flow?.role, place);
    t.is(flow?.state, "3 permission");
    t.is(flow?.allowedVolume, bytes(10_000));
  }
  t.is(line.flows("receiver")[0]?.requester, "sender");
  t.is(traffic(line, 5000), 5000);
});

test("policy's no reaches the application with its reason", async (t) => {
  const line = new Line(credentials);
  line.decision = { type: "deny", reason: "not today", rule: "test" };
  const outcome = await line.node("sender").request(flowKey(FLOW), undefined);
  t.false(outcome.granted);
  t.is(outcome.reason, "not today");
  t.is(line.datapath("sender").refused[0]?.flow, flowKey(FLOW));
  for (const place of EVERYWHERE) {
    t.false(permitted(line, place));
    t.is(line.flows(place).length, 0);
  }
});

test("what a person has to decide waits, and the very flow is granted", async (t) => {
  const line = new Line(credentials);
  line.decision = { type: "ask", timeout: seconds(60), rule: "ask", grant };
  line.datapath("sender").want(FLOW);
  await line.until(() => line.node("receiver").pending().length === 1, "pending");
  await line.settle();
  await line.pass(seconds(30));
  t.is(line.flows("sender")[0]?.state, "2 wait for P");
  t.is(line.datapath("sender").refused.length, 0);
  const [pending] = line.node("receiver").pending();
  await line.node("receiver").grant(pending?.id.slice(0, 8) ?? "", { volume: bytes(777) });
  await line.until(() => EVERYWHERE.every((place) => permitted(line, place)), "permission everywhere");
  t.is(line.datapath("sender").entries.get(flowKey(FLOW))?.installation.allowedVolume, bytes(777));
  t.is(line.node("receiver").pending().length, 0);
});

test("a person's no, and nobody's answer, both refuse", async (t) => {
  for (const decide of [true, false]) {
    const line = new Line(credentials);
    line.decision = { type: "ask", timeout: seconds(20), rule: "ask", grant };
    const outcome = line.node("sender").request(flowKey(FLOW), undefined);
    await line.until(() => line.node("receiver").pending().length === 1, "pending");
    await line.settle();
    if (decide) await line.node("receiver").deny(line.node("receiver").pending()[0]?.id ?? "", "who are you");
    else await line.pass(seconds(25));
    const { granted, reason } = await outcome;
    t.false(granted);
    t.is(reason, decide ? "who are you" : "nobody decided in time");
  }
});

test("refreshes keep a flow alive over ten periods, and counts never restart", async (t) => {
  const line = new Line(credentials);
  line.decision = { type: "grant", rule: "test", grant: { ...grant, volume: bytes(1_000_000) } };
  await ask(line);
  let sent = 0;
  for (let period = 0; period < 10; period++) {
    sent += traffic(line, 1000);
    await line.pass(seconds(60));
  }
  t.is(sent, 10_000);
  for (const place of EVERYWHERE) {
    t.is(line.datapath(place).entries.get(flowKey(FLOW))?.count, 10_000);
    t.true((line.flows(place)[0]?.refreshes ?? 0) >= 6);
  }
  t.is(line.flows("receiver")[0]?.sentVolume, bytes(10_000));
});

test("a long transfer asks for more at 80 % and never stalls", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  let arrived = 0;
  const entry = () => line.datapath("sender").entries.get(flowKey(FLOW));
  for (let i = 0; i < 40; i++) {
    arrived += traffic(line, 1000);
    await line.until(() => (entry()?.count ?? 0) < (entry()?.installation.notifyAt ?? 0), "more is granted");
  }
  t.is(arrived, 40_000);
  const allowed = line.flows("receiver")[0]?.allowedVolume ?? 0;
  t.true(allowed >= 40_000 && allowed <= 50_000);
});

test("a grant given once ends at its volume, and the sender learns why", async (t) => {
  const line = new Line(credentials);
  line.decision = { type: "grant", rule: "once", grant: { ...grant, extend: false } };
  await ask(line);
  let arrived = 0;
  for (let i = 0; i < 15; i++) {
    arrived += traffic(line, 1000);
    await line.settle();
  }
  t.is(arrived, 10_000);
  t.is(line.datapath("sender").refused.length, 1);
  t.true(line.events("sender").some((event) => event.type === "exhausted"));
  // Asking again with a new session brings nothing.
  const again = await line.node("sender").request(flowKey(FLOW), undefined);
  t.false(again.granted);
  t.regex(again.reason ?? "", /used up/);
});

test("an idle flow is no longer refreshed and ends everywhere", async (t) => {
  const line = new Line(credentials);
  line.decision = { type: "grant", rule: "test", grant: { ...grant, refresh: seconds(10) } };
  await ask(line);
  await line.pass(seconds(200), seconds(1));
  for (const place of EVERYWHERE) t.false(permitted(line, place));
});

test("the end of the lifetime ends the flow everywhere, and what was granted once stays over", async (t) => {
  const line = new Line(credentials);
  line.decision = {
    type: "grant",
    rule: "once",
    grant: { ...grant, lifetime: seconds(5), extend: false },
  };
  await ask(line);
  await line.pass(seconds(6), ms(500));
  for (const place of EVERYWHERE) t.false(permitted(line, place));
  const again = await line.node("sender").request(flowKey(FLOW), undefined);
  t.false(again.granted);
});

test("a revocation at the receiver stops the flow at every node, and it does not come back", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  const { id } = line.flows("receiver")[0] ?? { id: "" };
  await line.node("receiver").revoke(id, "enough");
  t.false(permitted(line, "receiver"));
  await line.until(() => EVERYWHERE.every((place) => !permitted(line, place)), "gone everywhere");
  t.is(line.datapath("sender").refused.length, 1);
  const again = await line.node("sender").request(flowKey(FLOW), undefined);
  t.regex(again.reason ?? "", /revoked: enough/);
});

test("a revocation at the sender or the router ends the flow there", async (t) => {
  for (const place of ["sender", "router"] as const) {
    const line = new Line(credentials);
    await ask(line);
    await line.node(place).revoke(line.flows(place)[0]?.id ?? "", undefined);
    t.false(permitted(line, place));
    t.is(line.flows(place).length, 0);
  }
});

test("two tries without an answer refuse the application", async (t) => {
  const line = new Line(credentials);
  let queries = 0;
  line.tamper = () => {
    queries++;
    return [];
  };
  const outcome = line.node("sender").request(flowKey(FLOW), undefined);
  await line.pass(seconds(7), ms(500));
  const { granted, reason } = await outcome;
  t.false(granted);
  t.regex(reason ?? "", /no answer/);
  t.is(queries, 2);
});

test("refreshes that got no answer are tried again when the next one is due, and the flow goes on", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  const id = line.flows("sender")[0]?.id;
  const minutes = async (count: number): Promise<void> => {
    for (let second = 0; second < count * 60; second++) {
      traffic(line, 1);
      await line.pass(seconds(1), ms(500));
    }
  };
  let queries = 0;
  line.tamper = (_message, from) => {
    if (from === "sender") queries++;
    return [];
  };
  await minutes(3);
  t.true(queries >= 2 && queries <= 8, `${queries} Queries`);
  line.tamper = (message) => [message];
  await minutes(5);
  for (const place of EVERYWHERE) t.true(permitted(line, place), place);
  t.is(line.flows("sender")[0]?.id, id, "it is the same session");
});

test("where the next node cannot be reached by TCP the application is refused in bounded time", async (t) => {
  const line = new Line(credentials);
  let failures = 0;
  line.tamper = (message, from) => {
    if (from !== "router" || message.mri.direction !== "downstream") return [message];
    failures++;
    const { nslpId, sessionId, mri, transfer } = message;
    const about = { handle: undefined, nslpId, sessionId, mri, transfer };
    line.node("router").messageStatus({ ...about, error: "transport-failed", detail: "not ready" });
    return [];
  };
  const outcome = line.node("sender").request(flowKey(FLOW), undefined);
  await line.pass(seconds(7), ms(500));
  t.false((await outcome).granted);
  t.is(failures, 2, "the sender's second try was passed on too");
  t.is(line.flows("sender").length, 0);
  await line.pass(seconds(20));
  t.is(line.flows("router").length, 0);
});

test("a flow goes on with a renewed certificate, of which the key is the same", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  const [before] = line.flows("receiver");
  t.notDeepEqual(credentials.signers.renewed.certificate, credentials.signers.sender.certificate);
  line.node("sender").setIdentity(credentials.signers.renewed, credentials.trust());
  await line.pass(seconds(120));
  const [after] = line.flows("receiver");
  t.is(after?.id, before?.id);
  t.true((after?.refreshes ?? 0) > (before?.refreshes ?? 0));
  t.is(line.node("router").counters()["rejected.session-of-another"], undefined);
});

test("a router forgets a Query that nobody answers", async (t) => {
  const line = new Line(credentials);
  line.tamper = (message, from) => (from === "router" ? [] : [message]);
  line.datapath("sender").want(FLOW);
  await line.until(() => line.flows("router").length === 1, "the router waits");
  await line.pass(seconds(20), seconds(1));
  t.is(line.flows("router").length, 0);
});

test("a replayed Query or Permission changes nothing", async (t) => {
  const line = new Line(credentials);
  const seen: { message: SendMessage; from: Place }[] = [];
  line.tamper = (message, from) => {
    seen.push({ message, from });
    return [message];
  };
  await ask(line);
  await line.node("receiver").revoke(line.flows("receiver")[0]?.id ?? "", undefined);
  await line.until(() => EVERYWHERE.every((place) => !permitted(line, place)), "gone everywhere");
  line.tamper = (message) => [message];
  for (const { message, from } of seen) line.deliver(message, from);
  await line.settle();
  for (const place of EVERYWHERE) t.false(permitted(line, place));
  t.true((line.node("receiver").counters()["rejected.replayed"] ?? 0) > 0);
});

test("a message changed in any byte is refused", async (t) => {
  const line = new Line(credentials);
  let query: SendMessage | undefined;
  line.tamper = (message) => {
    query ??= message;
    return [];
  };
  line.datapath("sender").want(FLOW);
  await line.until(() => query !== undefined, "a Query");
  if (query === undefined) return t.fail();
  line.tamper = (message, from) => (from === "sender" ? [message] : []);
  for (let at = 0; at < query.data.length; at++) {
    const data = Uint8Array.from(query.data);
    data[at] = (data[at] ?? 0) ^ 0x41;
    line.deliver({ ...query, data }, "sender");
  }
  await line.settle();
  await line.settle();
  t.is(line.flows("router").length, 0);
  const rejected = Object.entries(line.node("router").counters())
    .filter(([name]) => name.startsWith("rejected."))
    .reduce((sum, [, count]) => sum + count, 0);
  // Reserved bits of object headers are ignored in form, but they are signed.
  t.is(rejected, query.data.length);
  line.deliver(query, "sender");
  await line.until(() => line.flows("router").length === 1, "the true Query still counts");
});

test("an altered Permission is not installed anywhere upstream", async (t) => {
  const line = new Line(credentials);
  line.tamper = (message, from) => {
    if (from !== "receiver") return [message];
    const data = Uint8Array.from(message.data);
    data[data.length - 5] = (data[data.length - 5] ?? 0) ^ 1;
    return [{ ...message, data }];
  };
  line.datapath("sender").want(FLOW);
  await line.until(() => permitted(line, "receiver"), "the receiver's own");
  await line.settle();
  t.false(permitted(line, "router"));
  t.false(permitted(line, "sender"));
  t.is(line.node("router").counters()["rejected.bad-signature"], 1);
});

test("a certificate of another authority is refused with a reason that reaches the asker", async (t) => {
  const line = new Line(credentials);
  line.boot("sender", credentials.signers.stranger);
  const outcome = await line.node("sender").request(flowKey(FLOW), undefined);
  t.false(outcome.granted);
  t.regex(outcome.reason ?? "", /certificate refused/);
});

test("a certificate of another address is refused", async (t) => {
  const line = new Line(credentials);
  line.boot("sender", credentials.signers.router);
  const outcome = await line.node("sender").request(flowKey(FLOW), undefined);
  t.regex(outcome.reason ?? "", /certificate refused/);
  t.is(line.node("router").counters()["rejected.certificate.wrong-address"], 1);
});

test("a FID unlike the MRI is refused", async (t) => {
  const line = new Line(credentials);
  line.tamper = (message, from) =>
    from === "sender" && message.mri.method === "path-coupled"
      ? [{ ...message, mri: { ...message.mri, destinationPort: 81 } }]
      : [message];
  line.datapath("sender").want(FLOW);
  await line.until(() => line.node("router").counters()["rejected.flow-mismatch"] === 1, "refused");
  t.is(line.flows("router").length, 0);
});

test("a message that did not come over TLS is not even read", async (t) => {
  const line = new Line(credentials);
  line.tamper = (message) => [{ ...message, transfer: { reliable: true, secure: false } }];
  line.datapath("sender").want(FLOW);
  await line.settle();
  t.is(line.node("router").counters()["rejected.not-over-tls"], 1);
});

test("a restarted router gets its permission and its count back", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  t.is(traffic(line, 5000), 5000);
  line.boot("router");
  t.is(traffic(line, 1000), 0);
  line.loseAssociation("sender");
  await line.pass(seconds(1), ms(100));
  await line.until(() => permitted(line, "router"), "back");
  t.true((line.datapath("router").entries.get(flowKey(FLOW))?.count ?? 0) >= 5000);
});

test("a restarted sender takes over what it had, with counts from its own start", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  t.is(traffic(line, 5000), 5000);
  line.boot("sender");
  await line.node("sender").request(flowKey(FLOW), undefined);
  await line.settle();
  for (const place of EVERYWHERE) {
    t.is(line.flows(place).length, 1);
    t.is(line.datapath(place).entries.get(flowKey(FLOW))?.count, 0);
  }
});

test("who was asked by this host may answer without a rule, and nobody else", async (t) => {
  const line = new Line(credentials);
  await ask(line);
  const back = reverse(FLOW);
  // The hosts' places are named for the way out; the way back runs through the same nodes.
  const answer = await line.node("receiver").request(flowKey(back), undefined);
  t.true(answer.granted);
  t.is(line.flows("sender").find((flow) => flow.role === "receiver")?.rule, "return traffic");
  const other = await line.node("receiver").request(flowKey({ ...back, destinationPort: 9 }), undefined);
  t.false(other.granted);
});

test("a full flow table at a router or receiver is told to the asker, and costs others nothing", async (t) => {
  for (const place of ["router", "receiver"] as const) {
    const line = new Line(credentials);
    line.datapath(place).capacity = 0;
    const outcome = await line.node("sender").request(flowKey(FLOW), undefined);
    t.false(outcome.granted);
    t.regex(outcome.reason ?? "", /full/);
  }
});

test("one peer cannot have more than its share of waiting flows", async (t) => {
  const line = new Line(credentials, { maxPendingPerPeer: 3 });
  line.tamper = (message, from) => (from === "sender" || type(message) === "notify" ? [message] : []);
  for (let port = 1; port <= 5; port++) line.datapath("sender").want({ ...FLOW, sourcePort: port });
  await line.until(() => line.node("router").counters()["refused.full"] === 2, "two refused");
  t.is(line.flows("router").length, 3);
});
