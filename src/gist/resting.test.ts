/** Routing state at rest: what comes back is what went, and nobody sees a difference but in memory. */
import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../base/address.js";
import { Records } from "../base/records.js";
import { FakeTime } from "../base/time.js";
import { ms, seconds } from "../base/units.js";
import type { Association } from "./association.js";
import { type Rest, RestingStates } from "./resting.js";
import { flowMri, TEST_NSLP, type TestNode } from "./testing/network.js";
import { A, B, talking } from "./testing/pair.js";
import { sessionIdFromBytes } from "./wire/codec.js";
import type { Mri } from "./wire/messages.js";

const ONE = { number: 1 } as Association;
const OTHER = { number: 2 } as Association;

function address(family: 4 | 6): fc.Arbitrary<IpAddress> {
  const length = family === 4 ? 4 : 16;
  return fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => IpAddress.fromBytes(bytes));
}

const mri: fc.Arbitrary<Mri> = fc.constantFrom(4 as const, 6 as const).chain((family) =>
  fc.record({
    method: fc.constant("path-coupled" as const),
    direction: fc.constantFrom("downstream" as const, "upstream" as const),
    source: address(family),
    destination: address(family),
    sourcePrefix: fc.nat(32),
    destinationPrefix: fc.nat(32),
    protocol: fc.nat(255),
    sourcePort: fc.nat(65_535),
    destinationPort: fc.nat(65_535),
  }),
);

const time = fc.integer({ min: 100_000, max: 1_000_000_000 }).map((value) => ms(value));
const session = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => sessionIdFromBytes(bytes));
const common = {
  nslpId: fc.nat(65_535),
  sessionId: session,
  mri,
  association: fc.constantFrom(ONE, OTHER),
  peer: fc.record({ identity: fc.constantFrom("aa", "bb"), address: address(4) }),
  wantedUntil: fc.oneof(time, fc.constant(Number.NEGATIVE_INFINITY)),
  due: time,
};
const rest: fc.Arbitrary<Rest> = fc.oneof(
  fc.record({
    kind: fc.constant("querying" as const),
    ...common,
    route: fc.record({
      interfaceAddress: address(4),
      interfaceName: fc.constantFrom("eth0", "eth1"),
      mtu: fc.constantFrom(1500, 9000),
      nextHop: fc.option(address(4), { nil: undefined }),
    }),
    proposed: fc.constantFrom([], ["tls" as const], ["tls" as const, "tcp" as const]),
    validUntil: time,
    usedAt: fc.double({ min: 0, max: 1e9, noNaN: true }),
    stale: fc.boolean(),
    next: fc.constantFrom("refresh-due" as const, "expired" as const),
  }),
  fc.record({
    kind: fc.constant("responding" as const),
    ...common,
    inboundInterface: fc.constantFrom("", "eth0"),
    validity: time,
  }),
);

test("whatever goes to rest comes back as it was", (t) => {
  fc.assert(
    fc.property(fc.uniqueArray(rest, { selector: (one) => one.sessionId, maxLength: 40 }), (all) => {
      const resting = new RestingStates({ time: new FakeTime() }, () => t.fail());
      for (const one of all) resting.put(one);
      t.is(resting.size, all.length);
      for (const one of all) {
        const other = one.kind === "querying" ? "responding" : "querying";
        t.is(resting.take(one, other), undefined);
        t.is(resting.take({ ...one, nslpId: (one.nslpId + 1) % 65_536 }), undefined);
        t.deepEqual(resting.take(one), one);
        t.is(resting.take(one), undefined);
      }
      t.deepEqual(resting.counts, { querying: 0, responding: 0 });
    }),
    { numRuns: 30 },
  );
});

