/** The configuration file: sections, fields, ranges, defaults. docs/pbsd.example.toml explains each for its user. */
import { hostname } from "node:os";
import { z } from "zod";
import {
  DEFAULT_ADMISSION,
  HARDEST_PUZZLE,
  LONGEST_RETRY,
  type AdmissionOptions,
} from "../authorization/admission.js";
import { type Algorithm, ALGORITHMS } from "../base/algorithm.js";
import {
  ACCEPTED_BY_DEFAULT,
  type AuthenticationLevel,
  type AuthenticationRule,
  levelOf,
  LEVELS,
} from "../authorization/algorithm.js";
import type { Grant } from "../authorization/decision.js";
import type { PolicyRule, RuleAction } from "../authorization/policy.js";
import { DEFAULT_LIMITS } from "../authorization/detection.js";
import {
  DEFAULT_DETECTION,
  DEFAULT_MOVES,
  DETECTION_MODES,
  type DetectionPolicy,
  EXCESS_REACTIONS,
  LOSS_REACTIONS,
  type MovePolicy,
  OFF_PATH_REACTIONS,
  SENDER_REACTIONS,
  SILENCE_REACTIONS,
} from "../authorization/reaction.js";
import { hasPorts } from "../base/flow.js";
import { OUR_MARKS } from "../base/marks.js";
import { QUEUES } from "../base/queues.js";
import { bytes, type Bytes, type Milliseconds, ms, seconds } from "../base/units.js";
import { DEFAULT_SOCKET, LOG_LEVELS } from "./config.js";
import {
  address,
  choice,
  choices,
  duration,
  flag,
  optional,
  pattern,
  percent,
  ports,
  prefix,
  prefixes,
  protocol,
  protocols,
  size,
  text,
  whole,
} from "./fields.js";

/** Rules, exempt classes: more are a mistake, and each packet or Query would have to walk through them. */
const MAX_RULES = 10_000;
const MAX_EXEMPT = 64;
/** Their numbers stand in packets' marks. */
const MAX_PATHS = 31;

/** Smaller than any packet of use. */
const MIN_VOLUME = bytes(1500);
const DEFAULT_VOLUME = bytes(10_000_000);
const DEFAULT_LIFETIME = seconds(600);
const DEFAULT_REFRESH = seconds(60);
const DEFAULT_ASK_TIMEOUT = seconds(60);

const DEFAULT_TLS_PORT = 5270;
const DEFAULT_TCP_PORT = 5271;
/** Of Generic UDP Encapsulation. */
const DEFAULT_RELAY_PORT = 6080;

const path = () => text("a path", "write the path of a file", 1024);

const node = {
  name: text("a name", "write a name for log lines", 64).default(hostname),
  mode: choice("closed", "open").default("closed"),
};

export const identity = {
  certificate: path(),
  key: path(),
  authorities: z.array(path()).min(1),
};

export const signalling = {
  stacks: choice("tls", "tls-and-tcp").default("tls"),
  tls_port: whole(1, 65535).default(DEFAULT_TLS_PORT),
  tcp_port: whole(1, 65535).default(DEFAULT_TCP_PORT),
  routing_state_validity: duration(seconds(1)).default(seconds(30)),
  association_hold: duration(seconds(1)).default(seconds(30)),
  intercept_rate: whole(1, 1_000_000).default(10_000),
  router_alert: whole(0, 65535).default(65503),
  gather: duration(ms(0)).default(ms(20)),
};

/** Each node on a path may add it to a connect, and the timers of the whole program wait for it. */
const MAX_GATHER = ms(50);

const socket = () => text("a path", "write the path of a socket", 90);
const group = () => optional(text("a group", "write the name of a group", 64));

/** A socket that people and programs of this machine reach. */
export const socketAt = (path: string) => ({ socket: socket().default(path), group: group() });

const pbsdSignalling = { ...signalling, service: optional(socket()) };

const MAX_COLLECT = ms(500);

const refreshing = {
  tree: flag().default(true),
  summary: flag().default(true),
  collect: duration().default(ms(100)),
};

/** The last that a thread can be told to keep to. */
const MAX_PROCESSOR = 1023;

