/**
 * A process of the tool, as the controlling one sees it. It has a process group of its own, so that what a terminal sends
 * reaches the controlling one alone, which then ends the others in good order.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { HostOptions } from "./options.js";
import type { Answer, BatchResult, Command, PaceResult, Snapshot } from "./protocol.js";

const START_LIMIT_MS = 60_000;
/** For each host: its certificate is made at the start. */
const START_FOR_HOST_MS = 10;
const STOP_LIMIT_MS = 5000;
const ERRORS_KEPT = 4000;

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

export interface Placement {
  /** Network namespace; undefined: this one. */
  readonly namespace?: string;
  /** Processor cores, as taskset has them; undefined: all. */
  readonly cores?: string;
}

/** A command line that runs in a namespace and on certain cores. */
export function placed(command: readonly string[], { namespace, cores }: Placement): string[] {
  return [
    ...(namespace === undefined ? [] : ["ip", "netns", "exec", namespace]),
    ...(cores === undefined ? [] : ["taskset", "-c", cores]),
    ...command,
  ];
}

export class HostProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #role: string;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #errors = "";
  #ready: Waiting | undefined;
  #ended = false;

  private constructor(options: HostOptions, placement: Placement) {
    const file = fileURLToPath(new URL("host.js", import.meta.url));
    const node = [process.execPath, "--max-old-space-size=8192", file, JSON.stringify(options)];
    const [program = "", ...rest] = placed(node, placement);
    this.#role = options.role;
    this.#child = spawn(program, rest, { stdio: ["pipe", "pipe", "pipe"], detached: true });
    this.#child.stdin.on("error", () => undefined);
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#errors = (this.#errors + text).slice(-ERRORS_KEPT);
    });
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#answered(line));
    this.#child.once("error", (error) => this.#over(error.message));
    this.#child.once("exit", () => this.#over(this.#errors.trim()));
  }

  /** Resolves when its sockets are open and its identities made. Rejects with what it printed. */
  static async start(options: HostOptions, placement: Placement = {}): Promise<HostProcess> {
    const host = new HostProcess(options, placement);
    const hosts = options.role === "sender" ? options.senders : options.receivers;
    const tooLate = setTimeout(() => void host.kill(), START_LIMIT_MS + hosts.count * START_FOR_HOST_MS);
    try {
      await new Promise((resolve, reject) => {
        host.#ready = { resolve, reject };
      });
      return host;
    } finally {
      clearTimeout(tooLate);
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  snapshot(): Promise<Snapshot> {
    return this.#ask({ do: "snapshot" }) as Promise<Snapshot>;
  }

  batch(command: Omit<Extract<Command, { do: "batch" }>, "do">): Promise<BatchResult> {
    return this.#ask({ do: "batch", ...command }) as Promise<BatchResult>;
  }

  /** Resolves when it has come to its count, or was stopped. */
  pace(command: Omit<Extract<Command, { do: "pace" }>, "do">): Promise<PaceResult> {
    return this.#ask({ do: "pace", ...command }) as Promise<PaceResult>;
  }

  stopPace(name: string): Promise<unknown> {
    return this.#ask({ do: "stop-pace", name });
  }

  windDown(): Promise<unknown> {
    return this.#ask({ do: "wind-down" });
  }

  /** As a power cut: nothing is said to anybody. */
  kill(): Promise<void> {
    return this.#end("SIGKILL", 0);
  }

  /** It ends with its input. */
  stop(): Promise<void> {
    this.#child.stdin.end();
    return this.#end("SIGKILL", STOP_LIMIT_MS);
  }

  async #end(signal: NodeJS.Signals, after: number): Promise<void> {
    if (this.#ended) return;
    const gone = new Promise<void>((resolve) => this.#child.once("exit", () => resolve()));
    const insist = setTimeout(() => this.#child.kill(signal), after);
    await gone;
    clearTimeout(insist);
  }

  #ask(command: Command): Promise<unknown> {
    if (this.#ended) return Promise.reject(new Error(`the ${this.#role}'s process has ended`));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    });
  }

  #answered(line: string): void {
    const answer = JSON.parse(line) as Answer;
    if ("ready" in answer) return this.#ready?.resolve(undefined);
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ("error" in answer) waiting?.reject(new Error(answer.error));
    else waiting?.resolve(answer.result);
  }

  #over(why: string): void {
    this.#ended = true;
    const error = new Error(`the ${this.#role}'s process has ended${why === "" ? "" : `: ${why}`}`);
    this.#ready?.reject(error);
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
