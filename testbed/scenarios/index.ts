/** All scenarios, in the order in which scripts/test runs them. */
import { ask } from "./ask.js";
import { badinput } from "./badinput.js";
import { closed } from "./closed.js";
import { hostile } from "./hostile.js";
import { refresh } from "./refresh.js";
import { restart } from "./restart.js";
import type { Scenario } from "./scenario.js";
import { stop } from "./stop.js";
import { traffic } from "./traffic.js";
import { volume } from "./volume.js";

export const SCENARIOS: readonly Scenario[] = [
  closed,
  traffic,
  volume,
  stop,
  refresh,
  ask,
  restart,
  hostile,
  badinput,
];