const packets = {
  queue_base: whole(0, 65_536 - QUEUES).default(2700),
  capacity: whole(16, 16_000_000).default(1_000_000),
  hold_packets_per_flow: whole(1, 1024).default(32),
  hold_packets: whole(1, 65536).default(4096),
  hold_time: duration(ms(100)).default(seconds(120)),
  refuse_for: duration(ms(100)).default(seconds(5)),
  refuse_mark: whole(1, 2 ** 32 - 1).default(0x5042_0000),
  open_mark: whole(1, 2 ** 32 - 1).default(0x0001_0000),
  enforce: flag().default(true),
  reassemble: flag().default(true),
  firewall: choice("auto", "nft", "legacy").default("auto"),
  engine: choice("auto", "xdp", "nfqueue").default("auto"),
  receive_priority: whole(0, 99).default(0),
  processor: optional(whole(0, MAX_PROCESSOR)),
  ah_processor: optional(whole(0, MAX_PROCESSOR)),
};

const exempt = {
  name: pattern(
    /^[A-Za-z0-9][A-Za-z0-9-]{0,15}$/,
    "a name of an exempt class",
    "write up to 16 letters, digits and hyphens",
  ),
  protocol: optional(protocol()),
  ports: optional(ports()),
  from: optional(prefix()),
  to: optional(prefix()),
  rate: whole(1, 1_000_000),
};

/** Bytes a second; the least carries a full datagram. */
const LEAST_RATE = bytes(1500);

/** Of traffic without permission in an open network. */
const open = {
  rate: size(LEAST_RATE).default(bytes(1_250_000)),
  source_rate: size(LEAST_RATE).default(bytes(125_000)),
};

const legacy = {
  name: exempt.name,
  prefix: prefix(),
  rate: size(LEAST_RATE),
  source_rate: optional(size(LEAST_RATE)),
};

const request = {
  volume: size(MIN_VOLUME).default(DEFAULT_VOLUME),
  idle_timeout: duration(seconds(1)).default(seconds(120)),
  answer_within: duration(ms(100)).default(seconds(2)),
};

/** How packets of what is granted prove where they come from. */
const proof = {
  authentication: optional(choice(...LEVELS)),
  algorithms: optional(choices(...ALGORITHMS)),
};

const limits = {
  excess: optional(size(bytes(0))),
  excess_percent: optional(percent()),
  loss: optional(size(bytes(0))),
  loss_percent: optional(percent()),
};

const reactions = {
  on_excess: optional(choice(...EXCESS_REACTIONS)),
  on_loss: optional(choice(...LOSS_REACTIONS)),
  on_sender: optional(choice(...SENDER_REACTIONS)),
  on_off_path: optional(choice(...OFF_PATH_REACTIONS)),
};

const detection = {
  mode: choice(...DETECTION_MODES).default(DEFAULT_DETECTION.mode),
  settle: duration(ms(10)).default(DEFAULT_LIMITS.settle),
  ...limits,
  loss_periods: whole(1, 100).default(DEFAULT_LIMITS.lossPeriods),
  failure_rate: whole(1, 10_000_000).default(DEFAULT_LIMITS.failureRate),
  ...reactions,
  on_silence: choice(...SILENCE_REACTIONS).default(DEFAULT_MOVES.onSilence),
  hold: duration(ms(100)).default(DEFAULT_MOVES.hold),
  spread: duration(ms(0)).default(DEFAULT_MOVES.spread),
  moves: whole(1, 100_000).default(DEFAULT_MOVES.rate),
  return_after: duration(ms(0)).default(DEFAULT_MOVES.returnAfter),
  block_for: duration(seconds(1)).default(seconds(600)),
  reports: whole(0, 1_000_000).default(200),
};

const admission = {
  patience: duration(ms(10)).default(DEFAULT_ADMISSION.patience),
  waiting: whole(16, 1_000_000).default(DEFAULT_ADMISSION.waiting),
  source_rate: whole(1, 1_000_000).default(DEFAULT_ADMISSION.sourceRate),
  longest_retry: duration(seconds(1)).default(DEFAULT_ADMISSION.longestRetry),
  puzzle: whole(0, HARDEST_PUZZLE).default(DEFAULT_ADMISSION.puzzle),
  puzzle_effort: whole(0, HARDEST_PUZZLE).default(DEFAULT_ADMISSION.puzzleEffort),
  endurance: duration(ms(0)).default(DEFAULT_ADMISSION.endurance),
  grace: whole(0, 20).default(DEFAULT_ADMISSION.grace),
};

