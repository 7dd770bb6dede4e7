/** Processor time of single threads, so that what else runs on their core is no part of a figure. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Receive paths of the router's two links that the load crosses. */
const RECEIVE = /^\s*(\d+)\s+napi\/(from-sender|from-sende|to-receiver|to-receive)/;

/** Thread ids whose name the pattern finds, in lines of id and name; the id is its first group. */
export function threads(pattern: RegExp): string[] {
  return execFileSync("ps", ["-eLo", "tid,comm"], { encoding: "utf8" })
    .split("\n")
    .flatMap((line) => pattern.exec(line)?.[1] ?? []);
}

/** Seconds of processor time that these have had together. */
export function processorSeconds(ids: readonly string[]): number {
  const used = ids.map((id) => Number(readFileSync(`/proc/${id}/schedstat`, "utf8").split(" ")[0]));
  return used.reduce((sum, nanoseconds) => sum + nanoseconds, 0) / 1e9;
}

/** The same of the router's receive path. */
export function routerSeconds(): number {
  return processorSeconds(threads(RECEIVE));
}

export function pin(ids: readonly string[], core: number): void {
  for (const id of ids) execFileSync("taskset", ["-p", "-c", String(core), id], { stdio: "ignore" });
}
