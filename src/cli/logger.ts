/** The daemon's log: pino's JSON lines on standard output, or one readable line each on a terminal. */
import { pino, type Logger as PinoLogger } from "pino";
import type { LogLevel } from "../config/config.js";
import { prettyLine } from "./pretty.js";

export interface Sink {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

export function makeLogger(name: string, level: LogLevel, sink: Sink): PinoLogger {
  const destination =
    sink.isTTY === true ? { write: (line: string) => void sink.write(prettyLine(line)) } : sink;
  return pino(
    { level, base: { pid: process.pid, node: name } },
    destination as { write(text: string): void },
  );
}
