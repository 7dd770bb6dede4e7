/** What makes a node send each Error that it alone can find (RFC 5971 appendix A.4.4), and what is in it. */
import test from "ava";
import { IpAddress } from "../base/address.js";
import { ms } from "../base/units.js";
import { flowMri, MemoryNetwork, TEST_NSLP, type TestNode, words } from "./testing/network.js";
import { A, B, C, changed, talking, two } from "./testing/pair.js";
import type { Datagram } from "./transport/transport.js";
import { encodeGist, flipMri } from "./wire/codec.js";
import type {
  ErrorObject,
  GistConfirm,
  GistData,
  GistHello,
  GistQuery,
  Mri,
  NetworkLayerInformation,
  SessionId,
} from "./wire/messages.js";

const ip = (text: string): IpAddress => IpAddress.parse(text);
const SESSION = "000102030405060708090a0b0c0d0e0f" as SessionId;
const OTHER_NSLP = 32705;

const nliOfA: NetworkLayerInformation = {
  ipTtl: 64,
  validity: ms(30_000),
  peerIdentity: new Uint8Array(16).fill(1),
  interfaceAddress: ip(A),
};

const flow = { hops: 9, nslpId: TEST_NSLP, signallingSource: true, sessionId: SESSION, mri: flowMri(A, B) };
const query: GistQuery = { ...flow, type: "query", nli: nliOfA, queryCookie: new Uint8Array(16) };
const data: GistData = {
  ...flow,
  type: "data",
  queryMode: false,
  explicitlyRouted: false,
  data: words("data"),
};
const hello: GistHello = {
  type: "hello",
  hops: 1,
  nslpId: 0,
  signallingSource: true,
  replyRequested: true,
  helloId: 7,
};

/** A datagram of A that comes to a node: intercepted on the path unless told otherwise. */
function arrive(node: TestNode, message: Uint8Array, more: Partial<Datagram> = {}): void {
  void node.gist.datagram({
    message,
    source: ip(A),
    sourcePort: 270,
    destination: node.address,
    ipTtl: 64,
    inboundInterface: "left",
    intercepted: true,
    ...more,
  });
}

const ADDRESSED = { intercepted: false };

/** A message that comes to a node over the association that it has. */
function arriveOnAssociation(node: TestNode, message: Uint8Array): void {
  for (const connection of node.connections) node.gist.message(connection, message);
}

async function errorsOf(network: MemoryNetwork, node: TestNode): Promise<readonly ErrorObject[]> {
  await network.run(100);
  return network.of("error", node).map((sent) => sent.message.error);
}

/** What names the message at fault. */
const named = (mri: Mri = flow.mri) => ({ sessionId: SESSION, mri });

test("1: a message that is malformed, on an association", async (t) => {
  const { network, b } = await talking();
  arriveOnAssociation(b, encodeGist({ ...flow, type: "confirm", nli: nliOfA }).fill(2, 0, 1));
  const [error] = await errorsOf(network, b);
  t.like(error, { class: 2, code: 1, subcode: 0, encapsulation: "connection", info: [] });
  t.false(error !== undefined && ("mri" in error || "sessionId" in error));
  t.is(b.gist.view().associations.length, 1);
});

test("1: a malformed datagram is answered where its source is its sender's own", async (t) => {
  const { network, b } = two();
  const wrongLength = (message: GistQuery): Uint8Array => encodeGist(message).fill(0xff, 2, 4);
  arrive(b, wrongLength({ ...query, signallingSource: false }));
  t.deepEqual(await errorsOf(network, b), []);
  const bytes = wrongLength(query);
  arrive(b, bytes);
  const [error] = await errorsOf(network, b);
  const length = (bytes.length - 8) / 4;
  t.like(error, { code: 1, subcode: 3, encapsulation: "query", info: [{ type: "message-length", length }] });
});

test("2: a message that comes with hop count 0", async (t) => {
  const { network, b } = two();
  arrive(b, encodeGist({ ...query, hops: 0 }));
  const [error] = await errorsOf(network, b);
  t.like(error, { class: 4, code: 2, encapsulation: "query", ...named(), info: [] });
  t.is(b.asked.length, 0);
});

