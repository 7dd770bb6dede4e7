/** Requirements of RFC 5971 on a node that no test of one of its parts shows; docs/conformance.md names them. */
import test from "ava";
import { IpAddress } from "../base/address.js";
import { ms, seconds } from "../base/units.js";
import { flowMri, MemoryNetwork, TEST_NSLP, type TestNode } from "./testing/network.js";
import { A, B, C, talking, two } from "./testing/pair.js";
import type { Datagram } from "./transport/transport.js";
import { encodeGist, flipMri } from "./wire/codec.js";
import type { GistQuery, Mri, SessionId } from "./wire/messages.js";

const ip = (text: string): IpAddress => IpAddress.parse(text);
const PLAIN = { transfer: { reliable: false, secure: false } };

const query: GistQuery = {
  type: "query",
  hops: 9,
  nslpId: TEST_NSLP,
  signallingSource: true,
  sessionId: "000102030405060708090a0b0c0d0e0f" as SessionId,
  mri: flowMri(A, B),
  nli: {
    ipTtl: 64,
    validity: ms(30_000),
    peerIdentity: new Uint8Array(16).fill(1),
    interfaceAddress: ip(A),
  },
  queryCookie: new Uint8Array(16).fill(5),
};

/** A Query of A that comes to a node on its way. */
function arrive(node: TestNode, message: GistQuery, more: Partial<Datagram> = {}): void {
  void node.gist.datagram({
    message: encodeGist(message),
    source: ip(A),
    sourcePort: 270,
    destination: node.address,
    ipTtl: 64,
    inboundInterface: "left",
    intercepted: true,
    ...more,
  });
}

test("bad routing state, not urgent: the next message waits for a handshake; tentative: one is made at once", async (t) => {
  const { network, a, b, mri, session } = await talking();
  network.sent.length = 0;
  a.gist.invalidateRoutingState(TEST_NSLP, session, mri, "bad", false);
  await network.run(100);
  t.is(network.of("query").length, 0);
  a.send(session, mri, "two");
  await network.run(200);
  t.deepEqual(
    network.of("query").map((s) => s.from),
    [A],
  );
  t.true(network.sent.findIndex((s) => s.message.type === "data") > 0, "the message waits for the Response");
  a.gist.invalidateRoutingState(TEST_NSLP, session, mri, "tentative", false);
  await network.run(200);
  t.is(network.of("query").length, 2);
  t.deepEqual(b.texts, ["one", "two"]);
});

test("a Response goes to the NLI's address and the Query's UDP source port", async (t) => {
  const { network, b } = two();
  const answers: (readonly [string, number])[] = [];
  b.sendDatagram = (to, port) => answers.push([to.toString(), port]);
  const interfaceAddress = ip("10.0.0.9");
  network.addPlain("10.0.0.9");
  // S = 0: the IP source is the flow's own, and the NLI alone says who asks.
  arrive(
    b,
    { ...query, signallingSource: false, nli: { ...query.nli, interfaceAddress } },
    { sourcePort: 40_000 },
  );
  await network.run(50);
  t.deepEqual(answers, [["10.0.0.9", 40_000]]);
});

test("a message too large for a datagram goes over an association", async (t) => {
  const { network, a, b, mri } = two();
  a.send(network.newSession(), mri, "x".repeat(384), PLAIN);
  await network.run(300);
  t.true(network.sent.every((s) => s.mode !== "association"));
  a.send(network.newSession(), mri, "x".repeat(388), PLAIN);
  await network.run(500);
  t.is(network.of("data").at(-1)?.mode, "association");
  t.is(b.texts.length, 2);
  const longest = Math.max(
    ...network.sent.filter((s) => s.mode !== "association").map((s) => s.bytes.length),
  );
  t.true(longest + 64 <= 576, `${longest}`);
});

