/** Bounds-checked reading and writing of bytes in network order. Every decoder stands on this. */

/** What a decoder throws: where in the input, and what is wrong there. */
export class WireError extends Error {
  override readonly name: string = "WireError";
  /** Offset in bytes from the start of the input. */
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(`${message} (at byte ${offset})`);
    this.offset = offset;
  }
}

/** Reads forward through a buffer. A read past the end throws {@link WireError}; nothing is ever cut short. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #base: number;
  readonly #end: number;
  #position: number;

  /**
   * @param base offset of `bytes` in the whole input, for error messages
   * @param start of the part of `bytes` that is read, and where it ends: a view for each part costs more than reading it
   */
  constructor(bytes: Uint8Array, base = 0, start = 0, end = bytes.length) {
    if (end > bytes.length) throw new RangeError("a reader's part ends behind the bytes");
    this.#bytes = bytes;
    this.#base = base;
    this.#position = start;
    this.#end = end;
  }

  get remaining(): number {
    return this.#end - this.#position;
  }

  /** Offset in the whole input of the next byte. */
  get offset(): number {
    return this.#base + this.#position;
  }

  u8(): number {
    return this.#bytes[this.#take(1)] as number;
  }

  u16(): number {
    const at = this.#take(2);
    return ((this.#bytes[at] as number) << 8) | (this.#bytes[at + 1] as number);
  }

  // Not by a DataView: making one for each reader costs more than all that is read with it.
  u32(): number {
    const at = this.#take(4);
    const bytes = this.#bytes;
    const high = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
    return high * 0x10000 + (((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number));
  }

  /** The next `length` bytes as a view into the input, not a copy. */
  bytes(length: number): Uint8Array {
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** What is made of the next bytes where they stand, with their first place and length: a view of few costs more than reading them. */
  make<T>(length: number, from: (bytes: Uint8Array, start: number, length: number) => T): T {
    return from(this.#bytes, this.#take(length), length);
  }

  /** A reader over the next `length` bytes, with offsets of the whole input. */
  sub(length: number): ByteReader {
    const start = this.#take(length);
    return new ByteReader(this.#bytes, this.#base, start, start + length);
  }

  skip(length: number): void {
    this.#take(length);
  }

  #take(length: number): number {
    if (length < 0 || length > this.remaining)
      throw new WireError(`${length} bytes are needed but ${this.remaining} are left`, this.offset);
    const start = this.#position;
    this.#position += length;
    return start;
  }
}

/** Up to here V8 keeps the bytes of an array with the array, and needs no help. */
const SMALL = 64;
const SLAB = 64 * 1024;
let slab = new ArrayBuffer(SLAB);
let slabUsed = 0;

/** Memory for a moment: asking the system for each message's costs more than writing the message. */
function pieceOf(length: number): Uint8Array {
  if (length > SLAB / 8) return new Uint8Array(length);
  if (slabUsed + length > SLAB) {
    slab = new ArrayBuffer(SLAB);
    slabUsed = 0;
  }
  const piece = new Uint8Array(slab, slabUsed, length);
  slabUsed += length;
  return piece;
}

/** A copy, for as long as a message is handled: who keeps a part of it keeps much memory. */
export function copyForNow(bytes: Uint8Array): Uint8Array {
  const piece = pieceOf(bytes.length);
  piece.set(bytes);
  return piece;
}

const LONGEST_TEXT = 1024;
const textScratch = Buffer.alloc(LONGEST_TEXT);

/** Bytes as text. By a copy: a Buffer over a small array makes V8 move that array to memory of its own, which takes longer. */
export function bytesText(bytes: Uint8Array, encoding: "hex" | "latin1" | "utf8"): string {
  if (bytes.length > LONGEST_TEXT) return Buffer.from(bytes).toString(encoding);
  textScratch.set(bytes);
  return textScratch.toString(encoding, 0, bytes.length);
}

/** Appends to a buffer that grows by doubling. */
export class ByteWriter {
  #buffer: Uint8Array;
  #length = 0;

  constructor(capacity = 256) {
    this.#buffer = capacity > SMALL ? pieceOf(capacity) : new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    const start = this.#grow(1);
    this.#buffer[start] = value;
    return this;
  }

  u16(value: number): this {
    const start = this.#grow(2);
    this.#buffer[start] = value >>> 8;
    this.#buffer[start + 1] = value;
    return this;
  }

  u32(value: number): this {
    const start = this.#grow(4);
    this.#buffer[start] = value >>> 24;
    this.#buffer[start + 1] = value >>> 16;
    this.#buffer[start + 2] = value >>> 8;
    this.#buffer[start + 3] = value;
    return this;
  }

  bytes(value: Uint8Array): this {
    const start = this.#grow(value.length);
    this.#buffer.set(value, start);
    return this;
  }

  zeros(count: number): this {
    const start = this.#grow(count);
    this.#buffer.fill(0, start, start + count);
    return this;
  }

  /** Zero bytes up to the next multiple of `unit`. */
  pad(unit: number): this {
    return this.zeros((unit - (this.#length % unit)) % unit);
  }

  /** Overwrites two bytes that were written before, such as a length known only at the end. */
  patchU16(position: number, value: number): void {
    if (position + 2 > this.#length) throw new RangeError("patch beyond what was written");
    this.#buffer[position] = value >>> 8;
    this.#buffer[position + 1] = value;
  }

  /** What was written so far, as a copy of exact length. */
  finish(): Uint8Array {
    return this.#buffer.slice(0, this.#length);
  }

  /** What was written so far, not copied: it holds until something else is written, and for good where nothing is. */
  view(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Back to the beginning, with the same buffer. */
  clear(): this {
    this.#length = 0;
    return this;
  }

  /** Makes room and returns where it starts. Replaces the buffer, so it may not be taken before the call. */
  #grow(count: number): number {
    const start = this.#length;
    this.#length += count;
    if (this.#length > this.#buffer.length) {
      const bigger = new Uint8Array(Math.max(this.#buffer.length * 2, this.#length));
      bigger.set(this.#buffer.subarray(0, start));
      this.#buffer = bigger;
    }
    return start;
  }
}