test("2: a Query that would leave with hop count 0", async (t) => {
  for (const nslpId of [TEST_NSLP, OTHER_NSLP]) {
    const network = new MemoryNetwork();
    const a = network.addNode(A);
    const b = network.addNode(B);
    const c = network.addNode(C);
    b.decide = () => ({ peer: false });
    const mri = flowMri(A, C);
    const bytes = encodeGist({ ...query, nslpId, hops: 1, mri });
    network.queryMode(a, c.address, bytes, a.address, 64);
    const [error] = await errorsOf(network, b);
    t.like(error, { code: 2, ...named(mri) }, `${nslpId}`);
    t.is(c.asked.length, 0, `${nslpId}`);
  }
});

test("3: a Query on an association", async (t) => {
  const { network, b } = await talking();
  arriveOnAssociation(b, encodeGist(query));
  t.like((await errorsOf(network, b))[0], { class: 2, code: 3, encapsulation: "connection", ...named() });
});

test("3: an MA-Hello as a datagram", async (t) => {
  const { network, b } = two();
  arrive(b, encodeGist(hello), ADDRESSED);
  t.like((await errorsOf(network, b))[0], { code: 3, encapsulation: "datagram" });
});

test("5: Data for which there is no state", async (t) => {
  const { network, b } = await talking();
  arriveOnAssociation(b, encodeGist(data));
  arrive(b, encodeGist({ ...data, nli: nliOfA }), ADDRESSED);
  const errors = await errorsOf(network, b);
  t.deepEqual(
    errors.map((e) => [e.class, e.code, e.encapsulation]),
    [
      [2, 5, "connection"],
      [2, 5, "datagram"],
    ],
  );
  for (const error of errors) t.like(error, named());
});

test("5: Data before the Confirm, where state is kept on the Query", async (t) => {
  const { network, b } = two({ install: "on-query" });
  arrive(b, encodeGist(query));
  await network.run(50);
  t.is(b.gist.view().routingStates.responding, 1);
  arrive(b, encodeGist({ ...data, nli: nliOfA }), ADDRESSED);
  t.like((await errorsOf(network, b))[0], { code: 5, ...named() });
  t.deepEqual(b.texts, []);
});

test("5: a Confirm with a bad cookie, on an association and as a datagram", async (t) => {
  const { network, b } = await talking();
  const confirm: GistConfirm = {
    ...flow,
    type: "confirm",
    nli: nliOfA,
    responderCookie: new Uint8Array(24),
  };
  arriveOnAssociation(b, encodeGist(confirm));
  t.like((await errorsOf(network, b))[0], { code: 5, ...named() });
  arrive(b, encodeGist(confirm), ADDRESSED);
  t.like((await errorsOf(network, b))[1], { code: 5, encapsulation: "datagram", ...named() });
});

test("6: a message to this node with a NSLPID that is not here", async (t) => {
  const { network, b } = await talking();
  arriveOnAssociation(b, encodeGist({ ...data, nslpId: OTHER_NSLP }));
  t.like((await errorsOf(network, b))[0], { class: 4, code: 6, encapsulation: "connection", ...named() });
});

test("7: a Query at the end of the path, whose NSLP is not here", async (t) => {
  const { network, b } = two();
  arrive(b, encodeGist({ ...query, nslpId: OTHER_NSLP }));
  t.like((await errorsOf(network, b))[0], { class: 4, code: 7, encapsulation: "query", ...named() });
});

test("8: a Query that the next link cannot take", async (t) => {
  const network = new MemoryNetwork();
  network.addNode(A);
  const b = network.addNode(B);
  const c = network.addNode(C);
  b.decide = () => ({ peer: false });
  b.routeTo = () => ({ ...b.wayOut(), mtu: 128 });
  const mri = flowMri(A, C);
  arrive(b, encodeGist({ ...query, mri }), { destination: c.address });
  const [error] = await errorsOf(network, b);
  t.like(error, { class: 4, code: 8, info: [{ type: "mtu", mtu: 128 }], ...named(mri) });
  t.is(b.counter("passed-on.query"), 0);
});

