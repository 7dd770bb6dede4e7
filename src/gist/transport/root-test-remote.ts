/** What the tests that need root have in common: namespaces, and nodes that run in them. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { ExecutionContext } from "ava";
import type { Order, Report } from "./root-test-node.js";

const script = fileURLToPath(new URL("./root-test-node.ts", import.meta.url));

type ReportOf<Name extends Report["report"]> = Extract<Report, { report: Name }>;

/** A node in its namespace. Orders are carried out one after another. */
export class RemoteNode {
  readonly #process: ChildProcess;
  readonly #reports: Report[] = [];
  #wake: (() => void)[] = [];

  constructor(namespace: string) {
    const command = ["netns", "exec", namespace, process.execPath, "--import", "tsx", script];
    this.#process = spawn("ip", command, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.#process.on("message", (report: Report) => {
      this.#reports.push(report);
      for (const wake of this.#wake.splice(0)) wake();
    });
  }

  async obey(order: Order): Promise<unknown> {
    this.#process.send(order);
    return (await this.next("done")).detail;
  }

  /** The next report of this kind; the others keep. */
  async next<Name extends Report["report"]>(name: Name): Promise<ReportOf<Name>> {
    for (;;) {
      const at = this.#reports.findIndex(({ report }) => report === name);
      if (at !== -1) return this.#reports.splice(at, 1)[0] as ReportOf<Name>;
      await new Promise<void>((wake) => this.#wake.push(wake));
    }
  }

  /** Reports of this kind that nobody took. */
  left(name: Report["report"]): number {
    return this.#reports.filter(({ report }) => report === name).length;
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const gone = new Promise((exited) => this.#process.once("exit", exited));
    if (this.#process.connected) this.#process.disconnect();
    await gone;
  }
}

/** Runs the `ip` command and returns what it prints. */
export function ip(...words: string[]): string {
  return execFileSync("ip", words, { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" });
}

/** Namespaces of this test's own, one for each role; they go with the test. */
export function makeNamespaces(t: ExecutionContext, roles: readonly string[]): string[] {
  const names = roles.map((role) => `gist${role}${process.pid}`);
  t.teardown(() => {
    for (const name of names) {
      try {
        ip("netns", "delete", name);
      } catch {
        // It was never made.
      }
    }
  });
  for (const name of names) ip("netns", "add", name);
  return names;
}
