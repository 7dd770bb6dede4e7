/** A program of the benchmarks that is spoken to by lines: one command in, one JSON object out. */
import { once } from "node:events";
import { createInterface } from "node:readline";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { PATIENCE } from "../lib/wait.js";

type Answer = Readonly<Record<string, unknown>>;

const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 5000;

export class LineProgram {
  readonly #name: string;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  private constructor(namespace: string, name: string, argument: object, wrapper: readonly string[]) {
    const file = fileURLToPath(new URL(`${name}.js`, import.meta.url));
    const command = [...wrapper, process.execPath, file, JSON.stringify(argument)];
    this.#name = name;
    this.#child = spawn("ip", ["netns", "exec", namespace, ...command], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#child.stdin.on("error", () => undefined);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /**
   * Starts a compiled program of this folder in a namespace; resolves when it has said its first line.
   * @param wrapper a command that runs it, such as taskset with its options
   */
  static async start(
    namespace: string,
    name: string,
    argument: object,
    wrapper: readonly string[] = [],
  ): Promise<LineProgram> {
    const program = new LineProgram(namespace, name, argument, wrapper);
    try {
      await program.#answer("its start", START_LIMIT_MS);
      return program;
    } catch (error) {
      program.#child.kill("SIGKILL");
      throw error;
    }
  }

  /** @param limit milliseconds; without an answer by then it rejects */
  ask(command: string, limit: number): Promise<Answer> {
    this.#child.stdin.write(`${command}\n`);
    return this.#answer(command, limit);
  }

  /** It ends at the end of its input, or is ended after `limit` milliseconds. */
  async stop(limit = STOP_LIMIT_MS): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, "exit");
    const insist = setTimeout(() => this.#child.kill("SIGKILL"), limit);
    this.#child.stdin.end();
    await gone;
    clearTimeout(insist);
  }

  async #answer(what: string, limit: number): Promise<Answer> {
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`${this.#name} did not answer to ${what}`)),
        limit * PATIENCE,
      );
    });
    try {
      const line = await Promise.race([this.#lines.next(), tooLate]);
      if (line.done === true) throw new Error(`${this.#name} ended without an answer to ${what}`);
      return JSON.parse(line.value) as Answer;
    } finally {
      clearTimeout(timer);
    }
  }
}