test("9/2: Data as a datagram without NLI", async (t) => {
  const { network, b } = await talking();
  arrive(b, encodeGist(data), ADDRESSED);
  const info = [{ type: "object-type" as const, objectType: 2 }];
  t.like((await errorsOf(network, b))[0], { class: 2, code: 9, subcode: 2, info });
});

test("9/3: Data on an association with an NLI", async (t) => {
  const { network, b } = await talking();
  arriveOnAssociation(b, encodeGist({ ...data, nli: nliOfA }));
  const info = [{ type: "object-type" as const, objectType: 2 }];
  t.like((await errorsOf(network, b))[0], { class: 2, code: 9, subcode: 3, info });
});

test("9/4: a Query that a NAT without GIST let through", async (t) => {
  const { network, a, b } = two();
  arrive(b, encodeGist({ ...query, nli: { ...nliOfA, interfaceAddress: ip("192.168.1.9") } }));
  const [error] = await errorsOf(network, b);
  t.like(error, {
    class: 2,
    code: 9,
    subcode: 4,
    encapsulation: "query",
    info: [{ type: "object-type" as const, objectType: 0 }],
    ...named(),
  });
  t.is(network.of("error", b)[0]?.to, a.name, "to where it came from: its NLI cannot be reached");
});

test("11: an upstream Query from more than one hop away", async (t) => {
  const { network, b } = two();
  const mri = flipMri(flowMri(B, A));
  arrive(b, encodeGist({ ...query, mri }), { ipTtl: 253 });
  t.like((await errorsOf(network, b))[0], { class: 4, code: 11, ...named(mri) });
  t.is(b.asked.length, 0);
});

/** Length and byte at fault of the objects that an Error quotes. */
function quoted(error: ErrorObject | undefined): unknown {
  return error?.info.map((info) => (info.type === "object-value" ? [info.realLength, info.offset] : info));
}

test("12/0: a Query to a whole prefix", async (t) => {
  const { network, b } = two();
  const mri = { ...flowMri(A, B), destinationPrefix: 24 } as Mri;
  arrive(b, encodeGist({ ...query, mri }));
  const [error] = await errorsOf(network, b);
  t.like(error, { class: 4, code: 12, subcode: 0, ...named(mri) });
  t.deepEqual(quoted(error), [[24, 17]], "the destination prefix");
});

test("12/1: a Query whose MRI has another IP version", async (t) => {
  const { network, b } = two();
  const mri = {
    ...flowMri("2001:db8::1", "2001:db8::2"),
    sourcePrefix: 128,
    destinationPrefix: 128,
  } as Mri;
  arrive(b, encodeGist({ ...query, mri }));
  const [error] = await errorsOf(network, b);
  t.like(error, { class: 4, code: 12, subcode: 1, ...named(mri) });
  t.deepEqual(quoted(error), [[48, 6]], "the IP version");
});

test("an Error has an NLI as a datagram, and none on an association", async (t) => {
  const { network, a, b } = await talking();
  arriveOnAssociation(b, encodeGist(data));
  arrive(b, encodeGist({ ...data, nli: nliOfA }), ADDRESSED);
  await network.run(100);
  const [over, alone] = network.of("error", b);
  t.like(over, { mode: "association", to: a.name, message: { nslpId: 0, signallingSource: true } });
  t.is(over?.message.nli, undefined);
  t.like(alone, { mode: "datagram", to: a.name, message: { nslpId: 0, signallingSource: true } });
  t.deepEqual(alone?.message.nli?.interfaceAddress, b.address);
  t.deepEqual(alone?.message.nli?.peerIdentity, b.identity);
});

