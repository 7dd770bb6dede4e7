/** The version of this program, from its package.json, wherever the build has put this file. */
import { readFileSync } from "node:fs";

function findVersion(): string {
  for (const up of ["../../", "../../../"]) {
    try {
      const text = readFileSync(new URL(`${up}package.json`, import.meta.url), "utf8");
      const found = JSON.parse(text) as { name?: unknown; version?: unknown };
      if (found.name === "pbs-gateway" && typeof found.version === "string") return found.version;
    } catch {
      // Not here: one further up.
    }
  }
  return "unknown";
}

export const version = findVersion();