test("many states of one Session-ID are found as quickly as others", (t) => {
  const resting = new RestingStates({ time: new FakeTime() }, () => t.fail());
  const [sample] = fc.sample(rest, { numRuns: 1, seed: 5 });
  if (sample === undefined) return t.fail();
  const all = Array.from({ length: 200 }, (_, port): Rest => ({ ...sample, mri: flowMri(A, B, port + 1) }));
  for (const one of all) resting.put(one);
  let compared = 0;
  const holds = Object.getOwnPropertyDescriptor(Records.prototype, "holds") as { value: Records["holds"] };
  const counting = function (this: Records, ...looked: Parameters<Records["holds"]>): boolean {
    compared++;
    return holds.value.apply(this, looked);
  };
  Object.defineProperty(Records.prototype, "holds", { ...holds, value: counting });
  t.teardown(() => void Object.defineProperty(Records.prototype, "holds", holds));
  for (const one of all) t.not(resting.wayOf(one), undefined);
  // Session-ID and MRI of the one that is looked for, and hardly of any other.
  t.true(compared < 3 * all.length, `${compared} compared`);
  for (const one of all) t.deepEqual(resting.take(one), one);
});

test("a state whose time has come is handed over once, and those of one association can be taken alone", (t) => {
  const clock = new FakeTime();
  const due: Rest[] = [];
  const resting = new RestingStates({ time: clock }, (one) => due.push(one));
  const [sample] = fc.sample(rest, { numRuns: 1, seed: 5 });
  if (sample === undefined) return t.fail();
  const put = (number: number, association: Association, at: number): void =>
    resting.put({
      ...sample,
      association,
      due: ms(at),
      sessionId: sessionIdFromBytes(new Uint8Array(16).fill(number)),
    });
  put(1, ONE, 5000);
  put(2, ONE, 90_000);
  put(3, OTHER, 90_000);
  clock.advance(seconds(6));
  t.is(due.length, 1);
  t.is(resting.size, 2);
  t.is([...resting.takeEach(({ association }) => association === ONE)].length, 1);
  t.is(resting.size, 1);
  clock.advance(seconds(100));
  t.is(due.length, 2);
});

function states(node: TestNode): { readonly role: string; readonly state: string }[] {
  return [...node.gist.routes()].map(({ role, state }) => ({ role, state }));
}

test("a session that rested is spoken on as before, without another handshake", async (t) => {
  const { network, a, b, mri: flow, session: id } = await talking({ validity: seconds(3600) });
  await network.run(5000);
  t.deepEqual(states(a), [{ role: "querying", state: "established" }]);
  t.deepEqual(states(b), [{ role: "responding", state: "established" }]);
  t.deepEqual(b.gist.view().routingStates, { querying: 0, responding: 1 });
  a.send(id, flow, "two");
  await network.run(100);
  b.send(id, { ...flow, direction: "upstream" }, "back");
  await network.run(100);
  t.deepEqual(b.texts, ["one", "two"]);
  t.deepEqual(a.texts, ["back"]);
  t.is(network.of("query").length, 1);
  t.is(a.gist.view().associations.length, 1);
});

test("a session at rest is refreshed as long as it is wanted, and then it ends on both sides", async (t) => {
  const { network, a, b, mri: flow, session: id } = await talking();
  a.gist.setStateLifetime(TEST_NSLP, id, flow, seconds(100));
  await network.run(90_000);
  t.true(network.of("query").length >= 4);
  t.is(states(a).length, 1);
  await network.run(150_000);
  t.deepEqual([...states(a), ...states(b)], []);
  t.deepEqual(b.gist.view().routingStates, { querying: 0, responding: 0 });
});

test("who rests is told of a lost association, and a node that stops forgets who rests", async (t) => {
  const { network, a, b } = await talking({ validity: seconds(3600) });
  const others = [1, 2, 3].map(() => network.newSession());
  for (const id of others) a.send(id, flowMri(A, B), "more");
  await network.run(10_000);
  t.is(states(a).length, 4);
  a.breakConnections();
  await network.run(1000);
  t.is(states(a).length, 0);
  t.is(a.notifications.length, 4);
  await b.gist.stop();
  t.is(states(b).length, 0);
});