test("a broken Error is not answered", async (t) => {
  const { network, b } = await talking();
  const error: ErrorObject = {
    class: 2,
    code: 5,
    subcode: 0,
    encapsulation: "datagram",
    originalHeader: new Uint8Array(8),
    info: [],
  };
  const good = encodeGist({ type: "error", hops: 1, nslpId: 0, signallingSource: true, error });
  for (let at = 0; at < good.length; at++) {
    if (at === 6) continue; // the type
    const bytes = Uint8Array.from(good);
    bytes[at] = (bytes[at] ?? 0) ^ 0xff;
    arriveOnAssociation(b, bytes);
    arrive(b, bytes, ADDRESSED);
    arrive(b, bytes);
  }
  t.deepEqual(await errorsOf(network, b), []);
  t.is(b.counter("internal-error"), 0);
});

test("Errors as datagrams are limited", async (t) => {
  const { network, b } = two({ datagramRate: 1, datagramBurst: 3 });
  for (let i = 0; i < 10; i++) arrive(b, encodeGist({ ...query, hops: 0 }));
  t.is((await errorsOf(network, b)).length, 3);
  t.is(b.counter("limited.datagram"), 7);
});

test("an Error that a node sends says which message it is about", async (t) => {
  const { network, a, b, mri } = two();
  network.fate = (sent) =>
    sent.message.type === "query" ? changed(sent.bytes, (m) => ({ ...m, hops: 0 })) : undefined;
  const session = network.newSession();
  a.send(session, mri, "one");
  const [error] = await errorsOf(network, b);
  const query = Uint8Array.from(network.of("query", a)[0]?.bytes ?? []);
  query[1] = 0;
  t.deepEqual(error?.originalHeader, query.subarray(0, 8));
  t.is(error?.sessionId, session);
  t.is(a.statuses[0]?.error, "no-response");
});

test("3: a Confirm with a Stack-Proposal as a datagram", async (t) => {
  const { network, b } = two();
  const configuration = { holdTime: ms(30_000), options: [] };
  arrive(b, encodeGist({ ...query, stack: { proposal: [[2, 1]], configuration } }));
  await network.run(50);
  const response = network.of("response", b)[0]?.message;
  const { responderCookie, stack } = response ?? {};
  if (responderCookie === undefined || stack === undefined) return t.fail("no stack in the Response");
  const { proposal } = stack;
  const confirm = {
    ...flow,
    type: "confirm",
    nli: nliOfA,
    responderCookie,
    proposal,
    configuration,
  } as const;
  arrive(b, encodeGist(confirm), ADDRESSED);
  t.like((await errorsOf(network, b))[0], { class: 2, code: 3, encapsulation: "datagram", ...named() });
  t.is(b.gist.view().routingStates.responding, 0);
});

test("10/5: a Confirm whose Stack-Proposal is not what was sent", async (t) => {
  const { network, a, b, mri } = two();
  network.fate = (sent) =>
    sent.message.type === "confirm"
      ? changed(sent.bytes, (m) => (m.type === "confirm" ? { ...m, proposal: [[1]] } : m))
      : undefined;
  a.send(network.newSession(), mri, "one", { timeout: ms(1000) });
  const errors = await errorsOf(network, b);
  t.like(errors[0], { class: 2, code: 10, subcode: 5, encapsulation: "connection" });
  t.deepEqual(quoted(errors[0]), [
    [12, 0],
    [12, 0],
  ]);
  t.deepEqual(
    errors[0]?.info.map((info) => info.type === "object-value" && info.object[1]),
    [3, 4],
    "the Stack-Proposal, then the Stack-Configuration-Data",
  );
});

test("12/2: a Query whose source the ingress filter refuses", async (t) => {
  const { network, b } = two({ ingressFilter: "loose" });
  b.routeTo = (target) => (target.toString() === A ? undefined : b.wayOut());
  const nli = { ...nliOfA, interfaceAddress: ip(C) };
  arrive(b, encodeGist({ ...query, signallingSource: false, nli }));
  const [error] = await errorsOf(network, b);
  t.like(error, { class: 4, code: 12, subcode: 2, ...named() });
  t.deepEqual(quoted(error), [[24, 8]], "the source address");
});
