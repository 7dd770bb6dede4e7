/** Text for a terminal: aligned columns, and nothing that would steer the terminal. */

export interface Column<T> {
  readonly title: string;
  readonly right?: boolean;
  value(row: T): string;
}

/** Texts come from certificates and other nodes: what is not printable is shown as "?". */
export function printable(value: string): string {
  return value.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "?");
}

/** A table with a title line; every line ends with a newline. */
export function table<T>(columns: readonly Column<T>[], rows: readonly T[]): string {
  const cells = [
    columns.map(({ title }) => title),
    ...rows.map((row) => columns.map((column) => printable(column.value(row)))),
  ];
  const widths = columns.map((_, i) => cells.reduce((width, row) => Math.max(width, row[i]?.length ?? 0), 0));
  return cells.map((row) => `${alignRow(row, columns, widths)}\n`).join("");
}

function alignRow(
  row: readonly string[],
  columns: readonly { right?: boolean }[],
  widths: readonly number[],
): string {
  return row
    .map((cell, i) =>
      columns[i]?.right === true ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
    )
    .join("  ")
    .trimEnd();
}

/** Names and values below each other. */
export function fields(entries: readonly (readonly [name: string, value: string])[]): string {
  const width = entries.reduce((longest, [name]) => Math.max(longest, name.length), 0);
  return entries
    .map(([name, value]) => `${name.padEnd(width)}  ${printable(value)}`.trimEnd() + "\n")
    .join("");
}
