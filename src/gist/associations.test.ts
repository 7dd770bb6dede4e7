import test from "ava";
import { seconds } from "../base/units.js";
import { flowMri, MemoryNetwork, TEST_NSLP } from "./testing/network.js";
import { A, B, C, changed, talking, two } from "./testing/pair.js";
import { encodeGist, flipMri } from "./wire/codec.js";
import type { GistMessage } from "./wire/messages.js";

const RELIABLE = { transfer: { reliable: true, secure: false } };
const BOTH = { stacks: "tls-and-tcp" } as const;
const TLS = [2, 1];
const TCP = [1];

const carriers = (node: { gist: { view(): { associations: readonly { protocol: string }[] } } }): string[] =>
  node.gist.view().associations.map((v) => v.protocol);

test("TLS alone is offered unless plain TCP is allowed; strongest first where it is", async (t) => {
  for (const [options, more, query, response] of [
    [{}, {}, [TLS], [TLS]],
    [{}, { tcp: true }, [TLS], [TLS]],
    [BOTH, { tcp: true }, [TLS, TCP], [TLS, TCP]],
    [BOTH, { tcp: true, tls: false }, [TCP], [TCP]],
  ] as const) {
    const { network, a, mri } = two(options, more);
    a.send(network.newSession(), mri, "one", RELIABLE);
    await network.run(500);
    t.deepEqual(network.of("query")[0]?.message.stack?.proposal, query);
    t.deepEqual(network.of("response")[0]?.message.stack?.proposal, response);
    t.deepEqual(network.of("confirm")[0]?.message.proposal, response, "the Confirm echoes it");
  }
});

test("a Query whose messages need security offers only TLS; the Response offers all the same", async (t) => {
  const { network, a, mri } = two(BOTH, { tcp: true });
  a.send(network.newSession(), mri, "one");
  await network.run(500);
  t.deepEqual(network.of("query")[0]?.message.stack?.proposal, [TLS]);
  t.deepEqual(network.of("response")[0]?.message.stack?.proposal, [TLS, TCP]);
  t.deepEqual(carriers(a), ["tls"]);
});

test("with a peer that has no TLS reliable messages go over TCP, and are not called secure", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A, BOTH, { tcp: true });
  const b = network.addNode(B, BOTH, { tcp: true, tls: false });
  const session = network.newSession();
  const mri = flowMri(A, B);
  a.send(session, mri, "one", { ...RELIABLE, handle: 1 });
  await network.run(500);
  t.deepEqual(b.texts, ["one"]);
  t.like(b.received[0]?.transfer, { reliable: true, secure: false, returnRoutable: true });
  t.deepEqual(a.statuses[0]?.transfer, { reliable: true, secure: false });
  t.deepEqual(carriers(a), ["tcp"]);
  t.deepEqual(carriers(b), ["tcp"]);
  b.send(session, flipMri(mri), "back", RELIABLE);
  await network.run(100);
  t.deepEqual(a.texts, ["back"]);
  a.send(network.newSession(), flowMri(A, B, 4001), "two", RELIABLE);
  await network.run(500);
  t.deepEqual(b.texts, ["one", "two"]);
  t.is(carriers(a).length, 1, "the association is reused: nothing stronger is to be had");
});

test("a secure message never goes over TCP", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A, BOTH, { tcp: true });
  const b = network.addNode(B, BOTH, { tcp: true, tls: false });
  const session = network.newSession();
  const mri = flowMri(A, B);
  a.send(session, mri, "one", RELIABLE);
  await network.run(500);
  a.send(session, mri, "secret", { handle: 2 });
  b.send(session, flipMri(mri), "secret back", { handle: 3 });
  await network.run(1000);
  t.deepEqual(b.texts, ["one"]);
  t.deepEqual(a.texts, []);
  t.like(a.statuses[0], { handle: 2, error: "transport-failed" });
  t.like(b.statuses[0], { handle: 3, error: "transport-failed", transfer: { secure: true } });
  a.send(network.newSession(), mri, "secret", { siiHandle: a.gist.view().associations[0]?.peer ?? "" });
  await network.run(100);
  t.is(a.statuses.at(-1)?.error, "transport-failed");
});

test("a secure message on state that is carried by TCP moves the state to TLS where the peer has it", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A, BOTH, { tcp: true });
  const b = network.addNode(B, BOTH, { tcp: true });
  const session = network.newSession();
  const mri = flowMri(A, B);
  a.send(session, mri, "plain", { transfer: { reliable: false, secure: false } });
  await network.run(300);
  t.deepEqual(carriers(a), []);
  a.send(session, mri, "secret");
  await network.run(500);
  t.deepEqual(b.texts, ["plain", "secret"]);
  t.deepEqual(carriers(a), ["tls"]);
});

