import test, { type ExecutionContext } from "ava";
import { IpAddress } from "../../base/address.js";
import { silentLogger } from "../../base/log.js";
import { FakeTime } from "../../base/time.js";
import { ms } from "../../base/units.js";
import type { Mri } from "../wire/messages.js";
import { Counters } from "./counters.js";
import { RouteTable } from "./route.js";

function mri(source: string, destination: string, direction: Mri["direction"] = "downstream"): Mri {
  return {
    method: "loose-end",
    direction,
    source: IpAddress.parse(source),
    destination: IpAddress.parse(destination),
  };
}

async function table(t: ExecutionContext, pending = 8, pathMark?: (mri: Mri) => number) {
  const time = new FakeTime();
  const counters = new Counters();
  const routes = new RouteTable({
    time,
    counters,
    logger: silentLogger,
    pathMark,
    lifetime: ms(5000),
    capacity: 2,
    pending,
  });
  await routes.start();
  t.teardown(() => routes.stop());
  return { routes, time, asked: () => counters.get("route.asked"), counters };
}

test("the way to the own loopback is known, and remembered for a while", async (t) => {
  const { routes, time, asked } = await table(t);
  const flow = mri("127.0.0.2", "127.0.0.1");
  t.is(routes.cached(flow), undefined);
  const route = await routes.lookup(flow);
  t.is(route?.interfaceName, "lo");
  t.is(route?.interfaceAddress.toString(), "127.0.0.1");
  t.is(routes.cached(flow), route);
  await routes.lookup(flow);
  t.is(asked(), 1);
  time.advance(ms(5000));
  t.is(routes.cached(flow), undefined);
  await routes.lookup(flow);
  t.is(asked(), 2);
});

test("upstream looks towards the flow's source", async (t) => {
  const { routes } = await table(t);
  const route = await routes.lookup(mri("127.0.0.3", "192.0.2.1", "upstream"));
  t.is(route?.interfaceName, "lo");
});

test("signalling of a flow that was moved is sent with the mark of the path, and its way asked for anew", async (t) => {
  let mark = 0;
  const { routes, asked } = await table(t, 8, () => mark);
  const flow = mri("127.0.0.2", "127.0.0.1");
  const before = await routes.wayOut(flow);
  t.is(before?.mark, 0);
  const count = asked();
  mark = 0x0180_0000;
  t.is(routes.cachedWayOut(flow), undefined);
  const moved = await routes.wayOut(flow);
  t.is(moved?.mark, mark);
  t.is(moved?.route.interfaceName, "lo");
  t.is(asked(), count + 1);
  t.deepEqual(routes.cachedWayOut(flow), moved);
  mark = 0;
  t.deepEqual(await routes.wayOut(flow), before);
});

test("questions about the same way are asked once, and too many are not asked", async (t) => {
  const { routes, asked, counters } = await table(t, 1);
  const [first, second, third] = await Promise.all([
    routes.lookup(mri("127.0.0.1", "127.0.0.1")),
    routes.lookup(mri("127.0.0.1", "127.0.0.1")),
    routes.lookup(mri("127.0.0.1", "127.0.0.2")),
  ]);
  t.is(first, second);
  t.is(third, undefined);
  t.is(asked(), 1);
  t.is(counters.get("route.overload"), 1);
});

test("the oldest answer makes room", async (t) => {
  const { routes } = await table(t);
  const flows = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map((to) => mri("127.0.0.1", to));
  for (const flow of flows) await routes.lookup(flow);
  t.deepEqual(
    flows.map((flow) => routes.cached(flow) !== undefined),
    [false, true, true],
  );
});

test("own addresses and interfaces are known", async (t) => {
  const { routes } = await table(t);
  t.true(routes.isLocal(IpAddress.parse("127.0.0.1")));
  t.false(routes.isLocal(IpAddress.parse("192.0.2.200")));
  t.is(routes.interfaceName(1), "lo");
  t.is(routes.interfaceName(999999), "");
});
