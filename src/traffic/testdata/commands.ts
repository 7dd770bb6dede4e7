/** One JSON command a line on standard input, each answered with one JSON line on standard output. */
import { createInterface } from "node:readline";

/** Until standard input ends. What `perform` throws is the answer's `error`. */
export async function answerCommands<C>(perform: (command: C) => Promise<unknown>): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = await perform(JSON.parse(line) as C).then(
      (value) => ({ value: value ?? null }),
      (error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }),
    );
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}
