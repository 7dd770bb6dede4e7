import test from "ava";
import { FakeTime } from "../base/time.js";
import { seconds } from "../base/units.js";
import { MessageQueue, QueuePool } from "./queue.js";
import type { SendMessage } from "./service.js";
import { flowMri } from "./testing/network.js";
import type { SessionId } from "./wire/messages.js";

function message(handle: number, timeout?: number): SendMessage {
  return {
    data: new Uint8Array(0),
    nslpId: 1,
    sessionId: "" as SessionId,
    mri: flowMri("10.0.0.1", "10.0.0.2"),
    handle,
    transfer: { reliable: true, secure: true },
    ...(timeout === undefined ? {} : { timeout: seconds(timeout) }),
  };
}

test("messages leave in order; what was sent before goes first", (t) => {
  const queue = new MessageQueue(new FakeTime(), new QueuePool(10, 10), () => t.fail());
  queue.push(message(2));
  queue.push(message(3));
  queue.pushFront(message(1));
  t.deepEqual(
    queue.drain().map((m) => m.handle),
    [1, 2, 3],
  );
  t.is(queue.length, 0);
});

test("a message whose time is over leaves and is told of, once", (t) => {
  const time = new FakeTime();
  const expired: (number | undefined)[] = [];
  const pool = new QueuePool(10, 10);
  const queue = new MessageQueue(time, pool, (m) => expired.push(m.handle));
  queue.push(message(1, 1));
  queue.push(message(2, 5));
  time.advance(seconds(2));
  t.deepEqual(expired, [1]);
  t.is(pool.used, 1);
  queue.drain();
  time.advance(seconds(10));
  t.deepEqual(expired, [1]);
  t.is(time.pending, 0);
  t.is(pool.used, 0);
});

test("queues are bounded each and together", (t) => {
  const time = new FakeTime();
  const pool = new QueuePool(3, 2);
  const [a, b] = [new MessageQueue(time, pool, () => {}), new MessageQueue(time, pool, () => {})];
  t.deepEqual([a.push(message(1)), a.push(message(2)), a.push(message(3))], [true, true, false]);
  t.deepEqual([b.push(message(4)), b.push(message(5))], [true, false]);
  a.drain();
  t.true(b.push(message(6)));
});
