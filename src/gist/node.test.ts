import test from "ava";
import { IpAddress } from "../base/address.js";
import { ms, seconds } from "../base/units.js";
import { flowMri, MemoryNetwork, TEST_NSLP, text, words } from "./testing/network.js";
import { A, B, C, changed, D, talking, two } from "./testing/pair.js";
import { encodeGist, flipMri } from "./wire/codec.js";
import type { GistMessage, GistQuery } from "./wire/messages.js";

test("a handshake takes Query, Response, Confirm on a TLS association, and then the data", async (t) => {
  const { network, a, b, session } = await talking();
  t.deepEqual(
    network.sent.map((s) => [s.message.type, s.mode, s.from]),
    [
      ["query", "query", A],
      ["response", "datagram", B],
      ["confirm", "association", A],
      ["data", "association", A],
    ],
  );
  t.deepEqual(b.texts, ["one"]);
  t.is(b.asked.length, 1);
  const [received] = b.received;
  t.is(received?.sessionId, session);
  t.deepEqual(received?.transfer, {
    reliable: true,
    secure: true,
    explicitlyRouted: false,
    returnRoutable: true,
    lastNode: true,
  });
  t.is(received?.inboundInterface, "left");
  t.deepEqual(a.gist.view().routingStates, { querying: 1, responding: 0 });
  t.deepEqual(b.gist.view().routingStates, { querying: 0, responding: 1 });
  t.deepEqual(
    b.gist.view().associations.map((v) => [v.protocol, v.state, v.initiator]),
    [["tls", "connected", false]],
  );
});

test("MRI direction: down in Query and Confirm, up in the Response; the NSLP sees the sender's", async (t) => {
  const { network, b } = await talking();
  const directions = network.sent.map((s) => ("mri" in s.message ? s.message.mri.direction : ""));
  t.deepEqual(directions, ["downstream", "upstream", "downstream", "downstream"]);
  t.is(b.received[0]?.mri.direction, "downstream");
});

test("data travels upstream on the responding node's state", async (t) => {
  const { network, a, b, mri, session } = await talking();
  b.send(session, flipMri(mri), "back");
  await network.run(50);
  t.deepEqual(a.texts, ["back"]);
  t.is(a.received[0]?.mri.direction, "upstream");
});

test("a second session reuses the association: Response and Confirm travel on it", async (t) => {
  const { network, a, b } = await talking();
  network.sent.length = 0;
  a.send(network.newSession(), flowMri(A, B, 4001), "two");
  await network.run(200);
  t.deepEqual(
    network.sent.map((s) => [s.message.type, s.mode]),
    [
      ["query", "query"],
      ["response", "association"],
      ["confirm", "association"],
      ["data", "association"],
    ],
  );
  t.deepEqual(b.texts, ["one", "two"]);
  t.is(b.gist.view().associations.length, 1);
});

test("many sessions that start at once share one association", async (t) => {
  const { network, a, b } = two();
  for (let port = 1; port <= 50; port++) a.send(network.newSession(), flowMri(A, B, port), `m${port}`);
  await network.run(500);
  t.is(b.texts.length, 50);
  t.is(a.gist.view().associations.length, 1);
  t.is(b.gist.view().associations.length, 1);
});

test("Queries are sent at 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s, and given up at 63.5 s", async (t) => {
  const { network, a, mri } = two();
  network.fate = (sent) => (sent.mode === "query" ? "lost" : undefined);
  a.send(network.newSession(), mri, "one", { handle: 9 });
  await network.run(70_000);
  const queries = network.of("query");
  t.deepEqual(
    queries.map((q) => q.at),
    [0, 500, 1500, 3500, 7500, 15_500, 31_500].map((at) => ms(at)),
  );
  const cookies = new Set(queries.map((q) => Buffer.from(q.message.queryCookie).toString("hex")));
  t.is(cookies.size, 7, "each Query has a cookie of its own");
  t.deepEqual(
    queries.map((q) => q.message.signallingSource),
    [false, false, true, false, false, true, false],
  );
  t.is(a.statuses.length, 1);
  t.like(a.statuses[0], { handle: 9, error: "no-response" });
  t.true((a.statuses[0]?.at ?? 0) >= 63_500 && (a.statuses[0]?.at ?? 0) < 63_550);
  t.deepEqual(a.gist.view().routingStates, { querying: 0, responding: 0 });
  t.is(network.time.pending, 0, "no timer is left behind");
});

