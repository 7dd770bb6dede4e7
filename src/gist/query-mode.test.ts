import test from "ava";
import { IpAddress } from "../base/address.js";
import { ByteWriter } from "../base/wire.js";
import { ms, seconds } from "../base/units.js";
import { flowMri, MemoryNetwork, TEST_NSLP, type TestNode, words } from "./testing/network.js";
import { A, B, C, changed, D, two } from "./testing/pair.js";
import type { Interception } from "./transport/transport.js";
import { ERROR_CODE, encodeGist, flipMri, MRI_ERROR, newSessionId } from "./wire/codec.js";
import type { GistMessage, GistQuery, Mri } from "./wire/messages.js";
import { seededRandom } from "../base/random.js";
import { writeMri } from "./wire/mri.js";

const PLAIN = { transfer: { reliable: false, secure: false } };
const LOOSE: Mri = {
  method: "loose-end",
  direction: "downstream",
  source: IpAddress.parse(A),
  destination: IpAddress.parse(D),
};

function queryOf(from: TestNode, mri: Mri, more: Partial<GistQuery> = {}): GistQuery {
  return {
    type: "query",
    hops: 16,
    nslpId: TEST_NSLP,
    signallingSource: false,
    mri,
    sessionId: newSessionId(seededRandom(3)),
    nli: { ipTtl: 64, validity: seconds(30), peerIdentity: from.identity, interfaceAddress: from.address },
    queryCookie: words("cookie"),
    ...more,
  };
}

/** Hands a packet in Query mode to a node. */
async function intercept(
  node: TestNode,
  message: GistMessage,
  packet: { source: string; destination: string; ipTtl?: number; inboundInterface?: string },
): Promise<Interception> {
  const answer = node.gist.datagram({
    message: encodeGist(message),
    source: IpAddress.parse(packet.source),
    sourcePort: 270,
    destination: IpAddress.parse(packet.destination),
    ipTtl: packet.ipTtl ?? 64,
    inboundInterface: packet.inboundInterface ?? "left",
    intercepted: true,
  });
  await node.network.run(50);
  return answer;
}

test("a loose-end MRI goes from end to end like any other", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B);
  const d = network.addNode(D);
  b.decide = () => ({ peer: false });
  const session = network.newSession();
  a.send(session, LOOSE, "one");
  await network.run(500);
  t.deepEqual(d.texts, ["one"]);
  t.is(d.received[0]?.mri.method, "loose-end");
  d.send(session, flipMri(LOOSE), "back");
  await network.run(100);
  t.deepEqual(a.texts, ["back"]);
  t.is([...a.gist.routes()][0]?.mri, `downstream loose-end ${A} > ${D}`);
  const upstream = queryOf(d, flipMri(LOOSE), { signallingSource: true });
  t.is(await intercept(b, upstream, { source: D, destination: A, ipTtl: 255 }), "drop");
  t.is(b.counter("refused.loose-end-upstream"), 1);
});

test("an upstream Query is passed on along the flow's path, and answered by who peers", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B);
  const c = network.addNode(C);
  b.decide = () => ({ peer: false });
  const mri = flowMri(A, C);
  const query = queryOf(c, flipMri(mri), { signallingSource: true });
  network.queryMode(c, a.address, encodeGist(query), c.address, 255);
  await network.run(100);
  t.is(b.counter("passed-on.query"), 1);
  t.is(a.asked[0]?.mri.direction, "upstream");
  t.true(a.asked[0]?.transfer.lastNode, "the flow's source is the last node upstream");
  const [response] = network.of("response", a);
  t.is(response?.to, C);
  t.is(response?.message.mri.direction, "downstream");
  const cookie = response?.message.responderCookie;
  if (cookie === undefined) return t.fail("no Responder-Cookie");
  const { mri: asked, sessionId, nslpId, nli } = query;
  network.datagram(
    c,
    a.address,
    270,
    encodeGist({
      type: "confirm",
      hops: 1,
      nslpId,
      signallingSource: true,
      mri: asked,
      sessionId,
      nli,
      responderCookie: cookie,
    }),
  );
  await network.run(50);
  t.deepEqual(a.gist.view().routingStates, { querying: 0, responding: 1 });
  a.send(sessionId, mri, "down", PLAIN);
  await network.run(50);
  t.like(network.of("data", a)[0], { to: C, mode: "datagram" });
});

