/** One side of a service connection: frames in, frames out, with a bound on what waits for a slow reader. */
import type { Duplex } from "node:stream";
import type { Time } from "../../base/time.js";
import { seconds } from "../../base/units.js";
import { framed, FrameReader } from "./framing.js";

export interface FrameHandler {
  /** Throws WireError where the bytes are no frame. */
  frame(bytes: Uint8Array): void;
  /** What came was not to be understood; the handler ends the connection. */
  malformed(error: Error): void;
  /** Once, and nothing after it. */
  closed(): void;
}

/** Time that the last frame of a connection may take to be read. */
const LINGER = seconds(1);

export class FrameStream {
  readonly #socket: Duplex;
  readonly #time: Time;
  readonly #queueBytes: number;
  readonly #reader = new FrameReader();
  readonly #handler: FrameHandler;
  #corked = false;
  #ending = false;

  /** @param queueBytes what may wait in this process for the other side to read */
  constructor(socket: Duplex, queueBytes: number, time: Time, handler: FrameHandler) {
    this.#socket = socket;
    this.#queueBytes = queueBytes;
    this.#time = time;
    this.#handler = handler;
    socket.on("data", (chunk: Uint8Array) => this.#take(chunk));
    // "close" follows, and says all that matters.
    socket.on("error", () => undefined);
    socket.on("end", () => socket.end());
    socket.once("close", () => {
      this.#ending = true;
      handler.closed();
    });
  }

  /** false: what is sent now goes nowhere. */
  get open(): boolean {
    return !this.#ending;
  }

  /** Whether so many bytes more may wait. */
  hasRoom(length: number): boolean {
    return this.#socket.writableLength + length <= this.#queueBytes;
  }

  /** Frames of one turn of the event loop leave in one system call. */
  send(frame: Uint8Array): void {
    if (this.#ending) return;
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => this.#uncork());
    }
    this.#socket.write(framed(frame));
  }

  /** Sends a last frame and closes, at the latest after a second. What still comes is not looked at. */
  end(last?: Uint8Array): void {
    if (this.#ending) return;
    if (last !== undefined) this.send(last);
    this.#uncork();
    this.#ending = true;
    this.#socket.end();
    this.#time.after(LINGER, () => this.#socket.destroy());
  }

  /** Closes at once. */
  destroy(): void {
    this.#ending = true;
    this.#socket.destroy();
  }

  #uncork(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  }

  #take(chunk: Uint8Array): void {
    try {
      for (const frame of this.#reader.push(chunk)) {
        if (this.#ending) return;
        this.#handler.frame(frame);
      }
    } catch (error) {
      if (!this.#ending) this.#handler.malformed(error instanceof Error ? error : new Error(String(error)));
    }
  }
}
