import test from "ava";
import fc from "fast-check";
import { flowKey } from "../base/flow.js";
import type { SessionId } from "../gist/wire/messages.js";
import { addressesOf, FlowSpace } from "./space.js";

const RUN = "0123456789abcdef";

test("no two flows are the same, of one generation or of another", (t) => {
  const counts = fc.record({
    flows: fc.integer({ min: 1, max: 300 }),
    senders: fc.integer({ min: 1, max: 7 }),
    receivers: fc.integer({ min: 1, max: 7 }),
  });
  fc.assert(
    fc.property(counts, ({ flows, senders, receivers }) => {
      const space = new FlowSpace({
        flows,
        senders: { first: "10.64.0.1", count: senders },
        receivers: { first: "10.128.0.250", count: receivers },
      });
      const keys = new Set<string>();
      for (let generation = 0; generation < 3; generation++)
        for (let index = 0; index < flows; index++) keys.add(flowKey(space.flow({ index, generation })));
      return keys.size === 3 * flows;
    }),
  );
  t.pass();
});

test("a flow's number and generation are read back from its Session-ID", (t) => {
  const space = new FlowSpace({
    flows: 1000,
    senders: { first: "10.64.0.1", count: 2 },
    receivers: { first: "10.128.0.1", count: 2 },
  });
  const place = { index: 999, generation: 70_000 };
  t.deepEqual(space.placeOf(space.sessionId(RUN, place)), place);
  t.is(space.placeOf(space.sessionId(RUN, { index: 1000, generation: 0 })), undefined);
  t.is(space.placeOf("not an id" as SessionId), undefined);
});

test("addresses follow each other, and stay in their block", (t) => {
  const addresses = addressesOf({ first: "10.64.0.254", count: 3 }).map((address) => address.toString());
  t.deepEqual(addresses, ["10.64.0.254", "10.64.0.255", "10.64.1.0"]);
  t.throws(() => addressesOf({ first: "10.64.255.255", count: 2 }), { instanceOf: RangeError });
  t.throws(() => addressesOf({ first: "10.64.0.1", count: 0 }), { instanceOf: RangeError });
});
