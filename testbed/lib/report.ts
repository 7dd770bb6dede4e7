/** What a scenario has shown: a time line for people, or one JSON document. */

export type Measured = Readonly<Record<string, number | string | boolean | null>>;

export interface StepResult {
  readonly name: string;
  readonly passed: boolean;
  readonly measured: Measured;
}

export interface ScenarioResult {
  readonly name: string;
  readonly passed: boolean;
  readonly steps: readonly StepResult[];
}

/** Given to each step: what it saw and what it expects. */
export class Step {
  readonly measured: Record<string, number | string | boolean | null> = {};
  passed = true;

  /** Keeps a figure, and returns it. */
  measure<T extends number | string | boolean | null>(name: string, value: T): T {
    this.measured[name] = value;
    return value;
  }

  /** The step fails unless this holds; it goes on all the same. */
  expect(what: string, holds: boolean): void {
    if (holds) return;
    this.passed = false;
    const failed = this.measured["failed"];
    this.measured["failed"] = typeof failed === "string" ? `${failed}; ${what}` : what;
  }
}

export class Report {
  readonly #name: string;
  readonly #steps: StepResult[] = [];
  readonly #started = performance.now();
  readonly #print: (line: string) => void;

  /** @param print takes the lines of the time line; a JSON report has none */
  constructor(name: string, print: (line: string) => void) {
    this.#name = name;
    this.#print = print;
  }

  /** Runs one step; one that throws has failed, and the next one comes. */
  async step(name: string, body: (step: Step) => Promise<void>): Promise<void> {
    const step = new Step();
    try {
      await body(step);
    } catch (error) {
      step.expect(error instanceof Error ? error.message : String(error), false);
    }
    const { passed, measured } = step;
    this.#steps.push({ name, passed, measured });
    this.#line(passed ? "ok  " : "FAIL", name, measured);
  }

  note(text: string): void {
    this.#line("    ", text, {});
  }

  get result(): ScenarioResult {
    const passed = this.#steps.length > 0 && this.#steps.every((step) => step.passed);
    return { name: this.#name, passed, steps: this.#steps };
  }

  #line(mark: string, text: string, measured: Measured): void {
    const time = ((performance.now() - this.#started) / 1000).toFixed(1).padStart(6);
    this.#print(`${time} s  ${mark}  ${text}`);
    for (const [name, value] of Object.entries(measured)) this.#print(`                  ${name}: ${value}`);
  }
}
