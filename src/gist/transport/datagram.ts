/** Normal datagram mode: UDP port 270, IPv4 and IPv6, magic number in front (RFC 5971 section 5.3.1). */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { IpAddress, type IpFamily } from "../../base/address.js";
import type { Logger } from "../../base/log.js";
import { GIST_PORT, MAGIC } from "../wire/messages.js";
import { isLinkLocal } from "./addresses.js";
import type { Counters } from "./counters.js";
import { isQueryMode, messageOf } from "./packet.js";
import type { Datagram } from "./transport.js";

export interface DatagramSocketsOptions {
  readonly logger: Logger;
  readonly counters: Counters;
  /** Bytes that may wait to be sent, for each IP version. */
  readonly queueBytes: number;
  readonly deliver: (datagram: Datagram) => void;
}

const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
const magic = Buffer.alloc(4);
magic.writeUInt32BE(MAGIC);

/** The socket does not tell to which of the host's addresses a datagram came. */
const UNKNOWN_DESTINATION = { 4: IpAddress.parse("0.0.0.0"), 6: IpAddress.parse("::") } as const;

export class DatagramSockets {
  readonly #options: DatagramSocketsOptions;
  readonly #sockets = new Map<IpFamily, Socket>();

  constructor(options: DatagramSocketsOptions) {
    this.#options = options;
  }

  /** Binds port 270; a host without IPv6 gets IPv4 alone. Rejects with one clear error. */
  async start(): Promise<void> {
    await this.#bind(4);
    try {
      await this.#bind(6);
    } catch (error) {
      if (!isWithoutIpv6(error)) throw error;
      this.#options.logger.warn({}, "this host is without IPv6: no datagrams over it");
    }
  }

  /** Sends a GIST message from port 270. What cannot be sent is counted, never thrown. */
  send(to: IpAddress, port: number, message: Uint8Array): void {
    const { counters, queueBytes } = this.#options;
    if (isLinkLocal(to)) {
      counters.add("datagram.link-local");
      return;
    }
    const socket = this.#sockets.get(to.family);
    if (socket === undefined) {
      counters.add("datagram.no-socket");
      return;
    }
    if (socket.getSendQueueSize() > queueBytes) {
      counters.add("datagram.queue-full");
      return;
    }
    try {
      socket.send([magic, message], port, to.toString(), (error) => {
        if (error === null) {
          counters.add("datagram.sent");
          return;
        }
        counters.add("datagram.failed");
        this.#options.logger.debug({ to, port, error: error.message }, "a datagram could not be sent");
      });
    } catch (error) {
      // A port of 0, as a hostile source port can be, is refused by an exception.
      counters.add("datagram.failed");
      this.#options.logger.debug({ to, port, error }, "a datagram could not be sent");
    }
  }

  async stop(): Promise<void> {
    const sockets = [...this.#sockets.values()];
    this.#sockets.clear();
    await Promise.all(sockets.map((socket) => new Promise<void>((closed) => socket.close(() => closed()))));
  }

  #bind(family: IpFamily): Promise<void> {
    const socket = createSocket({
      type: family === 4 ? "udp4" : "udp6",
      reuseAddr: false,
      ipv6Only: family === 6,
      recvBufferSize: RECEIVE_BUFFER_BYTES,
      // Addresses are never names here, and the resolver costs a turn of the event loop for each datagram.
      lookup: (address, _options, found) => found(null, address, family),
    });
    socket.on("message", (bytes, from) => this.#receive(bytes, from, family));
    return new Promise((bound, failed) => {
      socket.once("error", (error) => {
        socket.close();
        failed(bindError(error, family));
      });
      socket.bind(GIST_PORT, () => {
        socket.removeAllListeners("error");
        socket.on("error", (error) => {
          this.#options.counters.add("datagram.socket-error");
          this.#options.logger.warn({ error: error.message }, "the UDP socket reported an error");
        });
        this.#sockets.set(family, socket);
        bound();
      });
    });
  }

  #receive(bytes: Buffer, from: RemoteInfo, family: IpFamily): void {
    const { counters, logger, deliver } = this.#options;
    const message = messageOf(bytes);
    if (message === undefined) {
      counters.add("datagram.no-magic");
      return;
    }
    const source = IpAddress.parse(withoutZone(from.address));
    if (isLinkLocal(source)) {
      counters.add("datagram.link-local");
      return;
    }
    counters.add("datagram.received");
    try {
      deliver({
        message,
        source,
        sourcePort: from.port,
        destination: UNKNOWN_DESTINATION[family],
        ipTtl: 0,
        inboundInterface: "",
        intercepted: isQueryMode(message),
      });
    } catch (error) {
      counters.add("datagram.error");
      logger.error({ error }, "a datagram could not be handled");
    }
  }
}

function withoutZone(address: string): string {
  const zone = address.indexOf("%");
  return zone === -1 ? address : address.slice(0, zone);
}

function bindError(error: Error, family: IpFamily): Error {
  return new Error(`cannot listen on UDP port ${GIST_PORT} of IPv${family}: ${error.message}`, {
    cause: error,
  });
}

function isWithoutIpv6(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  return code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL" || code === "EINVAL";
}
