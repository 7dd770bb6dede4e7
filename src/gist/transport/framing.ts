/** Finds the GIST messages in a byte stream: the length in the common header is all there is (RFC 5971 section 5.2). */
import { WireError } from "../../base/wire.js";

/** The peer announces a message longer than is accepted here; the stream cannot be read any further. */
export class FramingError extends WireError {
  override readonly name = "FramingError";
}

const HEADER_BYTES = 8;

/** Length in bytes of the whole message whose common header stands at `at`. */
function announcedLength(bytes: Uint8Array, at: number): number {
  return HEADER_BYTES + 4 * (((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0));
}

/** Cuts chunks, however they come, into messages. Holds at most one unfinished message. */
export class MessageFramer {
  readonly #maximum: number;
  /** The unfinished message: room for its header, then, when that is whole, for all of it. */
  #buffer = new Uint8Array(HEADER_BYTES);
  #held = 0;

  /** @param maximum longest message accepted, in bytes with its header */
  constructor(maximum: number) {
    this.#maximum = maximum;
  }

  /**
   * Messages that are complete with this chunk, in order. They may be views into the chunk.
   * The generator throws {@link FramingError} when the next one would be too long; the stream is then lost.
   */
  *push(chunk: Uint8Array): Generator<Uint8Array> {
    let at = 0;
    while (at < chunk.length) {
      if (this.#held === 0 && chunk.length - at >= HEADER_BYTES) {
        const length = this.#checked(announcedLength(chunk, at));
        if (chunk.length - at >= length) {
          yield chunk.subarray(at, at + length);
          at += length;
          continue;
        }
      }
      at += this.#hold(chunk, at);
      if (this.#held === HEADER_BYTES && this.#buffer.length === HEADER_BYTES) this.#makeRoom();
      if (this.#held === this.#buffer.length) yield this.#takeWhole();
    }
  }

  #checked(length: number): number {
    if (length > this.#maximum)
      throw new FramingError(`a message of ${length} bytes is above the limit of ${this.#maximum}`, 2);
    return length;
  }

  #hold(chunk: Uint8Array, at: number): number {
    const taken = Math.min(chunk.length - at, this.#buffer.length - this.#held);
    this.#buffer.set(chunk.subarray(at, at + taken), this.#held);
    this.#held += taken;
    return taken;
  }

  #makeRoom(): void {
    const length = this.#checked(announcedLength(this.#buffer, 0));
    if (length === HEADER_BYTES) return;
    const whole = new Uint8Array(length);
    whole.set(this.#buffer);
    this.#buffer = whole;
  }

  #takeWhole(): Uint8Array {
    const whole = this.#buffer;
    this.#buffer = new Uint8Array(HEADER_BYTES);
    this.#held = 0;
    return whole;
  }
}
