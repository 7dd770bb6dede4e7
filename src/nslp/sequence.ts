/** Message-Seq: one sequence for each signer and session, random start (G17). */
import type { Random } from "../base/random.js";

/** Whether a comes after b, by RFC 1982 serial number arithmetic over 32 bits. */
export function isNewer(a: number, b: number): boolean {
  const distance = (a - b) >>> 0;
  return distance !== 0 && distance < 2 ** 31;
}

export function firstSequence(random: Random): number {
  return Math.floor(random.fraction() * 2 ** 32) >>> 0;
}

export function nextSequence(sequence: number): number {
  return (sequence + 1) >>> 0;
}
