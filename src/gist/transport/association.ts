/**
 * Messaging associations: TLS over TCP (RFC 5971 section 5.7.3). Both sides show a certificate of a trusted
 * authority; who the peer is follows from its key alone, not from a host name.
 */
import { constants, createHash, type X509Certificate } from "node:crypto";
import { connect as connectTcp, createServer, type Server, type Socket } from "node:net";
import {
  connect as connectTls,
  createSecureContext,
  type SecureContext,
  type SecureContextOptions,
  type TLSSocket,
  Server as TlsServer,
} from "node:tls";
import type { IpAddress } from "../../base/address.js";
import type { Logger } from "../../base/log.js";
import type { Time } from "../../base/time.js";
import type { Milliseconds } from "../../base/units.js";
import { type ConnectionOptions, reasonOf, StreamConnection } from "./connection.js";
import type { Counters } from "./counters.js";
import { HandshakeGate } from "./handshake-gate.js";
import type { Connection, TransportHandler } from "./transport.js";

export interface Credentials {
  /** PEM: the node's certificate, followed by intermediate ones if there are any. */
  readonly certificate: string;
  /** PEM. */
  readonly key: string;
  /** PEM: the authorities that are trusted, and no others. */
  readonly authorities: readonly string[];
}

export interface AssociationLimits {
  /** Longest message in bytes, header included; more than that ends the association. */
  readonly messageBytes: number;
  /** Queued bytes above which `send` answers false. */
  readonly slowBytes: number;
  /** Queued bytes above which the association is given up. */
  readonly queueBytes: number;
  /** Associations in all that others opened, authenticated. */
  readonly accepted: number;
  /** Connections that have not authenticated themselves yet: in all, and from one IPv4 address or IPv6 /64. */
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
  readonly time: Time;
  readonly logger: Logger;
  readonly counters: Counters;
}

/** Bytes of a peer identity. */
export const IDENTITY_BYTES = 16;
const SUBJECT_CHARACTERS = 255;

/** The identity that a certificate's key stands for: first 16 bytes of SHA-256 of its SubjectPublicKeyInfo. */
export function identityOf(certificate: X509Certificate): Uint8Array {
  const key = certificate.publicKey.export({ type: "spki", format: "der" });
  return Uint8Array.from(createHash("sha256").update(key).digest().subarray(0, IDENTITY_BYTES));
}

/** What both ends of a TLS association are set to. */
const TLS_SETTINGS = {
  // A resumed session would not look at the certificate's dates again.
  secureOptions: constants.SSL_OP_NO_TICKET,
  minVersion: "TLSv1.2",
  maxVersion: "TLSv1.3",
  ciphers: [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE+AESGCM",
    "ECDHE+CHACHA20",
  ].join(":"),
} as const;

export class Associations {
  readonly #options: AssociationOptions;
  readonly #gate: HandshakeGate;
  readonly #connections = new Set<StreamConnection>();
  readonly #servers: Server[] = [];
  /** Whom to tell when a connection that `stop` waits for is gone. */
  readonly #leaving = new Map<StreamConnection, () => void>();
  #accepted = 0;
  #handler: TransportHandler | undefined;
  #secureContext: SecureContext | undefined;
  #tlsPort: number;

  constructor(options: AssociationOptions) {
    this.#options = options;
    this.#gate = new HandshakeGate(options.limits.handshakes, options.limits.handshakesPerSource);
    this.#tlsPort = options.tlsPort;
  }

  get tlsPort(): number {
    return this.#tlsPort;
  }

