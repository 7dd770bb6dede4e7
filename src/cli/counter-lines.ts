/** Counters as lines for a person: those that have counted anything. */
export function counterLines(
  group: string,
  counters: Readonly<Record<string, number>>,
): (readonly [string, string])[] {
  return Object.entries(counters)
    .filter(([, value]) => value !== 0)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => [`${group} ${name}`.trimStart(), String(value)] as const);
}
