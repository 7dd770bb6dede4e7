/**
 * Many flows at once, each datagram with the number of its flow.
 *   udp-many listen PORT                prints "listening", then each second the numbers of the flows heard in it
 *   udp-many send SOURCE-PORT HOST PORT FLOWS EVERY
 *                                       FLOWS flows from SOURCE-PORT on, each a datagram in EVERY milliseconds, until ended
 */
import { createSocket, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";

const PAYLOAD_BYTES = 64;

const [mode, ...rest] = process.argv.slice(2);
if (mode === "listen") listen(Number(rest[0]));
else await send(rest);

function listen(port: number): void {
  const socket = createSocket({ type: "udp6", recvBufferSize: 4 * 1024 * 1024 });
  let heard = new Set<number>();
  socket.on("message", (message) => heard.add(message.readUInt32BE(0)));
  socket.bind(port, "::", () => process.stdout.write("listening\n"));
  setInterval(() => {
    process.stdout.write(`${[...heard].join(" ")}\n`);
    heard = new Set();
  }, 1000);
}

async function send([from = "", host = "", port = "", flows = "", every = ""]: string[]): Promise<void> {
  const type = isIPv6(host) ? "udp6" : "udp4";
  const sockets = await Promise.all(
    Array.from({ length: Number(flows) }, (_, i) => bound(createSocket(type), Number(from) + i)),
  );
  const datagrams = sockets.map((_, i) => {
    const datagram = Buffer.alloc(PAYLOAD_BYTES);
    datagram.writeUInt32BE(i, 0);
    return datagram;
  });
  const sendAll = (): void => {
    for (const [i, socket] of sockets.entries())
      socket.send(datagrams[i] ?? "", Number(port), host, () => undefined);
  };
  process.stdout.write("sending\n");
  sendAll();
  setInterval(sendAll, Number(every));
}

function bound(socket: Socket, port: number): Promise<Socket> {
  // The kernel reports a refused flow to the socket; the next datagram is sent all the same.
  socket.on("error", () => undefined);
  return new Promise((done) => socket.bind(port, () => done(socket)));
}
