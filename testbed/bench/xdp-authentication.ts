/**
 * Packets with AH that a router verifies beside its stack (AF_XDP), against plain forwarding of packets of the same size by the
 * same kernel: with the verifying thread on the core that receives, and on the other one.
 */
import { execFileSync } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { forwardingRate, sourceFile } from "./generator.js";
import { ADDRESS, LOAD_CORE, type Lab, ROUTER_CORE } from "./lab.js";
import { pin, processorSeconds, routerSeconds, threads } from "./processor-time.js";
import { type Case, paired } from "./result.js";
import { BASE_PORT } from "./shape.js";

export const SIZE = 1400;
const PACKETS = 500_000;
const LIMIT_MS = 60_000;
const VERIFIER = /^\s*(\d+)\s+pbs-xdp-ah/;
const FLOW = `udp ${ADDRESS.sender}:4000 > ${ADDRESS.receiver}:${BASE_PORT}`;

const ETHERNET = 14;
const IP = 20;
const AH = 28;
const ICV_AT = 12;

function checksum(header: Buffer): number {
  let sum = 0;
  for (let i = 0; i < header.length; i += 2) sum += header.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** An IPv4 packet with AH, its mutable fields and its ICV zero. */
function bare(spi: number): Buffer {
  const packet = Buffer.alloc(SIZE);
  packet[0] = 0x45;
  packet.writeUInt16BE(SIZE, 2);
  packet[9] = 51;
  for (const [at, text] of [
    [12, ADDRESS.sender],
    [16, ADDRESS.receiver],
  ] as const)
    packet.set(text.split(".").map(Number), at);
  packet[IP] = 17;
  packet[IP + 1] = AH / 4 - 2;
  packet.writeUInt32BE(spi, IP + 4);
  packet.writeUInt16BE(4000, IP + AH);
  packet.writeUInt16BE(BASE_PORT, IP + AH + 2);
  packet.writeUInt16BE(SIZE - IP - AH, IP + AH + 4);
  return packet;
}

/** Sequence number and ICV (HMAC-SHA-256-128, RFC 4868) of packets 1 to count. */
function proofs(packet: Buffer, key: Buffer, count: number): Buffer {
  const out = Buffer.alloc(count * 20);
  for (let i = 0; i < count; i++) {
    packet.writeUInt32BE(i + 1, IP + 8);
    out.writeUInt32BE(i + 1, i * 20);
    createHmac("sha256", key)
      .update(packet)
      .digest()
      .copy(out, i * 20 + 4, 0, 16);
  }
  packet.writeUInt32BE(0, IP + 8);
  return out;
}

/** The packet as it leaves, in an Ethernet frame. */
function frameOf(packet: Buffer, to: string): Buffer {
  const frame = Buffer.alloc(ETHERNET + SIZE);
  frame.set(to.split(":").map((byte) => parseInt(byte, 16)));
  frame[6] = 2;
  frame.writeUInt16BE(0x0800, 12);
  packet.copy(frame, ETHERNET);
  frame[ETHERNET + 6] = 0x40;
  frame[ETHERNET + 8] = 64;
  frame.writeUInt16BE(checksum(frame.subarray(ETHERNET, ETHERNET + IP)), ETHERNET + 10);
  frame.fill(0, ETHERNET + IP + ICV_AT, ETHERNET + IP + AH);
  return frame;
}

/** Compiles the generator and its program into the lab's directory. */
function build(lab: Lab): { binary: string; object: string } {
  const [binary, object] = [join(lab.directory, "ah-generator"), join(lab.directory, "ah-generator.bpf.o")];
  if (!existsSync(binary)) {
    const flags = ["-O2", "-Wall", "-Wextra", "-Werror"];
    execFileSync("cc", [...flags, "-o", binary, sourceFile("ah-generator.c"), "-lbpf"], { stdio: "inherit" });
    execFileSync("sh", [sourceFile("../../native/bpf/compile"), sourceFile("ah-generator.bpf.c"), object]);
  }
  return { binary, object };
}

let spi = 5000;

/** What answers to "protect". */
interface Verifier {
  ask(command: string, limit: number): Promise<unknown>;
}

/** Has the engine verify a new association of the flow, and returns the command that sends its packets. */
async function prepare(lab: Lab, engine: Verifier, rate: number): Promise<readonly string[]> {
  const { binary, object } = build(lab);
  const key = randomBytes(32);
  const packet = bare(++spi);
  const [frame, list] = [join(lab.directory, "ah.frame"), join(lab.directory, "ah.proofs")];
  writeFileSync(frame, frameOf(packet, lab.mac("router", "from-sender")));
  writeFileSync(list, proofs(packet, key, PACKETS));
  const protect = {
    flow: FLOW,
    action: "verify",
    algorithm: "hmac-sha256-128",
    spi,
    key: key.toString("base64"),
  };
  await engine.ask(`protect ${JSON.stringify(protect)}`, LIMIT_MS);
  return ["taskset", "-c", String(LOAD_CORE), binary, object, "out", frame, list, String(rate)];
}

interface Verified {
  /** Of those sent, how many arrived. */
  readonly share: number;
  /** Packets a second that arrived. */
  readonly rate: number;
  /** The same for a second of the busier one's processor time: of the receive path or the verifying thread. */
  readonly busier: number;
}

/** Offers `rate` packets a second, with the verifying thread on a core. */
export async function verified(lab: Lab, engine: Verifier, core: number, rate: number): Promise<Verified> {
  const command = await prepare(lab, engine, rate);
  lab.pinRouter();
  const verifier = threads(VERIFIER);
  pin(verifier, core);
  const before = lab.received("receiver", "in");
  const [received, checked] = [routerSeconds(), processorSeconds(verifier)];
  const said = lab.run("sender", ...command);
  const { seconds } = JSON.parse(said) as { seconds: number };
  const arrived = lab.received("receiver", "in") - before;
  const busy = Math.max(routerSeconds() - received, processorSeconds(verifier) - checked);
  return { share: arrived / PACKETS, rate: arrived / seconds, busier: arrived / busy };
}

const PLACES = [
  { name: "one core", core: ROUTER_CORE, rate: 450_000 },
  { name: "forwarding core and worker core", core: LOAD_CORE, rate: 700_000 },
] as const;

type Pair = Parameters<typeof paired>[2][number];

/** Plain forwarding of packets of the same size, as {@link verified} has it. */
function plain(lab: Lab): Omit<Verified, "share"> {
  lab.pinRouter();
  const [seconds, packets] = [routerSeconds(), lab.received("receiver", "in")];
  const rate = forwardingRate(lab, { from: "sender", size: SIZE, flows: 1, seconds: 1 });
  return { rate, busier: (lab.received("receiver", "in") - packets) / (routerSeconds() - seconds) };
}

/**
 * By the clock, and, for two cores, by the time of the busier one: by the clock the core that verifies makes the packets, too.
 */
export async function authenticated(lab: Lab, engine: Verifier, runs: number): Promise<Case[]> {
  const results: Case[] = [];
  for (const { name, core, rate } of PLACES) {
    const clock: Pair[] = [];
    const busier: Pair[] = [];
    for (let run = 0; run < runs; run++) {
      await engine.ask("detach", LIMIT_MS);
      const baseline = plain(lab);
      await engine.ask("install 1", LIMIT_MS);
      const value = await verified(lab, engine, core, rate);
      clock.push({ value: value.rate / 1000, baseline: baseline.rate / 1000 });
      busier.push({ value: value.busier / 1000, baseline: baseline.busier / 1000 });
    }
    const what = `xdp and AF_XDP, hmac-sha256-128, ${SIZE} B, ${name}`;
    results.push(paired(what, "kpps", clock));
    if (core !== ROUTER_CORE)
      results.push(paired(`${what}, by the busier one's time`, "kpps a core", busier));
  }
  return results;
}
