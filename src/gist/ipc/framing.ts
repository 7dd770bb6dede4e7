/** Frames in a byte stream: a length of 32 bits, then so many bytes, at least one. */
import { WireError } from "../../base/wire.js";
import { MAX_FRAME } from "./frames.js";

const LENGTH_BYTES = 4;

/** The frame with its length in front. */
export function framed(frame: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(LENGTH_BYTES + frame.length);
  bytes.writeUInt32BE(frame.length, 0);
  bytes.set(frame, LENGTH_BYTES);
  return bytes;
}

/** Cuts chunks, however they come, into frames. Holds one unfinished frame at most. */
export class FrameReader {
  #buffer = Buffer.alloc(LENGTH_BYTES);
  #held = 0;
  /** Of the frame whose bytes are awaited; undefined while its length is. */
  #length: number | undefined;

  /**
   * Frames that are complete with this chunk, in order; views into the chunk where they lie in it whole. The generator
   * throws WireError on an impossible length; the stream is then lost.
   */
  *push(chunk: Uint8Array): Generator<Uint8Array> {
    let at = 0;
    while (at < chunk.length) {
      const whole = this.#held === 0 ? this.#wholeFrame(chunk, at) : undefined;
      if (whole !== undefined) {
        yield whole;
        at += LENGTH_BYTES + whole.length;
        continue;
      }
      at += this.#hold(chunk, at);
      if (this.#held < this.#buffer.length) continue;
      const frame = this.#takeHeld();
      if (frame !== undefined) yield frame;
    }
  }

  #wholeFrame(chunk: Uint8Array, at: number): Uint8Array | undefined {
    if (this.#length !== undefined || chunk.length - at < LENGTH_BYTES) return undefined;
    const length = lengthAt(chunk, at);
    const start = at + LENGTH_BYTES;
    return chunk.length - start < length ? undefined : chunk.subarray(start, start + length);
  }

  #hold(chunk: Uint8Array, at: number): number {
    const taken = Math.min(chunk.length - at, this.#buffer.length - this.#held);
    this.#buffer.set(chunk.subarray(at, at + taken), this.#held);
    this.#held += taken;
    return taken;
  }

  /** The buffer is full: with a length, then with a frame. */
  #takeHeld(): Uint8Array | undefined {
    const full = this.#buffer;
    this.#held = 0;
    if (this.#length === undefined) {
      this.#length = lengthAt(full, 0);
      this.#buffer = Buffer.alloc(this.#length);
      return undefined;
    }
    this.#length = undefined;
    this.#buffer = Buffer.alloc(LENGTH_BYTES);
    return full;
  }
}

function lengthAt(bytes: Uint8Array, at: number): number {
  const length = new DataView(bytes.buffer, bytes.byteOffset + at, LENGTH_BYTES).getUint32(0);
  if (length === 0 || length > MAX_FRAME)
    throw new WireError(`a frame of ${length} bytes is not between 1 and ${MAX_FRAME}`, 0);
  return length;
}
