/** For route-notices.root.test.ts, in a network namespace of its own: many routes come while nobody reads. */
import { execFileSync } from "node:child_process";
import { RouteNotices } from "./route-notices.js";

const IPV4_ROUTE = 7;
const LINES_A_RUN = 50_000;
const MOST_RUNS = 8;

let told = 0;
let lost = 0;
const watch = new RouteNotices([IPV4_ROUTE], {
  notices: (list) => (told += list.length),
  lost: () => lost++,
});

/** Adds and removes routes in this thread, so that no notice is read meanwhile. */
function churn(): void {
  const lines = Array.from({ length: LINES_A_RUN / 2 }, (_, i) => {
    const route = `10.${i >> 8}.${i & 255}.0/24 dev lo`;
    return `route add ${route}\nroute del ${route}\n`;
  });
  execFileSync("ip", ["-batch", "-"], { input: lines.join("") });
}

execFileSync("ip", ["link", "set", "lo", "up"]);
for (let run = 0; run < MOST_RUNS && lost === 0; run++) {
  churn();
  // Reading is done in turns of the event loop.
  for (let i = 0; i < 5000; i++) await new Promise((turn) => setImmediate(turn));
}
const before = told;
execFileSync("ip", ["route", "add", "10.255.255.0/24", "dev", "lo"]);
while (told === before) await new Promise((turn) => setImmediate(turn));
watch.close();
watch.close();
console.log(JSON.stringify({ told, lost }));
