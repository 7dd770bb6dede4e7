/** Runs of testbeds on this machine: one directory each, so that another process can find and remove them. */
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TOPOLOGIES, type Topology } from "../topologies.js";
import { allNamespaces, NAMESPACE_PREFIX, namespacesOf, removeNamespaces } from "./network.js";

export interface RunRecord {
  readonly id: string;
  readonly topology: string;
  readonly directory: string;
  /** Process that made it; it removes it again unless `kept`. */
  readonly owner: number;
  readonly kept: boolean;
  readonly started: string;
}

const DIRECTORY_PREFIX = "pbs-testbed-";
const RECORD = "run.json";

/** Reserves an id and its directory. */
export function register(topology: Topology, kept: boolean): RunRecord {
  const id = randomBytes(3).toString("hex");
  const directory = join(tmpdir(), `${DIRECTORY_PREFIX}${id}`);
  mkdirSync(directory, { mode: 0o755 });
  const started = new Date().toISOString();
  const record = { id, topology: topology.name, directory, owner: process.pid, kept, started };
  writeFileSync(join(directory, RECORD), JSON.stringify(record));
  return record;
}

/** Runs that exist, oldest first. */
export function runs(): RunRecord[] {
  return readdirSync(tmpdir())
    .filter((name) => name.startsWith(DIRECTORY_PREFIX))
    .flatMap((name) => readRecord(join(tmpdir(), name)))
    .sort((a, b) => a.started.localeCompare(b.started));
}

function readRecord(directory: string): RunRecord[] {
  try {
    return [JSON.parse(readFileSync(join(directory, RECORD), "utf8")) as RunRecord];
  } catch {
    return [];
  }
}

/** Takes away everything of a run. Synchronous, so that it works while this process exits. */
export function removeRun(record: Pick<RunRecord, "id" | "directory">): void {
  removeNamespaces(namespacesOf(record.id));
  rmSync(record.directory, { recursive: true, force: true });
}

/** What runs that have ended left behind, and namespaces of no run. Runs that were told to stay are not listed. */
export function leftovers(): string[] {
  const known = runs();
  const dead = known.filter(({ kept, owner }) => !kept && !isAlive(owner)).map(({ directory }) => directory);
  const ids = new Set(known.map(({ id }) => id));
  const orphans = allNamespaces().filter((name) => !ids.has(idOf(name)));
  return [...dead, ...orphans];
}

function idOf(namespace: string): string {
  return namespace.slice(NAMESPACE_PREFIX.length).split("-")[0] ?? "";
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

export function findTopology(name: string): Topology | undefined {
  return TOPOLOGIES.find((topology) => topology.name === name);
}
