/** A transport in a process of its own, steered over the IPC channel: what the tests put into a network namespace. */
import { IpAddress } from "../../base/address.js";
import { silentLogger } from "../../base/log.js";
import { SystemTime } from "../../base/time.js";
import { seconds } from "../../base/units.js";
import type { Mri } from "../wire/messages.js";
import { SystemTransport } from "./system.js";
import type { Connection, Datagram, Interception } from "./transport.js";

export interface NodeSetup {
  readonly queueNumber: number;
  readonly certificate: string;
  readonly key: string;
  readonly authorities: readonly string[];
  /** What to answer to an intercepted message, by its NSLPID. */
  readonly answers: Readonly<Record<number, Interception>>;
}

/** Messages are hexadecimal, addresses text. */
export type Order =
  | { readonly order: "start"; readonly setup: NodeSetup }
  | {
      readonly order: "query";
      readonly source: string;
      readonly destination: string;
      readonly spoofSource: boolean;
      readonly message: string;
    }
  | { readonly order: "datagram"; readonly to: string; readonly message: string }
  | { readonly order: "route"; readonly destination: string }
  | { readonly order: "talk"; readonly to: string; readonly port: number; readonly message: string }
  | { readonly order: "stop" };

export type Report =
  | { readonly report: "done"; readonly detail?: unknown }
  | {
      readonly report: "datagram";
      readonly message: string;
      readonly source: string;
      readonly sourcePort: number;
      readonly destination: string;
      readonly ipTtl: number;
      readonly inboundInterface: string;
      readonly intercepted: boolean;
    }
  | { readonly report: "message"; readonly message: string; readonly peer: string | undefined };

const TLS_PORT = 5270;
let transport: SystemTransport | undefined;

function tell(report: Report): void {
  process.send?.(report);
}

function downstream(source: string, destination: string): Mri {
  const [from, to] = [IpAddress.parse(source), IpAddress.parse(destination)];
  const bits = to.bytes.length * 8;
  return {
    method: "path-coupled",
    direction: "downstream",
    source: from,
    destination: to,
    sourcePrefix: bits,
    destinationPrefix: bits,
    dscp: 46,
  };
}

async function start(setup: NodeSetup): Promise<unknown> {
  transport = new SystemTransport({
    ...setup,
    tlsPort: TLS_PORT,
    logger: silentLogger,
    time: new SystemTime(),
  });
  await transport.start({
    datagram(datagram: Datagram): Interception {
      const { message, source, destination, ...rest } = datagram;
      const text = Buffer.from(message).toString("hex");
      tell({
        report: "datagram",
        ...rest,
        message: text,
        source: `${source}`,
        destination: `${destination}`,
      });
      return setup.answers[((message[4] ?? 0) << 8) | (message[5] ?? 0)] ?? "drop";
    },
    accepted() {},
    message(connection: Connection, message: Uint8Array) {
      const text = Buffer.from(message).toString("hex");
      tell({ report: "message", message: text, peer: connection.peer?.subject });
    },
    drained() {},
    closed() {},
  });
  return undefined;
}

async function talk(running: SystemTransport, to: string, port: number, message: string): Promise<unknown> {
  const connection = await running.connect(IpAddress.parse(to), port, "tls", seconds(5));
  connection.send(Buffer.from(message, "hex"));
  return connection.peer?.subject;
}

async function route(running: SystemTransport, destination: string): Promise<unknown> {
  const mri = downstream(destination, destination);
  const asked = await running.route(mri);
  return { asked, cached: running.cachedRoute(mri) };
}

async function obey(order: Order): Promise<unknown> {
  if (order.order === "start") return start(order.setup);
  if (transport === undefined) throw new Error("not started");
  switch (order.order) {
    case "query":
      return transport.sendQueryMode(
        downstream(order.source, order.destination),
        Buffer.from(order.message, "hex"),
        { spoofSource: order.spoofSource, ttl: 64 },
      );
    case "datagram":
      return transport.sendDatagram(IpAddress.parse(order.to), 270, Buffer.from(order.message, "hex"));
    case "route":
      return route(transport, order.destination);
    case "talk":
      return talk(transport, order.to, order.port, order.message);
    case "stop":
      await transport.stop();
      return transport.counters();
  }
}

process.on("message", (order: Order) => {
  obey(order).then(
    (detail) => tell({ report: "done", detail }),
    (error) => tell({ report: "done", detail: `failed: ${error}` }),
  );
});
process.on("disconnect", () => process.exit(0));
