/** `npm run bench -- NAME [--json] [--quick]`: measures, and prints figures with their paired baselines. */
import { parseArgs } from "node:util";
import { authentication } from "./authentication.js";
import { dataplane } from "./dataplane.js";
import { print, type Report } from "./result.js";
import { setup } from "./setup.js";
import { refreshing } from "./refreshing.js";
import { signalling } from "./signalling.js";

const BENCHMARKS: Readonly<Record<string, (quick: boolean, only?: string) => Promise<Report>>> = {
  authentication,
  dataplane,
  refreshing,
  setup,
  signalling,
};

const usage = `usage: npm run bench -- NAME [--json] [--quick] [--only ALGORITHM]
NAME: ${Object.keys(BENCHMARKS).join(", ")}
--json   print one JSON document and nothing else
--quick  one run of the main cases: shows that all works, not a measurement
--only   of authentication, one algorithm`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      only: { type: "string" },
    },
  });
  const [name = ""] = positionals;
  const run = Object.hasOwn(BENCHMARKS, name) ? BENCHMARKS[name] : undefined;
  if (run === undefined || positionals.length !== 1) {
    console.error(usage);
    return 2;
  }
  const result = await run(values.quick, values.only);
  if (values.json) console.log(JSON.stringify(result));
  else print(result);
  return 0;
}

process.exitCode = await main();
