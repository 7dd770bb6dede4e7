/** A map that forgets: each entry after its time, and the oldest when there are too many. */
import type { Time } from "../base/time.js";
import type { Milliseconds } from "../base/units.js";

export class BoundedMemory<V> {
  readonly #entries = new Map<string, { readonly value: V; readonly until: number }>();
  readonly #time: Time;
  readonly #capacity: number;
  readonly #lifetime: Milliseconds;

  constructor(time: Time, capacity: number, lifetime: Milliseconds) {
    this.#time = time;
    this.#capacity = capacity;
    this.#lifetime = lifetime;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.until > this.#time.now()) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  /** Entries whose time is not over, oldest first. */
  *live(): IterableIterator<[string, V]> {
    const now = this.#time.now();
    for (const [key, { value, until }] of this.#entries) if (until > now) yield [key, value];
  }

  set(key: string, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, { value, until: this.#time.now() + this.#lifetime });
    this.#shrink();
  }

  /** All entries have one lifetime, so the oldest stand first. */
  #shrink(): void {
    const now = this.#time.now();
    for (const [key, { until }] of this.#entries) {
      if (until > now && this.#entries.size <= this.#capacity) return;
      this.#entries.delete(key);
    }
  }
}
