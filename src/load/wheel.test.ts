import test from "ava";
import fc from "fast-check";
import { TICK } from "../base/time.js";
import { ms } from "../base/units.js";
import { FlowTimers } from "./wheel.js";

const FLOWS = 20;
type Step = { readonly flow: number; readonly delay: number | undefined } | { readonly pass: number };

const steps = fc.array(
  fc.oneof(
    fc.record({
      flow: fc.nat(FLOWS - 1),
      delay: fc.option(fc.nat(200_000), { nil: undefined }),
    }),
    fc.record({ pass: fc.nat(100_000) }),
  ),
  { maxLength: 60 },
);

/** The same, kept in a Map. */
class Model {
  readonly due = new Map<number, number>();

  advance(now: number): number[] {
    const fired = [...this.due].filter(([, tick]) => tick <= Math.floor(now / TICK));
    for (const [flow] of fired) this.due.delete(flow);
    return fired.map(([flow]) => flow);
  }
}

test("timers fire as those of a map do, at most a tick late and never early", (t) => {
  fc.assert(
    fc.property(steps, (given: readonly Step[]) => {
      const timers = new FlowTimers(FLOWS, ms(0));
      const model = new Model();
      let now = 0;
      for (const step of given) {
        if ("pass" in step) {
          now += step.pass;
          const fired: number[] = [];
          timers.advance(ms(now), (flow, at) => {
            t.true(at <= now);
            fired.push(flow);
          });
          t.deepEqual(
            fired.toSorted((a, b) => a - b),
            model.advance(now).toSorted((a, b) => a - b),
          );
        } else if (step.delay === undefined) {
          timers.cancel(step.flow);
          model.due.delete(step.flow);
        } else {
          timers.set(step.flow, ms(now + step.delay));
          model.due.set(
            step.flow,
            Math.max(Math.ceil((now + step.delay) / TICK), Math.floor(now / TICK) + 1),
          );
        }
      }
    }),
  );
  t.pass();
});

test("one that fires may set itself and take another away", (t) => {
  const timers = new FlowTimers(3, ms(0));
  for (const flow of [0, 1, 2]) timers.set(flow, ms(50));
  const fired: number[] = [];
  timers.advance(ms(60), (flow) => {
    fired.push(flow);
    for (const other of [0, 1, 2]) timers.cancel(other);
    if (fired.length === 1) timers.set(flow, ms(100));
  });
  t.is(fired.length, 1);
  timers.advance(ms(110), (flow) => fired.push(flow));
  t.deepEqual(fired, [fired[0] ?? -1, fired[0] ?? -1]);
});
