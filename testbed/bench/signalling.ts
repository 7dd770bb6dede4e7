/**
 * Signalling through one router: pbsd with all its checks, pinned to one core, between the load tool's senders and
 * receivers on the other. What counts is (Query, Permission) pairs for each second of processor time that the router's
 * process takes, all its threads together. Each figure stands beside the same run's messages, signatures and bytes.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { KeyChoice } from "../../src/authorization/keys.js";
import { Bed, type Reading } from "../../src/load/bed.js";
import { MOST_HOSTS } from "../../src/load/lab.js";
import { type Figures, figures } from "../../src/load/measure.js";
import type { Saving } from "../../src/load/options.js";
import { type LoadPlan, STILL } from "../../src/load/plan.js";
import { LOAD_CORE, median, ROUTER_CORE } from "./lab.js";
import { type Case, type Report, report, single } from "./result.js";

/** Pairs a second of the router in the 2009 measurements of PBS NSLP (IETF 74 slides). */
const RATE_OF_2009 = 600;
const WARM_UP = 200;
const WARM_UP_AT_ONCE = 20;
/** V8 compiles what has run often: a process's first thousands of flows cost it two to three times as much as those after them. */
const FIRST_FLOWS = 5000;
/** Enough to keep the router at work, and few enough that on a slow machine GIST need not ask again. */
const AT_ONCE = 64;
/** Milliseconds to wait for the first and the second answer. */
const PATIENT = [20_000, 20_000];
/** Milliseconds; nothing takes so long unless it hangs. */
const LIMIT = 3_600_000;
const LIVE_FLOWS = 36_000;
const REFRESH = 60_000;
const CHURN = 0.05;
const LIVE_MINUTES = 10;
/** In which all senders ask again after a power cut: milliseconds. */
const POWER_BACK_WITHIN = 1000;
const LOOK_MS = 250;
const CURVE_SECONDS = 5;
const ENDING = ["SIGINT", "SIGTERM"] as const;
/** Of a flow that lives for ten minutes and is refreshed every 60 s, as many as there are set-ups. */
const REFRESHES_OF_A_FLOW = 9;
/** Routing state of flows that last is refreshed every 5 to 7.5 minutes, and later where there are so many that it would be most of the work. */
const LONG_VALIDITY = 600_000;
const VALIDITY_FOR_A_FLOW = 3.6;

/**
 * A flow that got no answer asks again, so that a busy machine ends no run; the counts say how often. Where the router is
 * given as much as it takes, answers are waited for.
 */
const PINNED: LoadPlan = {
  ...STILL,
  routerCores: String(ROUTER_CORE),
  hostCores: String(LOAD_CORE),
  sending: { ...STILL.sending, timeouts: PATIENT, retryAfter: 3000 },
};

/** Without reports a router signs nothing; with them, as by default, it signs one into each refresh that passes. */
const NO_REPORTS: LoadPlan["configuration"] = { detection: { reports: 0 } };

const KINDS: readonly Pick<LoadPlan, "keyType" | "configuration">[] = [
  { keyType: "rsa2048", configuration: NO_REPORTS },
  { keyType: "rsa2048", configuration: {} },
  { keyType: "p256", configuration: NO_REPORTS },
  { keyType: "p256", configuration: {} },
];
const NAMES: Readonly<Record<KeyChoice, string>> = { rsa2048: "RSA-2048", p256: "P-256", ed25519: "Ed25519" };

export interface SignallingOptions {
  /** Few flows and little time, to see that all works. */
  readonly quick: boolean;
  /** Only these cases; all of them when there are none. */
  readonly only: readonly string[];
  /** Flows that are first, and as many after them; that live, or restart; and how long they live. Undefined: what the case has. */
  readonly flows?: number;
  readonly minutes?: number;
  /** How the flows of `live` save signatures; undefined: not at all. */
  readonly saving?: Saving;
  /** Of the hosts of `live` and `restart`; undefined: RSA-2048. */
  readonly keys?: KeyChoice;
  /** How far apart the router's turns are in `live`, in milliseconds; undefined: as the daemon has it. */
  readonly gather?: number;
}

