import test from "ava";
import { type Flow, parseFlow } from "../base/flow.js";
import { FakeTime } from "../base/time.js";
import { PLACE_VALUES, TRACED_FLOWS } from "./native.js";
import { type Tracer, Tracing } from "./tracing.js";

const FLOW = parseFlow("udp 192.168.20.1:4000 > 192.168.21.4:9000");

function flowOf(port: number): Flow {
  return { ...FLOW, sourcePort: port };
}

/** An addon whose threads are done with what was before `settled`. */
class FakeTracer implements Tracer {
  readonly values = new Map<number, readonly number[]>();
  readonly numbers: number[] = [];
  permitted = true;
  now = 0;
  done = 0;

  readonly trace = (_flow: Flow, number: number): boolean => {
    this.numbers.push(number);
    return this.permitted;
  };
  readonly read = (number: number, out: Float64Array): void => {
    out.fill(0);
    out.set(this.values.get(number) ?? []);
  };
  readonly ticket = (): number => ++this.now;
  readonly settled = (ticket: number): boolean => ticket <= this.done;
}

const NAMES = new Map([
  [2, "eth0"],
  [3, "eth1"],
]);

test("counts of places have the interface's name and the address as people write it", (t) => {
  const tracer = new FakeTracer();
  const tracing = new Tracing(tracer, new FakeTime(), () => NAMES);
  t.true(tracing.start(FLOW));
  tracer.values.set(1, [2, 0x02_00_00_00_00_0a, 1500, 1, 3, 0, 0, 7, 9, 5, 100, 0]);
  t.deepEqual(tracing.places(FLOW), [
    { interface: "eth0", address: "02:00:00:00:00:0a", bytes: 1500, failed: 1 },
    { interface: "eth1", address: "00:00:00:00:00:00", bytes: 0, failed: 7 },
  ] as never);
  t.is(PLACE_VALUES, 4);
  t.deepEqual(tracing.places(flowOf(1)), []);
  tracing.stop(FLOW);
  t.deepEqual(tracing.places(FLOW), []);
});

test("a number is given again only when no thread counts under it any more", (t) => {
  const tracer = new FakeTracer();
  const tracing = new Tracing(tracer, new FakeTime(), () => NAMES);
  tracing.start(FLOW);
  tracing.stop(FLOW);
  t.true(tracing.start(flowOf(1)));
  tracer.done = tracer.now;
  t.true(tracing.start(flowOf(2)));
  t.deepEqual(tracer.numbers, [1, 0, 2, 1]);
});

test("so many flows, and none without permission", (t) => {
  const tracer = new FakeTracer();
  const tracing = new Tracing(tracer, new FakeTime(), () => NAMES);
  for (let i = 0; i < TRACED_FLOWS; i++) t.true(tracing.start(flowOf(i)));
  t.false(tracing.start(flowOf(TRACED_FLOWS)));
  tracing.stop(flowOf(0));
  tracer.done = tracer.now;
  tracer.permitted = false;
  t.false(tracing.start(flowOf(TRACED_FLOWS)));
  t.deepEqual(tracing.places(flowOf(TRACED_FLOWS)), []);
});