  /** Checks the credentials and listens. Rejects with one clear error. */
  async start(handler: TransportHandler): Promise<void> {
    const { tcpPort, addresses } = this.#options;
    const tls = this.#tlsServer();
    this.#handler = handler;
    try {
      for (const address of addresses) {
        const port = await this.#listen(address, this.#tlsPort, (socket) => tls.emit("connection", socket));
        this.#tlsPort = port ?? this.#tlsPort;
        if (tcpPort !== undefined) await this.#listen(address, tcpPort, (socket) => this.#acceptTcp(socket));
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
    if (port < 1 || port > 65535) return Promise.reject(new Error(`${port} is not a port`));
    const host = to.toString();
    const socket = protocol === "tls" ? this.#connectTls(host, port) : connectTcp({ host, port });
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
        socket.off("error", refuse);
        socket.off("close", refuse);
        this.#options.counters.add("association.opened");
        opened(connection);
        setImmediate(() => connection.begin());
      });
    });
  }

  /** Stops listening and closes all associations; what they had queued gets a moment to go out. */
  async stop(): Promise<void> {
    this.#handler = undefined;
    const servers = this.#servers.splice(0);
    const closed = servers.map((server) => new Promise<void>((done) => server.close(() => done())));
    this.#gate.closeAll();
    const leaving = [...this.#connections].map((connection) => this.#left(connection));
    for (const connection of this.#connections) connection.close();
    await Promise.all([...closed, ...leaving]);
  }

  #left(connection: StreamConnection): Promise<void> {
    return new Promise((done) => this.#leaving.set(connection, done));
  }

  #tlsServer(): TlsServer {
    const secure = this.#secureOptions();
    const server = new TlsServer({
      ...secure,
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

  #secureOptions(): SecureContextOptions {
    const { certificate, key, authorities } = this.#options.credentials;
    if (authorities.length === 0) throw new Error("no authority is trusted: no peer could ever connect");
    const options = { ...TLS_SETTINGS, cert: certificate, key, ca: [...authorities] };
    try {
      this.#secureContext = createSecureContext(options);
      return options;
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      throw new Error(`the certificate, its key or an authority cannot be used for TLS: ${detail}`);
    }
  }

  #connectTls(host: string, port: number): TLSSocket {
    return connectTls({
      secureContext: this.#secureContext,
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
    if (this.#handler === undefined || this.#accepted >= limits.accepted || !this.#gate.enter(socket)) {
      counters.add("association.turned-away");
      socket.destroy();
      return;
    }
    accept(socket);
  }

  #acceptTls(socket: TLSSocket): void {
    this.#gate.leave(socket);
    this.#accept(socket, "tls");
  }

  #acceptTcp(socket: Socket): void {
    this.#gate.leave(socket);
    this.#accept(socket, "tcp");
  }

  #accept(socket: Socket, protocol: "tls" | "tcp"): void {
    const handler = this.#handler;
    const connection = handler === undefined ? undefined : this.#adopt(socket, protocol, false, handler);
    if (handler === undefined || connection === undefined) {
      socket.destroy();
      return;
    }
    this.#accepted++;
    this.#options.counters.add("association.accepted");
    this.#guard(() => handler.accepted(connection));
    setImmediate(() => connection.begin());
  }

  /** Undefined when the socket closed in the meantime or shows a certificate that cannot be read. */
  #adopt(
    socket: Socket,
    protocol: "tls" | "tcp",
    initiator: boolean,
    handler: TransportHandler,
  ): StreamConnection | undefined {
    const { limits, time, logger, counters } = this.#options;
    const options: ConnectionOptions = {
      handler: {
        message: (connection, message) => handler.message(connection, message),
        drained: (connection) => this.#guard(() => handler.drained(connection)),
        closed: (connection, reason) => {
          this.#forget(connection as StreamConnection);
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

  #forget(connection: StreamConnection): void {
    if (!this.#connections.delete(connection)) return;
    if (!connection.initiator) this.#accepted--;
    this.#leaving.get(connection)?.();
    this.#leaving.delete(connection);
  }
}

function peerOf(socket: TLSSocket): NonNullable<Connection["peer"]> {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) throw new Error("the peer has no certificate");
  const names: unknown = certificate.toLegacyObject().subject?.CN;
  const name: unknown = Array.isArray(names) ? names[0] : names;
  return {
    subject: typeof name === "string" ? name.slice(0, SUBJECT_CHARACTERS) : "",
    identity: identityOf(certificate),
  };
}