/** Flows of one process of the tool. */
const PER_LANE = 250_000;
/** Where messages of one host are signed together, fewer hosts say the same with fewer signatures. */
const FEW_HOSTS = 8;
const MANY_AT_ONCE = 512;
/** All that wait for an answer at a time have to be remembered by GIST, with what is under way to the other side. */
const TREE_AT_ONCE = 256;
/** Each round asks for as many refreshes as there are flows. */
const ROUNDS = 20;

const CASES: Readonly<Record<string, (options: SignallingOptions) => Promise<Case[]>>> = {
  pairs: (options) => pairs(options, options.quick ? KINDS.slice(0, 2) : KINDS),
  rsa: (options) => pairs(options, KINDS.slice(0, 1)),
  trees,
  summaries,
  curve,
  live,
  restart,
};

export const SIGNALLING_CASES = Object.keys(CASES);

export async function signalling(options: SignallingOptions): Promise<Report> {
  const { only } = options;
  const results: Case[] = [];
  // RSA alone is a part of all pairs.
  const all = SIGNALLING_CASES.filter((name) => name !== "rsa");
  for (const name of only.length === 0 ? all : only) results.push(...((await CASES[name]?.(options)) ?? []));
  return report("signalling", results);
}

/** New flows and refreshes with individual signatures, associations in place. */
async function pairs(
  { quick, flows = quick ? 1000 : FIRST_FLOWS }: SignallingOptions,
  kinds: readonly Pick<LoadPlan, "keyType" | "configuration">[],
): Promise<Case[]> {
  const results: Case[] = [];
  for (const kind of kinds) {
    const name = `${NAMES[kind.keyType]}${kind.configuration === NO_REPORTS ? "" : ", with reports"}`;
    const runs: PairsRun[] = [];
    for (let run = 0; run < (quick ? 1 : 3); run++) runs.push(await pairsOnce(kind, flows));
    results.push(
      perCpu(
        `first new flows of a process, ${name}`,
        runs.map((run) => run.first),
      ),
      perCpu(
        `new flows, ${name}`,
        runs.map(({ setUp }) => setUp),
      ),
      perCpu(
        `refreshes, ${name}`,
        runs.map(({ refresh }) => refresh),
      ),
      mixed(`set-up and refresh, ${name}`, runs, 1),
      mixed(
        `set-up and ${REFRESHES_OF_A_FLOW} refreshes, computed from the same runs, ${name}`,
        runs,
        REFRESHES_OF_A_FLOW,
      ),
    );
  }
  return results;
}

interface PairsRun {
  readonly first: Figures;
  readonly setUp: Figures;
  readonly refresh: Figures;
}

function pairsOnce(kind: Pick<LoadPlan, "keyType" | "configuration">, flows: number): Promise<PairsRun> {
  const known = WARM_UP + flows;
  const plan = { ...PINNED, ...kind, flows: known + flows };
  return onBed(plan, async (bed) => {
    await warmUp(bed);
    const [began, first] = [await bed.read(), await all(bed, "start", WARM_UP, flows)];
    const before = await all(bed, "refresh", WARM_UP, flows);
    const setUp = await all(bed, "start", known, flows);
    const refresh = await all(bed, "refresh", known, flows);
    await checkRouter(bed, known + 3 * flows);
    return {
      first: figures("first", began, first),
      setUp: figures("set-up", before, setUp),
      refresh: figures("refresh", setUp, refresh),
    };
  });
}

/** Refreshes of one sender and one receiver, signed by the root of a hash tree over all that are sent together. */
function trees({ quick }: SignallingOptions): Promise<Case[]> {
  const plan = savingPlan("trees", quick ? 1000 : 5000, 1, 1);
  return savedRefreshes(plan, "refreshes, hash trees", TREE_AT_ONCE, quick);
}

/** Refreshes of 100 flows of a pair of hosts by one message. */
function summaries({ quick }: SignallingOptions): Promise<Case[]> {
  const plan = savingPlan("summaries", quick ? 2000 : 10_000, 4, quick ? 5 : 25);
  return savedRefreshes(plan, "refreshes, summaries of 100 flows", plan.flows, quick);
}

