import { formatDuration, formatSize } from "../../config/quantity.js";
import type { FlowList } from "../../control/flows.js";
import type { DetectionView, FlowView } from "../../nslp/view.js";
import type { AuthenticationFailures } from "../../traffic/datapath.js";
import { type Command, type Context, show } from "../command.js";
import { numberOf, type Parsed, textOf, UsageError } from "../errors.js";
import { type Column, fields, table } from "../table.js";

const ROLES = ["sender", "router", "receiver"];
const MOST = 100_000_000;

export const flowsCommand: Command = {
  name: "flows",
  usage: "[--match TEXT] [--role ROLE] [--state STATE] [--limit N] [--offset N]",
  summary: "The flows that this node has state for",
  help: `  --match TEXT   only flows with this in their text, such as an address
  --role ROLE    only sender, router or receiver
  --state STATE  only flows whose machine is in this state
  --limit N      at most so many (default 1000)
  --offset N     leave out the first N`,
  options: {
    match: { type: "string" },
    role: { type: "string" },
    state: { type: "string" },
    limit: { type: "string" },
    offset: { type: "string" },
  },
  arguments: { min: 0, max: 0 },
  run: async (context, parsed) => {
    const path = `/v1/flows?${query(parsed)}`;
    if (context.json) await copy(context, path);
    else await context.output.write(flowsText(await context.client.get<FlowList>(path)));
    return 0;
  },
};

export const flowCommand: Command = {
  name: "flow",
  usage: "ID",
  summary: "Everything about one flow",
  help: "  ID  any unique beginning of what pbsctl flows shows",
  options: {},
  arguments: { min: 1, max: 1 },
  run: async (context, parsed) => {
    const view = await context.client.get<FlowView>(`/v1/flows/${idOf(parsed)}`);
    await show(context, view, () => flowText(view));
    return 0;
  },
};

/** The first argument as an id. Throws UsageError. */
export function idOf(parsed: Parsed): string {
  const [id = ""] = parsed.positionals;
  if (/^[0-9a-f]{1,32}$/i.test(id)) return id.toLowerCase();
  throw new UsageError(`"${id}" is not an id; it has up to 32 hexadecimal digits, see pbsctl flows`);
}

function query(parsed: Parsed): string {
  const role = textOf(parsed, "role");
  if (role !== undefined && !ROLES.includes(role))
    throw new UsageError(`--role is one of: ${ROLES.join(", ")}`);
  const given = {
    match: textOf(parsed, "match"),
    role,
    state: textOf(parsed, "state"),
    limit: numberOf(parsed, "limit", MOST)?.toString(),
    offset: numberOf(parsed, "offset", MOST)?.toString(),
  };
  const entries = Object.entries(given).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as [string, string]],
  );
  return new URLSearchParams(entries).toString();
}

/** The daemon's own document, piece by piece: it may be too long to be held. */
async function copy(context: Context, path: string): Promise<void> {
  const answer = await context.client.open("GET", path);
  answer.setEncoding("utf8");
  for await (const piece of answer) await context.output.write(piece as string);
  await context.output.write("\n");
}

const COLUMNS: readonly Column<FlowView>[] = [
  { title: "ID", value: ({ id }) => id.slice(0, 8) },
  { title: "ROLE", value: ({ role }) => role },
  { title: "STATE", value: ({ state }) => state },
  { title: "FLOW", value: ({ flow }) => flow },
  { title: "USED", right: true, value: ({ countedVolume }) => formatSize(countedVolume) },
  { title: "ALLOWED", right: true, value: ({ allowedVolume }) => formatSize(allowedVolume) },
  { title: "LEFT", right: true, value: ({ remaining }) => duration(remaining) },
  { title: "AH", value: ({ authentication }) => authentication?.algorithm ?? "-" },
  { title: "RULE", value: ({ rule }) => rule ?? "-" },
];

function flowsText({ flows, offset, total }: FlowList): string {
  if (total === 0) return "no flows\n";
  const more = total - offset - flows.length;
  const rest = more > 0 ? `${more} more; use --match, --limit or --offset\n` : "";
  return table(COLUMNS, flows) + rest;
}

export function flowText(view: FlowView): string {
  return fields([
    ["id", view.id],
    ["flow", view.flow],
    ["role", view.role],
    ["state", view.state],
    ["allowed", formatSize(view.allowedVolume)],
    ["counted here", `${formatSize(view.countedVolume)} in ${view.packets} packets`],
    ["sent (signed)", formatSize(view.sentVolume)],
    ["over volume", `${view.overVolume} packets`],
    ...authenticationLines(view),
    ["time left", duration(view.remaining)],
    ["refresh", `${duration(view.refresh)}, ${view.refreshes} so far`],
    ["requester", view.requester ?? "-"],
    ["rule", view.rule ?? "-"],
    ...(view.path === null ? [] : [["path", view.path] as [string, string]]),
    ...(view.detection === null ? [] : detectionLines(view.detection)),
    ["last reason", view.lastReason ?? "-"],
  ]);
}

function authenticationLines({ authentication }: FlowView): [string, string][] {
  if (authentication === null) return [["authentication", "none"]];
  const { algorithm, spi, sequence, failures } = authentication;
  return [
    ["authentication", `${algorithm}, SPI ${spiText(spi)}, sequence ${sequence}`],
    ["failures", failuresText(failures)],
  ];
}

/** The last comparison of sent with received, what routers said, and the last finding. */
function detectionLines({
  mode,
  epoch,
  start,
  last,
  hops,
  findings,
  attack,
}: DetectionView): [string, string][] {
  const compared =
    last === null
      ? "nothing yet"
      : `sent ${formatSize(last.sent)}, received ${formatSize(last.received)}: ${last.verdict}`;
  const lines: [string, string][] = [
    ["detection", `${mode}; epoch ${epoch}, counted from ${formatSize(start)}; ${findings} findings`],
    ["compared", compared],
  ];
  for (const { node, counted, verified } of hops)
    lines.push([
      "hop",
      `${node} counted ${formatSize(counted)}${verified ? "" : " (signature not checked)"}`,
    ]);
  if (attack === null) return lines;
  const { kind, sent, received, threshold, where, reaction } = attack;
  const place = where === null ? "" : `, between ${where.from} and ${where.to}`;
  const numbers = `sent ${sent}, received ${received}, threshold ${threshold}, epoch ${attack.epoch}`;
  return [...lines, ["last finding", `${kind}${place} (${numbers}): ${reaction}`]];
}

export function spiText(spi: number): string {
  return `0x${spi.toString(16).padStart(8, "0")}`;
}

/** Packets dropped, by reason. */
export function failuresText(failures: AuthenticationFailures): string {
  const { missing, malformed, unknownSpi, replayed, badIcv } = failures;
  return `${missing} without AH, ${malformed} malformed, ${unknownSpi} of unknown SPI, ${replayed} replayed, ${badIcv} with a bad ICV`;
}

function duration(value: number | null): string {
  return value === null ? "-" : formatDuration(Math.max(0, value));
}
