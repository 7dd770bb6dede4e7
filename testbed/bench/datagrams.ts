/** Runs datagrams.c: a stream of UDP datagrams from the lab's sender, counted by a program at the receiver. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { sourceFile } from "./generator.js";
import { ADDRESS, type Lab } from "./lab.js";

export interface Stream {
  readonly from: number;
  readonly to: number;
  /** Length of the IPv4 packets as the sender's programs make them. */
  readonly size: number;
  /** Datagrams a second. */
  readonly rate: number;
  readonly seconds: number;
}

/** Both a second. */
export interface Delivered {
  readonly offered: number;
  readonly arrived: number;
}

const HEADERS = 28;
/** How long what is on the way may take after the last was offered. */
const DRAIN_SECONDS = 3;
const LIMIT_MS = 30_000;
/** So few say nothing of a rate. */
const LEAST = 20;

/** Compiles the program into the lab's directory. */
function build(lab: Lab): string {
  const binary = join(lab.directory, "datagrams");
  if (!existsSync(binary)) {
    const flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-o", binary];
    execFileSync("cc", [...flags, sourceFile("datagrams.c")], { stdio: "inherit" });
  }
  return binary;
}

/** Throws when a program fails, and when hardly anything arrives. */
export async function deliver(lab: Lab, { from, to, size, rate, seconds }: Stream): Promise<Delivered> {
  const binary = build(lab);
  const options = [`${to}`, `${DRAIN_SECONDS}`];
  // Counting must not be what is short of the processor.
  const receiver = lab.start("receiver", "nice", "-n", "-10", binary, "receive", ...options);
  const insist = setTimeout(() => receiver.kill("SIGKILL"), (seconds + DRAIN_SECONDS) * 1000 + LIMIT_MS);
  try {
    const lines: AsyncIterator<string> = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
    await lines.next();
    const stream = [ADDRESS.receiver, to, size - HEADERS, rate, seconds].map(String);
    const { offered } = JSON.parse(
      await lab.finish("sender", LIMIT_MS, binary, "send", `${from}`, ...stream),
    ) as { offered: number };
    receiver.stdin.end();
    const counted = await lines.next();
    if (counted.done === true) throw new Error("the receiver of the datagrams ended without a count");
    const { datagrams, seconds: took } = JSON.parse(counted.value) as { datagrams: number; seconds: number };
    if (datagrams < LEAST || took <= 0) throw new Error(`only ${datagrams} of ${offered} datagrams arrived`);
    return { offered: offered / seconds, arrived: datagrams / took };
  } finally {
    clearTimeout(insist);
    if (receiver.exitCode === null && receiver.kill("SIGKILL")) await once(receiver, "exit");
  }
}

const FIRST_RATE = 2000;
const HIGHEST_RATE = 512_000;
const PROBE_SECONDS = 0.4;
/** Of what is offered; less has been lost on a path that is full. */
const MOST_ARRIVED = 0.9;
const ABOVE = 1.25;

/**
 * A rate that fills the path and not more than that: what is offered far beyond takes the processor from those who would
 * deliver it. Datagrams a second.
 */
export async function fillingRate(lab: Lab, stream: Omit<Stream, "rate" | "seconds">): Promise<number> {
  let best = 0;
  for (let rate = FIRST_RATE; rate <= HIGHEST_RATE; rate *= 2) {
    const { arrived, offered } = await deliver(lab, { ...stream, rate, seconds: PROBE_SECONDS });
    best = Math.max(best, arrived);
    if (arrived < rate * MOST_ARRIVED || offered < rate * MOST_ARRIVED) break;
  }
  return Math.round(best * ABOVE);
}

/** The longest that {@link fillingRate} and one window of {@link deliver} take, in seconds. */
export const FILLING_SECONDS = 9 * (PROBE_SECONDS + 0.4);
export const OVERHEAD_SECONDS = 0.5;
