import test from "ava";
import { seconds } from "../base/units.js";
import { flowMri } from "./testing/network.js";
import { talking } from "./testing/pair.js";
import { flipMri } from "./wire/codec.js";

const SLOW = 3 * 1024 * 1024;

test("while the peer is slow messages wait, and go out in their order when it takes them", async (t) => {
  const { network, a, b, mri, session } = await talking();
  const [connection] = a.connections;
  if (connection === undefined) return t.fail("no connection");
  connection.queued = SLOW;
  for (const text of ["two", "three", "four"]) a.send(session, mri, text);
  await network.run(500);
  t.deepEqual(b.texts, ["one"]);
  t.deepEqual(a.statuses, []);
  connection.drain();
  a.send(session, mri, "five");
  await network.run(100);
  t.deepEqual(b.texts, ["one", "two", "three", "four", "five"]);
});

test("the responding side waits likewise", async (t) => {
  const { network, a, b, mri, session } = await talking();
  const [connection] = b.connections;
  if (connection === undefined) return t.fail("no connection");
  connection.queued = SLOW;
  b.send(session, flipMri(mri), "back");
  await network.run(100);
  t.deepEqual(a.texts, []);
  connection.drain();
  await network.run(100);
  t.deepEqual(a.texts, ["back"]);
});

test("what is above the session's bound is refused as overloaded", async (t) => {
  const { network, a, b, mri, session } = await talking({ maxQueuedPerSession: 2 });
  const [connection] = a.connections;
  if (connection === undefined) return t.fail("no connection");
  connection.queued = SLOW;
  for (let handle = 1; handle <= 4; handle++) a.send(session, mri, `m${handle}`, { handle });
  await network.run(100);
  t.deepEqual(
    a.statuses.map((s) => [s.handle, s.error]),
    [
      [3, "overloaded"],
      [4, "overloaded"],
    ],
  );
  connection.drain();
  await network.run(100);
  t.deepEqual(b.texts, ["one", "m1", "m2"]);
});

test("a message's timeout counts while it waits", async (t) => {
  const { network, a, b, mri, session } = await talking();
  const [connection] = a.connections;
  if (connection === undefined) return t.fail("no connection");
  connection.queued = SLOW;
  a.send(session, mri, "late", { handle: 5, timeout: seconds(1) });
  await network.run(1100);
  t.like(a.statuses[0], { handle: 5, error: "no-response" });
  connection.drain();
  await network.run(100);
  t.deepEqual(b.texts, ["one"]);
});

test("sessions that wait on one association take turns, and the room is not overrun", async (t) => {
  const { network, a, b, session, mri } = await talking();
  const other = network.newSession();
  const otherMri = flowMri(a.name, b.name, 4001);
  a.send(other, otherMri, "other");
  await network.run(300);
  const [connection] = a.connections;
  if (connection === undefined) return t.fail("no connection");
  connection.queued = SLOW;
  a.send(session, mri, "s1");
  a.send(session, mri, "s2");
  a.send(other, otherMri, "o1");
  // Full again after the first message.
  network.fate = (sent) => {
    if (sent.message.type === "data") connection.queued = SLOW;
    return undefined;
  };
  connection.drain();
  await network.run(50);
  t.deepEqual(b.texts.slice(2), ["s1"]);
  connection.drain();
  await network.run(50);
  t.deepEqual(b.texts.slice(2), ["s1", "o1"]);
  connection.drain();
  await network.run(50);
  t.deepEqual(b.texts.slice(2), ["s1", "o1", "s2"]);
});

test("what waits when the association is lost is reported", async (t) => {
  const { network, a, mri, session } = await talking();
  await network.run(2000);
  const [connection] = a.connections;
  if (connection === undefined) return t.fail("no connection");
  connection.queued = SLOW;
  a.send(session, mri, "two", { handle: 2 });
  a.breakConnections();
  await network.run(50);
  t.deepEqual(
    a.statuses.map((s) => [s.handle, s.error]),
    [[2, "transport-failed"]],
  );
});
