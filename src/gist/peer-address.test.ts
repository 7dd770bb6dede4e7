import test from "ava";
import { IpAddress } from "../base/address.js";
import { seconds } from "../base/units.js";
import { MemoryNetwork, TEST_NSLP, flowMri, words } from "./testing/network.js";
import { A, B, changed, C, two } from "./testing/pair.js";
import { encodeGist } from "./wire/codec.js";

interface Came {
  readonly source?: string;
  readonly inboundInterface?: string;
}

/** Whether a Query whose NLI names this address is answered. */
async function isAnswered(address: string, { source = C, inboundInterface = "left" }: Came = {}) {
  const network = new MemoryNetwork();
  const b = network.addNode(B);
  b.routeTo = () => b.wayOut();
  const query = encodeGist({
    type: "query",
    hops: 9,
    nslpId: TEST_NSLP,
    signallingSource: false,
    mri: flowMri(source, B),
    sessionId: network.newSession(),
    nli: {
      ipTtl: 64,
      validity: seconds(30),
      peerIdentity: words("peer"),
      interfaceAddress: IpAddress.parse(address),
    },
    queryCookie: words("cookie"),
  });
  void b.gist.datagram({
    message: query,
    source: IpAddress.parse(source),
    sourcePort: 270,
    destination: b.address,
    ipTtl: 60,
    inboundInterface,
    intercepted: true,
  });
  await network.run(50);
  return network.of("response").length + network.of("error").length > 0;
}

test("a peer elsewhere has neither a loopback nor an own address", async (t) => {
  t.true(await isAnswered(A));
  for (const address of ["127.0.0.1", "127.9.9.9", B]) t.false(await isAnswered(address), address);
});

test("a peer on this host has an own address", async (t) => {
  t.true(
    await isAnswered(B, { source: B, inboundInterface: "" }),
    "the kernel lets that come from here alone",
  );
  t.true(await isAnswered("127.0.0.1", { source: B, inboundInterface: "lo" }));
  t.false(await isAnswered(B, { source: B }), "forged, and intercepted before the kernel looked");
  t.false(await isAnswered("127.0.0.1", { inboundInterface: "" }));
});

test("a Response that names an own address, or this node itself, is not believed", async (t) => {
  for (const wrong of [
    { interfaceAddress: IpAddress.parse(A) },
    { peerIdentity: new Uint8Array(16).fill(1) },
  ]) {
    const { network, a, b, mri } = two();
    network.fate = ({ bytes, message }) =>
      message.type === "response"
        ? changed(bytes, (m) => (m.type === "response" ? { ...m, nli: { ...m.nli, ...wrong } } : m))
        : undefined;
    a.send(network.newSession(), mri, "x", { timeout: seconds(5) });
    await network.run(6000);
    t.true(network.of("response").length > 0);
    t.is(a.counter("refused.nli-address") + a.counter("dropped.response"), network.of("response").length);
    t.is(a.connections.size + b.connections.size, 0);
  }
});
