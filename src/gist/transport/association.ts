/**
 * Messaging associations: TLS over TCP (RFC 5971 section 5.7.3), and TCP alone where that is asked for. With TLS both
 * sides show a certificate of a trusted authority; who the peer is follows from its key alone, not from a host name.
 */
import { connect as connectTcp, createServer, type Server, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket, Server as TlsServer } from "node:tls";
import type { IpAddress } from "../../base/address.js";
import type { Logger } from "../../base/log.js";
import type { Time } from "../../base/time.js";
import type { Milliseconds } from "../../base/units.js";
import { isLinkLocal } from "./addresses.js";
import { type ConnectionOptions, plainAddress, reasonOf, StreamConnection } from "./connection.js";
import type { Counters } from "./counters.js";
import { type Credentials, secureOptions, type SecureSide } from "./credentials.js";
import { HandshakeGate, sourceOf } from "./handshake-gate.js";
import { peerOf } from "./peer.js";
import type { Connection, TransportHandler } from "./transport.js";

export type { Credentials } from "./credentials.js";

export interface AssociationLimits {
  /** Longest message in bytes, header included; more than that ends the association. */
  readonly messageBytes: number;
  /** Queued bytes above which `send` answers false. */
  readonly slowBytes: number;
  /** Queued bytes above which the association is given up. */
  readonly queueBytes: number;
  /** Associations in all that others opened, authenticated. */
  readonly accepted: number;
  /** The same from one peer: by its identity, or without TLS by its IPv4 address or IPv6 /64. */
  readonly acceptedPerPeer: number;
  /**
   * Connections that have not authenticated themselves yet, or without TLS have not sent a message: in all, and from
   * one IPv4 address or IPv6 /64.
   */
  readonly handshakes: number;
  readonly handshakesPerSource: number;
  readonly handshakeTimeout: Milliseconds;
}

export interface AssociationOptions {
  readonly credentials: Credentials;
  /** 0: any free port (tests). */
  readonly tlsPort: number;
  /** Port for associations without TLS; undefined: there are none, in neither direction. */
  readonly tcpPort: number | undefined;
  /** Addresses to listen on. */
  readonly addresses: readonly string[];
  readonly limits: AssociationLimits;
  /** Told of each message before it is handled. */
  readonly arrived?: () => void;
  readonly time: Time;
  readonly logger: Logger;
  readonly counters: Counters;
}

const OPENED = { tls: "association.opened-tls", tcp: "association.opened-tcp" } as const;
const ACCEPTED = { tls: "association.accepted-tls", tcp: "association.accepted-tcp" } as const;

export class Associations {
  readonly #options: AssociationOptions;
  readonly #gate: HandshakeGate;
  readonly #connections = new Set<StreamConnection>();
  readonly #servers: Server[] = [];
  /** Being opened. */
  readonly #opening = new Set<Socket>();
  /** Accepted associations by peer. */
  readonly #peers = new Map<string, number>();
  /** Whom to tell when a connection that `stop` waits for is gone. */
  readonly #leaving = new Map<StreamConnection, () => void>();
  #accepted = 0;
  #acceptedWithoutTls = 0;
  #handler: TransportHandler | undefined;
  #credentials: Credentials;
  #secure: SecureSide | undefined;
  #tlsServer: TlsServer | undefined;
  #tlsPort: number;
  #tcpPort: number | undefined;

  constructor(options: AssociationOptions) {
    this.#options = options;
    this.#gate = new HandshakeGate(options.limits.handshakes, options.limits.handshakesPerSource);
    this.#credentials = options.credentials;
    this.#tlsPort = options.tlsPort;
    this.#tcpPort = options.tcpPort;
  }

  get tlsPort(): number {
    return this.#tlsPort;
  }

  get tcpPort(): number | undefined {
    return this.#tcpPort;
  }

