/** A hash table of record numbers: which record has this key, where the key stands in the record itself. */

const LEAST = 1024;
/** Above this share of places in use the table doubles. */
const FULLEST = 0.7;

export class SlotIndex {
  /** Numbers plus one; 0: free. */
  #slots = new Int32Array(LEAST);
  #hashes = new Uint32Array(LEAST);
  #count = 0;

  /** Bytes of memory. */
  get memory(): number {
    return this.#slots.byteLength + this.#hashes.byteLength;
  }

  /** The record with this hash for which `is` says yes; undefined: none. */
  find(hash: number, is: (slot: number) => boolean): number | undefined {
    const mask = this.#slots.length - 1;
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const slot = this.#slots[at] as number;
      if (slot === 0) return undefined;
      if (this.#hashes[at] === hash && is(slot - 1)) return slot - 1;
    }
  }

  /** @param hash 32 bits, unsigned */
  add(hash: number, slot: number): void {
    if (++this.#count > this.#slots.length * FULLEST) this.#grow();
    this.#place(hash, slot + 1);
  }

  /** Takes out what was added with this hash. */
  remove(hash: number, slot: number): void {
    const mask = this.#slots.length - 1;
    let at = hash & mask;
    while (this.#slots[at] !== slot + 1) {
      if (this.#slots[at] === 0) return;
      at = (at + 1) & mask;
    }
    this.#count--;
    this.#close(at, mask);
  }

  #place(hash: number, value: number): void {
    const mask = this.#slots.length - 1;
    let at = hash & mask;
    while (this.#slots[at] !== 0) at = (at + 1) & mask;
    this.#slots[at] = value;
    this.#hashes[at] = hash;
  }

  /** What stands behind the gap moves up, so that every entry is still found from where its hash points. */
  #close(gap: number, mask: number): void {
    for (let at = (gap + 1) & mask; this.#slots[at] !== 0; at = (at + 1) & mask) {
      const home = (this.#hashes[at] as number) & mask;
      if (((at - home) & mask) < ((at - gap) & mask)) continue;
      this.#slots[gap] = this.#slots[at] as number;
      this.#hashes[gap] = this.#hashes[at] as number;
      gap = at;
    }
    this.#slots[gap] = 0;
  }

  #grow(): void {
    const [slots, hashes] = [this.#slots, this.#hashes];
    this.#slots = new Int32Array(slots.length * 2);
    this.#hashes = new Uint32Array(slots.length * 2);
    for (let i = 0; i < slots.length; i++)
      if (slots[i] !== 0) this.#place(hashes[i] as number, slots[i] as number);
  }
}