test("who takes TLS off the Response gets no association: the Confirm's echo gives him away", async (t) => {
  const { network, a, b, mri } = two(BOTH, { tcp: true });
  network.fate = (sent) =>
    sent.message.type === "response"
      ? changed(sent.bytes, (m) =>
          m.type === "response" && m.stack !== undefined
            ? {
                ...m,
                stack: {
                  proposal: [TCP],
                  configuration: {
                    ...m.stack.configuration,
                    options: [{ protocol: 1, profile: 1, doNotUse: false, data: Uint8Array.of(20, 151) }],
                  },
                },
              }
            : m,
        )
      : undefined;
  a.send(network.newSession(), mri, "one", RELIABLE);
  await network.run(1000);
  t.deepEqual(b.texts, []);
  t.is(b.counter("refused.error-10"), 1);
  t.deepEqual(carriers(a), []);
  t.deepEqual(carriers(b), []);
});

test("plain TCP is turned away where it is not allowed", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A, BOTH, { tcp: true });
  const b = network.addNode(B, {}, { tcp: true });
  void a.connect(b.address, b.tcpPort ?? 0, "tcp", seconds(1));
  await network.run(200);
  t.is(b.counter("refused.not-tls"), 1);
});

test("names that the list does not let pass are refused, at both ends", async (t) => {
  for (const [atA, atB, passes] of [
    ["*.example.net", "*.example.net", true],
    ["n2.example.net", "n1.example.net", true],
    ["n9.example.net", "*", false],
    ["*", "n9.example.net", false],
  ] as const) {
    const network = new MemoryNetwork();
    const a = network.addNode(A, {}, { authorisedPeers: [{ name: atA, action: "accept" }] });
    const b = network.addNode(B, {}, { authorisedPeers: [{ name: atB, action: "accept" }] });
    a.send(network.newSession(), flowMri(A, B), "one", { timeout: seconds(5) });
    await network.run(6000);
    t.is(b.texts.length, passes ? 1 : 0, `${atA} ${atB}`);
    if (atA === "n9.example.net") t.is(a.statuses[0]?.error, "not-authorised");
    if (atB === "n9.example.net") t.true(b.counter("refused.not-authorised") > 0);
  }
});

test("when the list changes, peers that no longer pass are let go and their users are told", async (t) => {
  const { network, a, b, session, mri } = await talking();
  t.throws(() => a.gist.setAuthorisedPeers([{ name: "*bad", action: "accept" }]), { instanceOf: RangeError });
  a.gist.setAuthorisedPeers([{ name: "n2.example.net", action: "accept" }]);
  await network.run(50);
  t.is(a.gist.view().associations.length, 1, "who still passes stays");
  a.gist.setAuthorisedPeers([{ name: "n2.example.net", action: "refuse" }]);
  await network.run(50);
  t.is(a.gist.view().associations.length, 0);
  t.deepEqual(
    a.notifications.map((n) => n.type),
    ["node-authorisation-change"],
  );
  t.deepEqual(a.gist.view().routingStates, { querying: 0, responding: 0 });
  t.is(b.notifications[0]?.type, "communication-failure");
  a.send(session, mri, "two");
  await network.run(500);
  t.is(a.statuses.at(-1)?.error, "not-authorised");
  b.gist.setAuthorisedPeers([{ name: "nobody.example.net", action: "accept" }]);
  a.gist.setAuthorisedPeers([]);
  await network.run(50);
  t.is(b.gist.view().associations.length, 0);
});

test("the responding side's users are told of a change of the list too", async (t) => {
  const { network, b } = await talking();
  b.gist.setAuthorisedPeers([
    { name: "n1.example.net", action: "refuse" },
    { name: "*", action: "accept" },
  ]);
  await network.run(50);
  t.deepEqual(
    b.notifications.map((n) => n.type),
    ["node-authorisation-change"],
  );
});

test("associations that one peer opens are limited", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B, { maxAssociationsPerPeer: 2 });
  const c = network.addNode(C);
  for (const node of [a, a, a, c]) void node.connect(b.address, b.tlsPort, "tls", seconds(1));
  await network.run(200);
  t.is(b.gist.view().associations.length, 3);
  t.is(b.counter("limited.associations-of-peer"), 1);
});

test("reliable messages that the peer may not have read are reported when the association is lost", async (t) => {
  const { network, a, b, mri, session } = await talking();
  await network.run(3000);
  t.true(network.of("hello").length >= 2, "the first message was asked for and answered");
  network.fate = (sent) => (sent.mode === "association" ? "lost" : undefined);
  a.send(session, mri, "two", { handle: 2 });
  a.send(session, mri, "three", { handle: 3 });
  b.send(session, flipMri(mri), "back", { handle: 4 });
  await network.run(50);
  a.breakConnections();
  await network.run(50);
  t.deepEqual(
    a.statuses.map((s) => [s.handle, s.error]),
    [
      [2, "no-error"],
      [3, "no-error"],
      [2, "transport-failed"],
      [3, "transport-failed"],
    ],
  );
  t.deepEqual(a.statuses.at(-1)?.transfer, { reliable: true, secure: true });
  t.deepEqual(
    b.statuses.map((s) => [s.handle, s.error]),
    [
      [4, "no-error"],
      [4, "transport-failed"],
    ],
  );
  t.is(a.notifications[0]?.type, "communication-failure");
  t.is(b.notifications[0]?.type, "communication-failure");
});

