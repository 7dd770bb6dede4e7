import test from "ava";
import type { Summary } from "./histogram.js";
import type { Figures } from "./measure.js";
import { loadPlot, loadText, rampPlot, rampText } from "./report.js";

const ANSWERS: Summary = { count: 90, mean: 4, p50: 3.14, p90: 9, p99: 21, p999: 150, max: 1234 };
const NONE: Summary = { count: 0, mean: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 };

const FIGURES: Figures = {
  name: "live",
  seconds: 12.34,
  pairs: 12_340,
  perSecond: 1000,
  router: { cpuSeconds: 2.5, pairsPerCpuSecond: 4936, share: 0.2, residentBytes: 123_000_000 },
  cores: { senders: 0.4, receivers: 0.3, others: 0.05 },
  flows: { live: 90, granted: 100, refused: 1, revoked: 2, left: 3, failed: 4, lost: 5, toldToWait: 6 },
  refreshes: { done: 700, missed: 7 },
  retransmissions: { pbs: 8, gist: 9 },
  setUp: NONE,
  refresh: ANSWERS,
  messages: { queries: 11, permissions: 12, notifies: 13, gist: 14 },
  signatures: { made: 15, checkedHere: 16, badHere: 17 },
  bytes: { pbs: 18, wire: 19 },
  stalled: 2,
};

const SAMPLES = [1, 2, 3].map((at) => ({
  at,
  live: 30 * at,
  pairsPerSecond: 1000,
  router: 0.2,
  senders: 0.4,
  receivers: 0.3,
  p50: 3,
  p99: 21,
  retransmissions: 0,
}));

test("a load as text: every figure, and nothing of a router that is not the tool's", (t) => {
  const own = loadText({ phases: [FIGURES], samples: SAMPLES, stopped: false }, true);
  t.is(
    own,
    `live
  pairs       12340 in 12.3 s: 1,000 a second
  flows       90 live; 100 granted, 1 refused, 2 revoked, 3 given up, 4 without answer, 5 lost, 6 told to wait
  refreshes   700, 7 missed
  sent again  8 Queries of PBS, 9 of GIST by the tool
  refresh     median 3.1 ms, 90 % 9.0, 99 % 21, 99.9 % 150, longest 1,234
  router      2.50 s of processor (20 % of a core): 4,936 pairs for each; 123 MB resident
  cores       senders 40 % of one, receivers 30 %, everything else on this machine 5 %
  messages    11 Queries, 12 Permissions, 13 Notifies; 14 of GIST by the tool
  signatures  15 made by the tool, 16 checked by it too, 17 bad
  bytes       18 of PBS messages, 19 on the links of the tool
`,
  );
  const foreign = loadText(
    { phases: [{ ...FIGURES, setUp: ANSWERS }], samples: SAMPLES, stopped: true },
    false,
  );
  t.notRegex(foreign, /^ {2}router/m);
  t.regex(foreign, /^ {2}set-up /m);
  t.regex(foreign, /ended before its time/);
});

const STEPS = [
  { rate: 1000, failure: undefined, figures: FIGURES },
  { rate: 1500, failure: "Queries were sent again", figures: FIGURES },
];

test("a ramp as text: each rate, and what held the next one", (t) => {
  const text = rampText({
    steps: STEPS,
    sustained: 1000,
    limitedBy: "Queries were sent again",
    samples: SAMPLES,
  });
  t.regex(text, /^ {5}1,000 {5}20 % {7}21 {2}sustained$/m);
  t.regex(text, /sustained: 1,000 pairs a second; above that Queries were sent again/);
  t.regex(
    rampText({ steps: STEPS.slice(0, 1), sustained: 1000, limitedBy: undefined, samples: SAMPLES }),
    /nothing held it/,
  );
});

test("plots have a panel for each kind of figure", (t) => {
  const load = loadPlot({ phases: [FIGURES], samples: SAMPLES, stopped: false });
  for (const title of ["flows with permission", "pairs a second", "answer, ms", "share of a core"])
    t.true(load.includes(title), title);
  const ramp = rampPlot({ steps: STEPS, sustained: 1000, limitedBy: undefined, samples: SAMPLES });
  t.true(ramp.includes("1,000 pairs a second sustained"));
});
