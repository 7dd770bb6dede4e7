/**
 * What AH costs: one TCP flow, and datagrams of some sizes, from a sender that inserts it over a router that verifies to a
 * receiver that takes it out, against the same path with the same engines and without AH, measured in turn.
 */
import { generateKeyPairSync, type KeyPairKeyObjectResult, randomBytes } from "node:crypto";
import { isSymmetric, keyLength } from "../../src/authorization/algorithm.js";
import { ALGORITHMS, type Algorithm } from "../../src/base/algorithm.js";
import { ADDRESS, Lab } from "./lab.js";
import { LineProgram } from "./lines.js";
import { type Case, paired, type Report, report } from "./result.js";

const NODES = ["sender", "router", "receiver"] as const;
type Node = (typeof NODES)[number];

const ACTIONS = { sender: "insert", router: "verify", receiver: "strip" } as const;
const SECONDS = 3;
/** A window counts for nothing when the receiver's report did not come through beside the datagrams. */
const ATTEMPTS = 3;
const LIMIT_MS = 60_000;
const CLIENT_PORT = 41_000;
/** The kernel set knows no source port, so plain flows and those with AH go to servers of their own. */
const PLAIN_PORT = 5201;
/**
 * Of datagrams apart from that of the TCP flow, so that iperf3's control connection is not in the queue that they fill.
 */
const AH_PORT = { tcp: 5202, udp: 5203 } as const;
const SIZES = [64, 512, 1400] as const;
const DATAGRAM_HEADERS = 28;
const QUICK: readonly Algorithm[] = ["hmac-sha256-128", "tree-ed25519"];

interface Keys {
  /** To insert, and to verify. */
  readonly sign: Buffer;
  readonly verify: Buffer;
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

/** The engines of all three nodes. */
class Path {
  readonly #engines: ReadonlyMap<Node, LineProgram>;
  #spi = 1000;

  private constructor(engines: ReadonlyMap<Node, LineProgram>) {
    this.#engines = engines;
  }

  static async open(lab: Lab, reserve: number): Promise<Path> {
    const engines = new Map<Node, LineProgram>();
    const path = new Path(engines);
    try {
      for (const node of NODES)
        engines.set(node, await LineProgram.start(lab.namespace(node), "engine", { reserve }));
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

  async close(): Promise<void> {
    for (const engine of this.#engines.values()) await engine.stop(LIMIT_MS);
  }

  async #ask(node: Node, command: string): Promise<void> {
    await this.#engines.get(node)?.ask(command, LIMIT_MS);
  }
}

interface IperfResult {
  readonly end: {
    readonly sum_received: { readonly bits_per_second: number };
    readonly sum?: { readonly packets?: number; readonly lost_packets?: number; readonly seconds: number };
  };
}

/** iperf3 from the sender; the data flow has a fixed port, the control connection one of the ten after it. */
function iperf(lab: Lab, port: number, ...options: string[]): IperfResult["end"] {
  const server = lab.start("receiver", "iperf3", "-s", "-1", "-p", String(port));
  try {
    lab.run("receiver", "sh", "-c", `until ss -ltn | grep -q :${port}; do :; done`);
    const text = lab.run(
      "sender",
      ...["iperf3", "-c", ADDRESS.receiver, "-p", String(port), "--cport", String(CLIENT_PORT)],
      ...["-t", String(SECONDS), "-J", ...options],
    );
    return (JSON.parse(text) as IperfResult).end;
  } finally {
    server.kill();
  }
}

function flows(protocol: "tcp" | "udp", from: number, to: number): [string, string] {
  const [sender, receiver] = [`${ADDRESS.sender}:${from}`, `${ADDRESS.receiver}:${to}`];
  return [`${protocol} ${sender} > ${receiver}`, `${protocol} ${receiver} > ${sender}`];
}

const tcpRate = (lab: Lab, port: number): number => iperf(lab, port).sum_received.bits_per_second / 1e9;

/** Datagrams a second that arrive; `size` is that of the IP packet without AH. */
function udpRate(lab: Lab, port: number, size: number): number {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const { sum } = iperf(lab, port, "-u", "-b", "0", "-l", String(size - DATAGRAM_HEADERS));
    if (sum !== undefined) return ((sum.packets ?? 0) - (sum.lost_packets ?? 0)) / sum.seconds / 1000;
  }
  throw new Error(`iperf3 had no report of datagrams of ${size} bytes in ${ATTEMPTS} windows`);
}

/** Measures without AH and with it in turn, over the same engines. */
async function compare(
  path: Path,
  protocol: "tcp" | "udp",
  algorithm: Algorithm,
  runs: number,
  measure: (port: number) => number,
): Promise<{ value: number; baseline: number }[]> {
  const pairs: { value: number; baseline: number }[] = [];
  for (let run = 0; run < runs; run++) {
    await path.permit(...flows(protocol, CLIENT_PORT, AH_PORT[protocol]), algorithm);
    pairs.push({ baseline: measure(PLAIN_PORT), value: measure(AH_PORT[protocol]) });
  }
  return pairs;
}

/** The plain flows, and the control connections of iperf3. */
async function permitPlain(path: Path): Promise<void> {
  for (const protocol of ["tcp", "udp"] as const)
    await path.permit(...flows(protocol, CLIENT_PORT, PLAIN_PORT), undefined);
  for (let port = CLIENT_PORT + 1; port <= CLIENT_PORT + 10; port++)
    for (const server of [PLAIN_PORT, AH_PORT.tcp, AH_PORT.udp])
      await path.permit(...flows("tcp", port, server), undefined);
}

async function measure(lab: Lab, algorithm: Algorithm, quick: boolean): Promise<Case[]> {
  const runs = quick ? 1 : 5;
  const path = await Path.open(lab, reserveOf(algorithm));
  try {
    await permitPlain(path);
    const pairs = await compare(path, "tcp", algorithm, runs, (port) => tcpRate(lab, port));
    const results = [paired(`TCP, ${algorithm}`, "Gb/s", pairs)];
    for (const size of quick ? [] : SIZES) {
      const rates = await compare(path, "udp", algorithm, runs, (port) => udpRate(lab, port, size));
      results.push(paired(`UDP ${size} B, ${algorithm}`, "kpps", rates));
    }
    return results;
  } finally {
    await path.close();
  }
}

export async function authentication(quick: boolean, only: readonly string[]): Promise<Report> {
  const chosen = (quick ? QUICK : ALGORITHMS).filter((name) => only.length === 0 || only.includes(name));
  const lab = new Lab();
  try {
    lab.run("sender", "sysctl", "-qw", "net.ipv4.ip_local_port_range=41001 41010");
    const results: Case[] = [];
    for (const algorithm of chosen) results.push(...(await measure(lab, algorithm, quick)));
    return report("authentication", results);
  } finally {
    lab.close();
  }
}
