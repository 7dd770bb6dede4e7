/**
 * Sends whole IP packets with a source address of choice through the raw-socket package (RFC 5971 section 5.3.2).
 * Protocol 255 means "the IP header is included" to Linux, for IPv4 and IPv6, and such a socket receives nothing.
 *
 * Linux finds the way of such a packet by its destination and the socket's mark, not by the source that stands in it.
 */
import type { RawSocketPackage, Socket } from "raw-socket";
import type { IpAddress, IpFamily } from "../../base/address.js";
import type { Logger } from "../../base/log.js";
import type { Counters } from "./counters.js";

const IPPROTO_RAW = 255;
/** socket(7). */
const SOL_SOCKET = 1;
const SO_MARK = 36;

export interface RawSenderOptions {
  readonly logger: Logger;
  readonly counters: Counters;
  /** Packets that may wait for the kernel, for each IP version and mark. */
  readonly queue: number;
}

export class RawSender {
  readonly #options: RawSenderOptions;
  /** By IP version and mark; there are no more marks than exits and paths. */
  readonly #sockets = new Map<string, Socket>();
  #package: RawSocketPackage | undefined;

  constructor(options: RawSenderOptions) {
    this.#options = options;
  }

  /** Opens the sockets; a host without IPv6 gets one. Rejects with one clear error. */
  async start(): Promise<void> {
    try {
      this.#package = (await import("raw-socket")).default;
      this.#open(4, 0);
    } catch (error) {
      throw new Error(`cannot open a raw socket (the capability NET_RAW is needed): ${text(error)}`);
    }
    try {
      this.#open(6, 0);
    } catch (error) {
      this.#options.logger.warn({ error: text(error) }, "Query mode is without IPv6");
    }
  }

  /**
   * Hands an IP packet to the kernel at once, or when the kernel takes it again; the package by itself would send one in
   * each turn of the event loop. What cannot be sent is counted, never thrown.
   * @param mark of the socket, for the kernel's rules; 0: none
   */
  send(packet: Buffer, to: IpAddress, mark: number): void {
    const { counters, queue } = this.#options;
    const socket = this.#socket(to.family, mark);
    if (socket === undefined) {
      counters.add("query-mode.no-socket");
      return;
    }
    if (socket.requests.length === 0 && sent(socket, packet, to)) {
      counters.add("query-mode.sent");
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
  #socket(family: IpFamily, mark: number): Socket | undefined {
    const socket = this.#sockets.get(nameOf(family, mark));
    if (socket !== undefined) return socket;
    try {
      return this.#open(family, mark);
    } catch {
      return undefined;
    }
  }

  #open(family: IpFamily, mark: number): Socket | undefined {
    if (this.#package === undefined) return undefined;
    const name = nameOf(family, mark);
    const { AddressFamily, createSocket } = this.#package;
    const addressFamily = family === 4 ? AddressFamily.IPv4 : AddressFamily.IPv6;
    const socket = createSocket({ protocol: IPPROTO_RAW, addressFamily });
    if (mark !== 0) socket.setOption(SOL_SOCKET, SO_MARK, mark);
    socket.on("error", (error) => {
      this.#options.counters.add("query-mode.socket-error");
      this.#options.logger.warn({ error: error.message }, "a raw socket failed");
    });
    socket.on("close", () => {
      if (this.#sockets.get(name) === socket) this.#sockets.delete(name);
    });
    // Stops the watching for input, which would also keep the process alive.
    socket.pauseRecv();
    this.#sockets.set(name, socket);
    return socket;
  }
}

/** False: the kernel did not take it. Why shows when it is tried again. */
function sent(socket: Socket, packet: Buffer, to: IpAddress): boolean {
  try {
    socket.wrap.send(packet, 0, packet.length, to.toString(), () => undefined);
    return true;
  } catch {
    return false;
  }
}

function nameOf(family: IpFamily, mark: number): string {
  return `${family} ${mark}`;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
