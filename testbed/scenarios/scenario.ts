import type { Report } from "../lib/report.js";

export interface Scenario {
  readonly name: string;
  /** One sentence: what it shows. */
  readonly summary: string;
  /** Set where it needs what only a distribution's own kernel has, such as kernel IPsec; scripts/test-vm runs those. */
  readonly stockKernel?: true;
  /** May reject; then the scenario has failed. */
  readonly run: (report: Report) => Promise<void>;
}