  /**
   * Other credentials for associations from now on; those that stand keep. Throws one clear error, and changes nothing,
   * when they cannot be used.
   */
  setCredentials(credentials: Credentials): void {
    const secure = secureOptions(credentials);
    this.#tlsServer?.setSecureContext(secure.options);
    this.#credentials = credentials;
    if (this.#secure !== undefined) this.#secure = secure;
  }

  /** Checks the credentials and listens. Rejects with one clear error. */
  async start(handler: TransportHandler): Promise<void> {
    const tls = this.#newTlsServer();
    this.#tlsServer = tls;
    this.#handler = handler;
    try {
      for (const address of this.#options.addresses) {
        const port = await this.#listen(address, this.#tlsPort, (socket) => tls.emit("connection", socket));
        this.#tlsPort = port ?? this.#tlsPort;
        if (this.#tcpPort === undefined) continue;
        const plain = await this.#listen(address, this.#tcpPort, (socket) => this.#acceptTcp(socket));
        this.#tcpPort = plain ?? this.#tcpPort;
      }
      if (this.#servers.length === 0) throw new Error("none of the addresses to listen on exists here");
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /**
   * Opens an association. Rejects when the peer cannot be reached, is not trusted, or takes longer than `timeout`.
   * With TLS 1.3 a peer that does not trust this node is seen only later: it closes the connection.
   */
  connect(to: IpAddress, port: number, protocol: "tls" | "tcp", timeout: Milliseconds): Promise<Connection> {
    const handler = this.#handler;
    if (handler === undefined) return Promise.reject(new Error("the transport is not running"));
    if (protocol === "tcp" && this.#options.tcpPort === undefined)
      return Promise.reject(new Error("associations without TLS are not allowed here"));
    if (isLinkLocal(to)) {
      this.#options.counters.add("association.link-local");
      return Promise.reject(new Error(`${to} is link-local: without its link no association can go there`));
    }
    if (port < 1 || port > 65535) return Promise.reject(new Error(`${port} is not a port`));
    const host = to.toString();
    const socket = protocol === "tls" ? this.#connectTls(host, port) : connectTcp({ host, port });
    this.#opening.add(socket);
    socket.once("close", () => this.#opening.delete(socket));
    return new Promise((opened, failed) => {
      const timer = this.#options.time.after(timeout, () =>
        socket.destroy(new Error(`not ready within ${timeout} ms`)),
      );
      const refuse = (error?: Error): void => {
        timer.cancel();
        socket.off("close", refuse);
        this.#options.counters.add("association.connect-failed");
        failed(
          error instanceof Error ? error : new Error(`${host} port ${port} closed during the handshake`),
        );
      };
      socket.once("error", refuse);
      socket.once("close", refuse);
      socket.once(protocol === "tls" ? "secureConnect" : "connect", () => {
        const connection = this.#adopt(socket, protocol, true, handler);
        if (connection === undefined) return;
        timer.cancel();
        this.#opening.delete(socket);
        socket.off("error", refuse);
        socket.off("close", refuse);
        this.#options.counters.add("association.opened");
        this.#options.counters.add(OPENED[protocol]);
        opened(connection);
        setImmediate(() => connection.begin());
      });
    });
  }

  /** Stops listening and closes all associations; what they had queued gets a moment to go out. */
  async stop(): Promise<void> {
    this.#handler = undefined;
    this.#tlsServer = undefined;
    this.#secure = undefined;
    const servers = this.#servers.splice(0);
    const closed = servers.map((server) => new Promise<void>((done) => server.close(() => done())));
    this.#gate.closeAll();
    for (const socket of this.#opening) socket.destroy(new Error("the transport is stopping"));
    const leaving = [...this.#connections].map((connection) => this.#left(connection));
    for (const connection of this.#connections) connection.close();
    await Promise.all([...closed, ...leaving]);
  }

  #left(connection: StreamConnection): Promise<void> {
    return new Promise((done) => this.#leaving.set(connection, done));
  }

  #newTlsServer(): TlsServer {
    this.#secure = secureOptions(this.#credentials);
    const server = new TlsServer({
      ...this.#secure.options,
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: this.#options.limits.handshakeTimeout,
    });
    server.on("secureConnection", (socket) => this.#acceptTls(socket));
    server.on("tlsClientError", (error, socket) => {
      this.#options.counters.add("association.handshake-failed");
      const reason = socket.authorizationError ?? reasonOf(error);
      this.#options.logger.debug({ reason }, "a TLS handshake failed");
      socket.destroy();
    });
    return server;
  }

  #connectTls(host: string, port: number): TLSSocket {
    return connectTls({
      secureContext: this.#secure?.context,
      host,
      port,
      rejectUnauthorized: true,
      // The chain is verified; whose key it is, the GIST node compares with the Peer-Identity it expects.
      checkServerIdentity: () => undefined,
    });
  }

  /** Listens; resolves with the port, or with nothing where the host lacks the IP version. */
  #listen(address: string, port: number, accept: (socket: Socket) => void): Promise<number | undefined> {
    const server = createServer((socket) => this.#admit(socket, accept));
    return new Promise((listening, failed) => {
      server.once("error", (error: NodeJS.ErrnoException) => {
        if (address === "::" && (error.code === "EAFNOSUPPORT" || error.code === "EADDRNOTAVAIL")) {
          this.#options.logger.warn({}, "this host is without IPv6: no associations over it");
          return listening(undefined);
        }
        failed(new Error(`cannot listen on TCP port ${port} of ${address}: ${error.message}`));
      });
      server.listen({ host: address, port, ipv6Only: true }, () => {
        server.removeAllListeners("error");
        server.on("error", (error) => {
          this.#options.counters.add("association.listen-error");
          this.#options.logger.warn({ error: error.message }, "taking a connection failed");
        });
        this.#servers.push(server);
        const bound = server.address();
        listening(bound !== null && typeof bound === "object" ? bound.port : port);
      });
    });
  }

  #admit(socket: Socket, accept: (socket: Socket) => void): void {
    const { counters, limits } = this.#options;
    socket.on("error", () => counters.add("association.connection-error"));
    // The NLI of the peer holds no link, so nothing could ever be sent there but on this one connection.
    if (isLinkLocal(plainAddress(socket.remoteAddress ?? "::"))) {
      counters.add("association.link-local");
      socket.destroy();
      return;
    }
    if (this.#handler === undefined || this.#accepted >= limits.accepted || !this.#gate.enter(socket)) {
      counters.add("association.turned-away");
      socket.destroy();
      return;
    }
    accept(socket);
  }

  #acceptTls(socket: TLSSocket): void {
    this.#gate.authenticated(socket);
    this.#accept(socket, "tls");
  }

  /** Without TLS a message has to show that the peer is there and means GIST. */
  #acceptTcp(socket: Socket): void {
    const { time, limits } = this.#options;
    const silent = time.after(limits.handshakeTimeout, () => socket.destroy(new Error("no message came")));
    socket.once("close", () => silent.cancel());
    this.#accept(socket, "tcp", () => {
      silent.cancel();
      this.#gate.leave(socket);
    });
  }

  /** @param heard called with the first message */
  #accept(socket: Socket, protocol: "tls" | "tcp", heard?: () => void): void {
    const { counters, limits } = this.#options;
    const handler = this.#handler;
    const connection =
      handler === undefined ? undefined : this.#adopt(socket, protocol, false, handler, heard);
    if (handler === undefined || connection === undefined) {
      socket.destroy();
      return;
    }
    const peer = peerKey(connection);
    const before = this.#peers.get(peer) ?? 0;
    if (before >= limits.acceptedPerPeer || !this.#hasRoomFor(protocol)) {
      counters.add("association.peer-limit");
      this.#options.logger.debug(
        { peer: connection.remoteAddress, limit: limits.acceptedPerPeer },
        "a peer, or all those without TLS, have too many associations: another one is refused",
      );
      this.#connections.delete(connection);
      socket.destroy();
      return;
    }
    this.#accepted++;
    if (protocol === "tcp") this.#acceptedWithoutTls++;
    this.#peers.set(peer, before + 1);
    counters.add("association.accepted");
    counters.add(ACCEPTED[protocol]);
    this.#guard(() => handler.accepted(connection));
    setImmediate(() => connection.begin());
  }

  /** What anybody may open leaves half of the room for what shows a certificate. */
  #hasRoomFor(protocol: "tls" | "tcp"): boolean {
    return protocol === "tls" || this.#acceptedWithoutTls < this.#options.limits.accepted / 2;
  }

