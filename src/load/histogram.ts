/** Latencies in bounded memory: buckets a thirty-second of a power of two wide, so that no percentile is off by more than 3 %. */

const SUB_BITS = 5;
const SUBS = 1 << SUB_BITS;
/** Up to 2^32 microseconds, which is more than an hour; what is longer counts as that. */
const POWERS = 32 - SUB_BITS;
const BUCKETS = SUBS * (POWERS + 1);
const LONGEST_US = 2 ** 32 - 1;

/** A histogram as it goes between processes: buckets that are not empty. */
export interface HistogramData {
  readonly buckets: readonly (readonly [index: number, count: number])[];
  /** Milliseconds. */
  readonly sum: number;
  readonly max: number;
}

/** What a report shows; milliseconds. */
export interface Summary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #sum = 0;
  #max = 0;

  static from(data: HistogramData): Histogram {
    const histogram = new Histogram();
    histogram.add(data);
    return histogram;
  }

  get count(): number {
    return this.#count;
  }

  /** @param milliseconds below 0 counts as 0 */
  record(milliseconds: number): void {
    const value = Math.max(0, milliseconds);
    const bucket = bucketOf(Math.min(LONGEST_US, Math.round(value * 1000)));
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#count++;
    this.#sum += value;
    this.#max = Math.max(this.#max, value);
  }

  add({ buckets, sum, max }: HistogramData): void {
    for (const [index, count] of buckets) {
      if (index < 0 || index >= BUCKETS) continue;
      this.#counts[index] = (this.#counts[index] ?? 0) + count;
      this.#count += count;
    }
    this.#sum += sum;
    this.#max = Math.max(this.#max, max);
  }

  /** Milliseconds below which this share of the values lies, to the upper edge of its bucket; 0 when there are none. */
  percentile(share: number): number {
    if (this.#count === 0) return 0;
    let left = Math.max(1, Math.ceil(this.#count * share));
    for (let index = 0; index < BUCKETS; index++) {
      left -= this.#counts[index] ?? 0;
      if (left <= 0) return Math.min(this.#max, upperEdge(index) / 1000);
    }
    return this.#max;
  }

  /** What was recorded after an earlier state of the same histogram; its maximum is that of its last bucket. */
  since(earlier: HistogramData | undefined): Histogram {
    if (earlier === undefined) return Histogram.from(this.data());
    const difference = Histogram.from({ ...this.data(), max: 0 });
    const buckets = earlier.buckets.map(([index, count]) => [index, -count] as const);
    difference.add({ buckets, sum: -earlier.sum, max: 0 });
    const last = difference.#counts.findLastIndex((count) => count > 0);
    difference.#max = last < 0 ? 0 : Math.min(this.#max, upperEdge(last) / 1000);
    return difference;
  }

  data(): HistogramData {
    const buckets: [number, number][] = [];
    this.#counts.forEach((count, index) => {
      if (count > 0) buckets.push([index, count]);
    });
    return { buckets, sum: this.#sum, max: this.#max };
  }

  summary(): Summary {
    return {
      count: this.#count,
      mean: this.#count === 0 ? 0 : this.#sum / this.#count,
      p50: this.percentile(0.5),
      p90: this.percentile(0.9),
      p99: this.percentile(0.99),
      p999: this.percentile(0.999),
      max: this.#max,
    };
  }
}

function bucketOf(microseconds: number): number {
  if (microseconds < SUBS) return microseconds;
  const power = 31 - Math.clz32(microseconds) - SUB_BITS;
  return SUBS * (power + 1) + (Math.floor(microseconds / 2 ** power) - SUBS);
}

/** Microseconds. */
function upperEdge(index: number): number {
  if (index < SUBS) return index;
  const power = Math.floor(index / SUBS) - 1;
  return (SUBS + (index % SUBS) + 1) * 2 ** power - 1;
}