test("an upstream Query from farther away than one router is refused with Error 11", async (t) => {
  const { network, a, b, mri } = two();
  for (const [ipTtl, refused] of [
    [255, 0],
    [254, 0],
    [253, 1],
    [64, 2],
    [0, 2],
  ] as const) {
    const query = queryOf(b, flipMri(mri), { signallingSource: true });
    await intercept(a, query, { source: B, destination: A, ipTtl });
    t.is(a.counter("refused.error-11"), refused, `TTL ${ipTtl}`);
  }
  await intercept(a, queryOf(b, flipMri(mri)), { source: B, destination: A, ipTtl: 255 });
  t.is(a.counter("refused.source"), 1, "an upstream Query shows its own address");
  t.true(network.sent.length > 0);
});

const MRI_CASES: [what: string, subcode: number, mri: Mri, destination: string][] = [
  ["a prefix in place of the destination", MRI_ERROR.tooWild, { ...flowMri(A, B), destinationPrefix: 24 }, B],
  ["another IP version than the packet", MRI_ERROR.ipVersion, flowMri(A, B), "2001:db8::2"],
];
for (const [what, subcode, mri, destination] of MRI_CASES)
  test(`MRI validation: ${what} is answered with Error 12/${subcode} and the MRI`, async (t) => {
    const { network, a, b } = two();
    const packet = { source: A, destination };
    t.is(await intercept(b, queryOf(a, mri), packet), "drop");
    const error = network.of("error", b)[0]?.message.error;
    t.like(error, { code: ERROR_CODE.mriValidation, subcode });
    const info = error?.info[0];
    if (info?.type !== "object-value") return t.fail("no object value");
    t.deepEqual(
      Buffer.from(info.object.subarray(4)),
      Buffer.from(writeMri(new ByteWriter(32), mri).finish()),
    );
  });

for (const [filter, route, inbound, passes] of [
  ["off", undefined, "left", true],
  ["loose", "left", "left", true],
  ["loose", "right", "left", true],
  ["loose", undefined, "left", false],
  ["strict", "left", "left", true],
  ["strict", "right", "left", false],
  ["strict", "right", "", true],
  ["strict", undefined, "left", false],
] as const)
  test(`ingress filter ${filter}: route back ${route ?? "none"}, came in ${inbound || "unknown"}`, async (t) => {
    const { network, a, b, mri } = two({ ingressFilter: filter });
    const way = (target: IpAddress) => {
      if (target.toString() !== "10.7.7.7") return b.wayOut("right");
      return route === undefined ? undefined : b.wayOut(route);
    };
    b.routeTo = way;
    const query = queryOf(a, { ...mri, source: IpAddress.parse("10.7.7.7") });
    const packet = { source: "10.7.7.7", destination: B, inboundInterface: inbound };
    t.is(await intercept(b, query, packet), passes ? "taken" : "drop");
    t.is(b.counter("refused.ingress-filter"), passes ? 0 : 1);
    const error = network.of("error", b)[0]?.message.error;
    if (!passes) t.like(error, { code: ERROR_CODE.mriValidation, subcode: MRI_ERROR.ingressFilter });
    t.is(b.asked.length, passes ? 1 : 0);
  });

test("a legacy NAT before the querying node: Error 9/4 about the MRI goes to where the packet came from", async (t) => {
  const { network, a, b, mri } = two();
  const inside = {
    ...queryOf(a, mri, { signallingSource: true }).nli,
    interfaceAddress: IpAddress.parse("10.8.8.8"),
  };
  const query = queryOf(a, mri, { signallingSource: true, nli: inside });
  t.is(await intercept(b, query, { source: A, destination: B }), "drop");
  t.is(b.counter("refused.nat"), 1);
  const [sent] = network.of("error", b);
  t.is(sent?.to, A);
  t.like(sent?.message.error, { code: 9, subcode: 4, info: [{ type: "object-type", objectType: 0 }] });
});

test("a legacy NAT before the responding node is seen by the Response's source", async (t) => {
  const { network, a, b, mri } = two();
  network.fate = (sent) =>
    sent.message.type === "response"
      ? changed(sent.bytes, (m) =>
          m.type === "response"
            ? { ...m, nli: { ...m.nli, interfaceAddress: IpAddress.parse("10.8.8.8") } }
            : m,
        )
      : undefined;
  a.send(network.newSession(), mri, "one", { handle: 1 });
  await network.run(300);
  t.is(a.counter("refused.nat"), 1);
  t.like(network.of("error", a)[0], { to: B, message: { error: { code: 9, subcode: 4 } } });
  t.like(a.statuses[0], { handle: 1, error: "transport-failed" });
  t.regex(a.statuses[0]?.detail ?? "", /NAT/);
  t.is(b.gist.view().associations.length, 0);
});

