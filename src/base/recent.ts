/**
 * What was made of some bytes lately, found by these bytes: addresses and names that every message brings again. Each has one
 * place, by its last bytes, which differ most; the newer takes it.
 */
interface Entry<V> {
  readonly bytes: Uint8Array;
  readonly value: V;
}

const LEAST = 3;

export class Recent<V> {
  readonly #entries: (Entry<V> | undefined)[];

  /** @param places values that are remembered */
  constructor(places: number) {
    this.#entries = new Array<undefined>(places).fill(undefined);
  }

  /**
   * The value of `length` bytes from `start` on, at least three.
   * @param make it, of a copy of its own
   */
  get(bytes: Uint8Array, start: number, length: number, make: (own: Uint8Array) => V): V {
    if (length < LEAST || start + length > bytes.length) throw new RangeError("too few bytes");
    const place = this.#placeOf(bytes, start + length);
    const known = this.#entries[place];
    if (known !== undefined && isAt(bytes, start, length, known.bytes)) return known.value;
    const own = copyOf(bytes, start, length);
    const value = make(own);
    this.#entries[place] = { bytes: own, value };
    return value;
  }

  #placeOf(bytes: Uint8Array, end: number): number {
    const low = ((bytes[end - 2] as number) << 8) | (bytes[end - 1] as number);
    return (low ^ (bytes[end - 3] as number)) % this.#entries.length;
  }
}

function isAt(bytes: Uint8Array, start: number, length: number, own: Uint8Array): boolean {
  if (own.length !== length) return false;
  for (let i = 0; i < length; i++) if (own[i] !== bytes[start + i]) return false;
  return true;
}

/** Quicker than a view and a copy of it, for so few. */
function copyOf(bytes: Uint8Array, start: number, length: number): Uint8Array {
  const own = new Uint8Array(length);
  for (let i = 0; i < length; i++) own[i] = bytes[start + i] as number;
  return own;
}
