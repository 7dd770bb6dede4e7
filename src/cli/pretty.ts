/** A line of pino's JSON for a person at a terminal. */
import { printable } from "./table.js";

const LEVELS = new Map([
  [10, "trace"],
  [20, "debug"],
  [30, "info"],
  [40, "\u001b[33mwarn\u001b[0m"],
  [50, "\u001b[31merror\u001b[0m"],
  [60, "\u001b[31mfatal\u001b[0m"],
]);

/** "12:00:01.250 info  message  field=value"; what is not a line of pino is passed on as it is. */
export function prettyLine(line: string): string {
  const record = parse(line);
  if (record === undefined) return line;
  const { level, time, msg, pid: _pid, node: _node, ...rest } = record;
  const clock = new Date(Number(time)).toTimeString().slice(0, 8);
  const millis = String(Number(time) % 1000).padStart(3, "0");
  const fields = Object.entries(rest).map(([name, value]) => `  ${name}=${fieldText(value)}`);
  const name = LEVELS.get(Number(level)) ?? String(level);
  return `${clock}.${millis} ${name}  ${printable(String(msg))}${fields.join("")}\n`;
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

function fieldText(value: unknown): string {
  if (typeof value === "object" && value !== null && "stack" in value) return String(value.stack);
  return printable(typeof value === "string" ? value : JSON.stringify(value));
}
