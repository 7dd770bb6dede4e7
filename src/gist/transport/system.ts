/** The real network of a Linux host as the GIST node's transport. */
import type { IpAddress } from "../../base/address.js";
import type { Logger } from "../../base/log.js";
import type { Time } from "../../base/time.js";
import { type Milliseconds, ms, seconds } from "../../base/units.js";
import { WireError } from "../../base/wire.js";
import type { Mri } from "../wire/messages.js";
import { type AssociationLimits, Associations, type Credentials } from "./association.js";
import { Counters } from "./counters.js";
import { DatagramSockets } from "./datagram.js";
import { Gathering, restThread } from "./gathering.js";
import { Interceptor, openQueues, releaseQueues } from "./intercept.js";
import { buildQueryPacket, DEFAULT_ROUTER_ALERT, queryPacketOf } from "./packet.js";
import { RawSender } from "./query-mode.js";
import { RouteTable, type WayOut } from "./route.js";
import type {
  Connection,
  Datagram,
  QueryModeOptions,
  Route,
  Transport,
  TransportHandler,
} from "./transport.js";
import { towards } from "./way.js";

export type { Credentials } from "./association.js";

export interface TransportLimits extends AssociationLimits {
  /** Query-mode packets that may wait for the kernel, for each IP version. */
  readonly queryModeQueue: number;
  /** Bytes of datagrams that may wait to be sent, for each IP version. */
  readonly datagramQueueBytes: number;
  /** Routes remembered, and for how long at most. */
  readonly routes: number;
  readonly routeLifetime: Milliseconds;
  /** Route questions to the kernel at a time. */
  readonly routeQuestions: number;
}

const MIB = 1024 * 1024;

export const DEFAULT_LIMITS: TransportLimits = {
  messageBytes: 65536,
  slowBytes: MIB / 4,
  queueBytes: 4 * MIB,
  accepted: 4096,
  acceptedPerPeer: 16,
  handshakes: 256,
  handshakesPerSource: 16,
  handshakeTimeout: seconds(10),
  queryModeQueue: 4096,
  datagramQueueBytes: 4 * MIB,
  routes: 4096,
  routeLifetime: seconds(30),
  routeQuestions: 1024,
};

export interface SystemTransportOptions extends Credentials {
  readonly tlsPort: number;
  /** Port for associations without TLS; undefined (default): there are none, in neither direction. */
  readonly tcpPort?: number;
  /** Kernel queue into which the rules put UDP 270; undefined: nothing is taken out of the forwarding path. */
  readonly queueNumber: number | undefined;
  /** Router Alert value, or false to send Query mode without that option. Default {@link DEFAULT_ROUTER_ALERT}. */
  readonly routerAlert?: number | false;
  /** The mark by which packets about an MRI's flow are routed, where flows take paths of their own; 0: none. */
  readonly pathMark?: (mri: Mri) => number;
  /** How far apart turns of the event loop are where messages come often; 0, the default: as they come. */
  readonly gather?: Milliseconds;
  readonly logger: Logger;
  readonly time: Time;
  readonly limits?: Partial<TransportLimits>;
}

const ANY_ADDRESS = ["0.0.0.0", "::"];

/**
 * All transports together. After {@link stop} everything is closed but the kernel queue, which the nfqueue package cannot
 * close: it drops what still comes and keeps the event loop alive, so the program has to end with process.exit().
 */
export class SystemTransport implements Transport {
  readonly #options: SystemTransportOptions;
  readonly #counters = new Counters();
  readonly #routes: RouteTable;
  readonly #raw: RawSender;
  readonly #associations: Associations;
  readonly #gathering: Gathering;
  #datagrams: DatagramSockets | undefined;
  #intercepting = false;

