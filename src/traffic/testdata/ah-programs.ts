/** Programs that the tests of AH run: our own as a tool on a command line (native/test/ah_tool.c), and other people's. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const NATIVE = new URL("../../../native/", import.meta.url).pathname;
const SCAPY = new URL("ah-scapy.py", import.meta.url).pathname;
/** That for which Debian's packages are, whatever else there is. */
const PYTHON = "/usr/bin/python3";
const OUTPUT_MAX = 1 << 26;

/** A folder of its own, and what removes it. */
export function folder(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), `pbs-ah-${process.pid}-`));
  return { path, remove: () => rmSync(path, { recursive: true }) };
}

/** Compiles the tool into a folder. */
export function compileTool(into: string): string {
  const sources = readdirSync(NATIVE).filter((name) => /^(ah-.*|c?mac|signature|tree.*)\.c$/.test(name));
  const tool = join(into, "ah_tool");
  const paths = ["test/ah_tool.c", ...sources].map((name) => join(NATIVE, name));
  execFileSync("cc", ["-std=gnu11", "-D_GNU_SOURCE", "-O1", ...paths, "-o", tool, "-lcrypto", "-lpthread"]);
  return tool;
}

/** Gives a program lines and takes its answers, a line each. */
export function converse(
  program: string,
  args: readonly string[],
  lines: readonly string[],
): readonly string[] {
  const input = lines.map((line) => `${line}\n`).join("");
  const result = spawnSync(program, args, { input, encoding: "utf8", maxBuffer: OUTPUT_MAX });
  if (result.status !== 0) throw new Error(`${program} ended with ${result.status}: ${result.stderr}`);
  return result.stdout.split("\n").slice(0, -1);
}

export function scapy(lines: readonly string[]): readonly string[] {
  return converse(PYTHON, [SCAPY], lines);
}
