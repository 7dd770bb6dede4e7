/** The router under load: a real pbsd in a namespace of its own, and what the kernel says that it takes. */
import { type ChildProcess, spawn } from "node:child_process";
import { openSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { stringify } from "smol-toml";
import { issueCertificate, type KeyChoice, makeHostKey } from "../authorization/keys.js";
import { IpAddress } from "../base/address.js";
import { placed, type Placement } from "./process.js";

const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 20_000;
const LOOK_MS = 50;
const LINES_SHOWN = 15;
const CLOCK_TICKS = 100;

export type Tables = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

export interface RouterOptions {
  /** For its configuration, its key and its log. */
  readonly directory: string;
  readonly authority: string;
  readonly addresses: readonly string[];
  readonly keyType: KeyChoice;
  /** Tables of pbsd.toml. */
  readonly configuration: Tables;
  /** Further arguments of node, such as --cpu-prof. */
  readonly nodeArguments: readonly string[];
}

export interface RouterStatus {
  readonly routingStates: { readonly querying: number; readonly responding: number };
  readonly datapath: { readonly flows: number };
  readonly counters: {
    readonly pbs: Readonly<Record<string, number>>;
    readonly gist: Readonly<Record<string, number>>;
  };
}

export interface RouterUse {
  /** Of all its threads, since its start. */
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

export class Router {
  readonly #child: ChildProcess;
  readonly #socket: string;
  readonly #log: string;

  private constructor(child: ChildProcess, socket: string, log: string) {
    this.#child = child;
    this.#socket = socket;
    this.#log = log;
  }

  /** Resolves when it has said that it is ready. Rejects with the end of its log. */
  static async start(options: RouterOptions, placement: Placement): Promise<Router> {
    const { directory } = options;
    const [socket, log] = [join(directory, "control.sock"), join(directory, "pbsd.log")];
    const file = join(directory, "pbsd.toml");
    writeFileSync(file, stringify(tablesOf(options, socket)));
    const pbsd = fileURLToPath(new URL("../cli/pbsd.js", import.meta.url));
    const command = [process.execPath, ...options.nodeArguments, pbsd, "--config", file];
    const [program = "", ...rest] = placed(command, placement);
    const output = openSync(log, "a");
    const child = spawn(program, rest, { stdio: ["ignore", output, output], cwd: directory, detached: true });
    const router = new Router(child, socket, log);
    await router.#ready();
    return router;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  use(): RouterUse {
    return { cpuSeconds: cpuSeconds(this.pid), residentBytes: residentBytes(this.pid) };
  }

  status(): Promise<RouterStatus> {
    return new Promise((resolve, reject) => {
      const asking = request({ socketPath: this.#socket, path: "/v1/status", agent: false }, (answer) => {
        json(answer).then((value) => resolve(value as RouterStatus), reject);
      });
      asking.once("error", reject);
      asking.end();
    });
  }

  async stop(): Promise<void> {
    if (!this.running) return;
    const gone = new Promise<void>((resolve) => this.#child.once("exit", () => resolve()));
    const insist = setTimeout(() => this.#child.kill("SIGKILL"), STOP_LIMIT_MS);
    this.#child.kill("SIGTERM");
    await gone;
    clearTimeout(insist);
  }

  logEnd(): string {
    return readFileSync(this.#log, "utf8").trimEnd().split("\n").slice(-LINES_SHOWN).join("\n");
  }

  async #ready(): Promise<void> {
    const limit = Date.now() + READY_LIMIT_MS;
    while (!readFileSync(this.#log, "utf8").includes('"msg":"ready"')) {
      if (!this.running) throw new Error(`the router's pbsd ended:\n${this.logEnd()}`);
      if (Date.now() > limit) throw new Error(`the router's pbsd is not ready:\n${this.logEnd()}`);
      await sleep(LOOK_MS);
    }
  }
}

function tablesOf(options: RouterOptions, socket: string): Tables {
  const { directory, authority, keyType, configuration } = options;
  const addresses = options.addresses.map((text) => IpAddress.parse(text));
  const prefix = join(directory, "router");
  const { keyFile, requestFile } = makeHostKey({
    prefix,
    commonName: "router",
    addresses,
    type: keyType,
    force: true,
  });
  const outFile = `${prefix}.pem`;
  issueCertificate({ authorityDirectory: authority, csrFile: requestFile, outFile, force: true });
  return {
    node: { name: "router" },
    identity: { certificate: outFile, key: keyFile, authorities: [join(authority, "ca.pem")] },
    control: { socket },
    log: { level: "info" },
    ...configuration,
  };
}

/** Fields 14 and 15 of /proc/PID/stat. */
function cpuSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

/** Processor time of everything on this machine since it started, what a hypervisor took included: /proc/stat. */
export function machineCpuSeconds(): number {
  const [all = ""] = readFileSync("/proc/stat", "utf8").split("\n");
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = all
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return (user + nice + system + irq + softirq + steal) / CLOCK_TICKS;
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}
