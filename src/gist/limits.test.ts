import test from "ava";
import { IpAddress } from "../base/address.js";
import { seededRandom } from "../base/random.js";
import { seconds } from "../base/units.js";
import { flowMri, MemoryNetwork, TEST_NSLP, words } from "./testing/network.js";
import { A, B, two } from "./testing/pair.js";
import { encodeGist, newSessionId } from "./wire/codec.js";

test("new state of one peer is limited, that of others is not", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const other = network.addNode("10.0.0.9");
  const b = network.addNode(B, { newStateRate: 1, newStateBurst: 10 });
  other.decide = () => ({ peer: false });
  for (let port = 1; port <= 30; port++) a.send(network.newSession(), flowMri(A, B, port), "x");
  for (let port = 1; port <= 5; port++) other.send(network.newSession(), flowMri("10.0.0.9", B, port), "x");
  await network.run(300);
  t.true(b.counter("limited.new-states") >= 20);
  const mine = [...b.gist.routes()].filter((r) => r.peer === A).length;
  const others = [...b.gist.routes()].filter((r) => r.peer === "10.0.0.9").length;
  t.true(mine >= 10 && mine <= 11, `${mine}`);
  t.is(others, 5);
});

test("above the limit a Query that would leave state is answered without it", async (t) => {
  const { network, a, b } = two({ install: "on-query", newStateRate: 1, newStateBurst: 2 });
  network.fate = (sent) => (["confirm", "data"].includes(sent.message.type) ? "lost" : undefined);
  for (let port = 1; port <= 6; port++)
    a.send(network.newSession(), flowMri(A, B, port), "x", { timeout: seconds(1) });
  await network.run(100);
  t.is(b.gist.view().routingStates.responding, 2);
  t.is(network.of("response").length, 6);
});

test("a flood of Queries from forged sources leaves neither state nor timers", async (t) => {
  const network = new MemoryNetwork();
  const b = network.addNode(B, { interceptRate: 5000, interceptBurst: 5000 });
  const random = seededRandom(5);
  const started = network.time.pending;
  for (let i = 0; i < 15_000; i++) {
    const source = IpAddress.fromBytes(Uint8Array.of(10, ...random.bytes(3)));
    const mri = { ...flowMri(A, B, 1 + i), source };
    const query = encodeGist({
      type: "query",
      hops: 9,
      nslpId: TEST_NSLP,
      signallingSource: false,
      mri,
      sessionId: newSessionId(random),
      nli: {
        ipTtl: 64,
        validity: seconds(30),
        peerIdentity: random.bytes(16),
        interfaceAddress: source,
      },
      queryCookie: words("cookie"),
    });
    void b.gist.datagram({
      message: query,
      source,
      sourcePort: 270,
      destination: b.address,
      ipTtl: 60,
      inboundInterface: "left",
      intercepted: true,
    });
    if (i % 500 === 0) await network.run(10);
  }
  await network.run(100);
  t.deepEqual(b.gist.view().routingStates, { querying: 0, responding: 0 });
  t.is(b.gist.view().associations.length, 0);
  t.is(network.time.pending, started);
  t.true(b.counter("limited.intercepted") > 0, "the bucket for all together bounds them");
  t.true(b.counter("dropped.no-route-back") + b.counter("limited.routes") > 0);
});

test("answers to forged messages stay within the rate for datagrams, and cost no more questions for routes", async (t) => {
  const network = new MemoryNetwork();
  const b = network.addNode(B, { datagramRate: 1, datagramBurst: 20 });
  let questions = 0;
  b.routeTo = () => {
    questions++;
    return b.wayOut();
  };
  for (let i = 0; i < 500; i++) {
    const peer = IpAddress.fromBytes(Uint8Array.of(10, 1, i >> 8, i & 0xff));
    const about = { hops: 9, nslpId: TEST_NSLP, signallingSource: true, sessionId: network.newSession() };
    const nli = { ipTtl: 64, validity: seconds(30), peerIdentity: words("forged"), interfaceAddress: peer };
    const mri = flowMri(A, B);
    const query = encodeGist({ ...about, type: "query", mri, nli, queryCookie: words("cookie") });
    const confirm = encodeGist({ ...about, type: "confirm", mri, nli, responderCookie: words("forged") });
    const came = {
      source: peer,
      sourcePort: 270,
      destination: b.address,
      ipTtl: 60,
      inboundInterface: "left",
    };
    void b.gist.datagram({ ...came, message: query, intercepted: true });
    void b.gist.datagram({ ...came, message: confirm, intercepted: false });
  }
  await network.run(100);
  t.is(network.of("response").length + network.of("error").length, 20);
  t.is(questions, 10, "one for each peer");
  t.is(b.counter("limited.datagram"), 980);
});