test("the answer to an earlier Query of the handshake counts", async (t) => {
  const { network, a, b, mri } = two();
  let delayed: Uint8Array | undefined;
  network.fate = (sent) => {
    if (sent.message.type !== "response" || delayed !== undefined) return undefined;
    delayed = sent.bytes;
    return "lost";
  };
  a.send(network.newSession(), mri, "one");
  await network.run(400);
  network.fate = (sent) => (sent.mode === "query" ? "lost" : undefined);
  await network.run(1200);
  if (delayed !== undefined) network.datagram(b, a.address, 270, delayed);
  await network.run(200);
  t.is(network.of("query").length, 3);
  t.deepEqual(b.texts, ["one"]);
});

test("a message's own timeout is kept, and ends the retransmission when nothing else waits", async (t) => {
  const { network, a, mri } = two();
  network.fate = () => "lost";
  a.send(network.newSession(), mri, "one", { timeout: seconds(2) });
  await network.run(10_000);
  t.is(a.statuses[0]?.error, "no-response");
  t.true((a.statuses[0]?.at ?? 0) <= 2020);
  t.is(network.of("query").length, 3);
  t.is(a.gist.view().routingStates.querying, 0);
});

test("no state is kept for forged Queries", async (t) => {
  const { network, a, b, mri } = two();
  for (let i = 0; i < 2000; i++) a.send(network.newSession(), flowMri(A, B, i + 1), "x");
  const forged = network.time.pending;
  // Responses never arrive, as with forged sources.
  network.fate = (sent) => (sent.message.type === "response" ? "lost" : undefined);
  await network.run(100);
  t.is(network.of("response").length, 2000);
  t.deepEqual(b.gist.view().routingStates, { querying: 0, responding: 0 });
  t.is(b.gist.view().associations.length, 0);
  t.true(forged > 0);
  t.is(mri.direction, "downstream");
});

test("a Confirm with a changed cookie, echo or MRI installs nothing", async (t) => {
  const changes: Record<string, (m: GistMessage) => GistMessage> = {
    cookie: (m) =>
      m.type === "confirm" && m.responderCookie !== undefined
        ? { ...m, responderCookie: m.responderCookie.map((b, i) => (i === 6 ? b ^ 1 : b)) }
        : m,
    echo: (m) => (m.type === "confirm" ? { ...m, proposal: [[1]] } : m),
    "no echo": (m) => {
      if (m.type !== "confirm") return m;
      const { proposal: _, configuration: __, ...rest } = m;
      return rest;
    },
    "no hold time": (m) => {
      if (m.type !== "confirm") return m;
      const { configuration: _, ...rest } = m;
      return rest;
    },
    session: (m) => (m.type === "confirm" ? { ...m, sessionId: "00".repeat(16) as typeof m.sessionId } : m),
    port: (m) => (m.type === "confirm" ? { ...m, mri: flowMri(A, B, 4001) } : m),
    address: (m) =>
      m.type === "confirm" ? { ...m, nli: { ...m.nli, interfaceAddress: flowMri(C, B).source } } : m,
    identity: (m) =>
      m.type === "confirm" ? { ...m, nli: { ...m.nli, peerIdentity: new Uint8Array(16).fill(9) } } : m,
  };
  for (const [name, change] of Object.entries(changes)) {
    const { network, a, b, mri } = two();
    network.fate = (sent) => (sent.message.type === "confirm" ? changed(sent.bytes, change) : undefined);
    a.send(network.newSession(), mri, "one", { timeout: seconds(1) });
    await network.run(700);
    t.is(b.gist.view().routingStates.responding, 0, name);
    t.deepEqual(b.texts, [], name);
    const closes = ["echo", "no echo", "no hold time"].includes(name);
    if (closes) t.true(network.of("error", b).length > 0, name);
  }
});