function savingPlan(saving: Saving, flows: number, senders: number, receivers: number): LoadPlan {
  const sending = { ...PINNED.sending, saving };
  // Few hosts have all the flows here: what one of them may ask for is no part of what is measured.
  const configuration = { ...NO_REPORTS, admission: { source_rate: 1_000_000 } };
  return { ...PINNED, sending, configuration, flows, senders, receivers };
}

function savedRefreshes(plan: LoadPlan, name: string, window: number, quick: boolean): Promise<Case[]> {
  return onBed(plan, async (bed) => {
    await all(bed, "start", 0, plan.flows, WARM_UP_AT_ONCE);
    // The first of them also warms up.
    const readings = [await all(bed, "refresh", 0, plan.flows, window)];
    const rounds = quick ? 4 : ROUNDS;
    for (let round = 0; round < rounds; round++)
      readings.push(await all(bed, "refresh", 0, plan.flows, window));
    await checkRouter(bed, 1);
    const [from, to] = [readings[0], readings.at(-1)];
    if (from === undefined || to === undefined) return [];
    return [perCpu(`${name}, ${NAMES[plan.keyType]}`, [figures("refresh", from, to)])];
  });
}

/** One router that gets more and more flows: what a pair costs, and what a flow takes. */
async function curve({ quick }: SignallingOptions): Promise<Case[]> {
  const steps = quick ? [1000, 3000] : [1000, 10_000, 36_000, 100_000];
  const refreshed = quick ? 1000 : 5000;
  const plan = { ...PINNED, configuration: NO_REPORTS, flows: WARM_UP + Math.max(...steps) };
  return onBed(plan, async (bed) => {
    await warmUp(bed);
    const empty = await bed.read();
    const results: Case[] = [];
    let there = 0;
    for (const flows of steps) {
      const before = await bed.read();
      const setUp = await all(bed, "start", WARM_UP + there, flows - there);
      there = flows;
      const sample = Math.min(flows, refreshed);
      const refresh = await all(bed, "refresh", WARM_UP, sample);
      results.push(
        perCpu(`up to ${flows} flows, new flows`, [figures("set-up", before, setUp)]),
        perCpu(`at ${flows} flows, refreshes`, [figures("refresh", setUp, refresh)]),
        single(`at ${flows} flows, router's memory for each`, "bytes", [
          (setUp.routerBytes - empty.routerBytes) / flows,
        ]),
      );
    }
    return results;
  });
}

/** Flows that live by themselves: each refreshes in its own time, some go and others come. */
async function live(options: SignallingOptions): Promise<Case[]> {
  const { quick, flows: given, minutes, saving } = options;
  const flows = given ?? (quick ? 1000 : LIVE_FLOWS);
  const refresh = quick ? 10_000 : REFRESH;
  const duration = minutes === undefined && quick ? 20_000 : (minutes ?? LIVE_MINUTES) * 60_000;
  // Of a million, 5 % are more new flows than a router sets up.
  const changing = flows <= LIVE_FLOWS;
  const plan = livePlan(flows, refresh, options);
  return onBed(plan, async (bed) => {
    await fill(bed, flows, saving === undefined ? AT_ONCE : MANY_AT_ONCE);
    // Those that came first have to be refreshed once before all are in step with their own time.
    await sleep(refresh);
    const before = await bed.read();
    const churn = changing
      ? bed.pace({
          deed: "leave",
          first: 0,
          among: flows,
          rate: (flows * CHURN) / (refresh / 1000),
          arrival: "poisson",
          choose: "at-random",
          name: "churn",
        })
      : undefined;
    await sleep(duration);
    await bed.stopPace("churn");
    await churn;
    const measured = figures("live", before, await bed.read());
    const how = `${saving === undefined ? "" : `, ${saving}`}, ${NAMES[plan.keyType]}`;
    const change = changing ? "5 % churn, " : "";
    const title = `${flows} flows, ${refresh / 1000} s refresh, ${change}${duration / 1000} s${how}`;
    return [
      {
        ...single(`${title}: router`, "share of a core", [measured.router.share]),
        counts: countsOf(measured),
      },
      single(`${title}: flows lost`, "flows", [measured.flows.lost + measured.flows.failed]),
      single(`${title}: refreshes missed`, "refreshes", [measured.refreshes.missed]),
      single(`${title}: retransmissions`, "messages", [measured.retransmissions.pbs]),
      single(`${title}: refresh, p99`, "ms", [measured.refresh.p99]),
      single(`${title}: pairs`, "pairs/s", [measured.perSecond]),
      single(`${title}: router's memory`, "MB", [measured.router.residentBytes / 1e6]),
    ];
  });
}

