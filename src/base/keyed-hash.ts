/**
 * HalfSipHash-1-3 (Aumasson and Bernstein): a hash for tables whose keys come from others. Without the key, which is
 * random for each process, nobody can choose keys that fall together.
 */
import { systemRandom } from "./random.js";

export type KeyedHash = (bytes: Uint8Array) => number;

/** A function to 32 bits, unsigned. Its key is not from the randomness that is passed in: nothing that is seen depends on it. */
export function keyedHash(): KeyedHash {
  const key = new DataView(Uint8Array.from(systemRandom.bytes(8)).buffer);
  return halfSipHash(key.getUint32(0, true), key.getUint32(4, true));
}

/** @param k0 @param k1 the key, 32 bits each */
export function halfSipHash(k0: number, k1: number): KeyedHash {
  return (bytes) => {
    let v0 = k0;
    let v1 = k1;
    let v2 = 0x6c796765 ^ k0;
    let v3 = 0x74656462 ^ k1;
    const round = (): void => {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
    };
    const whole = bytes.length & ~3;
    for (let i = 0; i < whole; i += 4) {
      const word = word32(bytes, i, 4);
      v3 ^= word;
      round();
      v0 ^= word;
    }
    const last = (bytes.length << 24) | word32(bytes, whole, bytes.length - whole);
    v3 ^= last;
    round();
    v0 ^= last;
    v2 ^= 0xff;
    round();
    round();
    round();
    return (v1 ^ v3) >>> 0;
  };
}

function word32(bytes: Uint8Array, at: number, count: number): number {
  let word = 0;
  for (let i = 0; i < count; i++) word |= (bytes[at + i] as number) << (8 * i);
  return word;
}
