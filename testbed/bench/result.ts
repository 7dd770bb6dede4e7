/** The one document that every benchmark prints: architecture's contract for `npm run bench -- NAME --json`. */
import { machine, median } from "./lab.js";

export interface Case {
  readonly case: string;
  /** Medians over `runs` measurements, null when there is none; baseline and ratio are null where nothing is compared. */
  readonly value: number | null;
  readonly unit: string;
  readonly baseline: number | null;
  readonly ratio: number | null;
  readonly runs: number;
  /** Of the last run: what was done meanwhile, such as messages and bytes. */
  readonly counts?: Readonly<Record<string, number>>;
  /** Why windows of it could not be measured. */
  readonly problem?: string;
}

export interface Report {
  readonly name: string;
  readonly machine: string;
  readonly results: readonly Case[];
}

/** A figure with its paired baseline: the ratio is the median of the pairs' ratios, not the ratio of medians. */
export function paired(
  name: string,
  unit: string,
  pairs: readonly { value: number; baseline: number }[],
): Case {
  return {
    case: name,
    value: round(median(pairs.map((p) => p.value))),
    unit,
    baseline: round(median(pairs.map((p) => p.baseline))),
    ratio: round(median(pairs.map((p) => p.value / p.baseline))),
    runs: pairs.length,
  };
}

export function single(name: string, unit: string, values: readonly number[]): Case {
  return { case: name, value: round(median(values)), unit, baseline: null, ratio: null, runs: values.length };
}

/** What could not be measured at all. */
export function unmeasured(name: string, unit: string, problem: string): Case {
  return { case: name, value: null, unit, baseline: null, ratio: null, runs: 0, problem };
}

export function report(name: string, results: readonly Case[]): Report {
  return { name, machine: machine(), results };
}

export function print({ name, machine: where, results }: Report): void {
  console.log(`${name} on ${where}`);
  const width = Math.max(...results.map((r) => r.case.length));
  for (const r of results) {
    const compared = r.baseline === null ? "" : `  baseline ${r.baseline}  ratio ${r.ratio}`;
    const figure =
      r.value === null ? "not measured" : `${r.value} ${r.unit}${compared}  (median of ${r.runs})`;
    console.log(`  ${r.case.padEnd(width)}  ${figure}${r.problem === undefined ? "" : `: ${r.problem}`}`);
  }
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
