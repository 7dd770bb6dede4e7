import test from "ava";
import { ms, seconds } from "../base/units.js";
import type { PeerDecision } from "./service.js";
import { flowMri, MemoryNetwork, TEST_NSLP, text, words } from "./testing/network.js";
import { A, B, C, talking, two } from "./testing/pair.js";
import { flipMri } from "./wire/codec.js";

const PLAIN = { reliable: false, secure: false };
const STATELESS = { transfer: { ...PLAIN, establishState: false } };

test("a stateless message travels once along the path, as Data in Query mode", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  network.addPlain(B);
  const c = network.addNode(C);
  a.send(network.newSession(), flowMri(A, C), "one", { ...STATELESS, handle: 1, ipTtl: 20, hopCount: 7 });
  await network.run(200);
  const [sent] = network.sent;
  t.is(network.sent.length, 1);
  t.like(sent, {
    mode: "query",
    message: { type: "data", queryMode: true, hops: 7, signallingSource: false },
  });
  t.deepEqual(c.texts, ["one"]);
  t.like(c.received[0], {
    routingStateCheck: false,
    hopCount: 6,
    ipTtl: 19,
    ipDistance: 1,
    inboundInterface: "left",
    transfer: { ...PLAIN, returnRoutable: false, lastNode: true, explicitlyRouted: false },
  });
  t.like(a.statuses[0], { handle: 1, error: "no-error", transfer: PLAIN });
  t.deepEqual(a.gist.view().routingStates, { querying: 0, responding: 0 });
  t.deepEqual(c.gist.view().routingStates, { querying: 0, responding: 0 });
});

test("a stateless message stops at the first node that hosts its NSLP, and ends where none does", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B);
  const c = network.addNode(C);
  a.send(network.newSession(), flowMri(A, C), "one", STATELESS);
  await network.run(200);
  t.deepEqual([b.texts, c.texts], [["one"], []]);
  t.false(b.received[0]?.transfer.lastNode);
  b.gist.unregister(TEST_NSLP);
  c.gist.unregister(TEST_NSLP);
  a.send(network.newSession(), flowMri(A, C), "two", STATELESS);
  await network.run(200);
  t.is(b.counter("passed-on.other-nslp"), 1);
  t.is(c.counter("refused.error-7"), 1);
});

test("with routing state a stateless message uses it", async (t) => {
  const { network, a, b, mri, session } = await talking();
  network.sent.length = 0;
  a.send(session, mri, "two", STATELESS);
  await network.run(100);
  t.is(network.sent[0]?.mode, "association");
  t.deepEqual(b.texts, ["one", "two"]);
});

test("what cannot go without state is refused", async (t) => {
  const { network, a, b, mri } = two({ datagramRate: 1, datagramBurst: 1 });
  const refused: [object, string][] = [
    [{ transfer: { reliable: true, secure: false, establishState: false } }, "transport-failed"],
    [{ transfer: { reliable: false, secure: true, establishState: false } }, "transport-failed"],
    [{ ...STATELESS, data: new Uint8Array(400) }, "too-large"],
    [{ ...STATELESS, mri: flowMri(A, "10.99.0.1") }, "no-response"],
    [{ ...STATELESS, mri: flowMri(B, A) }, "endpoint-found"],
    [{ ...STATELESS, mri: flipMri(mri) }, "no-response"],
    [{ ...STATELESS, ipTtl: 0 }, "transport-failed"],
    [STATELESS, "no-error"],
    [STATELESS, "overloaded"],
  ];
  for (const [i, [more, error]] of refused.entries()) {
    a.send(network.newSession(), mri, "x", { handle: i, ...more });
    await network.run(10);
    t.like(a.statuses.at(-1), { handle: i, error });
  }
  await network.run(50);
  t.is(b.texts.length, 1);
});