test("a Response with an unknown cookie is dropped without an error", async (t) => {
  const { network, a, b, mri } = two();
  network.fate = (sent) =>
    sent.message.type === "response"
      ? changed(sent.bytes, (m) => (m.type === "response" ? { ...m, queryCookie: new Uint8Array(16) } : m))
      : undefined;
  a.send(network.newSession(), mri, "one");
  await network.run(400);
  t.is(a.counter("dropped.response"), 1);
  t.is(network.of("error").length, 0);
  t.is(b.gist.view().associations.length, 0);
});

test("an association whose certificate stands for somebody else is refused", async (t) => {
  const { network, a, b, mri } = two();
  b.certified = new Uint8Array(16).fill(77);
  a.send(network.newSession(), mri, "one");
  await network.run(500);
  t.is(a.statuses[0]?.error, "not-authorised");
  t.deepEqual(b.texts, []);
  t.is(a.gist.view().associations.length, 0);
});

test("a Response that offers no TLS is refused: nothing goes in the clear", async (t) => {
  const { network, a, b, mri } = two();
  network.fate = (sent) =>
    sent.message.type === "response"
      ? changed(sent.bytes, (m) =>
          m.type === "response" && m.stack !== undefined
            ? { ...m, stack: { ...m.stack, proposal: [[1]] } }
            : m,
        )
      : undefined;
  a.send(network.newSession(), mri, "one", { handle: 1 });
  await network.run(500);
  t.is(a.statuses.length, 1);
  t.is(network.of("data").length, 0);
  t.is(b.gist.view().associations.length, 0);
});

test("an association that cannot be opened fails the messages that wait for it", async (t) => {
  const { network, a, mri } = two();
  network.connects = false;
  a.send(network.newSession(), mri, "one");
  await network.run(11_000);
  t.is(a.statuses[0]?.error, "transport-failed");
  t.deepEqual(a.gist.view().routingStates, { querying: 0, responding: 0 });
});

test("state is refreshed within [1/2, 3/4] of the Response's validity, without a Confirm", async (t) => {
  const { network, a, b, mri, session } = await talking();
  a.gist.setStateLifetime(TEST_NSLP, session, mri, seconds(600));
  network.sent.length = 0;
  await network.run(120_000);
  const times = [0, ...network.of("query").map((q) => q.at)];
  const gaps = times.slice(2).map((at, i) => at - (times[i + 1] ?? 0));
  t.true(gaps.length >= 4);
  for (const gap of gaps) t.true(gap >= 15_000 && gap <= 22_600, `${gap}`);
  t.is(network.of("response").length, times.length - 1);
  t.is(network.of("confirm").length, 0);
  t.is(b.asked.length, 1, "the NSLP is not asked again");
  t.deepEqual(b.gist.view().routingStates, { querying: 0, responding: 1 });
});

test("lifetime 0 stops the refresh, and both ends forget", async (t) => {
  const { network, a, b, mri, session } = await talking();
  a.gist.setStateLifetime(TEST_NSLP, session, mri, ms(0));
  network.sent.length = 0;
  await network.run(40_000);
  t.is(network.of("query").length, 0);
  t.deepEqual(a.gist.view().routingStates, { querying: 0, responding: 0 });
  t.deepEqual(b.gist.view().routingStates, { querying: 0, responding: 0 });
  await network.run(70_000);
  t.is(a.gist.view().associations.length, 0, "an association that nobody uses is closed");
  t.is(b.gist.view().associations.length, 0);
  t.is(network.time.pending, 0);
});

test("unused state that nobody asked to keep is not refreshed for ever", async (t) => {
  const { network, a } = await talking();
  await network.run(150_000);
  t.is(a.gist.view().routingStates.querying, 0);
});

test("the responding NSLP hears when the state it wants is not refreshed any more", async (t) => {
  const { network, b, mri, session } = await talking();
  b.gist.setStateLifetime(TEST_NSLP, session, flipMri(mri), seconds(300));
  network.fate = (sent) => (sent.mode === "query" ? "lost" : undefined);
  await network.run(40_000);
  t.is(b.notifications[0]?.type, "route-deletion");
});

