/** `npm run bench -- NAME [--json] [--quick]`: measures, and prints figures with their paired baselines. */
import { parseArgs } from "node:util";
import { ALGORITHMS } from "../../src/base/algorithm.js";
import { authentication } from "./authentication.js";
import { dataplane } from "./dataplane.js";
import { print, type Report } from "./result.js";
import { refreshing } from "./refreshing.js";
import { setup } from "./setup.js";
import { signalling, SIGNALLING_CASES } from "./signalling.js";

const BENCHMARKS: Readonly<Record<string, (quick: boolean, only: readonly string[]) => Promise<Report>>> = {
  authentication,
  dataplane,
  refreshing,
  setup,
  signalling,
};

/** What can be measured alone. */
const CASES: Readonly<Record<string, readonly string[]>> = {
  authentication: ALGORITHMS,
  signalling: SIGNALLING_CASES,
};

const usage = `usage: npm run bench -- NAME [--json] [--quick] [--case CASE...]
NAME: ${Object.keys(BENCHMARKS).join(", ")}
--json   print one JSON document and nothing else
--quick  one run of the main cases: shows that all works, not a measurement
--case   only this; may be given again:
${Object.entries(CASES)
  .map(([name, cases]) => `         ${name}: ${cases.join(", ")}`)
  .join("\n")}`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      case: { type: "string", multiple: true, default: [] },
    },
  });
  const [name = ""] = positionals;
  const run = Object.hasOwn(BENCHMARKS, name) ? BENCHMARKS[name] : undefined;
  const unknown = values.case.some((one) => !(CASES[name] ?? []).includes(one));
  if (run === undefined || positionals.length !== 1 || unknown) {
    console.error(usage);
    return 2;
  }
  const result = await run(values.quick, values.case);
  if (values.json) console.log(JSON.stringify(result));
  else print(result);
  return 0;
}

process.exitCode = await main();