test("an answer from another process is waited for", async (t) => {
  const { network, a, b, mri } = two();
  let decide: (decision: PeerDecision) => void = () => undefined;
  b.decide = () => new Promise((resolve) => (decide = resolve));
  a.send(network.newSession(), mri, "one");
  await network.run(300);
  t.is(network.of("response").length, 0);
  decide({ peer: true, payload: words("welcome") });
  await network.run(200);
  t.deepEqual(b.texts, ["one"]);
  t.deepEqual(a.texts, ["welcome"]);
  t.true(a.received[0]?.transfer.returnRoutable);
});

test("an answer no passes the Query on, with another payload where one is given", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B);
  const c = network.addNode(C);
  b.decide = () => Promise.resolve({ peer: false, payload: words("seen") });
  a.send(network.newSession(), flowMri(A, C), "one", { ipTtl: 9 });
  await network.run(500);
  t.deepEqual(c.texts, ["one"]);
  t.is(text(c.asked[0]?.data ?? words("")), "seen");
  t.is(c.asked[0]?.ipDistance, 1);
});

test("who does not answer in time loses the Query; the next one is asked about again", async (t) => {
  const { network, a, b, mri } = two();
  b.decide = () => new Promise(() => undefined);
  a.send(network.newSession(), mri, "one");
  await network.run(1100);
  t.is(b.counter("dropped.undecided"), 1);
  t.is(network.of("response").length, 0);
  b.decide = () => Promise.resolve({ peer: true });
  await network.run(2000);
  t.deepEqual(b.texts, ["one"]);
});

test("an NSLP whose promise fails does not peer", async (t) => {
  const { network, a, b, mri } = two();
  b.decide = () => Promise.reject(new Error("gone"));
  a.send(network.newSession(), mri, "one");
  await network.run(200);
  t.is(b.counter("nslp.threw"), 1);
  t.is(a.statuses[0]?.error, "endpoint-found");
});

test("Queries that wait for an answer are bounded", async (t) => {
  const { network, a, b } = two({ maxDecisions: 3 });
  b.decide = () => new Promise(() => undefined);
  for (let port = 1; port <= 5; port++) a.send(network.newSession(), flowMri(A, B, port), "x");
  await network.run(100);
  t.is(b.counter("limited.decisions"), 2);
  await network.run(1000);
  b.decide = () => Promise.resolve({ peer: true });
  await network.run(5000);
  t.is(b.texts.length, 5, "the places are given back");
});

test("state that came while the NSLP thought is found", async (t) => {
  const { network, a, b, mri } = two();
  const answers: ((decision: PeerDecision) => void)[] = [];
  b.decide = () => new Promise((resolve) => answers.push(resolve));
  a.send(network.newSession(), mri, "one");
  await network.run(600);
  t.is(answers.length, 2, "two Queries wait");
  answers[0]?.({ peer: true });
  await network.run(300);
  t.deepEqual(b.texts, ["one"]);
  answers[1]?.({ peer: true });
  await network.run(300);
  t.deepEqual(b.gist.view().routingStates, { querying: 0, responding: 1 });
});

test("two NSLPs of one node have nothing to do with each other", async (t) => {
  const { network, a, b, mri } = two();
  const others: string[] = [];
  const other = {
    recvMessage: (m: { routingStateCheck: boolean; data: Uint8Array }) => {
      if (!m.routingStateCheck) others.push(text(m.data));
      return { peer: true };
    },
    messageStatus: () => undefined,
    networkNotification: () => undefined,
  };
  t.throws(() => b.gist.register(TEST_NSLP, other));
  a.gist.register(99, other);
  b.gist.register(99, other);
  const session = network.newSession();
  a.send(session, mri, "mine");
  a.send(session, mri, "other", { nslpId: 99 });
  await network.run(500);
  t.deepEqual(b.texts, ["mine"]);
  t.deepEqual(others, ["other"]);
  t.is(a.gist.view().associations.length, 1);
  a.gist.unregister(99);
  t.deepEqual(a.gist.view().routingStates, { querying: 1, responding: 0 });
  a.send(session, mri, "mine too");
  await network.run(100);
  t.deepEqual(b.texts, ["mine", "mine too"]);
});

