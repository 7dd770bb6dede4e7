/** Runs programs inside network namespaces, and keeps hold of those that go on. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { PATIENCE, until } from "./wait.js";

export interface Outcome {
  /** Exit status; 128 + number for a signal, as a shell has it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly milliseconds: number;
}

export class ProgramFailed extends Error {
  override readonly name = "ProgramFailed";
}

const DEFAULT_LIMIT_MS = 60_000;
const MAX_OUTPUT = 64 * 1024 * 1024;
const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };

export interface RunOptions {
  readonly namespace?: string | undefined;
  readonly input?: string | Uint8Array;
  /** Killed after this many milliseconds. */
  readonly limit?: number;
}

/** Runs to the end; never rejects because of the exit status. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const program = new Program(command, options);
  program.end(options.input);
  const timer = setTimeout(() => program.signal("SIGKILL"), (options.limit ?? DEFAULT_LIMIT_MS) * PATIENCE);
  const status = await program.exited;
  clearTimeout(timer);
  return { status, stdout: program.stdout, stderr: program.stderr, milliseconds: program.milliseconds };
}

/** As {@link run}, but a status other than 0 rejects with {@link ProgramFailed}. */
export async function mustRun(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const { status, stdout, stderr } = await run(command, options);
  if (status === 0) return stdout;
  throw new ProgramFailed(`${command.join(" ")}: exit status ${status}: ${(stderr || stdout).trim()}`);
}

export interface ProgramOptions {
  readonly namespace?: string | undefined;
  /** Output goes to this file instead of `stdout` and `stderr`, and the program outlives this process. */
  readonly log?: string;
  /** It has this process's own input and output. */
  readonly inherit?: boolean;
}

/** A program that goes on while others do something. */
export class Program {
  readonly pid: number;
  /** Exit status; 127 when it could not be started. */
  readonly exited: Promise<number>;
  stdout = "";
  stderr = "";
  running = true;
  readonly #child: ChildProcess;
  readonly #started = performance.now();
  #ended: number | undefined;

  constructor(command: readonly string[], options: ProgramOptions = {}) {
    const [file = "", ...args] = inNamespace(command, options.namespace);
    this.#child =
      options.log === undefined
        ? spawn(file, args, { stdio: options.inherit === true ? "inherit" : "pipe" })
        : spawnWithLog(file, args, options.log);
    this.#collect();
    this.pid = this.#child.pid ?? 0;
    this.exited = this.#exit();
  }

  get milliseconds(): number {
    return (this.#ended ?? performance.now()) - this.#started;
  }

  end(input: string | Uint8Array = ""): void {
    this.#child.stdin?.end(input);
  }

  /** A line on its input, which stays open. */
  tell(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  /** Asks it to end, insists when it does not, and returns its status. */
  async stop(signal: NodeJS.Signals = "SIGTERM", patience = 5000): Promise<number> {
    this.signal(signal);
    const insist = setTimeout(() => this.signal("SIGKILL"), patience * PATIENCE);
    const status = await this.exited;
    clearTimeout(insist);
    return status;
  }

  /** Waits for text in its output. Rejects at once when the program ends without it. */
  async says(text: string, limit = 15_000): Promise<void> {
    await until(`"${text}" from ${this.#child.spawnfile}`, limit, () => {
      if (this.stdout.includes(text) || this.stderr.includes(text)) return true;
      if (!this.running) throw new ProgramFailed(`ended before it said "${text}": ${this.stderr}`);
      return false;
    });
  }

  #collect(): void {
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      if (this.stdout.length < MAX_OUTPUT) this.stdout += text;
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      if (this.stderr.length < MAX_OUTPUT) this.stderr += text;
    });
    this.#child.stdin?.on("error", () => undefined);
  }

  async #exit(): Promise<number> {
    const status = await once(this.#child, "close").then(
      ([code, signal]: unknown[]) =>
        typeof code === "number" ? code : 128 + (SIGNAL_NUMBERS[String(signal)] ?? 0),
      (error: unknown) => {
        this.stderr += String(error);
        return 127;
      },
    );
    this.running = false;
    this.#ended = performance.now();
    return status;
  }
}

export function inNamespace(command: readonly string[], namespace: string | undefined): readonly string[] {
  return namespace === undefined ? command : ["ip", "netns", "exec", namespace, ...command];
}

function spawnWithLog(file: string, args: string[], log: string): ChildProcess {
  const descriptor = openSync(log, "a");
  try {
    const child = spawn(file, args, { stdio: ["ignore", descriptor, descriptor], detached: true });
    child.unref();
    return child;
  } finally {
    closeSync(descriptor);
  }
}
