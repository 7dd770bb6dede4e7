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
    const words = bytes.length >>> 2;
    const rest = bytes.length & 3;
    // One round for each word, one for what is left with the length, and then three.
    for (let i = 0; i < words + 4; i++) {
      let word = 0;
      if (i < words) word = word32(bytes, 4 * i, 4);
      else if (i === words) word = (bytes.length << 24) | word32(bytes, 4 * words, rest);
      else if (i === words + 1) v2 ^= 0xff;
      v3 ^= word;
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
      v0 ^= word;
    }
    return (v1 ^ v3) >>> 0;
  };
}

function word32(bytes: Uint8Array, at: number, count: number): number {
  let word = 0;
  for (let i = 0; i < count; i++) word |= (bytes[at + i] as number) << (8 * i);
  return word;
}
