/**
 * Numbered datagrams.
 *   udp listen PORT                     prints "N" for each datagram that came, its number; "N altered" when it is not as sent
 *   udp send SOURCE-PORT HOST PORT COUNT SIZE RATE
 *                                       COUNT datagrams of SIZE payload bytes, RATE a second; COUNT 0: until ended
 */
import { createSocket, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";

const NUMBER_BYTES = 4;

const [mode, ...rest] = process.argv.slice(2);
if (mode === "listen") listen(Number(rest[0]));
else await send(rest);

function listen(port: number): void {
  const socket = createSocket({ type: "udp6", recvBufferSize: 4 * 1024 * 1024 });
  socket.on("message", (message) => process.stdout.write(`${describe(message)}\n`));
  socket.bind(port, "::", () => process.stdout.write("listening\n"));
}

/** Behind the number there are zeros. */
function describe(message: Buffer): string {
  if (message.length < NUMBER_BYTES) return "0 altered";
  const altered = message.subarray(NUMBER_BYTES).some((byte) => byte !== 0);
  return `${message.readUInt32BE(0)}${altered ? " altered" : ""}`;
}

async function send([sourcePort, host = "", port, ...numbers]: string[]): Promise<void> {
  const [count = 0, size = 0, rate = 1] = numbers.map(Number);
  const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
  // The kernel reports a refused flow to the socket; the next datagram is sent all the same.
  socket.on("error", () => undefined);
  socket.bind(Number(sourcePort), () => pace(socket, { host, port: Number(port), count, size, rate }));
}

interface Stream {
  readonly host: string;
  readonly port: number;
  readonly count: number;
  readonly size: number;
  readonly rate: number;
}

function pace(socket: Socket, stream: Stream): void {
  const started = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - started) * stream.rate) / 1000) + 1;
    const until = stream.count === 0 ? due : Math.min(due, stream.count);
    while (sent < until) {
      const datagram = Buffer.alloc(stream.size);
      datagram.writeUInt32BE(sent++, 0);
      socket.send(datagram, stream.port, stream.host, () => undefined);
    }
    if (stream.count === 0 || sent < stream.count) return;
    clearInterval(timer);
    setTimeout(() => process.exit(0), 50);
  }, 1);
}
