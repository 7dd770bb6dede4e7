import { writeFileSync } from "node:fs";
import { KEY_CHOICES, type KeyChoice } from "../../authorization/keys.js";
import { AddressError, IpAddress } from "../../base/address.js";
import { parseDuration, parseSize, QuantityError } from "../../config/quantity.js";
import { Bed, type Given } from "../../load/bed.js";
import { MOST_HOSTS, MOST_LANES } from "../../load/lab.js";
import { type Arrival, type IdentityFiles, SAVINGS } from "../../load/options.js";
import { type LoadPlan, STILL } from "../../load/plan.js";
import { Ramp, type RampShape } from "../../load/ramp.js";
import { loadPlot, loadText, rampPlot, rampText } from "../../load/report.js";
import { LoadRun, type Progress, type Shape } from "../../load/run.js";
import { outsideOf, wayTo } from "../../load/target.js";
import { type Command, type Context, show } from "../command.js";
import {
  CommandError,
  EXIT,
  numberOf,
  type Parsed,
  requiredText,
  textOf,
  textsOf,
  UsageError,
} from "../errors.js";

const MOST_FLOWS = 1_000_000;
const MOST_RATE = 100_000;
const MOST_AT_ONCE = 100_000;
/** Receivers that are there: each is looked for among this machine's addresses. */
const MOST_GIVEN = 256;
const BAR = 24;
/** Without a terminal a line now and then is enough. */
const LINE_EVERY_MS = 10_000;

export const loadCommand: Command = {
  name: "load",
  usage:
    "[--flows N] [--rate R] [--hold DURATION] [--ramp] [--plot FILE] ... | --to ADDRESS --identity FILE ...",
  summary: "Loads a router with signalling, in a network of its own on this machine, and measures it",
  help: `The network is made of namespaces: a pbsd as router, and processes that play many senders and receivers. It needs root.

  --flows N           flows to set up (default 1000, at most ${MOST_FLOWS})
  --rate R            new flows a second; without it as fast as answers come
  --window N          without --rate: so many at a time (default 200)
  --arrival KIND      constant (default) or poisson
  --senders N         sending hosts, each with a certificate of its own, for each lane (default 32)
  --receivers N       receiving hosts, likewise (default 32)
  --lanes N           neighbours of the router on either side (default 1)
  --keys TYPE         p256, rsa2048 (default) or ed25519
  --refresh D         refresh time in the permissions (default 60s)
  --lifetime D        lifetime in the permissions (default 24h)
  --saving HOW        how refreshes save signatures: trees (over a host's messages) or summaries (of 100 flows of a pair)
  --validity D        how long GIST keeps routing state without refresh (default 10m)
  --hold D            how long the flows live and refresh once all are there (default 30s; 0s: not at all)
  --churn PERCENT     of the flows are replaced by new ones in each refresh time (default 0)
  --refused PERCENT   of new flows are refused by their receivers (default 0)
  --revoked PERCENT   of granted flows are revoked early, within one refresh time (default 0)
  --modify R          so many flows a second ask for more volume (default 0)
  --volume SIZE       that a flow asks for (default 10MB)
  --sends SIZE        that each flow reports as sent, a second (default 0)
  --retry D           a flow without an answer asks again after so long (default: it does not)
  --revoke R          at the end the receivers revoke all flows, R a second
  --ramp              look for the highest rate of refreshes without a Query sent again, a missed refresh, or late answers
  --from R, --most R  rates at which the ramp begins and ends (default 100 and 20000 pairs a second)
  --step D            how long each rate is held (default 10s)
  --fresh PERCENT     of the ramp's pairs are new flows in place of others (default 0)
  --p99 D             99 % of the answers have to come within this (default 500ms)
  --limit D           no phase, and no ramp, takes longer (default 10m)
  --router-core C, --tool-core C   pin the router's process, and the tool's, to these cores, such as 0 or 2-3
  --plot FILE         writes a plot as SVG

Against receivers that are there, with this host as the only sender; no pbsd may run on it:
  --to ADDRESS        first receiver; with --receivers N those that follow it too, up to ${MOST_GIVEN}
  --identity FILE, --key FILE, --authority FILE   this host's certificate, private key, and whom to believe
  --outside           the receivers may be outside this machine: only load what is yours`,
  options: {
    flows: { type: "string" },
    rate: { type: "string" },
    window: { type: "string" },
    arrival: { type: "string" },
    senders: { type: "string" },
    receivers: { type: "string" },
    lanes: { type: "string" },
    keys: { type: "string" },
    refresh: { type: "string" },
    lifetime: { type: "string" },
    saving: { type: "string" },
    validity: { type: "string" },
    hold: { type: "string" },
    churn: { type: "string" },
    refused: { type: "string" },
    revoked: { type: "string" },
    modify: { type: "string" },
    volume: { type: "string" },
    sends: { type: "string" },
    retry: { type: "string" },
    revoke: { type: "string" },
    ramp: { type: "boolean" },
    from: { type: "string" },
    most: { type: "string" },
    step: { type: "string" },
    fresh: { type: "string" },
    p99: { type: "string" },
    limit: { type: "string" },
    "router-core": { type: "string" },
    "tool-core": { type: "string" },
    plot: { type: "string" },
    to: { type: "string" },
    identity: { type: "string" },
    key: { type: "string" },
    authority: { type: "string", multiple: true },
    outside: { type: "boolean" },
  },
  arguments: { min: 0, max: 0 },
  run: async (context, parsed) => {
    const plan = planOf(parsed);
    const ramp = parsed.values["ramp"] === true ? rampOf(parsed) : undefined;
    const shape = shapeOf(parsed, plan, ramp !== undefined);
    const given = givenOf(parsed, plan);
    const stop = new AbortController();
    const end = endOnSignals(stop);
    try {
      const bed = await start(plan, given);
      try {
        return await measure(context, parsed, bed, shape, ramp, stop.signal);
      } finally {
        await bed.close();
      }
    } finally {
      end();
    }
  },
};

