import test from "ava";
import { seconds } from "../base/units.js";
import { flowMri, MemoryNetwork, TEST_NSLP } from "./testing/network.js";
import { A, B, C, D } from "./testing/pair.js";

/** A and D with two routers between, of which one is on the path. */
async function diamond() {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const upper = network.addNode(B);
  const lower = network.addNode(C);
  const d = network.addNode(D);
  network.offPath.add(lower);
  const session = network.newSession();
  const mri = flowMri(A, D);
  a.send(session, mri, "one");
  await network.run(500);
  a.gist.setStateLifetime(TEST_NSLP, session, mri, seconds(3600));
  network.sent.length = 0;
  const turn = (): void => {
    network.offPath.clear();
    network.offPath.add(upper);
  };
  return { network, a, upper, lower, d, session, mri, turn };
}

test("a changed route makes a Query go at once, and messages follow it to the new peer", async (t) => {
  const { network, a, upper, lower, session, mri, turn } = await diamond();
  turn();
  a.routeTo = () => a.wayOut("left");
  a.gist.routesChanged();
  a.send(session, mri, "two");
  await network.run(500);
  a.send(session, mri, "three");
  await network.run(100);
  t.is(network.of("query", a).length, 1);
  t.deepEqual(upper.texts, ["one", "two"], "the peer so far serves until the new one has answered");
  t.deepEqual(lower.texts, ["three"]);
  t.deepEqual(
    a.notifications.map((n) => n.type),
    ["routing-status-change"],
  );
  t.regex(a.notifications[0]?.detail ?? "", /now 10\.0\.0\.3, it was 10\.0\.0\.2/);
});

for (const [what, change] of [
  ["next hop", { nextHop: "10.0.0.77" }],
  ["interface", { interfaceName: "left" }],
] as const)
  test(`another ${what} counts as a changed route`, async (t) => {
    const { network, a } = await diamond();
    const nextHop = "nextHop" in change ? change.nextHop : undefined;
    a.routeTo = () => a.wayOut("interfaceName" in change ? change.interfaceName : "right", nextHop);
    a.gist.routesChanged();
    await network.run(100);
    t.is(network.of("query", a).length, 1);
    a.gist.routesChanged();
    await network.run(100);
    t.is(network.of("query", a).length, 1, "once");
  });

test("where nothing changed for a flow nothing is sent", async (t) => {
  const { network, a } = await diamond();
  for (let i = 0; i < 5; i++) a.gist.routesChanged();
  await network.run(500);
  t.is(network.sent.length, 0);
});

test("a route that is gone is told, and found again when it is back", async (t) => {
  const { network, a, upper, session, mri } = await diamond();
  a.routeTo = () => undefined;
  a.gist.routesChanged();
  await network.run(100);
  t.deepEqual(
    a.notifications.map((n) => n.type),
    ["routing-status-change"],
  );
  t.is(network.of("query", a).length, 0);
  a.routeTo = () => a.wayOut();
  await network.run(5000);
  t.true(network.of("query", a).length > 0);
  a.send(session, mri, "two");
  await network.run(100);
  t.deepEqual(upper.texts, ["one", "two"]);
});

test("a change on the way is noticed by the next refresh", async (t) => {
  const { network, a, lower, session, mri, turn } = await diamond();
  turn();
  await network.run(23_000);
  t.deepEqual(
    a.notifications.map((n) => n.type),
    ["routing-status-change"],
  );
  a.send(session, mri, "two");
  await network.run(100);
  t.deepEqual(lower.texts, ["two"]);
});

test("a peer that falls silent is given up, and the next message finds the other way", async (t) => {
  const { network, a, upper, lower, session, mri, turn } = await diamond();
  await network.run(5000);
  network.fate = (sent) => (sent.from === upper.name || sent.to === upper.name ? "lost" : undefined);
  a.send(session, mri, "lost", { handle: 7 });
  await network.run(32_000);
  t.is(a.notifications.at(-1)?.type, "communication-failure");
  t.deepEqual(
    a.statuses.map((s) => [s.handle, s.error]),
    [
      [7, "no-error"],
      [7, "transport-failed"],
    ],
  );
  turn();
  a.send(session, mri, "two");
  await network.run(500);
  t.deepEqual(lower.texts, ["two"]);
});

test("many flows are looked at in turns, and a change meanwhile is not missed", async (t) => {
  const network = new MemoryNetwork();
  const a = network.addNode(A);
  const d = network.addNode(D);
  for (let port = 1; port <= 600; port++) a.send(network.newSession(), flowMri(A, D, port), "x");
  await network.run(1000);
  t.is(d.texts.length, 600);
  network.sent.length = 0;
  a.gist.routesChanged();
  await network.run(10);
  a.routeTo = () => a.wayOut("left");
  a.gist.routesChanged();
  await network.run(20);
  t.true(network.of("query").length < 600, "not all at once");
  await network.run(200);
  const asked = new Set(network.of("query").map((q) => q.message.sessionId));
  t.is(asked.size, 600, "each flow asked");
});

test("a node that stops leaves no look-up behind", async (t) => {
  const { network, a } = await diamond();
  a.gist.routesChanged();
  await a.gist.stop();
  await network.run(200);
  t.is(network.of("query", a).length, 0);
});
