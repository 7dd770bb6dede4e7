import { readFileSync } from "node:fs";
import test from "ava";
import { step, type Table } from "../../base/machine.js";
import { RECEIVER_MACHINE } from "./receiver.js";
import { renderTables } from "./render.js";
import { ROUTER_MACHINE } from "./router.js";
import { SENDER_MACHINE } from "./sender.js";

test("docs/state-machines.md is what the tables say", (t) => {
  t.is(readFileSync("docs/state-machines.md", "utf8"), renderTables());
});

interface Row {
  readonly from: string | readonly string[];
  readonly on: string;
  readonly when?: string;
  readonly do: readonly string[];
  readonly to: string;
}

const TABLES: readonly (readonly [string, readonly Row[]])[] = [
  ["sender", SENDER_MACHINE],
  ["router", ROUTER_MACHINE],
  ["receiver", RECEIVER_MACHINE],
];

for (const [role, table] of TABLES) {
  for (const arc of table) {
    for (const from of [arc.from].flat()) {
      const guard = arc.when === undefined ? "" : ` [${arc.when}]`;
      test(`${role}: ${from}, ${arc.on}${guard} goes to ${arc.to}`, (t) => {
        // Only this arc's own guard holds: no earlier arc may stand in its way.
        const taken = step(
          table as Table<string, string, string, string>,
          from,
          arc.on,
          (g) => g === arc.when,
        );
        t.is(taken, arc);
      });
    }
  }

  test(`${role}: every state can be reached and left`, (t) => {
    const states = new Set(table.flatMap(({ from, to }) => [from, to].flat()));
    for (const state of states) {
      t.true(table.some(({ to, from }) => to === state && !(from === state)));
      t.true(table.some(({ to, from }) => [from].flat().includes(state) && to !== state));
    }
  });

  test(`${role}: what ends in idle is forgotten, and only that`, (t) => {
    for (const { to, do: actions } of table) t.is(actions.includes("forget"), to === "idle");
  });

  test(`${role}: what has a permission takes it out of the packet path when it ends`, (t) => {
    for (const { from, to, do: actions } of table)
      if (to === "idle" && [from].flat().includes("permission"))
        t.true(actions.includes("remove-permission"));
  });
}

test("a state with a wait has an arc for its end", (t) => {
  const never = (): boolean => false;
  t.is(step(SENDER_MACHINE, "wait-permission", "no-answer", never)?.to, "idle");
  t.is(step(SENDER_MACHINE, "permission", "ttl-over", never)?.to, "idle");
  t.is(step(ROUTER_MACHINE, "wait-permission", "wait-over", never)?.to, "idle");
  t.is(step(ROUTER_MACHINE, "permission", "state-over", never)?.to, "idle");
  t.is(step(RECEIVER_MACHINE, "decide", "too-late", never)?.to, "idle");
  t.is(step(RECEIVER_MACHINE, "permission", "no-refresh", never)?.to, "idle");
});

test("an unsigned Notify ends no permission", (t) => {
  t.is(step(SENDER_MACHINE, "permission", "notified", () => true)?.to, "permission");
  t.is(step(ROUTER_MACHINE, "permission", "notified", () => true)?.to, "permission");
});

test("what cannot be done, and whose fault that is said to be, ends nothing at sender and router", (t) => {
  for (const state of ["wait-permission", "permission"] as const) {
    t.is(step(SENDER_MACHINE, state, "unsupported", () => true)?.to, state);
    t.is(step(ROUTER_MACHINE, state, "unsupported", () => true)?.to, state);
    t.is(step(ROUTER_MACHINE, state, "algorithm-refused", () => true)?.to, state);
  }
});

test("no Permission goes on from a router that cannot do what it asks for", (t) => {
  for (const { on, do: actions } of ROUTER_MACHINE)
    if (on === "unsupported") t.deepEqual(actions, ["refuse-algorithm"]);
});

test("nothing is forwarded or granted after idle, but for a new start", (t) => {
  const answers = ["granted", "refused", "unsupported", "notified", "pending"] as const;
  for (const event of answers) {
    t.is(
      step(SENDER_MACHINE, "idle", event, () => true),
      undefined,
    );
    t.is(
      step(ROUTER_MACHINE, "idle", event, () => true),
      undefined,
    );
  }
});

test("a permission is enforced before anybody hears of it", (t) => {
  for (const table of [ROUTER_MACHINE, RECEIVER_MACHINE]) {
    for (const { do: actions } of table as readonly { do: readonly string[] }[]) {
      const install = actions.indexOf("install");
      const tell = actions.findIndex(
        (action) => action === "forward-permission" || action === "send-permission",
      );
      if (install >= 0 && tell >= 0) t.true(install < tell);
    }
  }
});

test("a permission is out of the packet path before a refusal is sent", (t) => {
  for (const { do: actions } of RECEIVER_MACHINE) {
    const remove = actions.indexOf("remove-permission");
    if (remove >= 0) t.true(remove < actions.indexOf("send-refusal"));
  }
});
