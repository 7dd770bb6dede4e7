/** Counters by name, such as "received.query". Names are written in the code, so their number is bounded. */
export class Counters {
  readonly #values = new Map<string, { count: number }>();

  count(name: string, by = 1): void {
    const value = this.#values.get(name);
    if (value === undefined) this.#values.set(name, { count: by });
    else value.count += by;
  }

  snapshot(): Record<string, number> {
    const all = Array.from(this.#values, ([name, { count }]) => [name, count] as const);
    return Object.fromEntries(all.sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
