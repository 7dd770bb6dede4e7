/** `npm run bench -- NAME [--json] [--quick]`: measures, and prints figures with their paired baselines. */
import { parseArgs } from "node:util";
import { KEY_CHOICES } from "../../src/authorization/keys.js";
import { ALGORITHMS } from "../../src/base/algorithm.js";
import { SAVINGS } from "../../src/load/options.js";
import { authentication } from "./authentication.js";
import { dataplane, DATAPLANE_CASES } from "./dataplane.js";
import { memory } from "./memory.js";
import { refreshing } from "./refreshing.js";
import { relay } from "./relay.js";
import { print, type Report } from "./result.js";
import { setup } from "./setup.js";
import { signalling, SIGNALLING_CASES, type SignallingOptions } from "./signalling.js";

const BENCHMARKS: Readonly<Record<string, (options: SignallingOptions) => Promise<Report>>> = {
  authentication: ({ quick, only }) => authentication(quick, only),
  dataplane: ({ quick, only }) => dataplane(quick, only),
  memory: ({ quick }) => memory(quick),
  refreshing: ({ quick }) => refreshing(quick),
  relay: ({ quick }) => relay(quick),
  setup: ({ quick }) => setup(quick),
  signalling,
};

/** What can be measured alone. */
const CASES: Readonly<Record<string, readonly string[]>> = {
  authentication: ALGORITHMS,
  dataplane: DATAPLANE_CASES,
  signalling: SIGNALLING_CASES,
};

const usage = `usage: npm run bench -- NAME [--json] [--quick] [--case CASE]... [--flows N] [--minutes M] [--saving HOW] [--keys TYPE] [--gather MS]
NAME: ${Object.keys(BENCHMARKS).join(", ")}
--json   print one JSON document and nothing else
--quick  one run of the main cases: shows that all works, not a measurement
--case   only this; may be given again:
${Object.entries(CASES)
  .map(([name, cases]) => `         ${name}: ${cases.join(", ")}`)
  .join("\n")}
--flows, --minutes   in place of those of the cases pairs, rsa, live and restart of signalling
--saving trees|summaries   how refreshes of the case live save signatures (default: each has its own)
--keys   of the hosts of live and restart: ${KEY_CHOICES.join(", ")} (default: rsa2048)
--gather   of live: how far apart the router's turns are, 0 to 50 (default: as the daemon has it)`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      case: { type: "string", multiple: true, default: [] },
      flows: { type: "string" },
      minutes: { type: "string" },
      saving: { type: "string" },
      keys: { type: "string" },
      gather: { type: "string" },
    },
  });
  const [name = ""] = positionals;
  const run = Object.hasOwn(BENCHMARKS, name) ? BENCHMARKS[name] : undefined;
  const [flows, minutes] = [numberOf(values.flows), numberOf(values.minutes)];
  const saving = SAVINGS.find((way) => way === values.saving);
  const keys = KEY_CHOICES.find((type) => type === values.keys);
  const gather = values.gather === "0" ? 0 : numberOf(values.gather, 50);
  const special = [values.flows, values.minutes, values.saving, values.keys, values.gather].some(
    (value) => value !== undefined,
  );
  const wrong =
    (name !== "signalling" && special) ||
    (values.saving !== undefined && saving === undefined) ||
    (values.keys !== undefined && keys === undefined) ||
    values.case.some((one) => !(CASES[name] ?? []).includes(one)) ||
    [flows, minutes, gather].includes(Number.NaN);
  if (run === undefined || positionals.length !== 1 || wrong) {
    console.error(usage);
    return 2;
  }
  const result = await run({
    quick: values.quick,
    only: values.case,
    ...(flows !== undefined && { flows }),
    ...(minutes !== undefined && { minutes }),
    ...(saving !== undefined && { saving }),
    ...(keys !== undefined && { keys }),
    ...(gather !== undefined && { gather }),
  });
  if (values.json) console.log(JSON.stringify(result));
  else print(result);
  return 0;
}

/** Undefined for none; NaN for one that is not a whole number from 1 to the most. */
function numberOf(text: string | undefined, most = 1_000_000): number | undefined {
  if (text === undefined) return undefined;
  return /^[1-9]\d{0,6}$/.test(text) && Number(text) <= most ? Number(text) : Number.NaN;
}

process.exitCode = await main();
