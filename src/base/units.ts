/**
 * Units that must not be mixed. A branded number costs nothing at run time; the brand only stops a volume
 * from being passed where a time is meant.
 */

declare const unit: unique symbol;

/** A volume in bytes: a safe integer, 0 or more. On the wire 32 bits plus an extension for the high word. */
export type Bytes = number & { readonly [unit]: "bytes" };

/** A duration, or an instant of a monotonic clock, in milliseconds. */
export type Milliseconds = number & { readonly [unit]: "milliseconds" };

/** Largest volume that is kept inside; anything larger saturates here (8 PiB). */
export const MAX_BYTES = Number.MAX_SAFE_INTEGER as Bytes;

/** A volume from a number; fractions are cut and the result is kept within 0 and {@link MAX_BYTES}. */
export function bytes(value: number): Bytes {
  if (!(value > 0)) return 0 as Bytes;
  return Math.min(Math.floor(value), MAX_BYTES) as Bytes;
}

export function ms(value: number): Milliseconds {
  return value as Milliseconds;
}

export function seconds(value: number): Milliseconds {
  return (value * 1000) as Milliseconds;
}
