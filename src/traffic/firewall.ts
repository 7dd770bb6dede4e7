/**
 * Packet rules of the kernel: chains PBS-* of iptables, and sets. They stay when the daemon ends, so that nothing
 * unpermitted passes; {@link Firewall.remove} takes them out again and leaves the machine's own rules as they were.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { IpFamily } from "../base/address.js";
import { FirewallError, run, SYSTEM_PATH } from "./command.js";
import {
  AGAIN_SET,
  AGAIN_TIMEOUT,
  BLOCKED_SET,
  BLOCKED_SIZE,
  CLASS_NAME,
  type FirewallOptions,
  INSERT_SET,
  KNOWN_SET,
  KNOWN_TIMEOUT,
  type LinkSize,
  MADE_TABLE,
  PERMITTED_SET,
  renderRemoval,
  renderRules,
  SET_TIMEOUT,
} from "./firewall-rules.js";
import { isOurs, parseCounters, parseSaved, type SavedRules } from "./firewall-saved.js";

export { FirewallError } from "./command.js";
export { type ExemptClass, type FirewallOptions, PERMITTED_SET, SET_TIMEOUT } from "./firewall-rules.js";

export type Backend = "nft" | "legacy";

const BACKENDS: readonly Backend[] = ["nft", "legacy"];
/** The rule lock of legacy iptables is one for the machine; seconds to wait for it. */
const LOCK_SECONDS = 20;
/** Buckets of a set at first; it grows by doubling. */
const SET_HASH_SIZE = 16384;
/** Hosts that a set of hosts may hold; those that come later are as if nothing were known of them. */
const HOSTS = 262_144;
/** All buckets at once: a set to which rules add does not grow by itself. */
const AGAIN_HASH_SIZE = 65_536;

export class Firewall {
  readonly backend: Backend;
  readonly #options: FirewallOptions;
  readonly #families: readonly IpFamily[];

  private constructor(options: FirewallOptions, backend: Backend, families: readonly IpFamily[]) {
    this.#options = options;
    this.backend = backend;
    this.#families = families;
  }

  /** Finds the tools and the backend; changes nothing. Throws {@link FirewallError}. */
  static async probe(options: FirewallOptions): Promise<Firewall> {
    for (const { name } of options.exempt)
      if (!CLASS_NAME.test(name))
        throw new FirewallError(
          `"${name}" cannot name an exempt class`,
          "write up to 16 letters, digits and hyphens",
        );
    const families: IpFamily[] = existsSync("/proc/net/if_inet6") ? [4, 6] : [4];
    const backend = await chooseBackend(options.backend);
    await run("ipset", ["list", "-n"]);
    for (const family of families) await save(backend, family);
    return new Firewall(options, backend, families);
  }

