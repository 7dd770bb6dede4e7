import test from "ava";
import { step, type Table } from "./machine.js";

type State = "shut" | "open" | "locked";
type Event = "push" | "turn";

const door: Table<State, Event, "has key", "creak" | "click"> = [
  { from: "shut", on: "push", do: ["creak"], to: "open" },
  { from: ["shut", "locked"], on: "turn", when: "has key", do: ["click"], to: "locked" },
  { from: "shut", on: "turn", do: [], to: "shut" },
];

test("the first arc whose state, event and guard match is taken", (t) => {
  t.is(step(door, "shut", "push", () => false)?.to, "open");
  t.deepEqual(step(door, "shut", "turn", () => true)?.do, ["click"]);
  t.is(step(door, "shut", "turn", () => false)?.to, "shut");
  t.is(step(door, "locked", "turn", () => true)?.to, "locked");
});

test("an event without an arc means nothing, and guards of other arcs are not asked", (t) => {
  t.is(
    step(door, "locked", "turn", () => false),
    undefined,
  );
  t.is(
    step(door, "open", "turn", () => t.fail()),
    undefined,
  );
});
