/**
 * Records of one length, by number, in memory that the garbage collector need not walk: a million of them cost their bytes
 * and no more. A number is given out again after it was given back.
 */

const BLOCK_BITS = 12;
/** Records that are taken from the system at a time. */
const BLOCK = 1 << BLOCK_BITS;
const NONE = -1;

export class Records {
  /** Bytes of one record. */
  readonly length: number;
  readonly #views: DataView[] = [];
  readonly #bytes: Uint8Array[] = [];
  /** First of the records that were given back; each holds the next one's number. */
  #free = NONE;
  #end = 0;
  #count = 0;

  /** @param length bytes of one record, 4 at least */
  constructor(length: number) {
    this.length = length;
  }

  /** Records in use. */
  get count(): number {
    return this.#count;
  }

  /** One more than the highest number that was ever given out. */
  get end(): number {
    return this.#end;
  }

  /** Bytes that were taken from the system. */
  get memory(): number {
    return this.#bytes.length * BLOCK * this.length;
  }

  /** A record of zeros. */
  take(): number {
    this.#count++;
    if (this.#free === NONE) return this.#takeNew();
    const slot = this.#free;
    this.#free = this.i32(slot, 0);
    this.setI32(slot, 0, 0);
    return slot;
  }

  /** Back with one that is in use. */
  give(slot: number): void {
    this.#count--;
    this.bytes(slot, 0, this.length).fill(0);
    this.setI32(slot, 0, this.#free);
    this.#free = slot;
  }

  u8(slot: number, field: number): number {
    return this.#view(slot).getUint8(this.#at(slot) + field);
  }

  setU8(slot: number, field: number, value: number): void {
    this.#view(slot).setUint8(this.#at(slot) + field, value);
  }

  u16(slot: number, field: number): number {
    return this.#view(slot).getUint16(this.#at(slot) + field);
  }

  setU16(slot: number, field: number, value: number): void {
    this.#view(slot).setUint16(this.#at(slot) + field, value);
  }

  i32(slot: number, field: number): number {
    return this.#view(slot).getInt32(this.#at(slot) + field);
  }

  setI32(slot: number, field: number, value: number): void {
    this.#view(slot).setInt32(this.#at(slot) + field, value);
  }

  u32(slot: number, field: number): number {
    return this.#view(slot).getUint32(this.#at(slot) + field);
  }

  setU32(slot: number, field: number, value: number): void {
    this.#view(slot).setUint32(this.#at(slot) + field, value);
  }

  f64(slot: number, field: number): number {
    return this.#view(slot).getFloat64(this.#at(slot) + field);
  }

  setF64(slot: number, field: number, value: number): void {
    this.#view(slot).setFloat64(this.#at(slot) + field, value);
  }

  /** A view of a part: who keeps it copies it. */
  bytes(slot: number, field: number, length: number): Uint8Array {
    const at = this.#at(slot) + field;
    return (this.#bytes[slot >>> BLOCK_BITS] as Uint8Array).subarray(at, at + length);
  }

  setBytes(slot: number, field: number, value: Uint8Array): void {
    (this.#bytes[slot >>> BLOCK_BITS] as Uint8Array).set(value, this.#at(slot) + field);
  }

  /** Whether a part is the same as these bytes. */
  holds(slot: number, field: number, value: Uint8Array): boolean {
    const block = this.#bytes[slot >>> BLOCK_BITS] as Uint8Array;
    const at = this.#at(slot) + field;
    for (let i = 0; i < value.length; i++) if (block[at + i] !== value[i]) return false;
    return true;
  }

  #takeNew(): number {
    const slot = this.#end++;
    if (slot % BLOCK === 0) {
      const bytes = new Uint8Array(BLOCK * this.length);
      this.#bytes.push(bytes);
      this.#views.push(new DataView(bytes.buffer));
    }
    return slot;
  }

  #view(slot: number): DataView {
    return this.#views[slot >>> BLOCK_BITS] as DataView;
  }

  #at(slot: number): number {
    return (slot & (BLOCK - 1)) * this.length;
  }
}