test("an idle association is kept alive by MA-Hello, and closed when the peer falls silent", async (t) => {
  const { network, a, b, mri, session } = await talking();
  a.gist.setStateLifetime(TEST_NSLP, session, mri, seconds(600));
  await network.run(100_000);
  t.is(a.gist.view().associations.length, 1);
  t.true(network.of("hello").length > 0);
  const before = network.time.now();
  network.fate = (sent) => (sent.mode === "association" ? "lost" : undefined);
  while (b.notifications.length === 0 && network.time.now() < before + 60_000) await network.run(500);
  t.is(b.notifications[0]?.type, "communication-failure");
  t.true(network.time.now() - before <= 31_000);
  t.is(a.notifications[0]?.type, "communication-failure");
  t.is(a.gist.view().associations.length, 0);
});

test("an MA-Hello that asks is answered with its Hello-ID", async (t) => {
  const { network, a, b } = await talking();
  const [connection] = a.connections;
  const hello: GistMessage = {
    type: "hello",
    hops: 1,
    nslpId: 0,
    signallingSource: true,
    replyRequested: true,
    helloId: 77,
  };
  connection?.send(encodeGist(hello));
  await network.run(50);
  const [answer] = network.of("hello", b);
  t.like(answer?.message, { replyRequested: false, helloId: 77 });
});

test("a lost association is reported on both sides; the next message makes a new one", async (t) => {
  const { network, a, b, mri, session } = await talking();
  a.breakConnections();
  await network.run(50);
  t.is(a.notifications[0]?.type, "communication-failure");
  t.is(b.notifications[0]?.type, "communication-failure");
  t.deepEqual(a.gist.view().routingStates, { querying: 0, responding: 0 });
  a.send(session, mri, "again");
  await network.run(500);
  t.deepEqual(b.texts, ["one", "again"]);
});

test("data without state: Error 5, the handshake starts again, and the message arrives", async (t) => {
  const { network, a, b, mri, session } = await talking();
  b.gist.invalidateRoutingState(TEST_NSLP, session, flipMri(mri), "bad", false);
  t.is(b.gist.view().routingStates.responding, 0);
  network.sent.length = 0;
  a.send(session, mri, "two");
  a.send(session, mri, "three");
  await network.run(500);
  const errors = network.of("error", b);
  t.is(errors.length, 2);
  t.like(errors[0]?.message, { type: "error", error: { code: 5 } });
  t.is(network.of("query").length, 1);
  t.deepEqual(b.texts, ["one", "two", "three"], "in their order, and none twice");
});

test("a node without the NSLP passes the Query on with one hop less, and the ends peer", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const other = network.addNode(B);
  network.addPlain(C);
  const d = network.addNode(D);
  other.decide = () => ({ peer: false });
  a.send(network.newSession(), flowMri(A, D), "one");
  await network.run(500);
  t.deepEqual(d.texts, ["one"]);
  const [query] = network.of("query");
  t.is((query?.message as GistQuery).hops, 32);
  t.is(d.asked[0]?.hopCount, 30);
  t.is(d.asked[0]?.ipDistance, 2);
  t.is(other.gist.view().associations.length, 0);
});

test("an NSLP that may be back in a moment is waited for, and not passed over", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B, { nslpWait: seconds(2) });
  const c = network.addNode(C);
  const again = b.gist;
  again.unregister(TEST_NSLP);
  a.send(network.newSession(), flowMri(A, C), "one");
  await network.run(1000);
  t.true(b.counter("dropped.nslp-expected") > 0);
  t.is(b.counter("passed-on.other-nslp"), 0);
  again.register(TEST_NSLP, {
    recvMessage: () => ({ peer: true }),
    messageStatus() {},
    networkNotification() {},
  });
  await network.run(3000);
  t.is(b.gist.view().routingStates.responding, 1);
  again.unregister(TEST_NSLP);
  await network.run(2000);
  a.send(network.newSession(), flowMri(A, C), "two");
  await network.run(500);
  t.is(b.counter("passed-on.other-nslp"), 1, "it does not come back");
  t.deepEqual(c.texts, ["two"]);
});

