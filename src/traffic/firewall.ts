/**
 * Packet rules of the kernel: chains PBS-* of iptables and two sets. They stay when the daemon ends, so that nothing
 * unpermitted passes; {@link Firewall.remove} takes them out again and leaves the machine's own rules as they were.
 */
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { IpFamily } from "../base/address.js";
import {
  AGAIN_SET,
  AGAIN_TIMEOUT,
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
import { remedyFor } from "./firewall-trouble.js";

export { type ExemptClass, type FirewallOptions, PERMITTED_SET, SET_TIMEOUT } from "./firewall-rules.js";

/** What went wrong and what to do about it. */
export class FirewallError extends Error {
  override readonly name = "FirewallError";
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(`${message}; ${remedy}`);
    this.remedy = remedy;
  }
}

type Backend = "nft" | "legacy";

const BACKENDS: readonly Backend[] = ["nft", "legacy"];
/** The rule lock of legacy iptables is one for the machine; seconds to wait for it. */
const LOCK_SECONDS = 20;
/** Never the caller's: npm puts package programs in front, and one of them is called nft too. */
const SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
const COMMAND_TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;
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
    const first = !(await this.#installed());
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

  async #installed(): Promise<boolean> {
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
      const hosts = hostSets(family)
        .filter((set) => !present.has(set.name))
        .map((set) => `create ${set.name} ${set.options}`);
      const flows = setsOf(family).flatMap((name) => {
        const next = nextOf(name);
        const leftover = present.has(next) ? [`destroy ${next}`] : [];
        if (!present.has(name)) return [...leftover, create(name)];
        return [...leftover, create(next), `swap ${next} ${name}`, `destroy ${next}`];
      });
      return [...hosts, ...flows];
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

/** Runs a program to its end and returns what it printed. Rejects with {@link FirewallError}. */
function run(program: string, args: readonly string[], input = ""): Promise<string> {
  const env = { ...process.env, PATH: SYSTEM_PATH };
  const options = { timeout: COMMAND_TIMEOUT_MS, maxBuffer: MAX_OUTPUT_BYTES, env };
  return new Promise((resolve, reject) => {
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(explain(program, error, stderr));
    });
    // A program that fails early closes its input; the exit status tells more than EPIPE does.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}

function explain(program: string, error: Error, stderr: string): FirewallError {
  if ("code" in error && error.code === "ENOENT")
    return new FirewallError(
      `${program} is not installed`,
      `install the package ${program === "ipset" ? "ipset" : "iptables"}`,
    );
  const said = stderr.trim().split("\n").slice(-4).join(" / ") || error.message;
  return new FirewallError(`${program} failed: ${said}`, remedyFor(stderr));
}
