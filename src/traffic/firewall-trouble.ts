/** What to do about what the tools of the kernel's packet rules print when they fail: a pure function of their text. */

/** Matches and targets that rules have only because of a setting, by their names in the kernel. */
const OPTIONAL: Readonly<Record<string, string>> = {
  socket: "set packets.reassemble to false",
  TCPMSS: "set authentication.reserve to 0",
};

/** In this order: the kernel lacks it, the tool lacks it. */
const MISSING = [
  /Extension (\w+) revision \d+ not supported/,
  /Couldn't load (?:match|target) [`'](\w+)'/,
] as const;

export function remedyFor(said: string): string {
  if (/permission denied|not permitted|must be root/i.test(said))
    return "run as root, or give the capability NET_ADMIN";
  const missing = MISSING.map((pattern) => pattern.exec(said)?.[1]).find((name) => name !== undefined);
  if (missing === undefined) return 'look at it with "pbsctl doctor"';
  const without = OPTIONAL[missing];
  return `load the kernel module xt_${missing}${without === undefined ? "" : `, or ${without}`}`;
}
