/** State machines as Markdown. */

interface Row {
  readonly from: string | readonly string[];
  readonly on: string;
  readonly when?: string;
  readonly do: readonly string[];
  readonly to: string;
  readonly note?: string;
}

/** One table with a heading; its rows in their order. */
export function renderTable(name: string, rows: readonly Row[]): string {
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