async function start(plan: LoadPlan, given: Given | undefined): Promise<Bed> {
  try {
    return await (given === undefined ? Bed.start(plan) : Bed.towards(plan, given));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new CommandError("load", message, "it needs root, ip, iptables and free ports; see pbsctl doctor");
  }
}

async function measure(
  context: Context,
  parsed: Parsed,
  bed: Bed,
  shape: Shape,
  rampShape: RampShape | undefined,
  signal: AbortSignal,
): Promise<number> {
  const { progress, end } = progressTo(context, bed.plan.flows);
  const load = await new LoadRun(bed, shape, progress, signal).run();
  const ramp =
    rampShape === undefined || signal.aborted
      ? undefined
      : await new Ramp(bed, rampShape, progress, signal).run();
  end();
  const plot = textOf(parsed, "plot");
  if (plot !== undefined) writePlot(plot, ramp === undefined ? loadPlot(load) : rampPlot(ramp));
  const { flows, lanes, senders, receivers, keyType } = bed.plan;
  const about = { flows, lanes, senders, receivers, keys: keyType };
  await show(context, { plan: about, ...load, ...(ramp && { ramp }) }, () =>
    [loadText(load, bed.hasRouter), ...(ramp === undefined ? [] : [rampText(ramp)])].join("\n"),
  );
  const wrong = load.phases.some(({ flows: f, signatures }) => f.failed + f.lost + signatures.badHere > 0);
  return load.stopped || wrong ? EXIT.failed : EXIT.done;
}

function writePlot(file: string, content: string): void {
  try {
    writeFileSync(file, content);
  } catch (error) {
    throw new CommandError("file", (error as Error).message, "check the path and its permissions");
  }
}

/** The first signal ends the load in good order, with its report; everything is cleaned up whichever way it ends. */
function endOnSignals(stop: AbortController): () => void {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const again = (): never => process.exit(EXIT.failed);
  const first = (): void => {
    stop.abort();
    for (const signal of signals) process.once(signal, again);
  };
  for (const signal of signals) process.once(signal, first);
  return () => {
    for (const signal of signals) {
      process.removeListener(signal, first);
      process.removeListener(signal, again);
    }
  };
}

