/** Waiting for conditions, each with a bound. Nothing here sleeps for a fixed time. */

/** How many times longer everything may take: more than 1 on emulated machines. */
export const PATIENCE = Number(process.env["TESTBED_PATIENCE"] ?? 1);
/** Looking costs the slow machine what it should work with. */
const LOOK_EVERY_MS = 20 * PATIENCE;

export class WaitedTooLong extends Error {
  override readonly name = "WaitedTooLong";
}

/**
 * Looks again and again until `look` gives something other than undefined or false. Rejects with {@link WaitedTooLong}
 * after `limit` milliseconds, times {@link PATIENCE}.
 */
export async function until<T>(
  what: string,
  limit: number,
  look: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  const end = performance.now() + limit * PATIENCE;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen;
    if (performance.now() > end) throw new WaitedTooLong(`waited ${limit * PATIENCE} ms for ${what}`);
    await pause(LOOK_EVERY_MS);
  }
}

/** Until `read` has given the same value for `quiet` milliseconds. */
export async function settled<T>(
  what: string,
  limit: number,
  quiet: number,
  read: () => T | Promise<T>,
): Promise<T> {
  let last = await read();
  let since = performance.now();
  return until(what, limit, async () => {
    const now = await read();
    if (now !== last) {
      last = now;
      since = performance.now();
    }
    return performance.now() - since >= quiet ? { value: now } : undefined;
  }).then(({ value }) => value);
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
