import test from "ava";
import { FakeTime } from "../base/time.js";
import { ms } from "../base/units.js";
import { RouteCache } from "./routes.js";
import { flowMri, MemoryNetwork } from "./testing/network.js";
import type { Route } from "./transport/transport.js";

const mri = flowMri("10.0.0.1", "10.0.0.2");

/** A cache over a transport whose answers the test gives. */
function slow() {
  const node = new MemoryNetwork().addNode("10.0.0.1");
  const answers: ((route: Route | undefined) => void)[] = [];
  node.route = () => new Promise((resolve) => answers.push(resolve));
  const time = new FakeTime();
  const failures: unknown[] = [];
  const cache = new RouteCache(node, time, (error) => failures.push(error));
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return { node, answers, time, failures, cache, settled };
}

test("questions about one destination are asked once, and remembered for a second", async (t) => {
  const { node, answers, time, cache, settled } = slow();
  const got: (string | undefined)[] = [];
  const use = (route: Route | undefined): number => got.push(route?.interfaceName);
  t.true(cache.lookup(mri, use));
  t.true(cache.lookup(mri, use));
  t.is(answers.length, 1);
  answers[0]?.(node.wayOut("eth1"));
  await settled();
  t.deepEqual(got, ["eth1", "eth1"]);
  cache.lookup(mri, use);
  t.is(got.length, 3, "at once");
  time.advance(ms(1100));
  cache.lookup(mri, use);
  t.is(answers.length, 2);
});

test("an answer from before a change is asked for again, and not believed", async (t) => {
  const { node, answers, cache, settled } = slow();
  const got: (string | undefined)[] = [];
  cache.lookup(mri, (route) => got.push(route?.interfaceName));
  cache.forget();
  answers[0]?.(node.wayOut("old"));
  await settled();
  t.deepEqual(got, []);
  answers[1]?.(node.wayOut("new"));
  await settled();
  t.deepEqual(got, ["new"]);
});

test("a flow that was moved is not given the route that it had", async (t) => {
  const { node, answers, cache, settled } = slow();
  let path = "first";
  const got: (string | undefined)[] = [];
  const use = (route: Route | undefined): number => got.push(route?.interfaceName);
  const moving = Object.assign(node, { wayKey: () => path });
  cache.lookup(mri, use);
  answers[0]?.(moving.wayOut("eth0"));
  await settled();
  path = "second";
  cache.lookup(mri, use);
  answers[1]?.(moving.wayOut("eth1"));
  await settled();
  t.deepEqual(got, ["eth0", "eth1"]);
});

test("who throws is told of, and keeps nobody else from the answer", async (t) => {
  const { node, answers, failures, cache, settled } = slow();
  let others = 0;
  cache.lookup(mri, () => {
    throw new Error("broken");
  });
  cache.lookup(mri, () => others++);
  answers[0]?.(node.wayOut());
  await settled();
  t.is(failures.length, 1);
  t.is(others, 1);
});

test("flows to one destination that may leave by different ways have each their own answer", async (t) => {
  const { node, answers, cache, settled } = slow();
  const got: (string | undefined)[] = [];
  const use = (route: Route | undefined): number => got.push(route?.interfaceName);
  cache.lookup(mri, use);
  cache.lookup(flowMri("10.0.0.1", "10.0.0.2", 4001), use);
  t.is(answers.length, 2);
  answers[0]?.(node.wayOut("eth0"));
  answers[1]?.(node.wayOut("eth1"));
  await settled();
  cache.lookup(mri, use);
  cache.lookup(flowMri("10.0.0.1", "10.0.0.2", 4001), use);
  t.deepEqual(got, ["eth0", "eth1", "eth0", "eth1"]);
});
