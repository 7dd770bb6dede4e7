/** A daemon as a process, in a network namespace of its own: what the root tests of pbsd and gistd share. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { ExecutionContext } from "ava";
import { issueCertificate, makeAuthority, makeHostKey } from "../authorization/keys.js";
import { IpAddress } from "../base/address.js";

export interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class Host {
  readonly program: "pbsd" | "gistd";
  readonly name: string;
  readonly directory = mkdtempSync(join(tmpdir(), "pbsd-"));
  readonly socket = join(this.directory, "control.sock");
  readonly config = join(this.directory, "pbsd.toml");
  /** What the daemon finds in its environment beside this process's own. */
  environment: Readonly<Record<string, string>> = {};

  constructor(program: "pbsd" | "gistd") {
    this.program = program;
    this.name = `${program}-test-${process.pid}`;
    execFileSync("ip", ["netns", "add", this.name]);
    this.exec("ip", "link", "set", "lo", "up");
    const ca = join(this.directory, "ca");
    makeAuthority({ directory: ca, name: "test" });
    const prefix = join(this.directory, "host");
    makeHostKey({ prefix, commonName: "test", addresses: [IpAddress.parse("192.0.2.1")] });
    issueCertificate({ authorityDirectory: ca, csrFile: `${prefix}.csr`, outFile: `${prefix}.crt` });
    this.configure("");
  }

  configure(more: string): void {
    const identity = '[identity]\ncertificate = "host.crt"\nkey = "host.key"\nauthorities = ["ca/ca.pem"]\n';
    writeFileSync(this.config, `${identity}[control]\nsocket = "control.sock"\n${more}`);
  }

  exec(...command: readonly string[]): string {
    return execFileSync("ip", ["netns", "exec", this.name, ...command], { encoding: "utf8" });
  }

  spawn(...args: readonly string[]): ChildProcess {
    const program = [
      process.execPath,
      "--import",
      "tsx",
      `src/cli/${this.program}.ts`,
      "--config",
      this.config,
      ...args,
    ];
    return spawn("ip", ["netns", "exec", this.name, ...program], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...this.environment },
    });
  }

  async run(...args: readonly string[]): Promise<Result> {
    const child = this.spawn(...args);
    const [stdout, stderr, status] = await Promise.all([all(child.stdout), all(child.stderr), ended(child)]);
    return { status, stdout, stderr };
  }

  rules(): string {
    const saved = ["iptables-save", "ip6tables-save"].map((tool) => this.exec(tool));
    return [...saved, this.exec("ipset", "list", "-n")]
      .join("")
      .replace(/^#.*\n/gm, "")
      .replace(/\[\d+:\d+\]/g, "");
  }

  remove(): void {
    execFileSync("ip", ["netns", "del", this.name]);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

async function all(stream: NodeJS.ReadableStream | null): Promise<string> {
  let text = "";
  for await (const chunk of stream ?? []) text += String(chunk);
  return text;
}

export function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => child.once("exit", resolve));
}

/** The daemon's log, line by line. */
export class Running {
  readonly child: ChildProcess;
  readonly #lines: string[] = [];
  #heard: () => void = () => undefined;

  constructor(t: ExecutionContext, child: ChildProcess) {
    this.child = child;
    t.teardown(async () => {
      child.kill("SIGKILL");
      await ended(child);
    });
    for (const stream of [child.stdout, child.stderr])
      if (stream !== null)
        createInterface({ input: stream }).on("line", (line) => {
          this.#lines.push(line);
          this.#heard();
        });
    child.once("exit", () => this.#heard());
  }

  /** The first line from now or before with this in it. */
  async line(text: string): Promise<string> {
    for (;;) {
      const found = this.#lines.find((line) => line.includes(text));
      if (found !== undefined) return found;
      if (this.child.exitCode !== null)
        throw new Error(`it ended without "${text}": ${this.#lines.join("\n")}`);
      await new Promise<void>((resolve) => (this.#heard = resolve));
    }
  }
}

/** Gone at the end of the test. */
export function makeHost(t: ExecutionContext, program: "pbsd" | "gistd"): Host {
  const host = new Host(program);
  t.teardown(() => host.remove());
  return host;
}