  /** Undefined when the socket closed in the meantime or shows a certificate that cannot be read. */
  #adopt(
    socket: Socket,
    protocol: "tls" | "tcp",
    initiator: boolean,
    handler: TransportHandler,
    heard?: () => void,
  ): StreamConnection | undefined {
    const { limits, time, logger, counters, arrived } = this.#options;
    const options: ConnectionOptions = {
      handler: {
        message: (connection, message) => {
          heard?.();
          heard = undefined;
          arrived?.();
          handler.message(connection, message);
        },
        drained: (connection) => this.#guard(() => handler.drained(connection)),
        closed: (connection, reason) => {
          // One that was refused at once was never told of.
          if (this.#forget(connection as StreamConnection))
            this.#guard(() => handler.closed(connection, reason));
        },
      },
      messageBytes: limits.messageBytes,
      slowBytes: limits.slowBytes,
      queueBytes: limits.queueBytes,
      time,
      logger,
      counters,
    };
    try {
      const peer = protocol === "tls" ? peerOf(socket as TLSSocket) : undefined;
      const connection = new StreamConnection(socket, { protocol, initiator, peer }, options);
      this.#connections.add(connection);
      return connection;
    } catch (error) {
      logger.debug({ error }, "a connection was gone before it could be used");
      socket.destroy();
      return undefined;
    }
  }

  /** What the node fails at must not end the program: it would do so from inside the event loop. */
  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#options.counters.add("association.error");
      this.#options.logger.error({ error }, "an event of an association could not be handled");
    }
  }

  #forget(connection: StreamConnection): boolean {
    if (!this.#connections.delete(connection)) return false;
    if (!connection.initiator) this.#forgetAccepted(connection);
    this.#leaving.get(connection)?.();
    this.#leaving.delete(connection);
    return true;
  }

  #forgetAccepted(connection: StreamConnection): void {
    const peer = peerKey(connection);
    this.#accepted--;
    if (connection.protocol === "tcp") this.#acceptedWithoutTls--;
    const left = (this.#peers.get(peer) ?? 1) - 1;
    if (left === 0) this.#peers.delete(peer);
    else this.#peers.set(peer, left);
  }
}

/** Who holds an accepted association: a certificate's key, else the address. */
function peerKey({ peer, remoteAddress }: StreamConnection): string {
  return peer === undefined
    ? `address ${sourceOf(remoteAddress)}`
    : `identity ${Buffer.from(peer.identity).toString("latin1")}`;
}