const relaying = {
  serve: flag().default(false),
  port: whole(1, 65535).default(DEFAULT_RELAY_PORT),
};

const pathway = {
  to: optional(prefix()),
  via: optional(address()),
  relay: optional(address()),
  source: optional(address()),
  device: optional(pattern(/^[^\s/]{1,15}$/, "a device", 'write the name of an interface, such as "eth1"')),
};

const returning = {
  policy: choice("auto", "rules").default("auto"),
  volume: size(MIN_VOLUME).default(DEFAULT_VOLUME),
  lifetime: duration(ms(100)).default(DEFAULT_LIFETIME),
  refresh: optional(duration(ms(100))),
  ...proof,
};

const LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";

export const peer = {
  name: pattern(
    new RegExp(`^(?=.{1,255}$)(?:\\*|(?:\\*\\.)?${LABEL}(?:\\.${LABEL}){0,100}\\.?)$`),
    "a name of peers",
    'write a name, "*.example.net" for any one name there, or "*" for all',
  ),
  action: choice("accept", "refuse").default("accept"),
};

/** [[peer]]: who may be a neighbour of the signalling; the first that fits decides. */
export const peers = () => z.array(z.strictObject(peer)).max(MAX_RULES).default([]);

const rule = {
  name: optional(text("a name", "write a name for log lines", 64)),
  from: optional(prefixes()),
  to: optional(prefixes()),
  protocol: optional(protocols()),
  ports: optional(ports()),
  subject: optional(text("a name", 'write the certificate\'s common name, such as "*.example"')),
  fingerprint: optional(
    pattern(
      /^(?:[0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}$/,
      "a SHA-256 fingerprint",
      'write the 64 hexadecimal digits that "pbsctl keys show" prints',
    ),
  ),
  action: choice("grant", "deny", "ask"),
  volume: optional(size(MIN_VOLUME)),
  lifetime: optional(duration(ms(100))),
  refresh: optional(duration(ms(100))),
  extend: optional(flag()),
  ...proof,
  detection: optional(choice(...DETECTION_MODES)),
  ...limits,
  ...reactions,
  timeout: optional(duration(ms(100))),
  reason: optional(text("a reason", "write one sentence for the asking host")),
};

/** An Authentication Header of any shared-key algorithm over IPv6. */
const DEFAULT_RESERVE = 40;
/** The largest that there is: 255 words and 2 (RFC 4302 section 2.2). */
const MAX_RESERVE = 1028;

const authentication = {
  accept: choices(...ALGORITHMS).default(ACCEPTED_BY_DEFAULT),
  reserve: whole(0, MAX_RESERVE).default(DEFAULT_RESERVE),
};

const control = socketAt(DEFAULT_SOCKET);

export const log = { level: choice(...LOG_LEVELS).default("info") };

/** Field names by section, for "did you mean". */
export const FIELDS: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries({
    node,
    identity,
    signalling: pbsdSignalling,
    refresh: refreshing,
    packets,
    exempt,
    open,
    legacy,
    request,
    return: returning,
    authentication,
    detection,
    admission,
    path: pathway,
    relay: relaying,
    rule,
    peer,
    control,
    log,
  }).map(([section, shape]) => [section, Object.keys(shape)]),
);

type Context = z.RefinementCtx;

function refuse(context: Context, field: PropertyKey | PropertyKey[], message: string, remedy: string): void {
  context.addIssue({ code: "custom", message, path: [field].flat(), params: { remedy } });
}

interface Matching {
  readonly protocol?: number | readonly number[] | undefined;
  readonly ports?: unknown;
}

function checkPorts(value: Matching, context: Context): void {
  if (value.ports === undefined || value.protocol === undefined) return;
  if (![value.protocol].flat().some(hasPorts))
    refuse(context, "ports", "its protocol has no ports", 'leave it out, or write protocol = "tcp" or "udp"');
}

interface Times {
  readonly lifetime?: Milliseconds | undefined;
  readonly refresh?: Milliseconds | undefined;
}