test("a NSLPID that is not here goes by; at the end of the path the answer is Endpoint Found", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B);
  const c = network.addNode(C);
  const statuses: string[] = [];
  a.gist.register(99, {
    recvMessage: () => ({ peer: false }),
    messageStatus: (status) => statuses.push(status.error),
    networkNotification: () => {},
  });
  a.send(network.newSession(), flowMri(A, C), "one", { nslpId: 99 });
  await network.run(500);
  t.is(b.counter("passed-on.other-nslp"), 1);
  t.is(b.counter("received.query"), 0, "it is not even read");
  t.is(c.counter("refused.error-7"), 1);
  t.deepEqual(statuses, ["endpoint-found"]);
});

test("a Query that comes with hop count 0 is answered with Error 2", async (t) => {
  const { network, a, b, mri } = two();
  network.fate = (sent) =>
    sent.message.type === "query" ? changed(sent.bytes, (m) => ({ ...m, hops: 0 })) : undefined;
  a.send(network.newSession(), mri, "one");
  await network.run(200);
  t.is(b.counter("refused.error-2"), 1);
  t.is(a.statuses[0]?.error, "no-response");
  t.is(b.asked.length, 0);
});

test("data both ways across a router that peers: each hop has its own state", async (t) => {
  const network = new MemoryNetwork();
  const sender = network.addNode(A);
  const router = network.addNode(B);
  const receiver = network.addNode(C);
  const mri = flowMri(A, C);
  const session = network.newSession();
  router.react = (m) => router.send(m.sessionId, m.mri, text(m.data), { hopCount: m.hopCount });
  receiver.react = (m) => receiver.send(m.sessionId, flipMri(m.mri), `re ${text(m.data)}`);
  sender.send(session, mri, "may I");
  await network.run(1000);
  t.deepEqual(receiver.texts, ["may I"]);
  t.deepEqual(router.texts, ["may I", "re may I"]);
  t.deepEqual(sender.texts, ["re may I"]);
  t.deepEqual(router.gist.view().routingStates, { querying: 1, responding: 1 });
  t.is(router.gist.view().associations.length, 2);
  t.is(receiver.received[0]?.hopCount, 30);
});

test("with a third of all datagrams lost every session still gets through", async (t) => {
  const network = new MemoryNetwork();
  const sender = network.addNode(A);
  const router = network.addNode(B);
  const receiver = network.addNode(C);
  router.react = (m) => router.send(m.sessionId, m.mri, text(m.data));
  let count = 0;
  network.fate = (sent) => (sent.mode !== "association" && count++ % 3 === 0 ? "lost" : undefined);
  for (let port = 1; port <= 40; port++) sender.send(network.newSession(), flowMri(A, C, port), `m${port}`);
  await network.run(60_000);
  t.deepEqual([...receiver.texts].sort(), Array.from({ length: 40 }, (_, i) => `m${i + 1}`).sort());
});

test("two nodes that open associations to each other at once end with one", async (t) => {
  const { network, a, b } = two();
  const there = network.newSession();
  const back = network.newSession();
  a.send(there, flowMri(A, B), "a1");
  b.send(back, flowMri(B, A), "b1");
  await network.run(300);
  t.deepEqual(b.texts, ["a1"]);
  t.deepEqual(a.texts, ["b1"]);
  a.gist.setStateLifetime(TEST_NSLP, there, flowMri(A, B), seconds(600));
  b.gist.setStateLifetime(TEST_NSLP, back, flowMri(B, A), seconds(600));
  await network.run(90_000);
  t.is(a.gist.view().associations.length, 1);
  t.is(b.gist.view().associations.length, 1);
  t.deepEqual(a.notifications, []);
  t.deepEqual(b.notifications, []);
  a.send(there, flowMri(A, B), "a2");
  b.send(back, flowMri(B, A), "b2");
  await network.run(100);
  t.deepEqual(b.texts, ["a1", "a2"]);
  t.deepEqual(a.texts, ["b1", "b2"]);
});

