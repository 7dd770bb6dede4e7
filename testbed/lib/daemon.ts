/** A node's keys, configuration and daemon. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "smol-toml";
import {
  issueCertificate,
  type KeyChoice,
  makeAuthority,
  makeHostKey,
} from "../../src/authorization/keys.js";
import { IpAddress } from "../../src/base/address.js";
import { Client } from "../../src/cli/client.js";
import type { NodeShape } from "../topologies.js";
import { engineOf } from "./engine.js";
import { GistDaemon, gistMode } from "./gistd.js";
import { inNamespace, type Outcome, Program, run } from "./programs.js";
import { pbsctl, pbsd } from "./repository.js";
import { PATIENCE, until } from "./wait.js";

/** Tables of pbsd.toml; they are put in place of the testbed's own, field by field. */
export interface NodeConfig {
  readonly node?: Table;
  readonly signalling?: Table;
  readonly refresh?: Table;
  readonly packets?: Table;
  readonly request?: Table;
  readonly return?: Table;
  readonly authentication?: Table;
  readonly log?: Table;
  readonly identity?: Table;
  readonly detection?: Table;
  readonly open?: Table;
  readonly legacy?: readonly Table[];
  readonly path?: readonly Table[];
  readonly relay?: Table;
  readonly exempt?: readonly Table[];
  readonly rule?: readonly Table[];
}

type Table = Readonly<Record<string, unknown>>;

const READY_LIMIT_MS = 30_000;
const LOG_LINES_SHOWN = 15;

export function makeTestAuthority(directory: string, name = "testbed authority"): string {
  makeAuthority({ directory, name });
  return directory;
}

export interface NodeKeys {
  readonly certificate: string;
  readonly key: string;
  readonly authorities: readonly string[];
}

/** A key for a node, and a certificate with its addresses. */
export function makeNodeKeys(options: {
  readonly authority: string;
  readonly prefix: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly type?: KeyChoice;
}): NodeKeys {
  const { authority, prefix, name, type = "p256" } = options;
  const addresses = options.addresses.map((text) => IpAddress.parse(text));
  const { keyFile, requestFile } = makeHostKey({ prefix, commonName: name, addresses, type });
  const outFile = `${prefix}.pem`;
  issueCertificate({ authorityDirectory: authority, csrFile: requestFile, outFile });
  return { certificate: outFile, key: keyFile, authorities: [join(authority, "ca.pem")] };
}

export function addressesOf(shape: NodeShape): string[] {
  return shape.links.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6].map((text) => text.split("/")[0] ?? ""));
}

/** pbsd of one node, with a gistd beside it if the testbed is told so. */
export class Daemon {
  readonly name: string;
  readonly directory: string;
  readonly namespace: string;
  readonly keys: NodeKeys;
  /** Does the signalling; undefined where pbsd does it itself. */
  readonly #gistd: GistDaemon | undefined;
  readonly #engine: string;
  #program: Program | undefined;

  constructor(shape: NodeShape, namespace: string, directory: string, authority: string) {
    this.name = shape.name;
    this.namespace = namespace;
    this.directory = directory;
    this.#engine = engineOf(shape.forwards);
    mkdirSync(directory, { recursive: true });
    this.keys = makeNodeKeys({
      authority,
      prefix: join(directory, "host"),
      name: shape.name,
      addresses: addressesOf(shape),
    });
    this.#gistd = gistMode() === "own" ? undefined : new GistDaemon(this.name, namespace, directory);
    this.configure({});
  }

  /** Throws where pbsd does the signalling itself. */
  get gistd(): GistDaemon {
    if (this.#gistd === undefined) throw new Error(`${this.name} has no gistd`);
    return this.#gistd;
  }

  get configFile(): string {
    return join(this.directory, "pbsd.toml");
  }

  get logFile(): string {
    return join(this.directory, "pbsd.log");
  }

  get socket(): string {
    return join(this.directory, "control.sock");
  }

  get client(): Client {
    return new Client(this.socket);
  }

  get running(): boolean {
    return this.#program?.running === true;
  }

  get pid(): number {
    return this.#program?.pid ?? 0;
  }

  /** Writes pbsd.toml. A running daemon is not told. */
  configure(config: NodeConfig): void {
    const { node, identity, log, signalling, ...others } = config;
    const keys = { ...this.keys, ...identity };
    const queue = config.packets?.["queue_base"];
    this.#gistd?.configure(keys, { ...signalling, ...(queue !== undefined && { queue }) });
    const service = this.#gistd === undefined ? {} : { service: this.#gistd.socket };
    // Scenarios add lines of their own, and a section may stand once.
    const own = { ...service, ...signalling };
    const tables = {
      node: { name: this.name, ...node },
      identity: keys,
      ...(Object.keys(own).length > 0 && { signalling: own }),
      control: { socket: this.socket },
      log: { level: "debug", ...log },
      ...others,
      packets: { engine: this.#engine, ...others.packets },
      ...(PATIENCE > 1 && { request: { answer_within: `${2 * PATIENCE}s`, ...others.request } }),
    };
    writeFileSync(this.configFile, stringify(tables));
  }

  /**
   * Resolves when the daemon has said "ready". Rejects with the end of its log.
   * @param environment added to this process's own
   */
  async start(environment: NodeJS.ProcessEnv = {}): Promise<void> {
    if (this.#gistd?.running === false) await this.#gistd.start();
    const before = this.log().length;
    const added = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    const command = ["env", ...added, ...pbsd("--config", this.configFile)];
    this.#program = new Program(inNamespace(command, this.namespace), {
      log: this.logFile,
    });
    await until(`pbsd of ${this.name} to be ready`, READY_LIMIT_MS, () => {
      if (this.log().slice(before).includes('"msg":"ready"')) return true;
      if (!this.running) throw new Error(`pbsd of ${this.name} ended:\n${this.logEnd()}`);
      return false;
    });
  }

  /** Leaves cleanly; rules stay. Returns the exit status. */
  async stop(): Promise<number> {
    const status = (await this.#program?.stop("SIGTERM", 10_000)) ?? 0;
    await this.#gistd?.stop();
    return status;
  }

  async kill(): Promise<void> {
    await this.#program?.stop("SIGKILL");
  }

  reload(): void {
    this.#program?.signal("SIGHUP");
  }

  cleanup(): Promise<Outcome> {
    return run(pbsd("--config", this.configFile, "--cleanup"), { namespace: this.namespace });
  }

  /** pbsctl against this daemon. */
  ctl(...args: string[]): Promise<Outcome> {
    return run(pbsctl("--socket", this.socket, ...args), { namespace: this.namespace });
  }

  log(): string {
    try {
      return readFileSync(this.logFile, "utf8");
    } catch {
      return "";
    }
  }

  logEnd(): string {
    return this.log().trimEnd().split("\n").slice(-LOG_LINES_SHOWN).join("\n");
  }

  /** User and system time that it has used, in hundredths of a second. */
  cpuTicks(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(fields[11]) + Number(fields[12]);
  }

  /** Resident memory in bytes, as the kernel has it. */
  residentBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
  }
}
