/** Which of the kernel's packet queues is for what, by numbers counted from the first, which is configured. */

/**
 * Signalling. The nfqueue package reads one packet of a queue in each turn of the event loop, so that one queue would be a few dozen new
 * flows a second at a busy node. Hosts that are known have some, shared out by the packets' addresses; all others have the first one.
 */
export const KNOWN_QUEUES = { first: 4, last: 19 } as const;

/** All of them; what judges data has those between. */
export const QUEUES = KNOWN_QUEUES.last + 1;

/** Numbers of all queues with signalling. */
export function signallingQueues(base: number): number[] {
  const known = Array.from({ length: QUEUES - KNOWN_QUEUES.first }, (_, i) => base + KNOWN_QUEUES.first + i);
  return [base, ...known];
}

/** Numbers of the queues of a node, without those with signalling where that is another process's. */
export function queuesOf(base: number, signals: boolean): number[] {
  const foreign = signals ? [] : signallingQueues(base);
  return Array.from({ length: QUEUES }, (_, i) => base + i).filter((number) => !foreign.includes(number));
}

/** Of signalling of known hosts, as iptables' --queue-balance has it. */
export function knownHostsRange(base: number): string {
  return `${base + KNOWN_QUEUES.first}:${base + KNOWN_QUEUES.last}`;
}