  constructor(options: SystemTransportOptions) {
    this.#options = options;
    const { logger, time, tlsPort, tcpPort, certificate, key, authorities } = options;
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    const common = { logger, counters: this.#counters };
    this.#routes = new RouteTable({
      ...common,
      time,
      pathMark: options.pathMark,
      lifetime: limits.routeLifetime,
      capacity: limits.routes,
      pending: limits.routeQuestions,
    });
    this.#gathering = new Gathering({
      time,
      apart: options.gather ?? ms(0),
      later: setImmediate,
      rest: restThread,
    });
    this.#raw = new RawSender({ ...common, queue: limits.queryModeQueue });
    this.#associations = new Associations({
      ...common,
      credentials: { certificate, key, authorities },
      tlsPort,
      tcpPort,
      addresses: ANY_ADDRESS,
      arrived: () => this.#gathering.heard(),
      limits,
      time,
    });
  }

  get tlsPort(): number {
    return this.#associations.tlsPort;
  }

  get tcpPort(): number | undefined {
    return this.#associations.tcpPort;
  }

  /**
   * Other credentials for associations from now on; those that stand keep. Throws one clear error, and changes nothing,
   * when they cannot be used.
   */
  setCredentials(credentials: Credentials): void {
    this.#associations.setCredentials(credentials);
  }

  /** Counters by name, such as "intercept.taken" or "association.handshake-failed". */
  counters(): Readonly<Record<string, number>> {
    return this.#counters.snapshot();
  }

  async start(handler: TransportHandler): Promise<void> {
    try {
      await this.#start(handler);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #start(handler: TransportHandler): Promise<void> {
    const { logger, queueNumber, limits } = this.#options;
    await this.#routes.start(() => handler.routesChanged());
    await this.#raw.start();
    const datagrams = new DatagramSockets({
      logger,
      counters: this.#counters,
      queueBytes: limits?.datagramQueueBytes ?? DEFAULT_LIMITS.datagramQueueBytes,
      deliver: (datagram) => this.#deliver(datagram, handler),
    });
    this.#datagrams = datagrams;
    await datagrams.start();
    await this.#associations.start(handler);
    if (queueNumber !== undefined) await this.#intercept(queueNumber, handler);
  }

  async #intercept(queueNumber: number, handler: TransportHandler): Promise<void> {
    const interceptor = new Interceptor({
      time: this.#options.time,
      logger: this.#options.logger,
      counters: this.#counters,
      interfaceName: (index) => this.#routes.interfaceName(index),
      isLocal: (address) => this.#routes.isLocal(address),
      deliver: (datagram) => handler.datagram(datagram),
      gathering: this.#gathering,
    });
    await openQueues(queueNumber, interceptor);
    this.#intercepting = true;
  }

  /** What came to the UDP socket travels no further, whatever the answer is. */
  #deliver(datagram: Datagram, handler: TransportHandler): void {
    this.#gathering.heard();
    const answer = handler.datagram(datagram);
    if (!(answer instanceof Promise)) return;
    answer.catch((error: unknown) => {
      this.#counters.add("datagram.error");
      this.#options.logger.error({ error }, "a datagram could not be handled");
    });
  }

  route(mri: Mri): Promise<Route | undefined> {
    return this.#routes.lookup(mri);
  }

  /** Whether an address is one of this host's, as of the last change that the kernel reported. */
  isLocal(address: IpAddress): boolean {
    return this.#routes.isLocal(address);
  }

  wayKey(mri: Mri): string {
    return this.#routes.wayKey(mri);
  }

  cachedRoute(mri: Mri): Route | undefined {
    return this.#routes.cached(mri);
  }

  sendQueryMode(mri: Mri, message: Uint8Array, options: QueryModeOptions): void {
    const known = this.#routes.cachedWayOut(mri);
    if (known !== undefined) {
      this.#sendBy(known, mri, message, options);
      return;
    }
    void this.#routes.wayOut(mri).then((way) => {
      if (way !== undefined) this.#sendBy(way, mri, message, options);
      else this.#counters.add("query-mode.no-route");
    });
  }

  sendDatagram(to: IpAddress, port: number, message: Uint8Array): void {
    if (this.#datagrams === undefined) {
      this.#counters.add("datagram.no-socket");
      return;
    }
    this.#datagrams.send(to, port, message);
  }

  connect(to: IpAddress, port: number, protocol: "tls" | "tcp", timeout: Milliseconds): Promise<Connection> {
    return this.#associations.connect(to, port, protocol, timeout);
  }

  async stop(): Promise<void> {
    if (this.#intercepting && this.#options.queueNumber !== undefined)
      releaseQueues(this.#options.queueNumber);
    this.#intercepting = false;
    await this.#associations.stop();
    await this.#datagrams?.stop();
    this.#datagrams = undefined;
    this.#raw.stop();
    await this.#routes.stop();
  }

  #sendBy({ route, mark }: WayOut, mri: Mri, message: Uint8Array, options: QueryModeOptions): void {
    const routerAlert = this.#options.routerAlert ?? DEFAULT_ROUTER_ALERT;
    const destination = towards(mri);
    try {
      const packet = buildQueryPacket(
        queryPacketOf(mri, message, {
          source: options.spoofSource ? mri.source : route.interfaceAddress,
          ttl: options.ttl,
          routerAlert: routerAlert === false ? undefined : (options.routerAlert ?? routerAlert),
        }),
      );
      this.#raw.send(packet, destination, mark);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#counters.add("query-mode.unfit");
      this.#options.logger.debug({ destination, error: error.message }, "no Query-mode packet can be made");
    }
  }
}