test("messages that want neither reliability nor security go as datagrams", async (t) => {
  const { network, a, b, mri } = two();
  const session = network.newSession();
  const plain = { transfer: { reliable: false, secure: false } };
  a.send(session, mri, "one", plain);
  await network.run(200);
  a.send(session, mri, "two", plain);
  b.send(session, flipMri(mri), "back", plain);
  await network.run(200);
  t.deepEqual(b.texts, ["one", "two"]);
  t.deepEqual(a.texts, ["back"]);
  t.deepEqual(b.received[0]?.transfer, {
    reliable: false,
    secure: false,
    explicitlyRouted: false,
    returnRoutable: true,
    lastNode: true,
  });
  t.true(network.sent.every((s) => s.mode !== "association"));
  a.send(session, mri, "secret");
  await network.run(500);
  t.deepEqual(b.texts, ["one", "two", "secret"]);
  t.true(b.received[2]?.transfer.secure);
});

test("state over TLS does not give way to a Confirm in the clear", async (t) => {
  const { network, a, b, mri, session } = await talking();
  const third = network.addNode(C);
  void third;
  const query = changed(network.of("query")[0]?.bytes ?? words(""), (m) => {
    if (m.type !== "query") return m;
    const { stack: _, ...rest } = m;
    return {
      ...rest,
      nli: { ...rest.nli, peerIdentity: new Uint8Array(16).fill(3), interfaceAddress: third.address },
    };
  });
  void b.gist.datagram({
    message: query,
    source: a.address,
    sourcePort: 270,
    destination: b.address,
    ipTtl: 64,
    inboundInterface: "left",
    intercepted: true,
  });
  await network.run(100);
  const response = network.of("response", b).at(-1)?.message;
  if (response?.type !== "response") return t.fail("the forged Query was not answered");
  t.true(response.confirmRequested, "another peer has to confirm");
  const { responderCookie } = response;
  if (responderCookie === undefined) return t.fail("no Responder-Cookie");
  const confirm: GistMessage = {
    type: "confirm",
    hops: 32,
    nslpId: TEST_NSLP,
    signallingSource: true,
    mri,
    sessionId: session,
    nli: { ...response.nli, peerIdentity: new Uint8Array(16).fill(3), interfaceAddress: third.address },
    responderCookie,
  };
  network.datagram(third, b.address, 270, encodeGist(confirm));
  await network.run(100);
  t.is(b.counter("dropped.confirm"), 1);
  b.send(session, flipMri(mri), "back");
  await network.run(100);
  t.deepEqual(a.texts, ["back"]);
});

test("data of a session that belongs to another peer is refused", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B);
  const c = network.addNode(C);
  const session = network.newSession();
  const mri = flowMri(A, C);
  b.decide = (m) => ({ peer: m.mri.source.equals(b.address) });
  a.send(session, mri, "one");
  b.send(network.newSession(), flowMri(B, C), "mine");
  await network.run(500);
  const [connection] = b.connections;
  const data: GistMessage = {
    type: "data",
    hops: 3,
    nslpId: TEST_NSLP,
    signallingSource: true,
    mri,
    sessionId: session,
    queryMode: false,
    explicitlyRouted: false,
    data: words("forged"),
  };
  connection?.send(encodeGist(data));
  await network.run(100);
  t.deepEqual([...c.texts].sort(), ["mine", "one"]);
  t.is(c.counter("refused.error-4"), 1);
});

