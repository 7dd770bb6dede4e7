/** Sender, router and receiver of the lab with packet engines, between which flows have AH or not. */
import { generateKeyPairSync, type KeyPairKeyObjectResult, randomBytes } from "node:crypto";
import { isSymmetric, keyLength } from "../../src/authorization/algorithm.js";
import type { Algorithm } from "../../src/base/algorithm.js";
import type { Lab } from "./lab.js";
import { LineProgram } from "./lines.js";

export const NODES = ["sender", "router", "receiver"] as const;
export type Node = (typeof NODES)[number];

/** "xdp": programs and AF_XDP. */
export type RouterEngine = "xdp" | "nfqueue";

const ACTIONS = { sender: "insert", router: "verify", receiver: "strip" } as const;
const LIMIT_MS = 60_000;
/** Behind the queue, and of AF_XDP. */
const AH_THREADS = ["pbs-ah", "pbs-xdp-ah"].join(" ");

interface Keys {
  /** To insert, and to verify. */
  readonly sign: Buffer;
  readonly verify: Buffer;
}

/** What the threads that deal with AH have done so far. */
export interface Cost {
  readonly nanoseconds: number;
  /** Packets that got AH, or whose AH was found good. */
  readonly packets: number;
}

/** As a configuration would have it: bytes that TCP segments leave free. */
function reserveOf(algorithm: Algorithm): number {
  if (isSymmetric(algorithm)) return 40;
  return algorithm.endsWith("rsa-2048") ? 376 : 184;
}

function keyPair(algorithm: Algorithm): KeyPairKeyObjectResult {
  if (algorithm.endsWith("rsa-2048")) return generateKeyPairSync("rsa", { modulusLength: 2048 });
  if (algorithm.endsWith("p256")) return generateKeyPairSync("ec", { namedCurve: "P-256" });
  return generateKeyPairSync("ed25519");
}

function keysFor(algorithm: Algorithm): Keys {
  if (isSymmetric(algorithm)) {
    const key = randomBytes(keyLength(algorithm));
    return { sign: key, verify: key };
  }
  const { publicKey, privateKey } = keyPair(algorithm);
  return {
    sign: privateKey.export({ type: "pkcs8", format: "der" }),
    verify: publicKey.export({ type: "spki", format: "der" }),
  };
}

export class AhPath {
  readonly #engines: ReadonlyMap<Node, LineProgram>;
  #spi = 1000;

  private constructor(engines: ReadonlyMap<Node, LineProgram>) {
    this.#engines = engines;
  }

  /** TCP segments leave room for AH of this algorithm. Hosts have queues alone. */
  static async open(lab: Lab, algorithm: Algorithm, router: RouterEngine): Promise<AhPath> {
    const engines = new Map<Node, LineProgram>();
    const path = new AhPath(engines);
    const settings = { reserve: reserveOf(algorithm) };
    try {
      for (const node of NODES) {
        const which = node === "router" ? { engine: router, virtual: "generic" } : {};
        engines.set(node, await LineProgram.start(lab.namespace(node), "engine", { ...settings, ...which }));
      }
      return path;
    } catch (error) {
      await path.close();
      throw error;
    }
  }

  /** Both directions; the way there with AH of this algorithm, if one is given. */
  async permit(there: string, back: string, algorithm: Algorithm | undefined): Promise<void> {
    const keys = algorithm === undefined ? undefined : keysFor(algorithm);
    const spi = ++this.#spi;
    // The receiver first, as the Permission travels.
    for (const node of [...NODES].reverse()) {
      await this.#ask(node, `permit ${back}`);
      if (keys === undefined || algorithm === undefined) {
        await this.#ask(node, `permit ${there}`);
        continue;
      }
      const key = (node === "sender" ? keys.sign : keys.verify).toString("base64");
      const protect = { flow: there, action: ACTIONS[node], algorithm, spi, key };
      await this.#ask(node, `protect ${JSON.stringify(protect)}`);
    }
  }

  async cost(node: Node): Promise<Cost> {
    const answer = (await this.#ask(node, `cost ${AH_THREADS}`)) as Record<string, number | undefined>;
    const packets = (answer["ah.inserted"] ?? 0) + (answer["ah.verified"] ?? 0);
    return { nanoseconds: answer["nanoseconds"] ?? 0, packets };
  }

  async close(): Promise<void> {
    for (const engine of this.#engines.values()) await engine.stop(LIMIT_MS);
  }

  async #ask(node: Node, command: string): Promise<unknown> {
    return await this.#engines.get(node)?.ask(command, LIMIT_MS);
  }
}
