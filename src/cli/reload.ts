/** What a changed configuration changes in a running daemon. */
import { isDeepStrictEqual } from "node:util";
import type { Config } from "../config/config.js";
import type { GistdConfig } from "../config/gistd-config.js";

/** Written as [[section]] in the file. */
const LISTS: readonly string[] = ["exempt", "legacy", "path"];

/** Sections of pbsd that differ and only a restart takes over, by their names in the file. */
export const needRestart = (before: Config, after: Config): readonly string[] =>
  changed(before, after, ["file", "identity", "rules", "peers", "log"]);

/** The same for gistd. */
export const gistdNeedsRestart = (before: GistdConfig, after: GistdConfig): readonly string[] =>
  changed(before, after, ["file", "identity", "peers", "log"]);

/** @param live what is taken over while the daemon runs */
function changed<C extends object>(before: C, after: C, live: readonly (keyof C)[]): readonly string[] {
  return (Object.keys(after) as (keyof C & string)[])
    .filter((section) => !live.includes(section))
    .filter((section) => !isDeepStrictEqual(plain(before[section]), plain(after[section])))
    .map((section) => (LISTS.includes(section) ? `[[${section}]]` : `[${section}]`));
}

/** Addresses keep a text that they made once they were asked for it; equal ones may differ in that. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
