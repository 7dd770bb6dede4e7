/** Counters by name. Names are fixed in the code, never taken from input, so their number is bounded. */
export class Counters {
  readonly #values = new Map<string, number>();

  add(name: string, count = 1): void {
    this.#values.set(name, (this.#values.get(name) ?? 0) + count);
  }

  get(name: string): number {
    return this.#values.get(name) ?? 0;
  }

  /** All that ever counted, sorted by name. */
  snapshot(): Record<string, number> {
    return Object.fromEntries([...this.#values].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
