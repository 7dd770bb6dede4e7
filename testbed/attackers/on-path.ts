/** An attacker, or only a bad link, at a node of the path: a rule takes what is forwarded to the tool of path.c. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Program } from "../lib/programs.js";
import { ROOT } from "../lib/repository.js";
import type { Testbed } from "../lib/testbed.js";
import { wallClock } from "../scenarios/common.js";

export interface PathTrouble {
  /** "data": signalling passes. "everything": also what the node itself sends. */
  readonly what: "data" | "everything";
  /** The interface by which packets leave; absent: all. */
  readonly device?: string;
  /** Share of packets dropped, 0 to 1. */
  readonly loss?: number;
  /** How many in a row each time. */
  readonly burst?: number;
  /** Milliseconds that each packet waits, and up to how many more, each by itself: they overtake each other. */
  readonly delay?: number;
  readonly spread?: number;
}

export interface PathDamage {
  readonly seen: number;
  readonly dropped: number;
  /** Of the first drop, milliseconds since 1970; 0: there was none. */
  readonly first: number;
}

/** For a node whose own stack is the attacker's: XDP programs would send past its rules, and before it can listen. */
export const BY_THE_STACK = { packets: { engine: "nfqueue" } } as const;

const QUEUE = 40;
const CHAIN = "ATTACK";
const SEED = 20_100_726;
const TOOLS = ["iptables", "ip6tables"] as const;
const SIGNALLING = [
  ["-p", "udp", "--dport", "270"],
  ["-p", "udp", "--sport", "270"],
  ["-p", "tcp", "--dport", "5270"],
  ["-p", "tcp", "--sport", "5270"],
];

export class OnPath {
  /** When the trouble began, milliseconds since 1970. */
  readonly began: number;
  readonly #testbed: Testbed;
  readonly #node: string;
  readonly #tool: Program;
  readonly #jumps: readonly string[][];

  private constructor(testbed: Testbed, node: string, tool: Program, jumps: readonly string[][]) {
    this.began = wallClock();
    this.#testbed = testbed;
    this.#node = node;
    this.#tool = tool;
    this.#jumps = jumps;
  }

  /** Resolves when the next packet will meet it. One a node. */
  static async start(testbed: Testbed, node: string, trouble: PathTrouble): Promise<OnPath> {
    const { what, device, loss = 0, burst = 1, delay = 0, spread = 0 } = trouble;
    const numbers = [QUEUE, loss, burst, delay, spread, SEED].map(String);
    const tool = testbed.spawn(node, [compiled(testbed), ...numbers]);
    await tool.says("listening");
    const out = device === undefined ? [] : ["-o", device];
    const hooks = what === "data" ? ["FORWARD"] : ["FORWARD", "OUTPUT"];
    const jumps = hooks.map((hook) => [hook, ...out, "-j", CHAIN]);
    const passes = what === "data" ? SIGNALLING.map((match) => [CHAIN, ...match, "-j", "RETURN"]) : [];
    for (const iptables of TOOLS) {
      await testbed.mustRun(node, [iptables, "-N", CHAIN]);
      for (const rule of [...passes, [CHAIN, "-j", "NFQUEUE", "--queue-num", String(QUEUE)]])
        await testbed.mustRun(node, [iptables, "-A", ...rule]);
      for (const rule of jumps) await testbed.mustRun(node, [iptables, "-I", ...rule]);
    }
    return new OnPath(testbed, node, tool, jumps);
  }

  /** The path is good again. */
  async stop(): Promise<PathDamage> {
    for (const iptables of TOOLS) {
      for (const rule of this.#jumps) await this.#testbed.mustRun(this.#node, [iptables, "-D", ...rule]);
      await this.#testbed.mustRun(this.#node, [iptables, "-F", CHAIN]);
      await this.#testbed.mustRun(this.#node, [iptables, "-X", CHAIN]);
    }
    await this.#tool.stop();
    const [, said = ""] = this.#tool.stdout.split("listening\n");
    return JSON.parse(said) as PathDamage;
  }
}

/** Compiled once a run. */
function compiled(testbed: Testbed): string {
  const tool = join(testbed.record.directory, "path");
  if (existsSync(tool)) return tool;
  const sources = ["testbed/attackers/path.c", "native/queue.c"].map((file) => join(ROOT, file));
  const flags = execFileSync("pkg-config", ["--cflags", "--libs", "libmnl"], { encoding: "utf8" });
  const options = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", ...sources, "-o", tool];
  execFileSync("cc", [...options, ...flags.trim().split(/\s+/)]);
  return tool;
}