  /**
   * Puts sets and rules in place, in place of those that an earlier daemon left. Sets are empty afterwards.
   * Throws {@link FirewallError}; a first installation that fails leaves nothing behind.
   */
  async install(): Promise<void> {
    const first = !(await this.installed());
    try {
      await this.#installSets();
      for (const family of this.#families) await this.#installRules(family);
      for (const backend of BACKENDS)
        if (backend !== this.backend) await removeRules(backend, this.#families);
    } catch (error) {
      // What stands already keeps packets out; only a machine that had no rules of ours is put back.
      if (first) await this.remove().catch(() => undefined);
      throw error;
    }
  }

  /** Takes out all that {@link install} or an earlier daemon put in, whichever backend it used. */
  async remove(): Promise<void> {
    for (const backend of BACKENDS) await removeRules(backend, this.#families);
    const present = await setNames();
    const ours = this.#families.flatMap((family) => [
      BLOCKED_SET[family],
      ...setsOf(family).flatMap((set) => [set, nextOf(set)]),
      ...hostSets(family).map(({ name }) => name),
    ]);
    const script = ours.filter((name) => present.has(name)).map((name) => `destroy ${name}\n`);
    if (script.length > 0) await run("ipset", ["restore"], script.join(""));
  }

  /** Packets by chain and reason, such as "forward.drop.no-permission" or "input.exempt.pbs.tls.passed". */
  async counters(): Promise<Record<string, number>> {
    const counters: Record<string, number> = {};
    for (const family of this.#families)
      for (const table of ["mangle", "filter"])
        parseCounters(await run(tool(this.backend, family, "-save"), ["-c", "-t", table]), counters);
    return counters;
  }

  /**
   * Why packets must not go past the kernel's rules: there are some of the machine's own, or address translation.
   * Undefined: there are none but ours.
   */
  async obstacle(): Promise<string | undefined> {
    for (const backend of BACKENDS)
      for (const family of this.#families) {
        if (!mayHaveRules(backend, family)) continue;
        for (const [name, table] of await save(backend, family))
          if (table.foreign)
            return `table ${name} has rules of this machine, which XDP programs would go past`;
      }
    const other = (await nftTables()).find((table) => !KEPT_BY_IPTABLES.test(table));
    return other === undefined
      ? undefined
      : `nftables' table ${other} is there, which XDP programs would go past`;
  }

  /** Whether rules of ours are there, of this process or an earlier one. */
  async installed(): Promise<boolean> {
    for (const family of this.#families)
      for (const table of (await save(this.backend, family)).values())
        if (table.chains.some(isOurs)) return true;
    return false;
  }

  /** By swapping, because a set in use can be neither destroyed nor given another size. Who is known stays so. */
  async #installSets(): Promise<void> {
    const present = await setNames();
    const lines = this.#families.flatMap((family) => {
      const create = (set: string) =>
        `create ${set} hash:ip,port,ip family ${inet(family)} hashsize ${SET_HASH_SIZE} ` +
        `maxelem ${this.#options.setSize} timeout ${SET_TIMEOUT}`;
      const blocked = present.has(BLOCKED_SET[family]) ? [] : [createBlocked(family)];
      const hosts = hostSets(family)
        .filter((set) => !present.has(set.name))
        .map((set) => `create ${set.name} ${set.options}`);
      const flows = setsOf(family).flatMap((name) => {
        const next = nextOf(name);
        const leftover = present.has(next) ? [`destroy ${next}`] : [];
        if (!present.has(name)) return [...leftover, create(name)];
        return [...leftover, create(next), `swap ${next} ${name}`, `destroy ${next}`];
      });
      return [...blocked, ...hosts, ...flows];
    });
    await run("ipset", ["restore"], `${lines.join("\n")}\n`);
  }

  async #installRules(family: IpFamily): Promise<void> {
    const saved = await save(this.backend, family);
    const rules = renderRules(this.#options, family, saved, linkSizes(), this.backend === "nft");
    await restore(this.backend, family, rules);
  }
}

async function chooseBackend(wanted: FirewallOptions["backend"]): Promise<Backend> {
  if (wanted !== "auto") {
    await run(tool(wanted, 4, ""), ["--version"]);
    return wanted;
  }
  const version = await run("iptables", ["--version"]);
  return version.includes("nf_tables") ? "nft" : "legacy";
}

function tool(backend: Backend, family: IpFamily, suffix: "" | "-save" | "-restore"): string {
  return `${family === 4 ? "iptables" : "ip6tables"}-${backend}${suffix}`;
}

async function save(backend: Backend, family: IpFamily): Promise<SavedRules> {
  return parseSaved(await run(tool(backend, family, "-save"), []));
}

/** Changes rules of chains of ours: the lines of one table as iptables-restore takes them. Rejects with {@link FirewallError}. */
export async function changeRules(
  backend: Backend,
  family: IpFamily,
  table: string,
  lines: readonly string[],
): Promise<void> {
  await restore(backend, family, [`*${table}`, ...lines, "COMMIT", ""].join("\n"));
}

async function restore(backend: Backend, family: IpFamily, text: string): Promise<void> {
  await run(tool(backend, family, "-restore"), ["--noflush", "-w", String(LOCK_SECONDS)], text);
}

async function removeRules(backend: Backend, families: readonly IpFamily[]): Promise<void> {
  for (const family of families) {
    if (!mayHaveRules(backend, family)) continue;
    const saved = await save(backend, family);
    const text = renderRemoval(saved);
    if (text === "") continue;
    await restore(backend, family, text);
    if (backend === "nft") await removeMadeTables(family, saved);
  }
}