test("what the peer has read is not reported as lost", async (t) => {
  const { network, a, mri, session } = await talking();
  for (let handle = 1; handle <= 300; handle++) a.send(session, mri, `m${handle}`, { handle });
  await network.run(3000);
  a.breakConnections();
  await network.run(50);
  t.deepEqual(
    a.statuses.filter((s) => s.error !== "no-error"),
    [],
  );
});

test("an MA-Hello with another Hello-ID proves nothing", async (t) => {
  const { network, a, b, mri, session } = await talking();
  await network.run(3000);
  network.fate = (sent) => (sent.from === A && sent.mode === "association" ? "lost" : undefined);
  a.send(session, mri, "two", { handle: 2 });
  const hello: GistMessage = {
    type: "hello",
    hops: 1,
    nslpId: 0,
    signallingSource: true,
    replyRequested: false,
    helloId: 99,
  };
  for (const connection of b.connections) connection.send(encodeGist(hello));
  await network.run(2000);
  for (const connection of b.connections) connection.send(encodeGist(hello));
  await network.run(50);
  a.breakConnections();
  await network.run(50);
  t.is(a.statuses.at(-1)?.error, "transport-failed");
});

test("a Confirm in plain TCP does not take state over that TLS carries", async (t) => {
  const { network, a, b, mri } = two(BOTH, { tcp: true });
  const session = network.newSession();
  a.send(session, mri, "one");
  await network.run(500);
  a.gist.setStateLifetime(TEST_NSLP, session, mri, seconds(600));
  const [response] = network.of("response");
  const cookie = response?.message.responderCookie;
  if (response === undefined || cookie === undefined) return t.fail("no cookie");
  const there = a.connect(b.address, b.tcpPort ?? 0, "tcp", seconds(1));
  await network.run(100);
  const confirm: GistMessage = {
    type: "confirm",
    hops: 32,
    nslpId: TEST_NSLP,
    signallingSource: true,
    mri,
    sessionId: session,
    nli: { ...response.message.nli, peerIdentity: a.identity, interfaceAddress: a.address },
    responderCookie: cookie,
    proposal: [TLS, TCP],
    configuration: { holdTime: seconds(30), options: [] },
  };
  (await there).send(encodeGist(confirm));
  await network.run(100);
  t.is(b.counter("dropped.confirm"), 1);
  t.deepEqual(
    [...b.gist.routes()].map((r) => r.carriedBy),
    ["tls"],
  );
});

test("a Response in plain TCP does not take state over that TLS carries", async (t) => {
  const { network, a, b, mri } = two(BOTH, { tcp: true });
  const session = network.newSession();
  a.send(session, mri, "one");
  await network.run(500);
  a.gist.setStateLifetime(TEST_NSLP, session, mri, seconds(600));
  const there = a.connect(b.address, b.tcpPort ?? 0, "tcp", seconds(1));
  const back = b.connect(a.address, a.tcpPort ?? 0, "tcp", seconds(1));
  await network.run(100);
  void (await there);
  let forged = 0;
  const tcp = await back;
  network.fate = ({ message, mode }) => {
    if (message.type === "response" && mode !== "association") return undefined;
    if (message.type !== "query") return undefined;
    forged++;
    const nli = { ...message.nli, peerIdentity: b.identity, interfaceAddress: b.address };
    const { nslpId, sessionId, queryCookie } = message;
    tcp.send(
      encodeGist({
        type: "response",
        hops: 32,
        nslpId,
        signallingSource: true,
        confirmRequested: false,
        mri: flipMri(mri),
        sessionId,
        nli,
        queryCookie,
      }),
    );
    return "lost";
  };
  await network.run(24_000);
  t.true(forged > 0);
  t.is(a.counter("dropped.response"), forged);
  t.deepEqual(
    [...a.gist.routes()].map((r) => r.carriedBy),
    ["tls"],
  );
});

test("what anybody may open leaves half of the room for TLS", async (t) => {
  const { network, a, b, mri } = two(
    { ...BOTH, maxAssociations: 4, maxAssociationsPerPeer: 8 },
    { tcp: true },
  );
  for (let i = 0; i < 4; i++) void a.connect(b.address, b.tcpPort ?? 0, "tcp", seconds(1));
  await network.run(50);
  t.is(b.counter("limited.associations"), 2);
  a.send(network.newSession(), mri, "secure");
  await network.run(500);
  t.deepEqual(b.texts, ["secure"]);
});