test("the validity told grows with the state to be refreshed", async (t) => {
  const options = { datagramRate: 10, datagramBurst: 1000, sourceBurst: 1000 };
  const network = new MemoryNetwork();
  const a = network.addNode(A, options);
  network.addNode(B, options);
  const states = 300;
  const sendOn = async (port: number): Promise<number | undefined> => {
    a.send(network.newSession(), flowMri(A, B, port), "x");
    await network.run(500);
    return network.of("query").at(-1)?.message.nli.validity;
  };
  t.is(await sendOn(states + 1), 30_000);
  for (let port = 1; port <= states; port++) a.send(network.newSession(), flowMri(A, B, port), "x");
  await network.run(1000);
  t.is(a.gist.view().routingStates.querying, states + 1);
  t.true(((await sendOn(states + 2)) ?? 0) >= (2000 * states) / options.datagramRate);
});

test("a Confirm that comes twice changes nothing and is not answered", async (t) => {
  const { network, a, b, mri, session } = await talking();
  const [confirm] = network.of("confirm");
  for (const connection of b.connections) b.gist.message(connection, confirm?.bytes ?? new Uint8Array());
  await network.run(100);
  t.is(network.of("error").length, 0);
  t.deepEqual(b.notifications, []);
  b.send(session, flipMri(mri), "back");
  await network.run(100);
  t.deepEqual(a.texts, ["back"]);
});

test("an upstream Query of a neighbour is answered", async (t) => {
  const { network, b } = two();
  const mri = flipMri(flowMri(B, A));
  for (const ipTtl of [255, 254]) {
    network.sent.length = 0;
    arrive(b, { ...query, mri, nli: { ...query.nli, ipTtl: 255 } }, { ipTtl });
    await network.run(50);
    t.like(network.of("response", b)[0]?.message, { mri: flipMri(mri), queryCookie: query.queryCookie });
  }
  t.is(b.asked[0]?.mri.direction, "upstream");
  t.true(b.asked[0]?.transfer.lastNode, "towards the flow's source this is the end");
});

test("a loose-end Query is taken downstream, and dropped upstream", async (t) => {
  const { network, b } = two();
  const mri: Mri = { method: "loose-end", direction: "downstream", source: ip(A), destination: ip(B) };
  arrive(b, { ...query, mri });
  await network.run(50);
  t.like(network.of("response", b)[0]?.message, { mri: flipMri(mri) });
  arrive(b, { ...query, mri: { ...mri, direction: "upstream", source: ip(B), destination: ip(A) } });
  await network.run(50);
  t.is(network.of("response", b).length, 1);
  t.is(network.of("error", b).length, 0);
});

test("an association is not reused for another Interface-Address", async (t) => {
  const { network, a, b } = await talking();
  network.addPlain(C);
  const response = async (interfaceAddress: IpAddress): Promise<string | undefined> => {
    network.sent.length = 0;
    arrive(b, {
      ...query,
      signallingSource: false,
      mri: flowMri(A, B, 5000),
      nli: { ...query.nli, peerIdentity: a.identity, interfaceAddress },
    });
    await network.run(50);
    return network.of("response", b)[0]?.mode;
  };
  t.is(await response(a.address), "association");
  t.is(await response(ip(C)), "datagram");
});

test("MA-Hello keeps to the peer's hold time", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A, { validity: seconds(1000) });
  const b = network.addNode(B, { holdTime: seconds(8), validity: seconds(1000) });
  const [session, mri] = [network.newSession(), flowMri(A, B)];
  a.send(session, mri, "one");
  await network.run(500);
  a.gist.setStateLifetime(TEST_NSLP, session, mri, seconds(3600));
  network.sent.length = 0;
  await network.run(100_000);
  const times = network.of("hello", a).map((s) => s.at);
  const gaps = times.slice(1).map((at, i) => at - (times[i] ?? 0));
  t.true(gaps.length > 10);
  for (const gap of gaps) t.true(gap >= 4000 && gap <= 6100, `${gap}`);
  t.is(b.gist.view().associations.length, 1);
  t.true(network.of("hello", b).length < times.length / 2, "A's own hold time is 30 s");
});