function progressTo(
  { output }: Context,
  flows: number,
): { progress: (progress: Progress) => void; end: () => void } {
  const terminal = process.stderr.isTTY;
  let shown = 0;
  const progress = ({ phase, share, sample }: Progress): void => {
    const now = performance.now();
    if (!terminal && now - shown < LINE_EVERY_MS) return;
    shown = now;
    const done = Math.round(share * BAR);
    const bar = `[${"#".repeat(done)}${".".repeat(BAR - done)}]`;
    const rates = `${sample.live}/${flows} flows  ${Math.round(sample.pairsPerSecond)} pairs/s  p99 ${Math.round(sample.p99)} ms`;
    const cores = `router ${Math.round(sample.router * 100)} %`;
    const line = `${phase.padEnd(12)} ${bar} ${rates}  ${cores}`;
    output.error(terminal ? `\r${line.slice(0, process.stderr.columns - 1)}\u001b[K` : `${line}\n`);
  };
  return { progress, end: () => (terminal ? output.error("\r\u001b[K") : undefined) };
}

function planOf(parsed: Parsed): LoadPlan {
  const refresh = durationOf(parsed, "refresh", "60s");
  const given = textOf(parsed, "to") !== undefined;
  const routerCores = coresOf(parsed, "router-core");
  const hostCores = coresOf(parsed, "tool-core");
  const ramp = parsed.values["ramp"] === true;
  return {
    ...STILL,
    flows: countOf(parsed, "flows", 1000, MOST_FLOWS),
    lanes: given ? 1 : countOf(parsed, "lanes", 1, MOST_LANES),
    senders: given ? 1 : countOf(parsed, "senders", 32, MOST_HOSTS),
    receivers: given
      ? countOf(parsed, "receivers", 1, MOST_GIVEN)
      : countOf(parsed, "receivers", 32, MOST_HOSTS),
    keyType: keyTypeOf(parsed),
    validity: durationOf(parsed, "validity", "10m"),
    sending: {
      ...STILL.sending,
      volume: sizeOf(parsed, "volume", "10MB"),
      reportedRate: sizeOf(parsed, "sends", "0"),
      refreshes: !ramp,
      replace: shareOf(parsed, "revoked") > 0,
      ...savingOf(parsed),
      ...(textOf(parsed, "retry") !== undefined && { retryAfter: durationOf(parsed, "retry", "0") }),
    },
    receiving: {
      ttl: durationOf(parsed, "lifetime", "24h"),
      refresh: ramp ? STILL.receiving.refresh : refresh,
      refusedShare: shareOf(parsed, "refused"),
      revokedShare: shareOf(parsed, "revoked"),
      revokeWithin: refresh,
    },
    ...(routerCores !== undefined && { routerCores }),
    ...(hostCores !== undefined && { hostCores }),
  };
}

function shapeOf(parsed: Parsed, plan: LoadPlan, ramp: boolean): Shape {
  const rate = rateOf(parsed, "rate");
  const revokeRate = rateOf(parsed, "revoke");
  const periods = durationOf(parsed, "refresh", "60s") / 1000;
  if (revokeRate !== undefined && textOf(parsed, "to") !== undefined)
    throw new UsageError("--revoke is for the tool's own receivers, not with --to");
  return {
    ...(rate !== undefined && { rate }),
    window: countOf(parsed, "window", 200, MOST_AT_ONCE),
    arrival: arrivalOf(parsed),
    hold: ramp ? 0 : durationOf(parsed, "hold", "30s"),
    replaced: (plan.flows * shareOf(parsed, "churn")) / periods,
    modified: rateOf(parsed, "modify") ?? 0,
    ...(revokeRate !== undefined && { revokeRate }),
    limit: durationOf(parsed, "limit", "10m"),
  };
}

function rampOf(parsed: Parsed): RampShape {
  return {
    from: rateOf(parsed, "from") ?? 100,
    most: rateOf(parsed, "most") ?? 20_000,
    step: durationOf(parsed, "step", "10s"),
    p99: durationOf(parsed, "p99", "500ms"),
    fresh: shareOf(parsed, "fresh"),
    arrival: arrivalOf(parsed),
    limit: durationOf(parsed, "limit", "10m"),
  };
}

