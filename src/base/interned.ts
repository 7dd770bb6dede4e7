/** Values that many records share, by number. Each is kept for as long as somebody has it. */

interface Shared<V> {
  readonly key: string;
  readonly value: V;
  users: number;
}

export class Interned<V> {
  readonly #byKey = new Map<string, number>();
  /** The very values that were given out: whoever puts one back need not have its key made again. */
  readonly #byValue = new Map<V, number>();
  readonly #shared: (Shared<V> | undefined)[] = [];
  readonly #free: number[] = [];

  /** Different values in use. */
  get size(): number {
    return this.#byKey.size;
  }

  /**
   * The number of the value with the same key; of `value` where there was none. Each call wants one {@link release}.
   * @param keyOf equal for equal values and unequal for others
   */
  take(value: V, keyOf: (value: V) => string): number {
    const same = this.#byValue.get(value);
    const key = same === undefined ? keyOf(value) : "";
    const known = same ?? this.#byKey.get(key);
    const shared = known === undefined ? undefined : this.#shared[known];
    if (known !== undefined && shared !== undefined) {
      shared.users++;
      return known;
    }
    const number = this.#free.pop() ?? this.#shared.length;
    this.#shared[number] = { key, value, users: 1 };
    this.#byKey.set(key, number);
    this.#byValue.set(value, number);
    return number;
  }

  /** Throws RangeError on a number that nobody has. */
  get(number: number): V {
    const shared = this.#shared[number];
    if (shared === undefined) throw new RangeError(`nothing is shared under ${number}`);
    return shared.value;
  }

  release(number: number): void {
    const shared = this.#shared[number];
    if (shared === undefined || --shared.users > 0) return;
    this.#shared[number] = undefined;
    this.#byKey.delete(shared.key);
    this.#byValue.delete(shared.value);
    this.#free.push(number);
  }
}