/** A power cut: all senders, each with a certificate of its own, ask again at once. */
async function restart({ quick, flows: given, keys }: SignallingOptions): Promise<Case[]> {
  const flows = Math.min(given ?? (quick ? 1000 : LIVE_FLOWS), MOST_HOSTS);
  const refresh = quick ? 10_000 : REFRESH;
  const plan = { ...livePlan(flows, refresh, keys && { keys }), senders: flows, receivers: 1 };
  return onBed(plan, async (bed) => {
    await fill(bed, flows);
    await bed.restartSenders();
    const before = await bed.read();
    const asked = bed.pace({
      deed: "start",
      first: 0,
      among: flows,
      count: flows,
      rate: flows / (POWER_BACK_WITHIN / 1000),
      arrival: "constant",
      choose: "in-turn",
      name: "power back",
    });
    const back = await whenBack(bed, before, flows, 2 * refresh);
    await asked;
    const measured = figures("restart", before, back.last);
    const title = `${flows} senders restart at once, ${NAMES[plan.keyType]}`;
    return [
      { ...single(`${title}: half are back after`, "s", [back.half]), counts: countsOf(measured) },
      single(`${title}: all have asked after`, "s", [back.asked]),
      single(`${title}: 99 % are back after`, "s", [back.most]),
      single(`${title}: all are back after`, "s", [back.all]),
      single(`${title}: not back after two refresh periods`, "flows", [flows - back.last.sender.live]),
      single(`${title}: Queries sent again`, "messages", [measured.retransmissions.pbs]),
      single(`${title}: longest wait`, "s", [measured.setUp.max / 1000]),
      ...back.curve.map((live, i) =>
        single(`${title}: back after ${(i + 1) * CURVE_SECONDS} s`, "flows", [live]),
      ),
    ];
  });
}

interface Back {
  /** Seconds until the first Query of each host was signed and had left; NaN where it did not come to that, as below. */
  readonly asked: number;
  readonly half: number;
  readonly most: number;
  readonly all: number;
  /** How many were back after each {@link CURVE_SECONDS}. */
  readonly curve: readonly number[];
  readonly last: Reading;
}

async function whenBack(bed: Bed, from: Reading, flows: number, limit: number): Promise<Back> {
  const times = { asked: Number.NaN, half: Number.NaN, most: Number.NaN, all: Number.NaN };
  const curve: number[] = [];
  for (;;) {
    const last = await bed.read();
    const seconds = (last.at - from.at) / 1000;
    const share = last.sender.live / flows;
    const asked = last.sender.pbs["query.first"] ?? 0;
    if (asked >= flows && Number.isNaN(times.asked)) times.asked = seconds;
    while (seconds >= (curve.length + 1) * CURVE_SECONDS) curve.push(last.sender.live);
    if (share >= 0.5 && Number.isNaN(times.half)) times.half = seconds;
    if (share >= 0.99 && Number.isNaN(times.most)) times.most = seconds;
    if (share >= 1) times.all = seconds;
    if (share >= 1 || seconds * 1000 > limit) return { ...times, curve, last };
    await sleep(LOOK_MS);
  }
}

