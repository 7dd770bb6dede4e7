/**
 * Connects by TCP as an application would, for the set-up benchmark. Argument: {"to", "port"} as JSON; each line of
 * standard input is a local port; the answer is the time that connect took.
 */
import { once } from "node:events";
import { connect } from "node:net";
import { createInterface } from "node:readline";

const { to, port } = JSON.parse(process.argv[2] ?? "") as { to: string; port: number };

/** Milliseconds from connect to connected. The connection ends with RST: the local port can be used again at once. */
async function connectFrom(localPort: number): Promise<number> {
  const started = performance.now();
  const socket = connect({ host: to, port, localPort });
  await once(socket, "connect");
  const milliseconds = performance.now() - started;
  const closed = once(socket, "close");
  socket.resetAndDestroy();
  await closed;
  return milliseconds;
}

console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify({ milliseconds: await connectFrom(Number(line)) }));
  } catch (error) {
    console.log(JSON.stringify({ failed: error instanceof Error ? error.message : String(error) }));
  }
}
