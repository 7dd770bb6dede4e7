/** Runs the programs of iptables and ipset. */
import { execFile } from "node:child_process";
import { remedyFor } from "./firewall-trouble.js";

/** What went wrong and what to do about it. */
export class FirewallError extends Error {
  override readonly name = "FirewallError";
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(`${message}; ${remedy}`);
    this.remedy = remedy;
  }
}

/** Never the caller's: npm puts package programs in front, and one of them is called nft too. */
export const SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
const COMMAND_TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;

/** Runs a program to its end and returns what it printed. Rejects with {@link FirewallError}. */
export function run(program: string, args: readonly string[], input = ""): Promise<string> {
  const env = { ...process.env, PATH: SYSTEM_PATH };
  const options = { timeout: COMMAND_TIMEOUT_MS, maxBuffer: MAX_OUTPUT_BYTES, env };
  return new Promise((resolve, reject) => {
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(explain(program, error, stderr));
    });
    // A program that fails early closes its input; the exit status tells more than EPIPE does.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}

function explain(program: string, error: Error, stderr: string): FirewallError {
  if ("code" in error && error.code === "ENOENT")
    return new FirewallError(
      `${program} is not installed`,
      `install the package ${program === "ipset" ? "ipset" : "iptables"}`,
    );
  const said = stderr.trim().split("\n").slice(-4).join(" / ") || error.message;
  return new FirewallError(`${program} failed: ${said}`, remedyFor(stderr));
}
