/** The tables as Markdown, for docs/state-machines.md. */
import { RECEIVER_MACHINE } from "./receiver.js";
import { ROUTER_MACHINE } from "./router.js";
import { SENDER_MACHINE } from "./sender.js";

interface Row {
  readonly from: string | readonly string[];
  readonly on: string;
  readonly when?: string;
  readonly do: readonly string[];
  readonly to: string;
  readonly note?: string;
}

const MACHINES: readonly (readonly [string, readonly Row[]])[] = [
  ["Sender", SENDER_MACHINE],
  ["Router", ROUTER_MACHINE],
  ["Receiver", RECEIVER_MACHINE],
];

const INTRODUCTION = `# State machines of PBS

Drawn from the tables in \`src/nslp/machines\` by \`npm run docs\`. The first row that fits is taken; where no row fits, the
event means nothing in that state. States 4 and above of the slides (verify, compare) are not here: the packet path
does that work for each packet, and reports only \`threshold\` and \`exhausted\`.
`;

export function renderTables(): string {
  return [INTRODUCTION, ...MACHINES.map(([name, rows]) => renderTable(name, rows))].join("\n");
}

function renderTable(name: string, rows: readonly Row[]): string {
  const lines = rows.map((row) => {
    const from = typeof row.from === "string" ? row.from : row.from.join(", ");
    const event = row.when === undefined ? row.on : `${row.on} [${row.when}]`;
    return `| ${from} | ${event} | ${row.do.join(", ") || "-"} | ${row.to} | ${row.note ?? ""} |`;
  });
  return [
    `## ${name}`,
    "",
    "| state | event [guard] | actions | next | source, reason |",
    "|---|---|---|---|---|",
    ...lines,
    "",
  ].join("\n");
}