test("when an NSLP goes its state goes, and an association that nobody uses closes", async (t) => {
  const { network, a, b, mri, session } = await talking();
  a.gist.setStateLifetime(TEST_NSLP, session, mri, seconds(600));
  a.gist.unregister(TEST_NSLP);
  t.deepEqual(a.gist.view().routingStates, { querying: 0, responding: 0 });
  await network.run(100_000);
  t.is(a.gist.view().associations.length, 0);
  t.deepEqual(b.gist.view().routingStates, { querying: 0, responding: 0 });
  t.is(network.time.pending, 0);
  a.gist.register(TEST_NSLP, a);
  a.send(session, mri, "again");
  await network.run(500);
  t.deepEqual(b.texts, ["one", "again"]);
});

test("InvalidateRoutingState sends its payload with the Query; one that does not fit is left out", async (t) => {
  const { network, a, b, mri, session } = await talking();
  network.sent.length = 0;
  a.gist.invalidateRoutingState(TEST_NSLP, session, mri, "bad", true, words("why"));
  await network.run(200);
  t.is(text(network.of("query")[0]?.message.data ?? words("")), "why");
  a.gist.invalidateRoutingState(TEST_NSLP, session, mri, "tentative", false, new Uint8Array(2000));
  await network.run(200);
  t.is(network.of("query").length, 2);
  t.is(network.of("query")[1]?.message.data, undefined);
  t.is(a.counter("refused.query-payload"), 1);
  a.gist.invalidateRoutingState(TEST_NSLP, session, mri, "tentative", false, new Uint8Array(3));
  await network.run(200);
  t.is(a.counter("refused.query-payload"), 2, "not of whole words");
  t.deepEqual(b.texts, ["one"]);
});

test("a message that needs nothing may travel in the Query, where that is allowed", async (t) => {
  const { network, a, b, mri } = two({ payloadInQuery: true });
  const session = network.newSession();
  a.send(session, mri, "one", { transfer: PLAIN, handle: 1, ipTtl: 30, hopCount: 5 });
  await network.run(200);
  t.is(text(b.asked[0]?.data ?? words("")), "one");
  t.like(b.asked[0], {
    routingStateCheck: true,
    ipTtl: 30,
    hopCount: 4,
    transfer: { returnRoutable: false },
  });
  t.deepEqual(b.texts, [], "it does not come a second time");
  t.like(a.statuses[0], { handle: 1, error: "no-error", transfer: PLAIN });
  a.send(session, mri, "two", { transfer: PLAIN });
  await network.run(100);
  t.deepEqual(b.texts, ["two"]);
  a.send(network.newSession(), flowMri(A, B, 4001), "secret");
  await network.run(500);
  t.is(b.asked[1]?.data.length, 0, "what needs an association does not");
});

test("every routing state is shown to people", async (t) => {
  const { network, a, b, mri, session } = await talking();
  a.send(network.newSession(), { ...flowMri(A, "10.99.0.1"), protocol: 50, spi: 7 }, "x");
  const [view] = a.gist.routes();
  t.like(view, {
    role: "querying",
    nslpId: TEST_NSLP,
    sessionId: session,
    mri: "downstream 10.0.0.1 > 10.0.0.2 udp 4000 > 9000",
    state: "established",
    peer: B,
    peerIdentity: "02".repeat(16),
    carriedBy: "tls",
  });
  t.true((view?.expiresIn ?? 0) > 25_000 && (view?.expiresIn ?? 0) <= 30_000);
  const waiting = [...a.gist.routes()][1];
  t.like(waiting, { state: "awaiting-response", peer: "", peerIdentity: "", carriedBy: "datagram" });
  t.is(waiting?.expiresIn, null);
  t.like([...b.gist.routes()][0], {
    role: "responding",
    mri: "upstream 10.0.0.1 > 10.0.0.2 udp 4000 > 9000",
    peer: A,
    carriedBy: "tls",
  });
  void mri;
});