function checkTimes(value: Times, context: Context): void {
  if (value.refresh === undefined || value.refresh <= (value.lifetime ?? DEFAULT_LIFETIME)) return;
  refuse(
    context,
    "refresh",
    "is longer than the lifetime, so the flow would stop before it",
    "write a shorter one",
  );
}

interface Proof {
  readonly authentication?: AuthenticationLevel | undefined;
  readonly algorithms?: readonly Algorithm[] | undefined;
}

/** With level "none" the list is for later, when the level is raised. */
function checkAlgorithms({ authentication: level, algorithms }: Proof, context: Context): void {
  if (algorithms === undefined) return;
  if (level === undefined)
    return refuse(
      context,
      "algorithms",
      "means nothing without authentication",
      'write authentication = "hmac" or "public-key"',
    );
  if (level === "none" || algorithms.some((algorithm) => levelOf(algorithm) === level)) return;
  const fitting = ALGORITHMS.filter((algorithm) => levelOf(algorithm) === level);
  refuse(
    context,
    "algorithms",
    `has none for authentication = "${level}"`,
    `add one of: ${fitting.join(", ")}`,
  );
}

interface Marks {
  readonly refuse_mark: number;
  readonly open_mark: number;
}

/** Each is known by its set bits, and packets may bear several. */
function checkMarks({ refuse_mark, open_mark }: Marks, context: Context): void {
  for (const [field, mark] of [
    ["refuse_mark", refuse_mark],
    ["open_mark", open_mark],
  ] as const)
    if ((mark & OUR_MARKS) !== 0)
      refuse(
        context,
        field,
        `has bits ${hexadecimal(mark & OUR_MARKS)}, which pbsd has a meaning of its own for`,
        `choose from the bits ${hexadecimal(~OUR_MARKS)}`,
      );
  if ((refuse_mark & open_mark) !== 0)
    refuse(
      context,
      "refuse_mark",
      `has bits ${hexadecimal(refuse_mark & open_mark)} of open_mark, which is ${hexadecimal(open_mark)}`,
      "choose other bits for one of them",
    );
}

function hexadecimal(mark: number): string {
  return `0x${(mark >>> 0).toString(16).padStart(8, "0")}`;
}

interface Stacks {
  readonly stacks: "tls" | "tls-and-tcp";
  readonly tls_port: number;
  readonly tcp_port: number;
}

interface Signalling extends Stacks {
  readonly gather: Milliseconds;
}

export function checkSignalling(value: Signalling, context: Context): void {
  if (value.gather > MAX_GATHER) refuse(context, "gather", "is too long", `write "${MAX_GATHER}ms" or less`);
  if (tcpPortOf(value) === value.tls_port)
    refuse(context, "tcp_port", `is tls_port too, which is ${value.tls_port}`, "choose another port");
}

/** The answer to a refresh is missed after 2 s, and may wait as long again. */
function checkCollect({ collect }: { readonly collect: Milliseconds }, context: Context): void {
  if (collect > MAX_COLLECT) refuse(context, "collect", "is too long", `write "${MAX_COLLECT}ms" or less`);
}

/** Port for associations without TLS; null: there are none. */
export function tcpPortOf({ stacks, tcp_port }: Stacks): number | null {
  return stacks === "tls" ? null : tcp_port;
}

const exemptSchema = z.strictObject(exempt).superRefine((value, context) => {
  checkPorts(value, context);
  if (
    value.from !== undefined &&
    value.to !== undefined &&
    value.from.address.family !== value.to.address.family
  )
    refuse(context, "to", "is not of the same IP version as from", "write two classes");
});

const pathSchema = z.strictObject(pathway).superRefine((path, context) => {
  const { to, via, device, relay, source } = path;
  const hop = via !== undefined || device !== undefined;
  if (relay !== undefined && (hop || source !== undefined))
    refuse(
      context,
      "relay",
      "is reached by the routing table's path",
      "take via, device and source out, or write two paths",
    );
  if (relay === undefined && source === undefined && !hop)
    refuse(
      context,
      "via",
      "is missing",
      "write the next hop's address, the device of the path, a relay, or a source",
    );
  const other = to?.address.family ?? via?.family;
  if (source !== undefined && other !== undefined && other !== source.family)
    refuse(context, "source", "is not of the same IP version as to and via", "write two paths");
  if (to !== undefined && via !== undefined && to.address.family !== via.family)
    refuse(context, "via", "is not of the same IP version as to", "write two paths");
});

