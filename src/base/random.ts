/** Randomness, passed in so that tests can repeat a run. */
import { randomBytes, randomInt } from "node:crypto";

export interface Random {
  /** `length` bytes that nobody can guess. */
  bytes(length: number): Uint8Array;
  /** Uniform in [0, 1). */
  fraction(): number;
}

export const systemRandom: Random = {
  bytes: (length) => randomBytes(length),
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
