/** Small rules that several objects share. */
import type { Milliseconds } from "../../base/units.js";

/** Zero bytes that bring `length` bytes to whole 32-bit words. */
export function padding(length: number): number {
  return -length & 3;
}

/** A time of 1 ms or more for a 32-bit field, rounded. Throws RangeError when it does not fit. */
export function milliseconds(time: Milliseconds, name: string): number {
  const rounded = Math.round(time);
  if (!(rounded >= 1 && rounded <= 0xffffffff))
    throw new RangeError(`a ${name} of ${time} ms cannot be written`);
  return rounded;
}