const ruleSchema = z.strictObject(rule).superRefine((value, context) => {
  checkPorts(value, context);
  checkMeaning(value, context);
  if (value.extend !== false) checkTimes(value, context);
  if (value.action !== "deny") checkAlgorithms(value, context);
});

type RuleFields = z.output<typeof ruleSchema>;

const MEANINGLESS: Readonly<Record<RuleFields["action"], readonly (keyof RuleFields)[]>> = {
  grant: ["timeout", "reason"],
  ask: ["reason"],
  deny: [
    "volume",
    "lifetime",
    "refresh",
    "extend",
    "authentication",
    "algorithms",
    "timeout",
    "detection",
    ...(Object.keys(limits) as (keyof typeof limits)[]),
    ...(Object.keys(reactions) as (keyof typeof reactions)[]),
  ],
};

function checkMeaning(value: RuleFields, context: Context): void {
  for (const field of MEANINGLESS[value.action])
    if (value[field] !== undefined)
      refuse(context, field, `means nothing in a rule with action "${value.action}"`, "take it out");
}

export const section = <T extends z.core.$ZodLooseShape>(shape: T) => z.strictObject(shape);

const sections = z.strictObject({
  node: section(node).prefault({}),
  identity: section(identity).prefault({} as never),
  signalling: section(pbsdSignalling).superRefine(checkSignalling).prefault({}),
  refresh: section(refreshing).superRefine(checkCollect).prefault({}),
  packets: section(packets).superRefine(checkMarks).prefault({}),
  exempt: z.array(exemptSchema).max(MAX_EXEMPT).superRefine(checkNames).default([]),
  open: section(open).prefault({}),
  legacy: z.array(section(legacy)).max(MAX_EXEMPT).superRefine(checkNames).default([]),
  request: section(request).prefault({}),
  return: section(returning).superRefine(checkTimes).superRefine(checkAlgorithms).prefault({}),
  authentication: section(authentication).prefault({}),
  detection: section(detection).prefault({}),
  admission: section(admission).superRefine(checkAdmission).prefault({}),
  path: z.array(pathSchema).max(MAX_PATHS).default([]),
  relay: section(relaying).prefault({}),
  rule: z.array(ruleSchema).max(MAX_RULES).superRefine(checkNames).default([]),
  peer: peers(),
  control: section(control).prefault({}),
  log: section(log).prefault({}),
});

export const configSchema = sections.superRefine((value, context) => {
  if (value.signalling.service === undefined) return;
  if (value.peer.length > 0)
    refuse(context, ["peer", 0], "is decided by gistd, which does the signalling", "write it in gistd.toml");
  if (value.path.length > 0)
    refuse(
      context,
      ["path", 0],
      "cannot be taken by the signalling of a gistd, which knows the routing table's paths only",
      "take it out, or take service out of [signalling]",
    );
});

function checkNames(entries: readonly { readonly name?: string | undefined }[], context: Context): void {
  const seen = new Set<string>();
  entries.forEach(({ name }, index) => {
    if (name === undefined) return;
    if (seen.has(name))
      refuse(context, [index, "name"], `"${name}" is the name of two`, "choose another name");
    seen.add(name);
  });
}

type AdmissionFields = z.output<z.ZodObject<typeof admission>>;

/** Who is told to wait longer than tickets are known would come back for nothing. */
function checkAdmission({ longest_retry: longest }: AdmissionFields, context: Context): void {
  if (longest <= LONGEST_RETRY) return;
  refuse(context, "longest_retry", "is more than 10 minutes", "write a shorter one");
}

export function toAdmission(fields: AdmissionFields): AdmissionOptions {
  const {
    source_rate: sourceRate,
    longest_retry: longestRetry,
    puzzle_effort: puzzleEffort,
    ...same
  } = fields;
  return { ...same, sourceRate, longestRetry, puzzleEffort };
}

type DetectionFields = z.output<z.ZodObject<typeof detection>>;

