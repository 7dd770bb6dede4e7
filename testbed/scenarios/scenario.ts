import type { Report } from "../lib/report.js";

export interface Scenario {
  readonly name: string;
  /** One sentence: what it shows. */
  readonly summary: string;
  /** May reject; then the scenario has failed. */
  readonly run: (report: Report) => Promise<void>;
}
