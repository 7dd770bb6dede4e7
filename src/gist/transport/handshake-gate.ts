/**
 * Bounds the connections that have not shown a certificate yet, or without TLS have not sent a message: in all and from
 * one source. A quarter of the places is for sources that showed a certificate lately, whatever strangers do; and the fewer
 * places strangers have left, the fewer one of them gets, so that it takes many sources to have them all.
 */
import type { Socket } from "node:net";
import type { IpAddress } from "../../base/address.js";
import { plainAddress } from "./connection.js";

/** One in so many places. */
const KNOWN_SHARE = 4;
/** Of the places that are free for strangers one source may have one in so many. */
const SOURCE_SHARE = 16;
/** Sources that are remembered; the one that came first is forgotten first. */
const MOST_KNOWN = 4096;

interface Waiting {
  readonly socket: Socket;
  readonly source: string;
}

export class HandshakeGate {
  readonly #total: number;
  readonly #perSource: number;
  readonly #waiting = new Map<string, Waiting>();
  readonly #sources = new Map<string, number>();
  readonly #known = new Set<string>();

  constructor(total: number, perSource: number) {
    this.#total = total;
    this.#perSource = perSource;
  }

  /** Connections that are let in and not yet authenticated. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Lets a connection in until it leaves or closes. False: there are too many. */
  enter(socket: Socket): boolean {
    const name = endpointOf(socket);
    if (name === undefined) return false;
    const source = sourceOf(plainAddress(socket.remoteAddress ?? ""));
    const fromThere = this.#sources.get(source) ?? 0;
    if (fromThere >= this.#mostFrom(source, fromThere)) return false;
    this.#sources.set(source, fromThere + 1);
    this.#waiting.set(name, { socket, source });
    socket.once("close", () => {
      if (this.#waiting.get(name)?.socket === socket) this.#remove(name);
    });
    return true;
  }

  /** The connection authenticated itself. @param socket the same connection, as TCP or as TLS socket */
  authenticated(socket: Socket): void {
    const name = endpointOf(socket);
    const source = name === undefined ? undefined : this.#waiting.get(name)?.source;
    if (source !== undefined) this.#remember(source);
    this.leave(socket);
  }

  /** The connection has spoken. */
  leave(socket: Socket): void {
    const name = endpointOf(socket);
    if (name !== undefined) this.#remove(name);
  }

  closeAll(): void {
    for (const { socket } of [...this.#waiting.values()]) socket.destroy();
  }

  /** Connections that a source may have waiting, which has some already. */
  #mostFrom(source: string, waiting: number): number {
    const free = this.#total - this.#waiting.size;
    if (this.#known.has(source)) return free > 0 ? this.#perSource : 0;
    const forStrangers = free - Math.floor(this.#total / KNOWN_SHARE);
    if (forStrangers <= 0) return 0;
    return Math.min(this.#perSource, Math.ceil((forStrangers + waiting) / SOURCE_SHARE));
  }

  #remember(source: string): void {
    this.#known.delete(source);
    this.#known.add(source);
    const [oldest] = this.#known;
    if (this.#known.size > MOST_KNOWN && oldest !== undefined) this.#known.delete(oldest);
  }

  #remove(name: string): void {
    const waiting = this.#waiting.get(name);
    if (waiting === undefined) return;
    this.#waiting.delete(name);
    const left = (this.#sources.get(waiting.source) ?? 1) - 1;
    if (left === 0) this.#sources.delete(waiting.source);
    else this.#sources.set(waiting.source, left);
  }
}

/** Names a connection, whichever of its two socket objects is asked. */
function endpointOf(socket: Socket): string | undefined {
  if (socket.remoteAddress === undefined) return undefined;
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;
}

/** One who has a whole /64 can use as many IPv6 addresses as it likes. */
export function sourceOf(address: IpAddress): string {
  const bytes = address.family === 4 ? address.bytes : address.bytes.subarray(0, 8);
  return Buffer.from(bytes).toString("latin1");
}
