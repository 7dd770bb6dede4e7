import type { Report } from "../lib/report.js";

export interface Scenario {
  readonly name: string;
  /** One sentence: what it shows. */
  readonly summary: string;
  /** Set where it needs what only a distribution's own kernel has, such as kernel IPsec; scripts/test-vm runs those. */
  readonly stockKernel?: true;
  /** Set where it does not pass every time yet, as its documentation says: it is run by its name only. */
  readonly unreliable?: true;
  /** May reject; then the scenario has failed. */
  readonly run: (report: Report) => Promise<void>;
}