test("tables that are full are answered clearly", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A, { maxRoutingStates: 2 });
  const b = network.addNode(B, { maxRoutingStates: 1 });
  for (let port = 1; port <= 3; port++) {
    a.send(network.newSession(), flowMri(A, B, port), "x", { handle: port, timeout: seconds(1) });
    await network.run(3000);
  }
  t.deepEqual(
    a.statuses.map((s) => [s.handle, s.error]),
    [
      [1, "no-error"],
      [2, "no-response"],
      [3, "no-response"],
    ],
  );
  t.true(b.counter("limited.routing-states") > 0);
  for (let port = 4; port <= 6; port++)
    a.send(network.newSession(), flowMri(A, B, port), "x", { handle: port });
  await network.run(50);
  t.deepEqual(
    a.statuses.slice(3).map((s) => [s.handle, s.error]),
    [
      [5, "overloaded"],
      [6, "overloaded"],
    ],
  );
  t.is(b.gist.view().routingStates.responding, 1);
});

test("messages that wait are bounded", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A, { maxQueuedPerSession: 3 });
  network.addPlain(B);
  const session = network.newSession();
  for (let i = 0; i < 5; i++) a.send(session, flowMri(A, B), `${i}`);
  await network.run(50);
  t.deepEqual(
    a.statuses.map((s) => s.error),
    ["overloaded", "overloaded"],
  );
});

test("Queries of one source are limited, those of others are not", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B, { sourceRate: 10, sourceBurst: 10 });
  for (let port = 1; port <= 30; port++) a.send(network.newSession(), flowMri(A, B, port), "x");
  for (let i = 1; i <= 5; i++) a.send(network.newSession(), flowMri(`10.9.0.${i}`, B), "x");
  await network.run(100);
  t.is(b.counter("limited.intercepted"), 20);
  t.is(network.of("response").length, 15);
});

test("D-mode messages made here are limited; a Query that is not sent counts as lost", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A, { datagramRate: 10, datagramBurst: 5 });
  const b = network.addNode(B);
  for (let port = 1; port <= 8; port++) a.send(network.newSession(), flowMri(A, B, port), "x");
  await network.run(100);
  t.is(network.of("query").length, 5);
  await network.run(2000);
  t.is(b.texts.length, 8);
});

test("what cannot be sent is refused at once", async (t) => {
  const { network, a, b, mri, session } = await talking();
  a.send(session, mri, "", { data: new Uint8Array(5) });
  a.send(session, mri, "", { data: new Uint8Array(17_000) });
  b.send(network.newSession(), flowMri(A, B), "to myself");
  b.send(network.newSession(), flipMri(flowMri(A, B)), "to nobody");
  a.send(network.newSession(), flowMri(A, "10.99.0.1"), "no route");
  a.send(network.newSession(), { ...flowMri(A, B), destination: IpAddress.parse("::1") }, "two versions");
  a.send(session, mri, "hops", { hopCount: 256 });
  await network.run(100);
  t.deepEqual(
    a.statuses.map((s) => s.error),
    ["too-large", "too-large", "transport-failed", "transport-failed", "no-response"],
  );
  t.deepEqual(
    b.statuses.map((s) => s.error),
    ["endpoint-found", "no-response"],
  );
});

test("an explicit peer is reached over its association, flagged so", async (t) => {
  const { network, a, b } = await talking();
  const siiHandle = b.received[0]?.siiHandle ?? "";
  b.send(network.newSession(), flipMri(flowMri(A, B, 7)), "old peer", { siiHandle });
  b.send(network.newSession(), flipMri(flowMri(A, B, 7)), "nobody", { siiHandle: "00@10.0.0.9" });
  await network.run(100);
  t.deepEqual(a.texts, ["old peer"]);
  t.true(a.received[0]?.transfer.explicitlyRouted);
  t.is(b.statuses[0]?.error, "transport-failed");
});

test("bad routing state, urgent: the path is discovered anew and the change is told", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B);
  const c = network.addNode(C);
  const session = network.newSession();
  const mri = flowMri(A, C);
  b.decide = () => ({ peer: false });
  a.send(session, mri, "one");
  await network.run(500);
  t.deepEqual(c.texts, ["one"]);
  b.decide = () => ({ peer: true });
  a.gist.invalidateRoutingState(TEST_NSLP, session, mri, "bad", true);
  await network.run(500);
  t.is(a.notifications[0]?.type, "routing-status-change");
  a.send(session, mri, "two");
  await network.run(100);
  t.deepEqual(b.texts, ["two"]);
});

