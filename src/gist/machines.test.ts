import { readFileSync } from "node:fs";
import test from "ava";
import type { Arc } from "../base/machine.js";
import { ASSOCIATION_MACHINE } from "./association.js";
import { NODE_MACHINE } from "./node-rules.js";
import { QUERYING_MACHINE } from "./querying-rules.js";
import { RESPONDING_MACHINE } from "./responding-rules.js";
import { renderGistTables } from "./state-tables.js";

type AnyArc = Arc<string, string, string, string>;

const machines: Record<string, readonly AnyArc[]> = {
  association: ASSOCIATION_MACHINE,
  querying: QUERYING_MACHINE,
  responding: RESPONDING_MACHINE,
};

const sources = (arc: AnyArc): readonly string[] => (typeof arc.from === "string" ? [arc.from] : arc.from);

for (const [name, table] of Object.entries({ ...machines, node: NODE_MACHINE })) {
  test(`${name}: no arc stands behind one that always wins`, (t) => {
    const seen = new Map<string, Set<string>>();
    for (const arc of table)
      for (const from of sources(arc)) {
        const key = `${from} on ${arc.on}`;
        const guards = seen.get(key) ?? new Set<string>();
        t.false(guards.has("always"), key);
        t.false(guards.has(arc.when ?? "always"), `${key} when ${arc.when ?? "always"} twice`);
        guards.add(arc.when ?? "always");
        seen.set(key, guards);
      }
  });
}

for (const [name, table] of Object.entries(machines)) {
  test(`${name}: every state is reached from none, and ends in gone`, (t) => {
    const reached = new Set(["none"]);
    for (let before = 0; before < reached.size;) {
      before = reached.size;
      for (const arc of table) if (sources(arc).some((s) => reached.has(s))) reached.add(arc.to);
    }
    const states = new Set(table.flatMap((arc) => [...sources(arc), arc.to]));
    t.deepEqual([...reached].sort(), [...states].sort());
    t.false(table.some((arc) => sources(arc).includes("gone")));
    for (const state of states) {
      if (state === "gone" || state === "none") continue;
      t.true(
        table.some((arc) => sources(arc).includes(state) && arc.to === "gone"),
        `${state} can end`,
      );
    }
  });

  test(`${name}: who ends gives its place in the tables back`, (t) => {
    for (const arc of table) t.is(arc.to === "gone", arc.do.includes("remove"), `on ${arc.on}`);
  });
}

test("docs/gist-state-machines.md is what the tables say", (t) => {
  t.is(readFileSync("docs/gist-state-machines.md", "utf8"), renderGistTables());
});