function livePlan(
  flows: number,
  refresh: number,
  { saving, keys, gather }: Pick<SignallingOptions, "saving" | "keys" | "gather"> = {},
): LoadPlan {
  return {
    ...PINNED,
    ...(keys && { keyType: keys }),
    ...(gather !== undefined && { configuration: { signalling: { gather: `${gather}ms` } } }),
    flows,
    ...(saving && { senders: FEW_HOSTS, receivers: FEW_HOSTS }),
    lanes: Math.ceil(flows / PER_LANE),
    validity: Math.max(LONG_VALIDITY, flows * VALIDITY_FOR_A_FLOW),
    sending: { ...STILL.sending, refreshes: true, retryAfter: 5000, ...(saving && { saving }) },
    receiving: { ...STILL.receiving, refresh },
  };
}

async function onBed<T>(plan: LoadPlan, use: (bed: Bed) => Promise<T>): Promise<T> {
  // What is there goes with the process, but a signal would end that without a word.
  const end = (): never => process.exit(1);
  for (const signal of ENDING) process.once(signal, end);
  const bed = await Bed.start(plan);
  try {
    return await use(bed);
  } finally {
    await bed.close();
    for (const signal of ENDING) process.removeListener(signal, end);
  }
}

/** The first flows find no associations, so they come slowly. */
async function warmUp(bed: Bed): Promise<void> {
  await all(bed, "start", 0, WARM_UP, WARM_UP_AT_ONCE);
}

async function fill(bed: Bed, flows: number, window = AT_ONCE): Promise<void> {
  await warmUp(bed);
  await all(bed, "start", WARM_UP, flows - WARM_UP, window);
}

/** Does it to all of them, and throws unless each was granted; returns what there is afterwards. */
async function all(
  bed: Bed,
  deed: "start" | "refresh",
  first: number,
  count: number,
  window = AT_ONCE,
): Promise<Reading> {
  const { granted } = await bed.batch({ deed, first, count, window, limit: LIMIT });
  if (granted < count) throw new Error(`only ${granted} of ${count} flows were granted`);
  return bed.read();
}

/** The router verified each message, and no limit was met. */
async function checkRouter(bed: Bed, atLeast: number): Promise<void> {
  const { pbs, gist } = (await bed.router.status()).counters;
  const limits = Object.entries({ ...pbs, ...gist }).filter(
    ([name, count]) => /^(limited\.(?!report)|rejected\.)/.test(name) && count > 0,
  );
  if (limits.length > 0) throw new Error(`the router refused work: ${JSON.stringify(limits)}`);
  for (const counter of ["query.forwarded", "permission.forwarded"])
    if ((pbs[counter] ?? 0) < atLeast)
      throw new Error(`${counter} is ${pbs[counter] ?? 0} at the router after ${atLeast} pairs`);
}

function perCpu(name: string, runs: readonly Figures[]): Case {
  return against2009(
    name,
    runs.map(({ router }) => router.pairsPerCpuSecond),
    runs,
  );
}

/** So many refreshes for each new flow, by what each of them took. */
function mixed(name: string, runs: readonly PairsRun[], refreshes: number): Case {
  const each = ({ pairs, router }: Figures): number => router.cpuSeconds / pairs;
  const values = runs.map(
    ({ setUp, refresh }) => (1 + refreshes) / (each(setUp) + refreshes * each(refresh)),
  );
  return against2009(
    name,
    values,
    runs.map(({ refresh }) => refresh),
  );
}

function against2009(name: string, values: readonly number[], runs: readonly Figures[]): Case {
  const [last] = runs.slice(-1);
  return {
    ...single(name, "pairs/CPU s", values),
    baseline: RATE_OF_2009,
    ratio: Number((median(values) / RATE_OF_2009).toPrecision(4)),
    ...(last && { counts: countsOf(last) }),
  };
}

/** Of one run: what its figure is made of. */
function countsOf({ messages, signatures, bytes, pairs: count, perSecond, cores, retransmissions }: Figures) {
  return {
    pairs: count,
    perSecond: Math.round(perSecond),
    queries: messages.queries,
    permissions: messages.permissions,
    queriesAgain: retransmissions.pbs,
    gistMessages: messages.gist,
    signatures: signatures.made,
    pbsBytes: bytes.pbs,
    wireBytes: bytes.wire,
    senderCores: Number(cores.senders.toFixed(3)),
    receiverCores: Number(cores.receivers.toFixed(3)),
    otherCores: Number(cores.others.toFixed(3)),
  };
}
