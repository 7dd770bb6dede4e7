/** tcpdump on a node's wire: the counter that is not ours. */
import { readFileSync } from "node:fs";
import { ipPacketsOf, type SeenPacket, readPcap } from "./pcap.js";
import { Program } from "./programs.js";
import { settled } from "./wait.js";

/** Enough for what stands behind the longest Authentication Header. */
const SNAP_LENGTH = 512;
/** Enough for any frame. */
export const WHOLE = 65_535;
const BUFFER_KIB = 65536;
const QUIET_MS = 150;
const QUIET_LIMIT_MS = 20_000;

export class Capture {
  readonly #tcpdump: Program;
  /** In the format of pcap. */
  readonly file: string;

  private constructor(tcpdump: Program, file: string) {
    this.#tcpdump = tcpdump;
    this.file = file;
  }

  /**
   * Resolves when packets are being seen.
   * @param direction as tcpdump's -Q, seen from the interface
   * @param snap bytes that are kept of each frame
   */
  static async start(
    namespace: string,
    device: string,
    direction: "in" | "out" | "inout",
    file: string,
    snap = SNAP_LENGTH,
  ): Promise<Capture> {
    const options = ["-nn", "-U", "--immediate-mode", "-Z", "root", "-s", String(snap)];
    const command = [
      "tcpdump",
      ...options,
      "-B",
      String(BUFFER_KIB),
      "-i",
      device,
      "-Q",
      direction,
      "-w",
      file,
    ];
    const tcpdump = new Program(command, { namespace });
    await tcpdump.says("listening on");
    return new Capture(tcpdump, file);
  }

  /** What was seen so far. */
  packets(): SeenPacket[] {
    return readPcap(readFileSync(this.file));
  }

  /** IP packets seen so far, with their headers, as far as they were kept. */
  ipPackets(): Buffer[] {
    return ipPacketsOf(readFileSync(this.file));
  }

  /** Waits until nothing that matches has come for a moment, and returns all. */
  async quiet(matches: (packet: SeenPacket) => boolean = () => true): Promise<SeenPacket[]> {
    await settled("a quiet wire", QUIET_LIMIT_MS, QUIET_MS, () => this.packets().filter(matches).length);
    return this.packets();
  }

  /** Rejects when tcpdump itself missed packets: then it has no count to offer. */
  async stop(): Promise<SeenPacket[]> {
    await this.#tcpdump.stop("SIGINT");
    const missed = /(\d+) packets? dropped by kernel/.exec(this.#tcpdump.stderr)?.[1];
    if (missed !== "0") throw new Error(`tcpdump missed packets: ${this.#tcpdump.stderr.trim()}`);
    return this.packets();
  }
}

const GIST_PORT = 270;
const MAGIC = 0x4e04bda5;
const TLS_PORT = 5270;
const ICMP = 1;
const ICMPV6 = 58;
const ICMP_ECHO = new Set([0, 8]);
const ICMPV6_ECHO = new Set([128, 129]);

export type Kind = "signalling" | "data" | "housekeeping";

/** What a packet is, by its own fields alone. */
export function kindOf(packet: SeenPacket): Kind {
  const { version, protocol, sourcePort, destinationPort, payload } = packet;
  if (version === 0) return "housekeeping";
  if (protocol === ICMP && version === 4) return ICMP_ECHO.has(sourcePort) ? "data" : "housekeeping";
  if (protocol === ICMPV6 && version === 6) return ICMPV6_ECHO.has(sourcePort) ? "data" : "housekeeping";
  if (protocol === 17 && (destinationPort === GIST_PORT || sourcePort === GIST_PORT))
    return payload.length >= 4 && payload.readUInt32BE(0) === MAGIC ? "signalling" : "data";
  if (protocol === 6 && (destinationPort === TLS_PORT || sourcePort === TLS_PORT)) return "signalling";
  return "data";
}

export function bytesOf(packets: readonly SeenPacket[]): number {
  return packets.reduce((sum, packet) => sum + packet.length, 0);
}