export function toDetection(fields: DetectionFields): DetectionPolicy {
  const { settle, loss_periods: lossPeriods, failure_rate: failureRate } = fields;
  const base = {
    ...DEFAULT_DETECTION,
    mode: fields.mode,
    limits: { ...DEFAULT_LIMITS, settle, lossPeriods, failureRate },
  };
  return changed(base, fields);
}

export function toMoves(fields: DetectionFields): MovePolicy {
  const { on_silence: onSilence, hold, spread, moves: rate, return_after: returnAfter } = fields;
  return { onSilence, hold, spread, rate, returnAfter };
}

type DetectionChange = Pick<DetectionFields, keyof typeof limits | keyof typeof reactions> & {
  readonly detection?: DetectionPolicy["mode"] | undefined;
};

/** With what is said here in place of what is said for the whole node. */
function changed(base: DetectionPolicy, fields: DetectionChange): DetectionPolicy {
  const { excess, excess_percent: excessShare, loss, loss_percent: lossShare } = fields;
  const { on_excess: onExcess, on_loss: onLoss, on_sender: onSender, detection: mode } = fields;
  const { on_off_path: onOffPath } = fields;
  return {
    ...base,
    ...(mode && { mode }),
    ...(onExcess && { onExcess }),
    ...(onLoss && { onLoss }),
    ...(onSender && { onSender }),
    ...(onOffPath && { onOffPath }),
    limits: {
      ...base.limits,
      ...(excess !== undefined && { excess }),
      ...(excessShare !== undefined && { excessShare }),
      ...(loss !== undefined && { loss }),
      ...(lossShare !== undefined && { lossShare }),
    },
  };
}

const OWN_DETECTION: readonly (keyof RuleFields)[] = [
  "detection",
  ...(Object.keys(limits) as (keyof typeof limits)[]),
  ...(Object.keys(reactions) as (keyof typeof reactions)[]),
];

/** A rule of the policy. One without a name is called by its place, from 1. */
export function toPolicyRule(fields: RuleFields, index: number, node: DetectionPolicy): PolicyRule {
  const { from, to, protocol: protocolList, ports: portList, subject, fingerprint } = fields;
  return {
    name: fields.name ?? `rule ${index + 1}`,
    ...(from && { from }),
    ...(to && { to }),
    ...(protocolList && { protocols: protocolList }),
    ...(portList && { ports: portList }),
    ...(subject !== undefined && { subject }),
    ...(fingerprint !== undefined && { fingerprint: fingerprint.replaceAll(":", "").toLowerCase() }),
    action: toAction(fields, node),
  };
}

function toAction(fields: RuleFields, node: DetectionPolicy): RuleAction {
  if (fields.action === "deny") return { type: "deny", reason: fields.reason ?? "denied by policy" };
  const own = OWN_DETECTION.some((field) => fields[field] !== undefined);
  const grant = { ...toGrant(fields), ...(own && { detection: changed(node, fields) }) };
  if (fields.action === "grant") return { type: "grant", grant };
  return { type: "ask", grant, timeout: fields.timeout ?? DEFAULT_ASK_TIMEOUT };
}

/** Undefined where nothing is said: then packets need no proof. */
export function toAuthentication({
  authentication: level,
  algorithms,
}: Proof): AuthenticationRule | undefined {
  if (level === undefined) return undefined;
  return algorithms === undefined ? { level } : { level, algorithms };
}

function toGrant(fields: {
  readonly volume?: Bytes | undefined;
  readonly lifetime?: Milliseconds | undefined;
  readonly refresh?: Milliseconds | undefined;
  readonly extend?: boolean | undefined;
  readonly authentication?: AuthenticationLevel | undefined;
  readonly algorithms?: readonly Algorithm[] | undefined;
}): Grant {
  const lifetime = fields.lifetime ?? DEFAULT_LIFETIME;
  const proven = toAuthentication(fields);
  return {
    volume: fields.volume ?? DEFAULT_VOLUME,
    lifetime,
    refresh: fields.refresh ?? defaultRefresh(lifetime),
    extend: fields.extend ?? true,
    ...(proven && { authentication: proven }),
  };
}

/** Well within the lifetime: a refresh comes as late as one and a half times its time, and may need a second try. */
export function defaultRefresh(lifetime: Milliseconds): Milliseconds {
  return ms(Math.min(DEFAULT_REFRESH, Math.floor(lifetime / 3)));
}
