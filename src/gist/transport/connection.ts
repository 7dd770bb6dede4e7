/** One messaging association's byte stream, framed into GIST messages. */
import type { Socket } from "node:net";
import { IpAddress } from "../../base/address.js";
import type { Logger } from "../../base/log.js";
import type { Time, Timer } from "../../base/time.js";
import { seconds } from "../../base/units.js";
import type { Counters } from "./counters.js";
import { MessageFramer } from "./framing.js";
import type { Connection, ConnectionHandler } from "./transport.js";

export interface ConnectionOptions {
  readonly handler: ConnectionHandler;
  readonly time: Time;
  readonly logger: Logger;
  readonly counters: Counters;
  /** Longest message in either direction, bytes. */
  readonly messageBytes: number;
  /** Above so many queued bytes `send` answers false. */
  readonly slowBytes: number;
  /** Above so many queued bytes the peer is given up. */
  readonly queueBytes: number;
}

/** How long what is queued may take to go out once the connection is to be closed. */
const FLUSH = seconds(2);
/** Without data for so long, the kernel asks whether the peer is still there: ten times, a second apart. */
const QUIET = seconds(30);

export class StreamConnection implements Connection {
  readonly protocol: "tls" | "tcp";
  readonly initiator: boolean;
  readonly peer: Connection["peer"];
  readonly remoteAddress: IpAddress;
  readonly localAddress: IpAddress;
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #framer: MessageFramer;
  #reason: string | undefined;
  #slow = false;
  #corked = false;
  #flushing: Timer | undefined;

  /** Throws when the socket is closed already. Nothing is delivered before {@link begin}. */
  constructor(
    socket: Socket,
    about: { protocol: "tls" | "tcp"; initiator: boolean; peer: Connection["peer"] },
    options: ConnectionOptions,
  ) {
    this.protocol = about.protocol;
    this.initiator = about.initiator;
    this.peer = about.peer;
    this.remoteAddress = plainAddress(socket.remoteAddress ?? "");
    this.localAddress = plainAddress(socket.localAddress ?? "");
    this.#socket = socket;
    this.#options = options;
    this.#framer = new MessageFramer(options.messageBytes);
    socket.setNoDelay(true);
    // A peer that went without a word is noticed though nobody sends.
    socket.setKeepAlive(true, QUIET);
    socket.on("error", (error) => this.#give(reasonOf(error)));
    socket.on("drain", () => this.#drained());
    socket.on("close", () => this.#closed());
  }

  /** Lets messages come. Called when the owner of the connection knows it. */
  begin(): void {
    this.#socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    this.#socket.on("end", () => this.#give("the peer closed the association"));
  }

  get queued(): number {
    return this.#socket.writableLength;
  }

  /**
   * Queues a whole message, which is not copied and must not change any more. False: the peer is slow, or the
   * connection is closing and the message is lost, as `closed` will tell.
   */
  send(message: Uint8Array): boolean {
    if (this.#reason !== undefined || !this.#socket.writable) return false;
    if (message.length > this.#options.messageBytes) {
      this.#fail(`a message of ${message.length} bytes is above the limit of ${this.#options.messageBytes}`);
      return false;
    }
    if (this.queued + message.length > this.#options.queueBytes) {
      this.#fail("the peer does not take what is sent to it");
      return false;
    }
    this.#options.counters.add("association.sent");
    this.#cork();
    this.#socket.write(message);
    if (this.queued > this.#options.slowBytes) this.#slow = true;
    return !this.#slow;
  }

  /** What is queued still goes out; then `closed` is called. */
  close(): void {
    this.#end("closed by this node");
  }

  /** Closes at once; `closed` is called soon. */
  destroy(reason: string): void {
    this.#give(reason);
    this.#socket.destroy();
  }

  /** Messages of one turn of the event loop, whichever sockets caused them, go out together: one system call. */
  #cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
    setImmediate(() => {
      this.#corked = false;
      this.#socket.uncork();
    });
  }

  #receive(chunk: Buffer): void {
    const { counters, handler } = this.#options;
    try {
      for (const message of this.#framer.push(chunk)) {
        // The handler may have closed the connection while it had the message before.
        if (this.#reason !== undefined) return;
        counters.add("association.received");
        handler.message(this, message);
      }
    } catch (error) {
      this.#fail(error instanceof Error ? error.message : String(error));
    }
  }

  #drained(): void {
    if (!this.#slow) return;
    this.#slow = false;
    if (this.#reason === undefined) this.#options.handler.drained(this);
  }

  #fail(reason: string): void {
    this.#options.counters.add("association.failed");
    this.#options.logger.warn({ peer: this.remoteAddress, reason }, "an association was given up");
    this.destroy(reason);
  }

  #end(reason: string): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#socket.destroySoon();
    this.#flushing = this.#options.time.after(FLUSH, () => this.#socket.destroy());
  }

  /** The first reason is the true one; what follows from it is not told. */
  #give(reason: string): void {
    this.#reason ??= reason;
  }

  #closed(): void {
    this.#flushing?.cancel();
    this.#options.counters.add("association.closed");
    this.#options.handler.closed(this, this.#reason ?? "the connection broke");
  }
}

/** Why a socket failed, for a person: OpenSSL hides a short reason beside its long message. */
export function reasonOf(error: Error): string {
  return "reason" in error && typeof error.reason === "string" ? error.reason : error.message;
}

/** An address as the socket tells it, without zone; an IPv4 address even where it is mapped into IPv6. */
export function plainAddress(text: string): IpAddress {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(text);
  return IpAddress.parse(mapped?.[1] ?? text.replace(/%.*$/, ""));
}