test("a Query behind a NAT is refused with Error 9/4", async (t) => {
  const { network, a, b, mri } = two();
  network.fate = (sent) =>
    sent.message.type === "query"
      ? changed(sent.bytes, (m) =>
          m.type === "query"
            ? { ...m, signallingSource: true, nli: { ...m.nli, interfaceAddress: flowMri(C, B).source } }
            : m,
        )
      : undefined;
  a.send(network.newSession(), mri, "one");
  await network.run(100);
  t.is(b.counter("refused.nat"), 1);
  t.is(b.asked.length, 0);
});

test("random and truncated datagrams are counted, and nothing else happens", async (t) => {
  const { network, a, b } = await talking();
  const whole = network.of("query")[0]?.bytes ?? words("");
  for (let length = 0; length < whole.length; length++) {
    for (const intercepted of [true, false])
      void b.gist.datagram({
        message: whole.slice(0, length),
        source: a.address,
        sourcePort: 270,
        destination: b.address,
        ipTtl: 1,
        inboundInterface: "",
        intercepted,
      });
  }
  await network.run(100);
  t.true(b.counter("received.malformed") > 100);
  t.is(b.counter("internal-error"), 0);
  t.deepEqual(b.gist.view().routingStates, { querying: 0, responding: 1 });
});

test("with immediate installation a Query makes state, which a missing Confirm ends", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B, { install: "on-query" });
  network.fate = (sent) => (sent.message.type === "response" ? "lost" : undefined);
  a.send(network.newSession(), flowMri(A, B), "one", { timeout: seconds(1) });
  await network.run(500);
  t.is(b.gist.view().routingStates.responding, 1);
  await network.run(40_000);
  t.is(b.gist.view().routingStates.responding, 0);
  network.fate = () => undefined;
  a.send(network.newSession(), flowMri(A, B), "two");
  await network.run(500);
  t.deepEqual(b.texts, ["two"]);
});

test("an NSLP that throws harms nobody", async (t) => {
  const { network, a, b, mri, session } = await talking();
  b.react = () => {
    throw new Error("broken NSLP");
  };
  a.send(session, mri, "two");
  a.send(session, mri, "three");
  await network.run(100);
  t.is(b.counter("nslp.threw"), 2);
  t.is(b.gist.view().associations.length, 1);
});

test("a node that stops fails what waits and closes what is open", async (t) => {
  const { network, a, b } = await talking();
  network.fate = () => "lost";
  a.send(network.newSession(), flowMri(A, B, 9), "waits");
  await a.gist.stop();
  await network.run(100);
  t.is(a.statuses[0]?.error, "transport-failed");
  t.deepEqual(a.gist.view().routingStates, { querying: 0, responding: 0 });
  t.is(b.gist.view().associations.length, 0);
});

test("responding state lasts as long as its Response told, though much state has gone since", async (t) => {
  const { network, a, b } = two({ datagramRate: 2, datagramBurst: 1000 });
  const [first] = [network.newSession()];
  const many = Array.from({ length: 60 }, (_, port) => ({
    session: network.newSession(),
    mri: flowMri(A, B, 100 + port),
  }));
  for (const { session, mri } of many) a.send(session, mri, "x");
  await network.run(500);
  network.fate = ({ message }) => {
    // All other state goes between the Response and its Confirm.
    if (message.type === "confirm")
      for (const { session, mri } of many)
        b.gist.invalidateRoutingState(TEST_NSLP, session, flipMri(mri), "bad", true);
    return undefined;
  };
  a.send(first, flowMri(A, B), "x");
  await network.run(500);
  const told = network.of("response").at(-1)?.message.nli.validity ?? 0;
  t.true(told > seconds(55), `${told}`);
  const [route] = b.gist.routes();
  t.true((route?.expiresIn ?? 0) > told - 1000, `${route?.expiresIn}`);
});

test("a Response reports the IP TTL with which its Query came", async (t) => {
  const { network } = await talking();
  t.is(network.of("response")[0]?.message.nli.ipTtl, network.of("query")[0]?.message.nli.ipTtl);
});
