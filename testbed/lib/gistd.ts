/** A node's gistd, where pbsd does not do the signalling itself. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "smol-toml";
import { type Outcome, Program, run } from "./programs.js";
import { gistctl, gistd } from "./repository.js";
import { until } from "./wait.js";

export type GistMode = "own" | "external";

let mode: GistMode = "own";

/** How the daemons of every testbed of this process come to their GIST. */
export function setGistMode(chosen: GistMode): void {
  mode = chosen;
}

export function gistMode(): GistMode {
  return mode;
}

const READY_LIMIT_MS = 30_000;
const LOG_LINES_SHOWN = 15;

export class GistDaemon {
  readonly name: string;
  readonly namespace: string;
  readonly #directory: string;
  #program: Program | undefined;

  constructor(name: string, namespace: string, directory: string) {
    this.name = name;
    this.namespace = namespace;
    this.#directory = directory;
  }

  /** The service socket. */
  get socket(): string {
    return join(this.#directory, "gist.sock");
  }

  get running(): boolean {
    return this.#program?.running === true;
  }

  /** Writes gistd.toml. A running daemon is not told. */
  configure(identity: object, signalling: object): void {
    const tables = {
      identity,
      signalling,
      service: { socket: this.socket },
      control: { socket: this.#control },
      log: { level: "debug" },
    };
    writeFileSync(this.#configFile, stringify(tables));
  }

  /** Resolves when the daemon has said "ready". Rejects with the end of its log. */
  async start(): Promise<void> {
    const before = this.log().length;
    const log = this.#logFile;
    this.#program = new Program(gistd("--config", this.#configFile), { namespace: this.namespace, log });
    await until(`gistd of ${this.name} to be ready`, READY_LIMIT_MS, () => {
      if (this.log().slice(before).includes('"msg":"ready"')) return true;
      if (!this.running) throw new Error(`gistd of ${this.name} ended:\n${this.#logEnd()}`);
      return false;
    });
  }

  async stop(): Promise<void> {
    await this.#program?.stop("SIGTERM", 10_000);
  }

  async kill(): Promise<void> {
    await this.#program?.stop("SIGKILL");
  }

  /** gistctl against this daemon. */
  ctl(...args: string[]): Promise<Outcome> {
    return run(gistctl("--socket", this.#control, ...args), { namespace: this.namespace });
  }

  log(): string {
    try {
      return readFileSync(this.#logFile, "utf8");
    } catch {
      return "";
    }
  }

  get #control(): string {
    return join(this.#directory, "gistd-control.sock");
  }

  get #configFile(): string {
    return join(this.#directory, "gistd.toml");
  }

  get #logFile(): string {
    return join(this.#directory, "gistd.log");
  }

  #logEnd(): string {
    return this.log().trimEnd().split("\n").slice(-LOG_LINES_SHOWN).join("\n");
  }
}