test("a NAT-Traversal object is echoed first in the Response", async (t) => {
  const { network, b } = two();
  const value = Uint8Array.of(0, 1, 0, 0, 0, 2, 0, 0);
  arrive(b, { ...query, natTraversal: { value } }, { source: ip("192.0.2.1") });
  await network.run(50);
  const [response] = network.of("response", b);
  t.deepEqual(response?.message.natTraversal, { value });
  t.deepEqual(response?.bytes.subarray(8, 20), Uint8Array.of(0, 7, 0, 2, ...value));
});

test("a refused Query is not tried again on its own", async (t) => {
  const { network, a, b, mri } = two();
  b.decide = () => ({ peer: false });
  a.send(network.newSession(), mri, "one");
  await network.run(20_000);
  t.is(network.of("query").length, 1);
  t.is(a.statuses[0]?.error, "endpoint-found");
});

test("unknown objects that are to be dropped or forwarded harm no handshake", async (t) => {
  for (const flags of [0x40, 0x80]) {
    const { network, a, b, mri } = two();
    const object = Uint8Array.of(flags | 0x07, 0xd0, 0, 1, 1, 2, 3, 4);
    network.fate = (sent) => (sent.mode === "association" ? undefined : withObject(sent.bytes, object));
    a.send(network.newSession(), mri, "one");
    await network.run(500);
    t.deepEqual(b.texts, ["one"]);
  }
});

/** The message with one more object, of two words, at its end. */
function withObject(message: Uint8Array, object: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from([...message, ...object]);
  bytes[3] = (bytes[3] ?? 0) + object.length / 4;
  return bytes;
}

test("a Response that comes again because its Confirm was lost is confirmed again", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const b = network.addNode(B, { install: "on-query" });
  let lost = 0;
  network.fate = (sent) => (sent.message.type === "confirm" && lost++ === 0 ? "lost" : undefined);
  const mri = flowMri(A, B);
  const session = network.newSession();
  a.send(session, mri, "one", PLAIN);
  await network.run(2000);
  t.true(network.of("confirm", a).length >= 2);
  t.deepEqual(b.gist.view().routingStates, { querying: 0, responding: 1 });
  a.send(session, mri, "two", PLAIN);
  await network.run(100);
  t.is(b.texts.at(-1), "two");
});

test("an Error from somebody else ends no session", async (t) => {
  const { network, a, b, mri, session } = await talking();
  const third = network.addNode(C);
  const [sent] = network.of("data");
  for (const code of [5, 7]) {
    const error = {
      class: 2,
      code,
      subcode: 0,
      encapsulation: "datagram",
      originalHeader: sent?.bytes.slice(0, 8) ?? new Uint8Array(8),
      sessionId: session,
      mri,
      info: [],
    } as const;
    const nli = { ...query.nli, peerIdentity: third.identity, interfaceAddress: third.address };
    const message = { type: "error", hops: 9, nslpId: 0, signallingSource: true, nli, error } as const;
    network.datagram(third, a.address, 270, encodeGist(message));
  }
  await network.run(100);
  t.is(a.counter("received.error-5") + a.counter("received.error-7"), 2);
  t.is(network.of("query").length, 1, "no new handshake");
  a.send(session, mri, "two");
  await network.run(100);
  t.deepEqual(b.texts, ["one", "two"]);
  t.deepEqual(a.notifications, []);
});

test("datagrams of the responding node bear its own address, though a UDP socket does not tell it", async (t) => {
  const { network, a, b, mri } = two();
  const { gist } = b;
  const take = gist.datagram.bind(gist);
  gist.datagram = (datagram) =>
    take(datagram.intercepted ? datagram : { ...datagram, destination: ip("0.0.0.0") });
  const session = network.newSession();
  a.send(session, mri, "one", PLAIN);
  await network.run(200);
  b.send(session, flipMri(mri), "back", { ...PLAIN, handle: 1 });
  await network.run(2000);
  b.send(session, flipMri(mri), "later", { ...PLAIN, handle: 2 });
  await network.run(100);
  t.deepEqual(a.texts, ["back", "later"]);
  for (const sent of network.of("data", b)) t.is(sent.message.nli?.interfaceAddress.toString(), B);
  t.deepEqual(
    b.statuses.map((s) => s.error),
    ["no-error", "no-error"],
  );
});
