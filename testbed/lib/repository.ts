/** Where the project's own programs are, and that they are built from the sources of now. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(import.meta.url);
/** ".js" when this file itself was compiled, ".ts" when it runs through tsx. */
const extension = extname(here);

export const ROOT = findRoot(dirname(here));
const DIST = join(ROOT, "dist");

function findRoot(directory: string): string {
  if (existsSync(join(directory, "package.json"))) return directory;
  const parent = dirname(directory);
  if (parent === directory) throw new Error("the testbed does not stand inside a checkout of the project");
  return findRoot(parent);
}

export function pbsd(...args: string[]): string[] {
  return [process.execPath, join(DIST, "src/cli/pbsd.js"), ...args];
}

export function pbsctl(...args: string[]): string[] {
  return [process.execPath, join(DIST, "src/cli/pbsctl.js"), ...args];
}

export function gistd(...args: string[]): string[] {
  return [process.execPath, join(DIST, "src/cli/gistd.js"), ...args];
}

export function gistctl(...args: string[]): string[] {
  return [process.execPath, join(DIST, "src/cli/gistctl.js"), ...args];
}

/** A helper program of testbed/programs or testbed/attackers, such as "programs/http-server". */
export function helper(name: string, ...args: string[]): string[] {
  const file = join(dirname(dirname(here)), `${name}${extension}`);
  return [process.execPath, ...(extension === ".ts" ? ["--import", "tsx"] : []), file, ...args];
}

/** Environment for a daemon into which a program of testbed/attackers is loaded first. */
export function preloaded(name: string): NodeJS.ProcessEnv {
  return { NODE_OPTIONS: `--import=${join(DIST, "testbed", `${name}.js`)}` };
}

/** The interpreter for which Debian's packages are, whatever else there is. */
const PYTHON = "/usr/bin/python3";

/** A program in Python, such as "attackers/ah.py": it runs from where its source is. */
export function pythonHelper(name: string, ...args: string[]): string[] {
  return [PYTHON, join(ROOT, "testbed", name), ...args];
}

/**
 * Compiles the project when a source is newer than the last time. Not when this file itself was compiled: then whoever
 * did that has compiled the rest too.
 */
export function ensureBuilt(): void {
  if (extension === ".js") return;
  const stamp = join(DIST, ".built");
  if (existsSync(stamp) && statSync(stamp).mtimeMs >= newestSource()) return;
  const started = new Date();
  try {
    execFileSync(join(ROOT, "node_modules/.bin/tsc"), ["-p", ROOT], { cwd: ROOT });
  } catch (error) {
    const output = error instanceof Error && "stdout" in error ? String(error.stdout) : String(error);
    throw new Error(`the project does not compile: ${output.slice(0, 2000)}`);
  }
  writeFileSync(stamp, "");
  utimesSync(stamp, started, started);
}

function newestSource(): number {
  const files = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" });
  const sources = files.filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"));
  return Math.max(0, ...sources.map((file) => statSync(join(ROOT, "src", file)).mtimeMs));
}
