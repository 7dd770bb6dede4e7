/** Packets that pretend to be somebody else's: starts inject.py at a node, and reads what a router's stolen keys are. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ALGORITHMS, SYMMETRIC_ALGORITHMS } from "../../src/base/algorithm.js";
import type { Program } from "../lib/programs.js";
import { preloaded, ROOT } from "../lib/repository.js";
import type { Testbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";

/** That for which Debian's packages are, whatever else there is. */
const PYTHON = "/usr/bin/python3";
const SCRIPT = join(ROOT, "testbed/attackers/inject.py");

export interface StolenKey {
  readonly spi: number;
  readonly algorithm: string;
  /** Hexadecimal. */
  readonly key: string;
}

export interface InjectPlan {
  readonly flow: {
    readonly protocol: 6 | 17;
    readonly source: string;
    readonly sport: number;
    readonly destination: string;
    readonly dport: number;
  };
  /** Wire to send to, and the node on it that is to get the packets. */
  readonly wire: string;
  readonly to: string;
  readonly ah?: StolenKey & { readonly sequence: number };
  /** Seconds to listen on another wire; what comes is sent again. */
  readonly replay?: { readonly seconds: number; readonly wire: string };
  readonly count: number;
  readonly size: number;
  readonly rate: number;
}

export interface Injected {
  readonly sent: number;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly first: number;
  readonly last: number;
}

export class Injector {
  readonly #program: Program;

  private constructor(program: Program) {
    this.#program = program;
  }

  /** Resolves when all packets are made. */
  static async prepare(testbed: Testbed, node: string, plan: InjectPlan): Promise<Injector> {
    const { wire, to, replay, ...rest } = plan;
    const mac = (await testbed.mustRun(to, ["cat", `/sys/class/net/${wire}/address`])).trim();
    const text = JSON.stringify({
      ...rest,
      interface: wire,
      mac,
      ...(replay && { replay: replay.seconds, listen: replay.wire }),
    });
    const program = testbed.spawn(node, [PYTHON, SCRIPT, text]);
    await program.says("ready", 180_000);
    return new Injector(program);
  }

  /** Sends all, and resolves at the end. */
  async run(): Promise<Injected> {
    this.#program.end("go\n");
    if ((await this.#program.exited) !== 0) throw new Error(`the injector failed: ${this.#program.stderr}`);
    const [, said = ""] = this.#program.stdout.split("ready\n");
    return JSON.parse(said) as Injected;
  }
}

/** Options for a daemon whose keys are stolen, and the file that they get into. */
export function thief(directory: string): { readonly file: string; readonly environment: NodeJS.ProcessEnv } {
  const file = join(directory, "stolen-keys");
  return { file, environment: { ...preloaded("attackers/steal-keys"), STOLEN_KEYS: file } };
}

/** The last shared key that was stolen, once there is one. */
export async function stolenKey(file: string): Promise<StolenKey> {
  return until("a stolen key", 10_000, () => {
    const lines = read(file).trim().split("\n").filter(Boolean);
    const keys = lines.map((line) => JSON.parse(line) as { spi: number; algorithm: number; key: string });
    const last = keys.findLast(({ algorithm }) => algorithm < SYMMETRIC_ALGORITHMS.length);
    return last && { ...last, algorithm: ALGORITHMS[last.algorithm] ?? "" };
  });
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
