/** A router's flows at rest: what comes back is what went, and nobody sees a difference but in memory. */
import { generateKeyPairSync } from "node:crypto";
import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../base/address.js";
import { ALGORITHMS } from "../base/algorithm.js";
import { FakeTime } from "../base/time.js";
import { bytes, ms, seconds } from "../base/units.js";
import { sessionIdFromBytes } from "../gist/wire/codec.js";
import { type RouterRest, RestingRouters } from "./resting.js";
import { ask, Line, makeCredentials, permitted, traffic } from "./testing/line.js";

const senderKey = generateKeyPairSync("ed25519").publicKey;

function address(family: 4 | 6): fc.Arbitrary<IpAddress> {
  const length = family === 4 ? 4 : 16;
  return fc.uint8Array({ minLength: length, maxLength: length }).map((value) => IpAddress.fromBytes(value));
}

const u32 = fc.nat(2 ** 32 - 1);
const instant = fc
  .oneof(fc.nat(1_000_000_000), fc.constant(Number.NEGATIVE_INFINITY))
  .map((value) => ms(value));
const volume = fc.nat(Number.MAX_SAFE_INTEGER).map((value) => bytes(value));
const flow = fc.constantFrom(4 as const, 6 as const).chain((family) =>
  fc.record({
    protocol: fc.nat(255),
    source: address(family),
    destination: address(family),
    sourcePort: fc.nat(65_535),
    destinationPort: fc.nat(65_535),
  }),
);
const rest: fc.Arbitrary<RouterRest> = fc.record({
  id: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((value) => sessionIdFromBytes(value)),
  flow,
  asker: fc.record({
    upstreamPeer: fc.constantFrom("peer 1", "peer 2"),
    requester: fc.constantFrom("host", ""),
    senderKey: fc.constant(senderKey),
    querySigner: fc.constantFrom("aa", "bb"),
  }),
  way: fc.record({
    previousPeer: fc.constantFrom("peer 1", "peer 2"),
    nextPeer: fc.constantFrom("peer 3", undefined),
  }),
  permissionSigner: fc.constantFrom("cc", "dd"),
  heardQuery: u32,
  heardPermission: u32,
  allowedVolume: volume,
  sentVolume: volume,
  ttl: u32.map((value) => ms(value)),
  refresh: u32.map((value) => ms(value)),
  association: fc.option(fc.record({ spi: u32, algorithm: fc.constantFrom(...ALGORITHMS) }), {
    nil: undefined,
  }),
  epoch: u32,
  reported: u32,
  refreshes: u32,
  until: fc.integer({ min: 1000, max: 1_000_000_000 }).map((value) => ms(value)),
  refreshed: instant,
  favoured: instant,
  routeUntil: instant,
});

test("whatever goes to rest comes back as it was, by session and by flow", (t) => {
  fc.assert(
    fc.property(fc.uniqueArray(rest, { selector: ({ id }) => id, maxLength: 40 }), (all) => {
      const resting = new RestingRouters(new FakeTime(), () => t.fail());
      for (const one of all) resting.put(one);
      t.is(resting.size, all.length);
      t.deepEqual([...resting.ids()].sort(), all.map(({ id }) => id).sort());
      all.forEach((one, i) => {
        t.deepEqual(i % 2 === 0 ? resting.takeById(one.id) : resting.takeByFlow(one.flow), one);
        t.is(resting.takeById(one.id), undefined);
      });
      t.is(resting.size, 0);
    }),
    { numRuns: 30 },
  );
});

test("a session whose time is over is handed over once", (t) => {
  const time = new FakeTime();
  const over: RouterRest[] = [];
  const resting = new RestingRouters(time, (one) => over.push(one));
  const [sample] = fc.sample(rest, { numRuns: 1, seed: 3 });
  if (sample === undefined) return t.fail();
  resting.put({ ...sample, until: ms(5000) });
  time.advance(seconds(4));
  t.is(over.length, 0);
  time.advance(seconds(4));
  t.is(over.length, 1);
  t.is(resting.size, 0);
});

test("a flow that rested at a router is shown, refreshed, found by its id, revoked, and over in its time", async (t) => {
  const line = new Line(makeCredentials());
  await ask(line);
  await line.pass(seconds(5));
  const [shown] = line.flows("router");
  t.like(shown, { state: "3 permission", role: "router", requester: "sender", refreshes: 0 });
  traffic(line, 1000);
  await line.pass(seconds(100));
  const [later] = line.flows("router");
  t.true((later?.refreshes ?? 0) >= 1);
  const id = later?.id ?? "";
  t.is(id, shown?.id ?? "none");
  t.is(line.node("router").flow(id.slice(0, 8)).id, id);
  await line.pass(seconds(5));
  await line.node("router").revoke(id, "for the test");
  await line.pass(seconds(1));
  t.deepEqual(line.flows("router"), []);
  t.false(permitted(line, "router"));
});

test("a refresh changes what it says and nothing else, and moves the end", (t) => {
  fc.assert(
    fc.property(rest, u32, (before, sequence) => {
      const time = new FakeTime();
      const over: RouterRest[] = [];
      const table = new RestingRouters(time, (one) => over.push(one));
      const start = { ...before, heardQuery: 1, heardPermission: 1, until: ms(5000), refreshes: 7 };
      table.put(start);
      const next = (sequence % 1_000_000) + 2;
      t.true(table.query(start.id, next, bytes(99)));
      t.false(table.query(start.id, next, bytes(100)), "it was heard already");
      t.true(table.permission(start.id, next));
      t.false(table.permission(start.id, 1), "it is an old one");
      const renewal = {
        allowedVolume: bytes(123),
        ttl: seconds(600),
        refresh: seconds(60),
        until: ms(90_000),
        refreshed: ms(10),
        routeUntil: ms(360_000),
      };
      t.true(table.renew(start.id, renewal));
      const heard = { heardQuery: next, heardPermission: next, sentVolume: bytes(99) };
      const expected = { ...start, ...renewal, ...heard, refreshes: 8 };
      t.deepEqual(table.look(start.id), expected);
      time.advance(seconds(60));
      t.is(over.length, 0);
      time.advance(seconds(31));
      t.deepEqual(over, [expected]);
      t.false(table.renew(start.id, renewal), "it is over");
      t.is(table.look(start.id), undefined);
    }),
    { numRuns: 50 },
  );
});
