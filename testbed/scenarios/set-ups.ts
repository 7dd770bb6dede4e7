/** Set-ups of flows beside an attack, and the goodput of one that is permitted. */
import type { Outcome } from "../lib/programs.js";
import type { Step } from "../lib/report.js";
import type { Testbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { curl, iperf3 } from "./common.js";

/**
 * All hosts of the testbed share a few cores. When a machine that is busy with other things loses packets before any rule
 * has seen them, the longest set-up tells of that machine; the median is judged all the same.
 */
const LOST_AT_MOST = 0.001;

/** A sender that is told to come again does so, and asks again after 2 s where a machine had no time for a message. */
const SET_UP_GIVEN_UP_S = 10;

/** Each connection has a port of its own, and so is a flow of its own, which is asked for anew. */
export async function setUps(testbed: Testbed, count: number, every: number): Promise<number[]> {
  const times: number[] = [];
  const started = performance.now();
  for (let i = 0; i < count; i++) {
    await until("the next", every * count + 1, () => performance.now() - started >= i * every);
    times.push(await setUp(testbed, "sender1", testbed.address("receiver1", 4)));
  }
  return times;
}

/** Milliseconds of a small transfer; Infinity when it does not take place. */
export async function setUp(testbed: Testbed, from: string, to: string): Promise<number> {
  return milliseconds(await testbed.run(from, curl(to, "/1000", "--max-time", String(SET_UP_GIVEN_UP_S))));
}

function milliseconds({ status, stdout }: Outcome): number {
  const [code, , , seconds] = stdout.split(" ");
  return status === 0 && code === "200" ? Math.round(Number(seconds) * 1000) : Number.POSITIVE_INFINITY;
}

export function judge(step: Step, times: readonly number[], limit: number, lost = 0): void {
  const sorted = [...times].sort((a, b) => a - b);
  step.measure("milliseconds", times.join(" "));
  const median = step.measure("median", sorted[Math.floor(sorted.length / 2)] ?? Number.POSITIVE_INFINITY);
  const longest = step.measure("longest", sorted.at(-1) ?? Number.POSITIVE_INFINITY);
  step.expect("each ends well", longest < Number.POSITIVE_INFINITY);
  step.expect(`the median in less than ${limit} ms`, median < limit);
  if (lost <= LOST_AT_MOST) step.expect(`each in less than ${limit} ms`, longest < limit);
}

const STREAM_MEGABITS = 20;

/** What arrives of a steady stream from sender1 to receiver1, where an iperf3 listens; in Mb/s. */
export async function goodput(testbed: Testbed, seconds: number): Promise<number> {
  const options = ["-u", "-b", `${STREAM_MEGABITS}M`, "-l", "1200", "-t", String(seconds)];
  const { received } = await iperf3(testbed, "sender1", testbed.address("receiver1", 4), options);
  return Math.round((received * 8) / seconds / 1e4) / 100;
}
