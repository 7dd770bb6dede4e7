/** Message-Seq: one sequence for each signer and session (G17). */

/** Whether a comes after b, by RFC 1982 serial number arithmetic over 32 bits. */
export function isNewer(a: number, b: number): boolean {
  const distance = (a - b) >>> 0;
  return distance !== 0 && distance < 2 ** 31;
}

/**
 * The sequence number after `last`: the wall clock in milliseconds where that is newer, else one more. A node that has
 * restarted has forgotten `last`; its peers have not, and would take a random start for a replay half of the time.
 */
export function nextSequence(last: number | undefined, wall: number): number {
  const clock = Math.floor(wall % 2 ** 32) >>> 0;
  if (last === undefined || isNewer(clock, last)) return clock;
  return (last + 1) >>> 0;
}

/** How long ago, in milliseconds, the wall clock stood at this sequence; negative: it is to come. Within 24 days. */
export function sequenceAge(sequence: number, wall: number): number {
  const clock = Math.floor(wall % 2 ** 32) >>> 0;
  return (clock - sequence) | 0;
}
