/** Runs the packet generator (generator.c) in a host of the lab. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ADDRESS, type Host, LOAD_CORE, type Lab } from "./lab.js";

export interface Load {
  readonly from: "sender" | "attacker";
  /** Length of the IPv4 packets. */
  readonly size: number;
  /** Flows to spread over; see generator.c for their addresses and ports. */
  readonly flows: number;
  readonly seconds: number;
  /** Packets a second; all that one core gives when undefined. */
  readonly rate?: number;
}

/** Compiles the generator into the lab's directory. */
export function buildGenerator(lab: Lab): string {
  const binary = join(lab.directory, "generator");
  if (!existsSync(binary)) {
    execFileSync("cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", binary, sourceFile("generator.c")], {
      stdio: "inherit",
    });
  }
  return binary;
}

/** A file of the sources by its path from this folder, which was compiled two folders further down. */
export function sourceFile(path: string): string {
  const places = [new URL(path, import.meta.url), new URL(`../../../testbed/bench/${path}`, import.meta.url)];
  const found = places.map((place) => fileURLToPath(place)).find((name) => existsSync(name));
  if (found === undefined) throw new Error(`testbed/bench/${path} is missing`);
  return found;
}

export function generatorCommand(lab: Lab, load: Load): string[] {
  const link = load.from === "sender" ? "from-sender" : "from-attacker";
  return [
    "taskset",
    "-c",
    String(LOAD_CORE),
    buildGenerator(lab),
    "out",
    lab.mac("router", link),
    ADDRESS[load.from],
    ADDRESS.receiver,
    String(load.size),
    String(load.flows),
    String(load.seconds),
    ...(load.rate === undefined ? [] : [String(load.rate)]),
  ];
}

/** Offers a load and counts what arrives at the receiver: packets a second forwarded by the router. */
export function forwardingRate(lab: Lab, load: Load): number {
  lab.pinRouter();
  const before = lab.received("receiver", "in");
  const start = performance.now();
  lab.run(load.from satisfies Host, ...generatorCommand(lab, load));
  const arrived = lab.received("receiver", "in") - before;
  return arrived / ((performance.now() - start) / 1000);
}
