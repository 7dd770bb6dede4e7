/** What a changed configuration changes in a running daemon. */
import { isDeepStrictEqual } from "node:util";
import type { Config } from "../config/config.js";

/** Taken over while the daemon runs. */
const LIVE: readonly (keyof Config)[] = ["rules", "log"];

/** Sections that differ and only a restart takes over, by their names in the file. */
export function needRestart(before: Config, after: Config): readonly string[] {
  return (Object.keys(after) as (keyof Config)[])
    .filter((section) => section !== "file" && !LIVE.includes(section))
    .filter((section) => !isDeepStrictEqual(plain(before[section]), plain(after[section])))
    .map((section) => (section === "exempt" ? "[[exempt]]" : `[${section}]`));
}

/** Addresses keep a text that they made once they were asked for it; equal ones may differ in that. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