/** Undefined: no receivers are given, and the load stays in a network of its own. */
function givenOf(parsed: Parsed, plan: LoadPlan): Given | undefined {
  const first = textOf(parsed, "to");
  if (first === undefined) return undefined;
  const receivers = { first: addressOf(first), count: plan.receivers };
  const identity = identityOf(parsed);
  const outside = attempt(() => outsideOf(receivers));
  if (outside !== undefined && parsed.values["outside"] !== true)
    throw new CommandError(
      "load",
      `${outside} is outside this machine`,
      "give --outside if that host, and all on the way to it, are yours to load",
    );
  const { interface: name, address } = attempt(() => wayTo(receivers.first));
  return { receivers, address, interface: name, identity };
}

function identityOf(parsed: Parsed): IdentityFiles {
  const authorities = textsOf(parsed, "authority");
  if (authorities.length === 0) throw new UsageError("--authority is missing");
  return {
    certificate: requiredText(parsed, "identity"),
    key: requiredText(parsed, "key"),
    authorities,
  };
}

function attempt<Result>(ask: () => Result): Result {
  try {
    return ask();
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message);
    throw new CommandError("load", (error as Error).message, "check --to and this host's routes");
  }
}

function addressOf(text: string): string {
  try {
    return IpAddress.parse(text).toString();
  } catch (error) {
    if (error instanceof AddressError) throw new UsageError(`--to: ${error.message}`);
    throw error;
  }
}

function countOf(parsed: Parsed, name: string, otherwise: number, most: number): number {
  const value = numberOf(parsed, name, most) ?? otherwise;
  if (value === 0) throw new UsageError(`--${name} is at least 1`);
  return value;
}

function rateOf(parsed: Parsed, name: string): number | undefined {
  const text = textOf(parsed, name);
  if (text === undefined) return undefined;
  const value = /^\d{1,6}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (value > 0 && value <= MOST_RATE) return value;
  throw new UsageError(`--${name} "${text}" is not a rate above 0 and up to ${MOST_RATE} a second`);
}

function shareOf(parsed: Parsed, name: string): number {
  const text = textOf(parsed, name);
  if (text === undefined) return 0;
  if (/^\d{1,3}(\.\d{1,3})?$/.test(text) && Number(text) <= 100) return Number(text) / 100;
  throw new UsageError(`--${name} "${text}" is not a number of percent`);
}

function durationOf(parsed: Parsed, name: string, otherwise: string): number {
  return quantity(name, () => parseDuration(textOf(parsed, name) ?? otherwise));
}

function sizeOf(parsed: Parsed, name: string, otherwise: string): number {
  const text = textOf(parsed, name) ?? otherwise;
  return quantity(name, () => parseSize(/^\d+$/.test(text) ? Number(text) : text));
}

function quantity<Value>(name: string, parse: () => Value): Value {
  try {
    return parse();
  } catch (error) {
    if (error instanceof QuantityError) throw new UsageError(`--${name}: ${error.message}`);
    throw error;
  }
}

function arrivalOf(parsed: Parsed): Arrival {
  const text = textOf(parsed, "arrival") ?? "constant";
  if (text === "constant" || text === "poisson") return text;
  throw new UsageError(`--arrival "${text}" is neither constant nor poisson`);
}

function savingOf(parsed: Parsed): Pick<LoadPlan["sending"], "saving"> {
  const text = textOf(parsed, "saving");
  const saving = SAVINGS.find((way) => way === text);
  if (text !== undefined && saving === undefined)
    throw new UsageError(`--saving "${text}" is not one of: ${SAVINGS.join(", ")}`);
  return saving === undefined ? {} : { saving };
}

function keyTypeOf(parsed: Parsed): KeyChoice {
  const text = textOf(parsed, "keys") ?? STILL.keyType;
  const type = KEY_CHOICES.find((choice) => choice === text);
  if (type === undefined) throw new UsageError(`--keys "${text}" is not one of: ${KEY_CHOICES.join(", ")}`);
  return type;
}

function coresOf(parsed: Parsed, name: string): string | undefined {
  const text = textOf(parsed, name);
  if (text === undefined || /^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text)) return text;
  throw new UsageError(`--${name} "${text}" is not a list of cores, such as 0 or 2-3`);
}
