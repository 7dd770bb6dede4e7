/**
 * Sends whole IP packets with a source address of choice through the raw-socket package (RFC 5971 section 5.3.2).
 * Protocol 255 means "the IP header is included" to Linux, for IPv4 and IPv6, and such a socket receives nothing.
 */
import type { RawSocketPackage, Socket } from "raw-socket";
import type { IpAddress, IpFamily } from "../../base/address.js";
import type { Logger } from "../../base/log.js";
import type { Counters } from "./counters.js";

const IPPROTO_RAW = 255;

export interface RawSenderOptions {
  readonly logger: Logger;
  readonly counters: Counters;
  /** Packets that may wait for the kernel, for each IP version. */
  readonly queue: number;
}

export class RawSender {
  readonly #options: RawSenderOptions;
  readonly #sockets = new Map<IpFamily, Socket>();
  #package: RawSocketPackage | undefined;

  constructor(options: RawSenderOptions) {
    this.#options = options;
  }

  /** Opens the sockets; a host without IPv6 gets one. Rejects with one clear error. */
  async start(): Promise<void> {
    try {
      this.#package = (await import("raw-socket")).default;
      this.#open(4);
    } catch (error) {
      throw new Error(`cannot open a raw socket (the capability NET_RAW is needed): ${text(error)}`);
    }
    try {
      this.#open(6);
    } catch (error) {
      this.#options.logger.warn({ error: text(error) }, "Query mode is without IPv6");
    }
  }

  /** Queues an IP packet. What cannot be sent is counted, never thrown. */
  send(packet: Buffer, to: IpAddress): void {
    const { counters, queue } = this.#options;
    const socket = this.#socket(to.family);
    if (socket === undefined) {
      counters.add("query-mode.no-socket");
      return;
    }
    if (socket.requests.length >= queue) {
      counters.add("query-mode.queue-full");
      return;
    }
    socket.send(packet, 0, packet.length, to.toString(), (error) => {
      if (error === null) {
        counters.add("query-mode.sent");
        return;
      }
      counters.add("query-mode.failed");
      this.#options.logger.debug({ to, error: error.message }, "the kernel refused a Query-mode packet");
    });
  }

  stop(): void {
    this.#package = undefined;
    for (const socket of [...this.#sockets.values()]) socket.close();
    this.#sockets.clear();
  }

  /** The package closes a socket on any error of its own; the next packet opens another. */
  #socket(family: IpFamily): Socket | undefined {
    const socket = this.#sockets.get(family);
    if (socket !== undefined) return socket;
    try {
      return this.#open(family);
    } catch {
      return undefined;
    }
  }

  #open(family: IpFamily): Socket | undefined {
    if (this.#package === undefined) return undefined;
    const { AddressFamily, createSocket } = this.#package;
    const addressFamily = family === 4 ? AddressFamily.IPv4 : AddressFamily.IPv6;
    const socket = createSocket({ protocol: IPPROTO_RAW, addressFamily });
    socket.on("error", (error) => {
      this.#options.counters.add("query-mode.socket-error");
      this.#options.logger.warn({ error: error.message }, "a raw socket failed");
    });
    socket.on("close", () => {
      if (this.#sockets.get(family) === socket) this.#sockets.delete(family);
    });
    // Stops the watching for input, which would also keep the process alive.
    socket.pauseRecv();
    this.#sockets.set(family, socket);
    return socket;
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
