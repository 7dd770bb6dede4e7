/** Randomness, passed in so that tests can repeat a run. */
import { randomBytes, randomFillSync, randomInt } from "node:crypto";

export interface Random {
  /** `length` bytes that nobody can guess. */
  bytes(length: number): Uint8Array;
  /** Uniform in [0, 1). */
  fraction(): number;
}

/** Asking the system for a few bytes takes longer than all that is done with them. */
const POOL = 4096;
const MOST_FROM_POOL = 64;
const pool = new Uint8Array(POOL);
let poolUsed = POOL;

function fromPool(length: number): Uint8Array {
  if (poolUsed + length > POOL) {
    randomFillSync(pool);
    poolUsed = 0;
  }
  const taken = pool.slice(poolUsed, poolUsed + length);
  // What was given out may be a secret.
  pool.fill(0, poolUsed, poolUsed + length);
  poolUsed += length;
  return taken;
}

export const systemRandom: Random = {
  bytes: (length) => (length > MOST_FROM_POOL ? randomBytes(length) : fromPool(length)),
  fraction: () => randomInt(2 ** 32) / 2 ** 32,
};

/** Uniform in [low, high). */
export function between(random: Random, low: number, high: number): number {
  return low + random.fraction() * (high - low);
}

/** A repeatable generator (mulberry32) for tests. Never for keys. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    bytes: (length) => Uint8Array.from({ length }, () => Math.floor(next() * 256)),
    fraction: next,
  };
}