test("messages are counted by type and errors by code, sent and received", async (t) => {
  const { network, a, b, mri, session } = await talking();
  b.gist.invalidateRoutingState(TEST_NSLP, session, flipMri(mri), "bad", false);
  a.send(session, mri, "two");
  await network.run(500);
  const expected: [node: typeof a, name: string, count: number][] = [
    [a, "sent.query", 2],
    [b, "received.query", 2],
    [b, "sent.response", 2],
    [a, "received.response", 2],
    [a, "sent.confirm", 2],
    [b, "received.confirm", 2],
    [a, "sent.data", 3],
    [b, "received.data", 3],
    [b, "sent.error", 1],
    [b, "sent.error-5", 1],
    [a, "received.error", 1],
    [a, "received.error-5", 1],
  ];
  for (const [node, name, count] of expected) t.is(node.counter(name), count, name);
});

test("the time of a message counts while its path is being found", async (t) => {
  const { network, a, mri } = two();
  network.fate = () => "lost";
  a.send(network.newSession(), mri, "one", { timeout: ms(700), handle: 1 });
  await network.run(800);
  t.like(a.statuses[0], { handle: 1, error: "no-response" });
});

test("an NSLP hears that its node is the last one that hosts it", async (t) => {
  const { network, a, b, mri } = two();
  b.gist.unregister(TEST_NSLP);
  a.send(network.newSession(), mri, "one", { handle: 1 });
  a.send(network.newSession(), flowMri(B, A), "two", { handle: 2 });
  await network.run(200);
  t.deepEqual(
    a.notifications.map((n) => [n.type, n.mri.destination.toString()]),
    [
      ["last-node", A],
      ["last-node", B],
    ],
  );
  t.deepEqual(
    a.statuses.map((s) => [s.handle, s.error]),
    [
      [2, "endpoint-found"],
      [1, "endpoint-found"],
    ],
  );
});

test("IPv6 flows have the same", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode("2001:db8::1");
  const router = network.addNode("2001:db8::2");
  const b = network.addNode("2001:db8::3");
  router.decide = () => Promise.resolve({ peer: false, payload: words("seen") });
  const mri = { ...flowMri("2001:db8::1", "2001:db8::3"), sourcePrefix: 128, destinationPrefix: 128 };
  const session = network.newSession();
  a.send(session, mri, "one");
  a.send(network.newSession(), { ...mri, sourcePort: 9 }, "stateless", STATELESS);
  await network.run(500);
  t.deepEqual([...b.texts, ...router.texts].sort(), ["one", "stateless"]);
  b.send(session, flipMri(mri), "back");
  await network.run(100);
  t.deepEqual(a.texts, ["back"]);
});

test("a decision that comes after the node was stopped changes nothing, and leaves no timer", async (t) => {
  const { network, a, b, mri } = two();
  const answers: ((decision: PeerDecision) => void)[] = [];
  b.decide = () => new Promise((resolve) => answers.push(resolve));
  a.send(network.newSession(), mri, "x");
  await network.run(100);
  t.is(answers.length, 1);
  await Promise.all([a.gist.stop(), b.gist.stop()]);
  const sent = network.sent.length;
  for (const answer of answers) answer({ peer: true });
  b.send(network.newSession(), flowMri(B, A), "late", { handle: 7 });
  b.gist.routesChanged();
  await network.run(2000);
  t.is(network.sent.length, sent);
  t.like(b.statuses.at(-1), { handle: 7, error: "transport-failed" });
  t.is(network.time.pending, 0);
});

test("an NSLP's payload for a Query that no message can hold is left out", async (t) => {
  const { network, a, b, mri } = two();
  b.decide = () => ({ peer: true, payload: new Uint8Array(6) });
  a.send(network.newSession(), mri, "x");
  await network.run(100);
  t.is(b.counter("refused.query-payload"), 1);
  t.is(network.of("response")[0]?.message.data, undefined);
});