test("an Error 9/4 ends the handshake with the reason", async (t) => {
  const { network, a, mri } = two();
  network.fate = (sent) =>
    sent.message.type === "query"
      ? changed(sent.bytes, (m) =>
          m.type === "query"
            ? { ...m, signallingSource: true, nli: { ...m.nli, interfaceAddress: IpAddress.parse(C) } }
            : m,
        )
      : undefined;
  a.send(network.newSession(), mri, "one", { handle: 1 });
  await network.run(200);
  t.like(a.statuses[0], { handle: 1, error: "transport-failed" });
  t.regex(a.statuses[0]?.detail ?? "", /NAT/);
});

/** What a GIST-aware NAT does: the MRI is translated, the one before it is put in front. */
function translated(sessionMri: Mri, outside: Mri): (bytes: Uint8Array) => Uint8Array {
  const original = writeMri(new ByteWriter(52), sessionMri).finish();
  const value = new Uint8Array(4 + original.length);
  value[0] = original.length / 4;
  value.set(original, 4);
  return (bytes) =>
    changed(bytes, (m) => (m.type === "query" ? { ...m, natTraversal: { value }, mri: outside } : m));
}

test("NAT-Traversal is echoed, and the querying node finds its state by the MRI before the NAT", async (t) => {
  const { network, a, b, mri } = two();
  const outside = { ...mri, sourcePort: 50_000 };
  const translate = translated(mri, outside);
  network.fate = (sent) => (sent.message.type === "query" ? translate(sent.bytes) : undefined);
  const session = network.newSession();
  a.send(session, mri, "one");
  await network.run(500);
  t.is(network.of("response")[0]?.message.natTraversal?.value.length, 24);
  t.deepEqual(b.texts, ["one"]);
  t.is((b.received[0]?.mri as { sourcePort?: number }).sourcePort, 50_000);
  t.is([...a.gist.routes()][0]?.mri, "downstream 10.0.0.1 > 10.0.0.2 udp 4000 > 9000");
  b.send(session, flipMri(outside), "back");
  await network.run(100);
  t.deepEqual(a.texts, ["back"]);
  a.gist.unregister(TEST_NSLP);
  a.gist.register(TEST_NSLP, a);
  b.send(session, flipMri(outside), "late");
  await network.run(100);
  t.is(a.counter("refused.error-5"), 1, "the other name goes with the state");
});

test("a NAT-Traversal object that is no MRI harms nobody", async (t) => {
  const { network, a, b, mri } = two();
  network.fate = (sent) =>
    sent.message.type === "query"
      ? changed(sent.bytes, (m) =>
          m.type === "query" ? { ...m, natTraversal: { value: Uint8Array.of(1, 0, 0, 0, 9, 9, 9, 9) } } : m,
        )
      : undefined;
  a.send(network.newSession(), mri, "one");
  await network.run(500);
  t.deepEqual(b.texts, ["one"]);
  t.is(a.counter("internal-error"), 0);
});

test("a Query that the next link does not take is refused with Error 8 and its MTU", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B);
  network.addNode(C);
  b.decide = () => ({ peer: false });
  b.routeTo = () => ({ ...b.wayOut(), mtu: 150 });
  a.send(network.newSession(), flowMri(A, C), "one", { handle: 1 });
  await network.run(200);
  t.like(network.of("error", b)[0]?.message.error, { code: 8, info: [{ type: "mtu", mtu: 150 }] });
  t.like(a.statuses[0], { handle: 1, error: "too-large" });
  t.regex(a.statuses[0]?.detail ?? "", /150 bytes/);
});

for (const hosted of [true, false])
  test(`a Query that would leave with hop count 0 is answered with Error 2, its NSLP ${hosted ? "here" : "not"}`, async (t) => {
    const network = new MemoryNetwork();
    const a = network.addNode(A);
    const b = network.addNode(B);
    network.addNode(C);
    b.decide = () => ({ peer: false });
    if (!hosted) b.gist.unregister(TEST_NSLP);
    const packet = { source: A, destination: C };
    t.is(await intercept(b, queryOf(a, flowMri(A, C), { hops: 1 }), packet), "drop");
    t.is(b.counter("sent.error-2"), 1);
    t.is(await intercept(b, queryOf(a, flowMri(A, C), { hops: 2 }), packet), "decrement-hops");
  });

