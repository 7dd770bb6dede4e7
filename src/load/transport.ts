/**
 * The real sockets of a host that has one way out: as the daemon's transport, but without asking the kernel for the
 * route of each flow, so that the load tool costs less than what it loads.
 */
import type { IpAddress } from "../base/address.js";
import type { Logger } from "../base/log.js";
import type { Time } from "../base/time.js";
import type { Milliseconds } from "../base/units.js";
import { Associations } from "../gist/transport/association.js";
import { Counters } from "../gist/transport/counters.js";
import { DatagramSockets } from "../gist/transport/datagram.js";
import { Interceptor, openQueues } from "../gist/transport/intercept.js";
import { buildQueryPacket, DEFAULT_ROUTER_ALERT, queryPacketOf } from "../gist/transport/packet.js";
import { RawSender } from "../gist/transport/query-mode.js";
import { type Credentials, DEFAULT_LIMITS } from "../gist/transport/system.js";
import type {
  Connection,
  QueryModeOptions,
  Route,
  Transport,
  TransportHandler,
} from "../gist/transport/transport.js";
import { towards } from "../gist/transport/way.js";
import type { Mri } from "../gist/wire/messages.js";

export interface OneWayOptions {
  readonly route: Route;
  readonly credentials: Credentials;
  readonly tlsPort: number;
  /** Kernel queue of Query-mode packets; undefined: none are taken. */
  readonly queueNumber: number | undefined;
  readonly time: Time;
  readonly logger: Logger;
}

const ROOM = 65_536;
const QUEUE_BYTES = 32 * 1024 * 1024;

/** It ends with its process: the kernel's queue is not closed before. */
export class OneWayTransport implements Transport {
  readonly #options: OneWayOptions;
  readonly #counters = new Counters();
  readonly #raw: RawSender;
  readonly #associations: Associations;
  #datagrams: DatagramSockets | undefined;

  constructor(options: OneWayOptions) {
    const { logger, time, tlsPort, credentials } = options;
    const common = { logger, counters: this.#counters };
    this.#options = options;
    this.#raw = new RawSender({ ...common, queue: ROOM });
    this.#associations = new Associations({
      ...common,
      credentials,
      tlsPort,
      tcpPort: undefined,
      addresses: ["0.0.0.0"],
      limits: { ...DEFAULT_LIMITS, queueBytes: QUEUE_BYTES },
      time,
    });
  }

  get tlsPort(): number {
    return this.#associations.tlsPort;
  }

  get tcpPort(): undefined {
    return undefined;
  }

  counters(): Readonly<Record<string, number>> {
    return this.#counters.snapshot();
  }

  async start(handler: TransportHandler): Promise<void> {
    const { logger, queueNumber } = this.#options;
    await this.#raw.start();
    this.#datagrams = new DatagramSockets({
      logger,
      counters: this.#counters,
      queueBytes: QUEUE_BYTES,
      deliver: (datagram) => void handler.datagram(datagram),
    });
    await this.#datagrams.start();
    await this.#associations.start(handler);
    if (queueNumber !== undefined) await this.#intercept(queueNumber, handler);
  }

  route(): Promise<Route> {
    return Promise.resolve(this.#options.route);
  }

  cachedRoute(): Route {
    return this.#options.route;
  }

  sendQueryMode(mri: Mri, message: Uint8Array, options: QueryModeOptions): void {
    const query = queryPacketOf(mri, message, {
      source: options.spoofSource ? mri.source : this.#options.route.interfaceAddress,
      ttl: options.ttl,
      routerAlert: options.routerAlert ?? DEFAULT_ROUTER_ALERT,
    });
    this.#raw.send(buildQueryPacket(query), towards(mri), 0);
  }

  sendDatagram(to: IpAddress, port: number, message: Uint8Array): void {
    this.#datagrams?.send(to, port, message);
  }

  connect(to: IpAddress, port: number, protocol: "tls" | "tcp", timeout: Milliseconds): Promise<Connection> {
    return this.#associations.connect(to, port, protocol, timeout);
  }

  async stop(): Promise<void> {
    await this.#associations.stop();
    await this.#datagrams?.stop();
    this.#raw.stop();
  }

  #intercept(queueNumber: number, handler: TransportHandler): Promise<void> {
    const { time, logger, route } = this.#options;
    return openQueues(
      queueNumber,
      new Interceptor({
        time,
        logger,
        counters: this.#counters,
        interfaceName: () => route.interfaceName,
        isLocal: () => false,
        deliver: (datagram) => handler.datagram(datagram),
      }),
    );
  }
}