/** Those that iptables-save shows, if they are its own. */
const KEPT_BY_IPTABLES = /^ip6? (?:filter|mangle|nat|raw|security)$/;

/** Family and name of each; none where there is no nft. */
async function nftTables(): Promise<string[]> {
  if (!existsOnPath("nft")) return [];
  return [...(await run("nft", ["list", "tables"])).matchAll(/^table (\S+ \S+)$/gm)].map(
    ([, name = ""]) => name,
  );
}

/** Asking legacy iptables about a table makes the kernel create it; so ask only about those that are there. */
function mayHaveRules(backend: Backend, family: IpFamily): boolean {
  if (backend === "nft") return existsOnPath(tool(backend, family, "-save"));
  try {
    return (
      readFileSync(family === 4 ? "/proc/net/ip_tables_names" : "/proc/net/ip6_tables_names", "utf8") !== ""
    );
  } catch {
    return false;
  }
}

function existsOnPath(program: string): boolean {
  return SYSTEM_PATH.split(":").some((directory) => existsSync(`${directory}/${program}`));
}

/** Tables that were not there before us go too, unless somebody else has put something in since. */
async function removeMadeTables(family: IpFamily, before: SavedRules): Promise<void> {
  const after = await save("nft", family);
  for (const [name, table] of before) {
    if (!table.chains.includes(MADE_TABLE) || after.get(name)?.foreign !== false) continue;
    await run(tool("nft", family, ""), ["-w", String(LOCK_SECONDS), "-t", name, "-X"]);
    if (existsOnPath("nft")) await removeEmptyTable(family === 4 ? "ip" : "ip6", name);
  }
}

/** Chains that only nft knows do not show in iptables-save; a table that still has one stays. */
async function removeEmptyTable(family: "ip" | "ip6", name: string): Promise<void> {
  const listing = await run("nft", ["list", "table", family, name]);
  if (!listing.includes("chain") && !listing.includes("set "))
    await run("nft", ["delete", "table", family, name]);
}

async function setNames(): Promise<Set<string>> {
  return new Set((await run("ipset", ["list", "-n"])).split("\n"));
}

function setsOf(family: IpFamily): string[] {
  return [PERMITTED_SET[family], INSERT_SET[family]];
}

/** What is blocked stays so while the daemon begins anew: each element has its own end. */
function createBlocked(family: IpFamily): string {
  return `create ${BLOCKED_SET[family]} hash:ip family ${family === 4 ? "inet" : "inet6"} maxelem ${BLOCKED_SIZE} timeout 0`;
}

/** The set that is filled in and then swapped with the one of this name. */
function nextOf(set: string): string {
  return `${set}.next`;
}

const INTERFACES = "/sys/class/net";
/** What iptables takes without quoting. */
const PLAIN_NAME = /^[A-Za-z0-9_.@-]{1,15}$/;

/** Of all interfaces but loopback. */
function linkSizes(): LinkSize[] {
  return readdirSync(INTERFACES)
    .filter((name) => name !== "lo" && PLAIN_NAME.test(name))
    .flatMap((name) => {
      const mtu = readMtu(name);
      return mtu === undefined ? [] : [{ name, mtu }];
    });
}

/** Undefined for an interface that is gone in the meantime. */
function readMtu(name: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(`${INTERFACES}/${name}/mtu`, "utf8"), 10);
  } catch {
    return undefined;
  }
}

/** Sets of single hosts; of strangers with IPv6 their /64. */
function hostSets(family: IpFamily): { name: string; options: string }[] {
  const options = `hash:ip family ${inet(family)} maxelem ${HOSTS}`;
  const prefix = family === 6 ? " netmask 64" : "";
  return [
    { name: KNOWN_SET[family], options: `${options} timeout ${KNOWN_TIMEOUT}` },
    {
      name: AGAIN_SET[family],
      options: `${options} hashsize ${AGAIN_HASH_SIZE} timeout ${AGAIN_TIMEOUT}${prefix}`,
    },
  ];
}

function inet(family: IpFamily): "inet" | "inet6" {
  return family === 4 ? "inet" : "inet6";
}