test("what is not for Query mode, and what is only for it, is answered with Error 3", async (t) => {
  const { network, a, b, mri } = two();
  const query = queryOf(a, mri);
  const { nli, sessionId, nslpId, hops } = query;
  const confirm: GistMessage = {
    type: "confirm",
    hops,
    nslpId,
    signallingSource: true,
    mri,
    sessionId,
    nli,
  };
  t.is(await intercept(b, confirm, { source: A, destination: B }), "drop");
  const data: GistMessage = {
    type: "data",
    hops,
    nslpId,
    signallingSource: true,
    mri,
    sessionId,
    nli,
    queryMode: true,
    explicitlyRouted: false,
    data: words("x"),
  };
  network.datagram(a, b.address, 270, encodeGist(data));
  network.datagram(a, b.address, 270, encodeGist(query));
  const hello: GistMessage = {
    type: "hello",
    hops,
    nslpId: 0,
    signallingSource: true,
    replyRequested: true,
    helloId: 1,
  };
  network.datagram(a, b.address, 270, encodeGist(hello));
  await network.run(50);
  t.is(b.counter("refused.error-3"), 4);
  t.deepEqual(b.texts, []);
});

test("Data in Query mode is checked against its packet as a Query is", async (t) => {
  const { a, b, mri } = two();
  const { nli, sessionId } = queryOf(a, mri);
  const data = (more: object): GistMessage => ({
    type: "data",
    hops: 4,
    nslpId: TEST_NSLP,
    signallingSource: false,
    mri,
    sessionId,
    nli,
    queryMode: true,
    explicitlyRouted: false,
    data: words("x"),
    ...more,
  });
  t.is(await intercept(b, data({}), { source: "10.9.9.9", destination: B }), "drop");
  t.is(await intercept(b, data({}), { source: A, destination: "10.9.9.9" }), "drop");
  t.is(await intercept(b, data({ hops: 0 }), { source: A, destination: B }), "drop");
  t.deepEqual(b.texts, []);
  t.is(await intercept(b, data({}), { source: A, destination: B }), "taken");
  t.deepEqual(b.texts, ["x"]);
});

test("a message for an NSLP that is not here is answered with Error 6", async (t) => {
  const { network, a, b, mri } = two();
  const { nli, sessionId } = queryOf(a, mri);
  const data: GistMessage = {
    type: "data",
    hops: 4,
    nslpId: 77,
    signallingSource: true,
    mri,
    sessionId,
    nli,
    queryMode: false,
    explicitlyRouted: false,
    data: words("x"),
  };
  network.datagram(a, b.address, 270, encodeGist(data));
  await network.run(50);
  t.is(b.counter("sent.error-6"), 1);
});

test("where state is kept on the Query the Response is sent again, with doubled waits", async (t) => {
  const { network, a, b, mri } = two({ install: "on-query", confirmWait: seconds(10) });
  network.fate = (sent) => (["confirm", "data"].includes(sent.message.type) ? "lost" : undefined);
  a.send(network.newSession(), mri, "one", { ...PLAIN, timeout: seconds(1) });
  await network.run(20_000);
  const times = network.of("response").map((r) => r.at);
  const [first = ms(0)] = times;
  t.deepEqual(
    times.map((at) => Math.round((at - first) / 100) / 10),
    [0, 0.5, 1.5, 3.5, 7.5],
  );
  t.is(b.counter("sent.response-again"), 4);
  t.is(b.gist.view().routingStates.responding, 0);
});

test("a Confirm ends the repetition", async (t) => {
  const { network, a, b, mri } = two({ install: "on-query" });
  let lost = 0;
  network.fate = (sent) => (sent.message.type === "response" && lost++ === 0 ? "lost" : undefined);
  b.decide = () => ({ peer: true, payload: words("welcome") });
  a.send(network.newSession(), mri, "one");
  await network.run(20_000);
  t.deepEqual(b.texts, ["one"]);
  t.deepEqual(a.texts, ["welcome"]);
  t.true(b.counter("sent.response-again") <= 1);
});
