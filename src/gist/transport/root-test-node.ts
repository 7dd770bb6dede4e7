/** A transport in a process of its own, steered over the IPC channel: what the tests put into a network namespace. */
import { createSocket } from "node:dgram";
import { IpAddress } from "../../base/address.js";
import { silentLogger } from "../../base/log.js";
import { SystemTime } from "../../base/time.js";
import { seconds } from "../../base/units.js";
import type { Mri } from "../wire/messages.js";
import { SystemTransport } from "./system.js";
import type { Connection, Datagram, Interception } from "./transport.js";

export interface NodeSetup {
  /** Undefined: it intercepts nothing. */
  readonly queueNumber: number | undefined;
  readonly certificate: string;
  readonly key: string;
  readonly authorities: readonly string[];
  /** What to answer to an intercepted message, by its NSLPID. */
  readonly answers: Readonly<Record<number, Interception>>;
  /** NSLPIDs whose answer waits for the order "decide". */
  readonly undecided?: readonly number[];
}

/** A flow of UDP between two hosts. */
export interface TestFlow {
  readonly source: string;
  readonly destination: string;
  readonly port?: number;
}

/** Messages are hexadecimal, addresses text. */
export type Order =
  | { readonly order: "start"; readonly setup: NodeSetup }
  | {
      readonly order: "query";
      readonly flow: TestFlow;
      readonly spoofSource: boolean;
      readonly message: string;
    }
  /** Answers what waits, the latest first. */
  | { readonly order: "decide" }
  /** Opens a UDP socket of its own and tells of the first datagram. */
  | { readonly order: "listen"; readonly port: number }
  | { readonly order: "datagram"; readonly to: string; readonly port?: number; readonly message: string }
  | { readonly order: "route"; readonly flow: TestFlow }
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
  | { readonly report: "changed" }
  | { readonly report: "heard"; readonly sourcePort: number; readonly payload: string }
  | { readonly report: "message"; readonly message: string; readonly peer: string | undefined };

const TLS_PORT = 5270;
let transport: SystemTransport | undefined;
const waiting: (() => void)[] = [];

function tell(report: Report): void {
  process.send?.(report);
}

function downstream({ source, destination, port }: TestFlow): Mri {
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
    ...(port !== undefined && { protocol: 17, sourcePort: 4000, destinationPort: port }),
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
    datagram(datagram: Datagram): Interception | Promise<Interception> {
      const { message, source, destination, ...rest } = datagram;
      const text = Buffer.from(message).toString("hex");
      tell({
        report: "datagram",
        ...rest,
        message: text,
        source: `${source}`,
        destination: `${destination}`,
      });
      const nslpId = ((message[4] ?? 0) << 8) | (message[5] ?? 0);
      const answer = setup.answers[nslpId] ?? "drop";
      if (setup.undecided?.includes(nslpId) !== true) return answer;
      return new Promise((resolve) => waiting.push(() => resolve(answer)));
    },
    routesChanged() {
      tell({ report: "changed" });
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

async function route(running: SystemTransport, flow: TestFlow): Promise<unknown> {
  const mri = downstream(flow);
  const asked = await running.route(mri);
  return { asked, cached: running.cachedRoute(mri) };
}

function listen(port: number): Promise<void> {
  const socket = createSocket({ type: "udp6" });
  socket.once("message", (payload, from) => {
    tell({ report: "heard", sourcePort: from.port, payload: payload.toString("hex") });
    socket.close();
  });
  return new Promise((bound) => socket.bind(port, () => bound()));
}

async function obey(order: Order): Promise<unknown> {
  if (order.order === "start") return start(order.setup);
  if (transport === undefined) throw new Error("not started");
  switch (order.order) {
    case "query":
      return transport.sendQueryMode(downstream(order.flow), Buffer.from(order.message, "hex"), {
        spoofSource: order.spoofSource,
        ttl: 64,
      });
    case "decide":
      for (const decide of waiting.splice(0).reverse()) decide();
      return undefined;
    case "listen":
      return listen(order.port);
    case "datagram":
      return transport.sendDatagram(
        IpAddress.parse(order.to),
        order.port ?? 270,
        Buffer.from(order.message, "hex"),
      );
    case "route":
      return route(transport, order.flow);
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
