/** Token buckets. They need no timer: tokens are counted up when somebody asks. */
import type { Time } from "./time.js";

export class TokenBucket {
  readonly #time: Time;
  readonly #perMillisecond: number;
  readonly #burst: number;
  #tokens: number;
  #counted: number;

  /** @param rate tokens a second @param burst tokens at most, and at the start */
  constructor(time: Time, rate: number, burst: number) {
    this.#time = time;
    this.#perMillisecond = rate / 1000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#counted = time.now();
  }

  /** Takes one token, or more; false, and none taken, when there are too few. */
  take(count = 1): boolean {
    const now = this.#time.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#counted) * this.#perMillisecond);
    this.#counted = now;
    if (this.#tokens < count) return false;
    this.#tokens -= count;
    return true;
  }
}

/** Sources that have a bucket at a time, unless it is said otherwise. */
export const MOST_SOURCES = 16_384;

/**
 * One bucket for each source. When there are too many sources the oldest bucket is forgotten: who floods from many
 * addresses gains a burst for each, which the bucket for all together bounds.
 */
export class SourceBuckets {
  readonly #buckets = new Map<string, TokenBucket>();
  readonly #time: Time;
  readonly #rate: number;
  readonly #burst: number;
  readonly #most: number;

  constructor(time: Time, rate: number, burst: number, most = MOST_SOURCES) {
    this.#time = time;
    this.#rate = rate;
    this.#burst = burst;
    this.#most = most;
  }

  take(source: string, count = 1): boolean {
    let bucket = this.#buckets.get(source);
    if (bucket === undefined) {
      bucket = new TokenBucket(this.#time, this.#rate, this.#burst);
      this.#makeRoom();
      this.#buckets.set(source, bucket);
    }
    return bucket.take(count);
  }

  get size(): number {
    return this.#buckets.size;
  }

  #makeRoom(): void {
    if (this.#buckets.size < this.#most) return;
    const oldest = this.#buckets.keys().next();
    if (oldest.done !== true) this.#buckets.delete(oldest.value);
  }
}
