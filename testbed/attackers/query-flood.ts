/** A flood of Queries, each well formed and each from another, forged source. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { IpAddress } from "../../src/base/address.js";
import { seconds } from "../../src/base/units.js";
import { buildQueryPacket, DEFAULT_ROUTER_ALERT } from "../../src/gist/transport/packet.js";
import { encodeGist, sessionIdFromBytes } from "../../src/gist/wire/codec.js";
import { GIST_PORT, MA_PROTOCOL } from "../../src/gist/wire/messages.js";
import { PBS_NSLP_ID } from "../../src/nslp/wire/messages.js";
import { ROOT } from "../lib/repository.js";

export interface QueryFlood {
  /** Its first byte is the network from which the forged sources are. */
  readonly source: string;
  readonly destination: string;
  /** Packets a second. */
  readonly rate: number;
  readonly seconds: number;
}

/** What the generator prints. */
export interface FloodSent {
  readonly sent: number;
  readonly refused: number;
  readonly seconds: number;
}

/** What differs from Query to Query stands in the pattern as a run of one byte, to be found again. */
const RANDOM = { session: 0xa1, identity: 0xa2, cookie: 0xa3 } as const;
const RANDOM_BYTES = 16;

/** Compiles the generator into a directory, and returns the command. */
export function queryFlood(directory: string, flood: QueryFlood): string[] {
  const binary = join(directory, "query-flood");
  if (!existsSync(binary)) {
    const source = join(ROOT, "testbed/attackers/query-flood.c");
    execFileSync("cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", binary, source], { stdio: "pipe" });
  }
  const packet = pattern(flood);
  const addresses = placesOf(packet, Buffer.from(IpAddress.parse(flood.source).bytes)).join(",");
  const randoms = Object.values(RANDOM)
    .flatMap((byte) => placesOf(packet, Buffer.alloc(RANDOM_BYTES, byte)))
    .map((at) => `${at}:${RANDOM_BYTES}`)
    .join(",");
  return [binary, String(flood.rate), String(flood.seconds), packet.toString("hex"), addresses, randoms];
}

function pattern({ source, destination }: QueryFlood): Buffer {
  const [from, to] = [source, destination].map((text) => IpAddress.parse(text)) as [IpAddress, IpAddress];
  const message = encodeGist({
    type: "query",
    hops: 32,
    nslpId: PBS_NSLP_ID,
    signallingSource: true,
    mri: {
      method: "path-coupled",
      direction: "downstream",
      source: from,
      destination: to,
      sourcePrefix: 32,
      destinationPrefix: 32,
      protocol: 17,
      sourcePort: 4000,
      destinationPort: 9000,
    },
    sessionId: sessionIdFromBytes(Buffer.alloc(RANDOM_BYTES, RANDOM.session)),
    nli: {
      ipTtl: 64,
      validity: seconds(30),
      peerIdentity: Buffer.alloc(RANDOM_BYTES, RANDOM.identity),
      interfaceAddress: from,
    },
    queryCookie: Buffer.alloc(RANDOM_BYTES, RANDOM.cookie),
    stack: {
      proposal: [[MA_PROTOCOL.tls, MA_PROTOCOL.forwardsTcp]],
      configuration: { holdTime: seconds(30), options: [] },
    },
  });
  return buildQueryPacket({
    source: from,
    destination: to,
    sourcePort: GIST_PORT,
    ttl: 64,
    dscp: 0,
    flowLabel: 0,
    routerAlert: DEFAULT_ROUTER_ALERT,
    message,
  });
}

/** Offsets of all runs of these bytes. */
function placesOf(packet: Buffer, wanted: Buffer): number[] {
  const places: number[] = [];
  for (let at = packet.indexOf(wanted); at !== -1; at = packet.indexOf(wanted, at + 1)) places.push(at);
  return places;
}
