/** tshark with the dissector of docs/wireshark, and what it saw. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mustRun } from "../lib/programs.js";
import { ROOT } from "../lib/repository.js";

export const DISSECTOR = join(ROOT, "docs/wireshark/pbs-gateway.lua");

/** What one packet was dissected into. */
export interface Dissected {
  /** Names of the protocols, outermost first. */
  readonly protocols: readonly string[];
  /** Values of each field of GIST and PBS, as text, in the order of the packet. */
  readonly fields: ReadonlyMap<string, readonly string[]>;
  /** Complaints of the dissector, and of Wireshark about it. */
  readonly complaints: readonly string[];
}

type Json = string | null | readonly Json[] | { readonly [name: string]: Json };

/** An invisible item that Wireshark adds for each call of a dissector in Lua. */
const IN_EVERY_PACKET = "_ws.lua.fake";

const LIMIT_MS = 90_000;

/** @param options tshark's, for instance `-o name:value` */
export async function dissectFile(file: string, ...options: string[]): Promise<Dissected[]> {
  const output = ["-T", "json", "--no-duplicate-keys"];
  const command = ["tshark", "-X", `lua_script:${DISSECTOR}`, "-n", "-r", file, ...output, ...options];
  const text = await mustRun(command, { limit: LIMIT_MS });
  const packets = JSON.parse(text) as { _source: { layers: Record<string, Json> } }[];
  return packets.map(({ _source: { layers } }) => dissected(layers));
}

/** Runs tshark over a capture file in memory. */
export async function dissect(capture: Uint8Array, ...options: string[]): Promise<Dissected[]> {
  return withFile(capture, (file) => dissectFile(file, ...options));
}

/** Everything that tshark prints about a capture file in memory, its errors too. */
export function printed(capture: Uint8Array, ...options: string[]): Promise<string> {
  return withFile(capture, (file) =>
    mustRun(
      [
        "sh",
        "-c",
        'exec tshark "$@" 2>&1',
        "sh",
        "-X",
        `lua_script:${DISSECTOR}`,
        "-n",
        "-r",
        file,
        ...options,
      ],
      {
        limit: LIMIT_MS,
      },
    ),
  );
}

async function withFile<T>(content: Uint8Array, use: (file: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "pbs-wireshark-"));
  try {
    const file = join(directory, "capture.pcap");
    writeFileSync(file, content);
    return await use(file);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function dissected(layers: Readonly<Record<string, Json>>): Dissected {
  const fields = new Map<string, string[]>();
  const complaints: string[] = [];
  const frame = layers["frame"] as { "frame.protocols": string };
  for (const [name, layer] of Object.entries(layers)) {
    if (name === "gist" || name === "pbs") collect(layer, fields, complaints);
    if (name.startsWith("_ws.") && name !== IN_EVERY_PACKET)
      complaints.push(`${name}: ${JSON.stringify(layer)}`);
  }
  return { protocols: frame["frame.protocols"].split(":"), fields, complaints };
}

function collect(json: Json, fields: Map<string, string[]>, complaints: string[]): void {
  if (json === null || typeof json === "string") return;
  if (Array.isArray(json)) {
    for (const one of json as readonly Json[]) collect(one, fields, complaints);
    return;
  }
  for (const [name, value] of Object.entries(json as Readonly<Record<string, Json>>)) {
    for (const one of Array.isArray(value) ? (value as readonly Json[]) : [value]) {
      if (typeof one !== "string") continue;
      if (name === "_ws.expert.message") complaints.push(one);
      else if (/^(gist|pbs)\./.test(name)) fields.set(name, [...(fields.get(name) ?? []), one]);
    }
    collect(value, fields, complaints);
  }
}
