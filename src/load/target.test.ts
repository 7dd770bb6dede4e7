import test from "ava";
import { outsideOf, readRoute, wayTo } from "./target.js";

test("what the kernel says of a way is read", (t) => {
  const outside = '[{"dst":"192.0.2.7","gateway":"10.0.0.1","dev":"eth0","prefsrc":"10.0.0.2","flags":[]}]';
  t.deepEqual(readRoute(outside, "192.0.2.7"), { local: false, interface: "eth0", address: "10.0.0.2" });
  const inside = '[{"type":"local","dst":"10.0.0.2","dev":"lo","prefsrc":"10.0.0.2"}]';
  t.true(readRoute(inside, "10.0.0.2").local);
  t.throws(() => readRoute("[{}]", "10.0.0.2"), { message: /names no interface/ });
});

test("loopback is this machine", (t) => {
  t.true(wayTo("127.0.0.1").local);
  t.is(outsideOf({ first: "127.0.0.1", count: 3 }), undefined);
});
