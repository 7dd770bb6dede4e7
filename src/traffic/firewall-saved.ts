/** Reads what iptables-save prints: whether chains of ours are there, who jumps to them, and their counters. */

/** A table as iptables-save printed it. */
export interface SavedTable {
  readonly chains: readonly string[];
  /** Rules outside of our chains that lead into them, as written after "-A ". */
  readonly references: readonly { readonly rule: string; readonly to: string }[];
  /** The table holds a rule or a chain that is not ours, or a built-in chain whose policy is not ACCEPT. */
  readonly foreign: boolean;
}

/** By table name; a table that is absent was not printed. */
export type SavedRules = ReadonlyMap<string, SavedTable>;

/** Chains of this daemon begin with this. */
export function isOurs(chain: string): boolean {
  return chain.startsWith("PBS-");
}

interface Building {
  chains: string[];
  references: { rule: string; to: string }[];
  foreign: boolean;
}

export function parseSaved(text: string): SavedRules {
  const tables = new Map<string, Building>();
  let table: Building | undefined;
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) {
      table = { chains: [], references: [], foreign: false };
      tables.set(line.slice(1).trim(), table);
    } else if (table !== undefined && line.startsWith(":")) readChain(table, line);
    else if (table !== undefined && line.startsWith("-A ")) readRule(table, line.slice(3));
  }
  return tables;
}

/** Packets by the name in the rule's comment, added up over chains. */
export function parseCounters(text: string, into: Record<string, number>): void {
  for (const line of text.split("\n")) {
    const match = /^\[(\d+):\d+\] -A PBS-\S+ .*--comment "?pbs:([\w.-]+)/.exec(line);
    if (match === null) continue;
    const [, packets = "0", name = ""] = match;
    into[name] = (into[name] ?? 0) + Number(packets);
  }
}

function readChain(table: Building, line: string): void {
  const [name = "", policy = ""] = line.slice(1).split(" ");
  table.chains.push(name);
  if (!isOurs(name) && policy !== "ACCEPT") table.foreign = true;
}

function readRule(table: Building, rule: string): void {
  const [chain = ""] = rule.split(" ");
  if (isOurs(chain)) return;
  const [, to] = / -[jg] (PBS-\S+)/.exec(rule) ?? [];
  if (to === undefined) table.foreign = true;
  else table.references.push({ rule, to });
}
