/**
 * The text that iptables-restore is given: a pure function of the options and of what the kernel holds now. What the
 * rules mean is told in docs/architecture.md, "A packet's way".
 */
import type { IpFamily, IpPrefix } from "../base/address.js";
import { PROTOCOL } from "../base/flow.js";
import { AGAIN_MARK, ASIDE_MARK, SENT_MARK, STRANGER_MARK } from "../base/marks.js";
import { knownHostsRange } from "../base/queues.js";
import { isOurs, type SavedRules, type SavedTable } from "./firewall-saved.js";

export interface FirewallOptions {
  /** First of four queue numbers: intercepted signalling, permitted, held, authenticated. */
  readonly queueBase: number;
  /** Port of this node's TLS associations, and of its peers'. */
  readonly tlsPort: number;
  /** The same for associations without TLS; null: there are none. */
  readonly tcpPort: number | null;
  /** Mark (its set bits) of packets that the engine refuses on behalf of an application. */
  readonly refuseMark: number;
  readonly backend: "auto" | "nft" | "legacy";
  readonly exempt: readonly ExemptClass[];
  /** Query-mode packets a second that are taken to GIST: half for known hosts, the rest for strangers. */
  readonly interceptRate: number;
  /** Entries that each kernel set of permitted flows may hold. */
  readonly setSize: number;
  /** Bytes that every TCP segment to and from this host leaves free for an Authentication Header; 0 for none. */
  readonly reserve: number;
  /** Put fragments together before they are judged; without it they are dropped. */
  readonly reassemble: boolean;
  /** An open network: what has no permission passes within these rates. Absent: it is dropped. */
  readonly open?: SharedRates;
  /** Hosts that know nothing of PBS: what they send and get passes within these rates, in a closed network too. */
  readonly legacy?: readonly LegacyClass[];
  /** Mark (its set bits) of packets that the engine has found to be without permission; needed with the two above. */
  readonly openMark?: number;
  /** This host is a relay: what it passes on needs a permission, in an open network too, and so do the packets that bring it. */
  readonly relayPort?: number;
}

/** What others send through this host comes out of it. */
export const RELAY_DEVICE = "pbs-relay";

/** Bytes a second, of whole IP datagrams; at most 2 GB. Each hook counts by itself. */
export interface SharedRates {
  /** Of all together. */
  readonly total: number;
  /** Of one source address; IPv6: of a /64. */
  readonly source: number;
}

export interface LegacyClass extends SharedRates {
  /** Letters, digits and hyphens, at most 16. */
  readonly name: string;
  readonly prefix: IpPrefix;
}

/** An interface of this host, for the size of TCP segments. */
export interface LinkSize {
  readonly name: string;
  readonly mtu: number;
}

/** Traffic that passes without permission, in either direction, within a rate. What is absent matches everything. */
export interface ExemptClass {
  /** Letters, digits and hyphens, at most 16. */
  readonly name: string;
  readonly protocol?: number;
  /** Of the destination; in replies of the source. */
  readonly ports?: readonly { readonly from: number; readonly to: number }[];
  readonly from?: IpPrefix;
  readonly to?: IpPrefix;
  /** Packets a second. */
  readonly rate: number;
}

/** Kernel sets of permitted flows: type hash:ip,port,ip with source, protocol:destination port, destination. */
export const PERMITTED_SET: Readonly<Record<IpFamily, string>> = { 4: "PBS-permitted4", 6: "PBS-permitted6" };

/** Kernel sets of hosts that had a permission lately: type hash:ip. Their signalling goes before that of strangers. */
export const KNOWN_SET: Readonly<Record<IpFamily, string>> = { 4: "PBS-known4", 6: "PBS-known6" };

/** Kernel sets of strangers that were turned away a moment ago: who comes again is more likely to be there. Type hash:ip. */
export const AGAIN_SET: Readonly<Record<IpFamily, string>> = { 4: "PBS-again4", 6: "PBS-again6" };

/** Seconds that it is remembered; GIST tries again after half a second, then after twice as long each time. */
export const AGAIN_TIMEOUT = 4;

/** Seconds that a host stays known after its last permission was seen to. */
export const KNOWN_TIMEOUT = 3600;

/** As the set of permitted flows, for flows of this host into which an Authentication Header is put. */
export const INSERT_SET: Readonly<Record<IpFamily, string>> = { 4: "PBS-insert4", 6: "PBS-insert6" };

/** Kernel sets of blocked sources: type hash:ip. They stay when a daemon begins anew. */
export const BLOCKED_SET: Readonly<Record<IpFamily, string>> = { 4: "PBS-blocked4", 6: "PBS-blocked6" };

/** What comes in off its flow's path; see place-block.ts. Empty when the rules are put in place. */
export const OFF_PATH_CHAIN = "PBS-OFF-PATH";

/** Sources that can be blocked at a time, for each IP version. */
export const BLOCKED_SIZE = 65_536;

/** Seconds that an entry of a set stays unless it is added again. */
export const SET_TIMEOUT = 600;

/** Empty chain that says: this table was not there before us. Only nft tables can be taken away again. */
export const MADE_TABLE = "PBS-MADE-TABLE";

export const CLASS_NAME = /^[A-Za-z0-9][A-Za-z0-9-]{0,15}$/;

type Hook = "INPUT" | "FORWARD" | "OUTPUT";
const HOOKS: readonly Hook[] = ["INPUT", "FORWARD", "OUTPUT"];

/** One class as rules: which packets, by hook, and how many a second. */
interface ClassRules {
  readonly name: string;
  readonly rate: number;
  /** Packets a second from one source, where sources are not our own. */
  readonly sourceRate?: number;
  readonly matches: Readonly<Partial<Record<Hook, readonly string[]>>>;
}

interface Chain {
  readonly name: string;
  readonly rules: readonly string[];
}

interface Table {
  readonly name: string;
  readonly chains: readonly Chain[];
  /** Our chain by the built-in chain that jumps to it. */
  readonly jumps: readonly { readonly from: string; readonly to: string }[];
}

const GIST = "-p udp -m udp";
const GIST_PORT = 270;
/** The queue's reader takes 65,535 bytes with all that the kernel adds; no Query comes near this. */
const MAX_INTERCEPTED_LENGTH = 9216;
/** What the kernel's hashlimit match can count. */
const MAX_RATE = 1_000_000;
const ASSOCIATION_RATE = 50_000;
const NEIGHBOUR_RATE = 500;
const LISTENER_RATE = 100;
const ICMP_ERROR_RATE = 200;
/** The engine looks at SPI, sequence number and checksum first, which costs little; so forgeries take a few percent of a core. */
const TOO_BIG_RATE = 4000;
const TOO_BIG_AGAIN_RATE = 1000;
const TOO_BIG_SOURCE_RATE = 50;
/** Milliseconds; Linux says it once a second to one host. */
const TOO_BIG_REMEMBERED = 4000;
/** What waits in the queue at once is a tenth of a second's worth, for it is what known hosts wait for. */
const STRANGERS_BURST = 0.1;
/** For more forged sources a second than any daemon could answer, each forgotten after the second its bucket takes to fill. */
const MANY_SOURCES: SourceTable = { chains: 65_536, most: 262_144, expire: 1000 };

/**
 * Rules for one family, to be fed to iptables-restore --noflush. Chains of an earlier run are emptied and filled within the
 * same transaction, so that there is no moment without rules.
 * @param addTableMarker leave a note in tables that do not exist yet
 */
export function renderRules(
  options: FirewallOptions,
  family: IpFamily,
  saved: SavedRules,
  links: readonly LinkSize[],
  addTableMarker: boolean,
): string {
  return [filterTable(family, options, links), mangleTable(family, options, links)]
    .map((table) => renderTable(table, saved.get(table.name), addTableMarker))
    .join("");
}

/** What takes all of it out again, for one family; empty when there is nothing of ours. */
export function renderRemoval(saved: SavedRules): string {
  // mangle first: while packets are still queued and marked, what rejects the marked must stand.
  return ["mangle", "filter"]
    .map((name) => ({ name, table: saved.get(name) }))
    .map(({ name, table }) => (table === undefined ? "" : renderTableRemoval(name, table)))
    .join("");
}

function renderTable(table: Table, saved: SavedTable | undefined, addTableMarker: boolean): string {
  const marker: Chain[] = addTableMarker && saved === undefined ? [{ name: MADE_TABLE, rules: [] }] : [];
  const chains = [...marker, ...table.chains];
  const names = new Set(chains.map((chain) => chain.name)).add(MADE_TABLE);
  const stale = (saved?.chains ?? []).filter((name) => isOurs(name) && !names.has(name));
  const referenced = new Set(saved?.references.map((reference) => reference.to));
  const lines = [
    `*${table.name}`,
    ...[...chains.map((chain) => chain.name), ...stale].map((name) => `:${name} - [0:0]`),
    ...table.jumps.flatMap((jump) => existing(saved, jump).map(() => `-D ${jump.from} -j ${jump.to}`)),
    ...chains.flatMap((chain) => chain.rules.map((rule) => `-A ${chain.name} ${rule}`)),
    ...table.jumps.map((jump) => `-I ${jump.from} 1 -j ${jump.to}`),
    ...stale.filter((name) => !referenced.has(name)).map((name) => `-X ${name}`),
    "COMMIT",
  ];
  return `${lines.join("\n")}\n`;
}

function existing(saved: SavedTable | undefined, jump: { from: string; to: string }): readonly unknown[] {
  return (saved?.references ?? []).filter((reference) => reference.rule === `${jump.from} -j ${jump.to}`);
}

function renderTableRemoval(name: string, table: SavedTable): string {
  const ours = table.chains.filter(isOurs);
  if (ours.length === 0) return "";
  const lines = [
    `*${name}`,
    ...table.references.map((reference) => `-D ${reference.rule}`),
    ...ours.map((chain) => `-F ${chain}`),
    ...ours.map((chain) => `-X ${chain}`),
    "COMMIT",
  ];
  return `${lines.join("\n")}\n`;
}

function filterTable(family: IpFamily, options: FirewallOptions, links: readonly LinkSize[]): Table {
  const { refuseMark, reserve } = options;
  const mark = `0x${refuseMark.toString(16)}`;
  const marked = `-m mark --mark ${mark}/${mark}`;
  const unreachable = family === 4 ? "icmp-admin-prohibited" : "icmp6-adm-prohibited";
  return {
    name: "filter",
    chains: [
      {
        name: "PBS-REFUSE",
        rules: [
          `-p tcp ${marked} ${comment("output.refused.tcp")} -j REJECT --reject-with tcp-reset`,
          `${marked} ${comment("output.refused.other")} -j REJECT --reject-with ${unreachable}`,
        ],
      },
      ...segments("INPUT", family, reserve, links),
    ],
    jumps: [{ from: "OUTPUT", to: "PBS-REFUSE" }, ...(reserve > 0 ? [{ from: "INPUT", to: SEGMENTS }] : [])],
  };
}

function mangleTable(family: IpFamily, options: FirewallOptions, links: readonly LinkSize[]): Table {
  const classes = [
    ...builtInClasses(family, options),
    ...options.exempt.flatMap((c) => configuredClass(family, c)),
  ];
  return {
    name: "mangle",
    chains: [
      ...interception(family, options),
      tooBigChain(family, options),
      ...segments("OUTPUT", family, options.reserve, links),
      ...HOOKS.flatMap((hook) => hookChains(hook, family, options, classes)),
      ...HOOKS.flatMap((hook) => sharedChains(hook, family, options)),
      ...relayedChain(family, options),
    ],
    jumps: ["PREROUTING", ...HOOKS].map((hook) => ({ from: hook, to: `PBS-${hook}` })),
  };
}

/**
 * Query-mode messages of GIST: to the signalling queue, within a rate for all. Half of it is for known hosts, whatever
 * comes from strangers. A flood with forged sources has a bucket for each, so that no limit by source stops it, and takes
 * most of an eighth that is for every stranger; a quarter is for those who try again after being turned away. Whoever reads
 * the queue sees by the mark whom it may keep waiting.
 */
function interception(family: IpFamily, options: FirewallOptions): Chain[] {
  const { queueBase, interceptRate } = options;
  const eighth = part(interceptRate, 8);
  const queue = (which: string) => `${comment("intercept.queued")} -j NFQUEUE ${which}`;
  const strangers = queue(`--queue-num ${queueBase}`);
  const bySourceOf = (name: string, parts: number, table?: SourceTable) =>
    `${bySource(name, part(interceptRate, parts), family, table)} ${comment("intercept.drop.source-rate")} -j DROP`;
  return [
    {
      name: "PBS-PREROUTING",
      rules: [
        "-i lo -j RETURN",
        `-m set --match-set ${BLOCKED_SET[family]} src ${comment("drop.blocked")} -j DROP`,
        ...reassembly(options),
        ...gistPayload(family, true).map(
          (payload) => `${GIST} --dport ${GIST_PORT} ${payload} -g PBS-INTERCEPT`,
        ),
        `-j ${OFF_PATH_CHAIN}`,
      ],
    },
    { name: OFF_PATH_CHAIN, rules: [] },
    {
      name: "PBS-INTERCEPT",
      rules: [
        `-m length --length ${MAX_INTERCEPTED_LENGTH + 1}:65535 ${comment("intercept.drop.too-long")} -j DROP`,
        `-m set --match-set ${KNOWN_SET[family]} src -j PBS-KNOWN`,
        "-g PBS-STRANGERS",
      ],
    },
    {
      name: "PBS-KNOWN",
      rules: [
        bySourceOf("PBS-KNOWN", 4),
        `${within("PBS-KNOWN", part(interceptRate, 2))} ${queue(`--queue-balance ${knownHostsRange(queueBase)}`)}`,
      ],
    },
    {
      name: "PBS-STRANGERS",
      rules: [
        bySourceOf("PBS-STRANGERS", 8, MANY_SOURCES),
        `${within("PBS-STRANGERS", eighth, STRANGERS_BURST)} -g PBS-STRANGER`,
        `-m set --match-set ${AGAIN_SET[family]} src ${within("PBS-AGAIN", part(interceptRate, 4), STRANGERS_BURST)} -g PBS-AGAIN`,
        `-j SET --add-set ${AGAIN_SET[family]} src --exist`,
        `${comment("intercept.drop.rate")} -j DROP`,
      ],
    },
    { name: "PBS-STRANGER", rules: [markAs(STRANGER_MARK), strangers] },
    { name: "PBS-AGAIN", rules: [markAs(AGAIN_MARK), strangers] },
  ];
}

/** What has a mark already keeps it, as it may choose the packet's route; then it waits for nobody. */
function markAs(mark: number): string {
  return `-m mark --mark 0x0 -j MARK --set-xmark 0x${mark.toString(16)}/0xffffffff`;
}

/**
 * That there is a rule with the socket match has the kernel put fragments together before this hook, within bounds of
 * its own (net.ipv4.ipfrag_high_thresh), and without tracking connections. The match itself is for no packet.
 */
function reassembly({ reassemble }: FirewallOptions): string[] {
  return reassemble ? [`-p 255 -m socket --nowildcard -j RETURN`] : [];
}

/**
 * Makes room for an Authentication Header. A SYN of the other side says how large this host's segments may become: it is
 * lowered in the table behind the queues, where one that came with AH is plain again. This host's own SYNs are lowered
 * before the queues, so that every node on the way knows the size and counts the headers of super-packets rightly.
 */
const SEGMENTS = "PBS-SEGMENTS";
const TCP_AND_IP: Readonly<Record<IpFamily, number>> = { 4: 40, 6: 60 };
const LEAST_SEGMENT = 536;
const SYN = "-p tcp -m tcp --tcp-flags SYN,RST SYN";

function segments(
  hook: "INPUT" | "OUTPUT",
  family: IpFamily,
  reserve: number,
  links: readonly LinkSize[],
): Chain[] {
  if (reserve === 0) return [];
  const direction = hook === "INPUT" ? "-i" : "-o";
  const rules = links.map(({ name, mtu }) => {
    const size = Math.max(LEAST_SEGMENT, mtu - TCP_AND_IP[family] - reserve);
    return `${direction} ${name} ${SYN} -j TCPMSS --set-mss ${size}`;
  });
  return [{ name: SEGMENTS, rules }];
}

function announced(hook: Hook, { reserve }: FirewallOptions): string[] {
  return hook === "OUTPUT" && reserve > 0 ? [`${SYN} -j ${SEGMENTS}`] : [];
}

function authenticatedQueue({ queueBase }: FirewallOptions): number {
  return queueBase + 3;
}

/**
 * Packets whose every byte is needed: with AH, and at the sending host those that get it. They come first: an exempt
 * class that passed them would leave a header for a receiver that knows none, and they cost the most without that.
 */
function authenticated(hook: Hook, family: IpFamily, options: FirewallOptions): string[] {
  const verdict = `-j NFQUEUE --queue-num ${authenticatedQueue(options)}`;
  const aside = `0x${ASIDE_MARK.toString(16)}`;
  if (hook === "OUTPUT")
    return [
      `-m set --match-set ${INSERT_SET[family]} src,dst,dst -m mark ! --mark ${aside}/${aside} ` +
        `${counted(hook, "queued.insert")} ${verdict}`,
    ];
  const ah = family === 4 ? "-p ah" : AH_FIRST;
  return [`${ah} ${permittedBy(family)} ${counted(hook, "queued.authenticated")} ${verdict}`];
}

const RELAYED_CHAIN = "PBS-RELAYED";

/**
 * Packets that others had this host unwrap may have any addresses, so no class passes them. For this host itself there are none.
 */
function relayed(hook: Hook, { relayPort }: FirewallOptions): string[] {
  if (relayPort === undefined || hook === "OUTPUT") return [];
  if (hook === "FORWARD") return [`-i ${RELAY_DEVICE} -g ${RELAYED_CHAIN}`];
  return [`-i ${RELAY_DEVICE} ${counted(hook, "drop.relayed")} -j DROP`];
}

/** What the engine found to be without permission comes a second time, marked. */
function relayedChain(family: IpFamily, options: FirewallOptions): Chain[] {
  const { relayPort, openMark, queueBase } = options;
  if (relayPort === undefined) return [];
  const drop = `${counted("FORWARD", "drop.relayed")} -j DROP`;
  const mark = openMark === undefined ? undefined : `0x${openMark.toString(16)}`;
  const gist = gistClass(family, options);
  return [
    {
      name: RELAYED_CHAIN,
      rules: [
        ...(mark === undefined ? [] : [`-m mark --mark ${mark}/${mark} ${drop}`]),
        ...authenticated("FORWARD", family, options),
        ...(gist.matches.FORWARD ?? []).map((match) => `${match} -g ${className("FORWARD", gist)}`),
        `${permittedBy(family)} ${counted("FORWARD", "queued.relayed")} -j NFQUEUE --queue-num ${queueBase + 1}`,
        drop,
      ],
    },
  ];
}

/** In an open network others pass without permission; to be relayed so would hide where they come from. */
function toRelay(hook: Hook, { relayPort }: FirewallOptions): string[] {
  if (relayPort === undefined || hook !== "INPUT") return [];
  return [`-p udp -m udp --dport ${relayPort} ${counted(hook, "drop.relay-without-permission")} -j DROP`];
}

const permittedBy = (family: IpFamily): string => `-m set --match-set ${PERMITTED_SET[family]} src,dst,dst`;

/** AH right behind the IPv6 header. */
export const AH_FIRST = '-m u32 --u32 "3&0xFF=51"';

/**
 * AH behind extension headers. The match drops a header that is cut short without counting it, so those without
 * permission that it need not look for are dropped before.
 */
function authenticatedBehind(hook: Hook, family: IpFamily, options: FirewallOptions): string[] {
  if (hook === "OUTPUT" || family === 4) return [];
  return [
    `${AH_FIRST} ${counted(hook, "drop.no-permission")} -j DROP`,
    `-m ah ${permittedBy(6)} ${counted(hook, "queued.authenticated")} ` +
      `-j NFQUEUE --queue-num ${authenticatedQueue(options)}`,
  ];
}

function hookChains(
  hook: Hook,
  family: IpFamily,
  options: FirewallOptions,
  classes: readonly ClassRules[],
): Chain[] {
  const here = classes.filter((c) => c.matches[hook] !== undefined);
  const main: Chain = {
    name: `PBS-${hook}`,
    rules: [
      ...tooBig(hook, family),
      ...loopback(hook),
      ...sentByEngine(hook),
      ...announced(hook, options),
      ...fragments(hook, family),
      ...relayed(hook, options),
      ...judgedAsOpen(hook, family, options),
      ...authenticated(hook, family, options),
      ...here.flatMap((c) => (c.matches[hook] ?? []).map((match) => `${match} -g ${className(hook, c)}`)),
      ...authenticatedBehind(hook, family, options),
      `${permittedBy(family)} ${counted(hook, "queued.permitted")} ` +
        `-j NFQUEUE --queue-num ${options.queueBase + 1}`,
      ...toRelay(hook, options),
      ...legacyHosts(hook, family, options),
      ...otherwise(hook, family, options),
    ],
  };
  return [main, ...here.map((c) => classChain(hook, c, family))];
}

/**
 * That a packet is too big for its way, said of one with AH: by a router, or by this host's own kernel when AH made the
 * packet too big for the link. IPv6: AH may stand behind extension headers, so those are taken too.
 */
const TOO_BIG: Readonly<Record<IpFamily, string>> = {
  4: '-p icmp -m icmp --icmp-type fragmentation-needed -m u32 --u32 "0>>22&0x3C@14&0xFF=51"',
  6: '-p icmpv6 -m icmp6 --icmpv6-type packet-too-big -m u32 --u32 "51&0xFF=0,43:44,51,60"',
};
const TOO_BIG_CHAIN = "PBS-TOO-BIG";

function tooBig(hook: Hook, family: IpFamily): string[] {
  return hook === "INPUT" ? [`${TOO_BIG[family]} -j ${TOO_BIG_CHAIN}`] : [];
}

/**
 * Routers that are there say it again soon, and forged sources do not: beyond the rate for all there is one for who has been
 * turned away a moment ago. Beyond both it goes the way of other ICMP errors, and says nothing to the kernel.
 */
function tooBigChain(family: IpFamily, options: FirewallOptions): Chain {
  const queue = `${comment("input.queued.too-big")} -j NFQUEUE --queue-num ${authenticatedQueue(options)}`;
  return {
    name: TOO_BIG_CHAIN,
    rules: [
      `-i lo ${queue}`,
      `${bySource(TOO_BIG_CHAIN, TOO_BIG_SOURCE_RATE, family, MANY_SOURCES)} -j RETURN`,
      `${within(TOO_BIG_CHAIN, TOO_BIG_RATE, STRANGERS_BURST)} ${queue}`,
      `${again(family)} ${within(`${TOO_BIG_CHAIN}.again`, TOO_BIG_AGAIN_RATE, STRANGERS_BURST)} ${queue}`,
    ],
  };
}

/** A source that this rule has seen in the last seconds: the first packet takes all that its bucket has. */
function again(family: IpFamily): string {
  const table = sourceTable(family, { ...MANY_SOURCES, expire: TOO_BIG_REMEMBERED });
  return (
    `-m hashlimit --hashlimit-above 1/min --hashlimit-burst 1 --hashlimit-mode srcip${table} ` +
    `--hashlimit-name ${TOO_BIG_CHAIN}.seen`
  );
}

function sentByEngine(hook: Hook): string[] {
  const mark = `0x${SENT_MARK.toString(16)}`;
  return hook === "OUTPUT" ? [`-m mark --mark ${mark}/${mark} ${counted(hook, "emitted")} -j RETURN`] : [];
}

function loopback(hook: Hook): string[] {
  if (hook === "INPUT") return ["-i lo -j RETURN"];
  return hook === "OUTPUT" ? ["-o lo -j RETURN"] : [];
}

/** A fragment has no ports to look up, and its first piece would be counted for the whole. */
function fragments(hook: Hook, family: IpFamily): string[] {
  if (hook === "OUTPUT") return [];
  const isFragment = family === 4 ? "4&0x3FFF=1:0x3FFF" : "3&0xFF=44";
  return [`-m u32 --u32 "${isFragment}" ${counted(hook, "drop.fragment")} -j DROP`];
}

function otherwise(hook: Hook, family: IpFamily, options: FirewallOptions): string[] {
  if (hook !== "OUTPUT") return [withoutPermission(hook, options)];
  const toMany = family === 4 ? ["-m addrtype --dst-type BROADCAST", "-d 224.0.0.0/4"] : ["-d ff00::/8"];
  return [
    ...toMany.map((match) => `${match} ${counted(hook, "drop.multicast")} -j DROP`),
    `${counted(hook, "queued.unknown")} -j NFQUEUE --queue-num ${options.queueBase + 2}`,
  ];
}

/** Name of the class of an open network; has a dot, as those built in. */
const OPEN = "pbs.open";
/** Linux's priority of bulk traffic: with pfifo_fast, or a prio map like its own, all that has a permission goes ahead. */
const BULK = "0:2";
/** The kernel wants a second's worth at least, by its own rounding. And a full datagram must always be able to pass. */
const BURST_SHARE = 1.125;
const MIN_BURST = 131_072;
const MAX_BYTE_RATE = 2_000_000_000;

/** What shares a set's element with a permitted flow comes back from the engine, to go where it would have gone without. */
function judgedAsOpen(hook: Hook, family: IpFamily, options: FirewallOptions): string[] {
  const { open, openMark } = options;
  if (openMark === undefined) return [];
  const hosts = legacyHosts(hook, family, options);
  if (open === undefined && hosts.length === 0) return [];
  const mark = `0x${openMark.toString(16)}`;
  return [...toRelay(hook, options), ...hosts, withoutPermission(hook, options)].map(
    (rule) => `-m mark --mark ${mark}/${mark} ${rule}`,
  );
}

function withoutPermission(hook: Hook, { open }: FirewallOptions): string {
  return open === undefined
    ? `${counted(hook, "drop.no-permission")} -j DROP`
    : `-g ${sharedName(hook, OPEN)}`;
}

function legacyHosts(hook: Hook, family: IpFamily, { legacy = [] }: FirewallOptions): string[] {
  return legacy
    .filter(({ prefix }) => prefix.address.family === family)
    .flatMap(({ name, prefix }) => {
      const ends = { INPUT: ["-s"], FORWARD: ["-s", "-d"], OUTPUT: ["-d"] }[hook];
      return ends.map((end) => `${end} ${prefix} -g ${sharedName(hook, name)}`);
    });
}

function sharedChains(hook: Hook, family: IpFamily, { open, legacy = [] }: FirewallOptions): Chain[] {
  return [
    ...(open === undefined ? [] : [sharedChain(hook, family, OPEN, open)]),
    ...legacy
      .filter(({ prefix }) => prefix.address.family === family)
      .map((one) => sharedChain(hook, family, one.name, one)),
  ];
}

/** Sources first: one that sends too much takes nothing of the total from the others. */
function sharedChain(hook: Hook, family: IpFamily, name: string, { total, source }: SharedRates): Chain {
  const chain = sharedName(hook, name);
  const label = name === OPEN ? "open" : `legacy.${name}`;
  const bySourceRate = `${byteRate(source, `${chain}.source`)} --hashlimit-mode srcip${sourceTable(family)}`;
  return {
    name: chain,
    rules: [
      ...(hook === "OUTPUT" ? [] : [`${bySourceRate} ${counted(hook, `${label}.source-rate`)} -j DROP`]),
      `${byteRate(total, chain)} ${counted(hook, `${label}.over-rate`)} -j DROP`,
      ...(hook === "INPUT" ? [] : [`-j CLASSIFY --set-class ${BULK}`]),
      `${counted(hook, `${label}.passed`)} -j RETURN`,
    ],
  };
}

function sharedName(hook: Hook, name: string): string {
  return name === OPEN ? `PBS-${hook[0]}-${OPEN}` : `PBS-${hook[0]}-L-${name}`;
}

/** The kernel keeps a bucket as long as a rule names it, so its rate is part of the name. */
function byteRate(rate: number, name: string): string {
  const limit = Math.min(Math.max(Math.floor(rate), 1), MAX_BYTE_RATE);
  const burst = Math.max(Math.ceil(limit * BURST_SHARE), MIN_BURST);
  return `-m hashlimit --hashlimit-above ${limit}b/s --hashlimit-burst ${burst}b --hashlimit-name ${name}@${limit}`;
}

/** Left by RETURN after a goto: the packet goes on behind our jump, to the machine's own rules. */
function classChain(hook: Hook, c: ClassRules, family: IpFamily): Chain {
  const name = className(hook, c);
  const limitSources = c.sourceRate !== undefined && hook !== "OUTPUT";
  return {
    name,
    rules: [
      ...(limitSources
        ? [`${bySource(name, c.sourceRate, family)} ${counted(hook, `exempt.${c.name}.source-rate`)} -j DROP`]
        : []),
      `${within(name, c.rate)} ${counted(hook, `exempt.${c.name}.passed`)} -j RETURN`,
      `${counted(hook, `exempt.${c.name}.over-rate`)} -j DROP`,
    ],
  };
}

function className(hook: Hook, c: ClassRules): string {
  return `PBS-${hook[0]}-${c.name}`;
}

/** Their names have a dot, which configured ones may not have. */
function builtInClasses(family: IpFamily, options: FirewallOptions): ClassRules[] {
  return [gistClass(family, options), ...associationClasses(options), ...icmpClasses(family)];
}

/** Datagrams that begin with GIST's magic number. Its own port is 270 always, so nothing else of this host is reached. */
function gistClass(family: IpFamily, { interceptRate }: FirewallOptions): ClassRules {
  const payloads = gistPayload(family, false);
  const to = payloads.map((payload) => `${GIST} --dport ${GIST_PORT} ${payload}`);
  const from = payloads.map((payload) => `${GIST} --sport ${GIST_PORT} ${payload}`);
  return {
    name: "pbs.gist",
    rate: interceptRate * 2,
    sourceRate: interceptRate,
    matches: { INPUT: to, FORWARD: [...to, ...from], OUTPUT: [...to, ...from] },
  };
}

/** Each with a rate of its own: what anybody may open must not take the place of what shows a certificate. */
function associationClasses({ tlsPort, tcpPort }: FirewallOptions): ClassRules[] {
  const tls = associationClass("pbs.tls", tlsPort);
  return tcpPort === null ? [tls] : [tls, associationClass("pbs.tcp", tcpPort)];
}

/** No SYN from the port: else any program could reach any port from there. */
function associationClass(name: string, port: number): ClassRules {
  const matches = [`-p tcp -m tcp --dport ${port}`, `-p tcp -m tcp --sport ${port} ! --syn`];
  return { name, rate: ASSOCIATION_RATE, matches: { INPUT: matches, OUTPUT: matches } };
}

function icmpClasses(family: IpFamily): ClassRules[] {
  if (family === 4) return [icmpErrors([3, 11, 12].map((type) => `-p icmp -m icmp --icmp-type ${type}`))];
  const types = (list: readonly number[], extra = "") =>
    list.map((type) => `-p icmpv6 -m icmp6 --icmpv6-type ${type}${extra}`);
  const neighbour = types([133, 134, 135, 136, 137], " -m hl --hl-eq 255");
  const listener = types([130, 131, 132, 143], " -m hl --hl-eq 1");
  return [
    { name: "ip.nd", rate: NEIGHBOUR_RATE, matches: { INPUT: neighbour, OUTPUT: neighbour } },
    { name: "ip.mld", rate: LISTENER_RATE, matches: { INPUT: listener, OUTPUT: listener } },
    icmpErrors(types([1, 2, 3, 4])),
  ];
}

function icmpErrors(matches: readonly string[]): ClassRules {
  return {
    name: "ip.icmp-errors",
    rate: ICMP_ERROR_RATE,
    matches: { INPUT: matches, FORWARD: matches, OUTPUT: matches },
  };
}

function configuredClass(family: IpFamily, c: ExemptClass): ClassRules[] {
  if ([c.from, c.to].some((prefix) => prefix !== undefined && prefix.address.family !== family)) return [];
  if (c.protocol === PROTOCOL.icmp && family === 6) return [];
  if (c.protocol === PROTOCOL.icmpv6 && family === 4) return [];
  const matches = [...oneWay(c, "dport", c.from, c.to), ...oneWay(c, "sport", c.to, c.from)];
  const unique = [...new Set(matches)];
  return [{ name: c.name, rate: c.rate, matches: { INPUT: unique, FORWARD: unique, OUTPUT: unique } }];
}

function oneWay(
  c: ExemptClass,
  portOption: "dport" | "sport",
  source: IpPrefix | undefined,
  destination: IpPrefix | undefined,
): string[] {
  const addresses = [
    ...(source === undefined ? [] : [`-s ${source}`]),
    ...(destination === undefined ? [] : [`-d ${destination}`]),
  ];
  if (c.ports === undefined) {
    const protocol = c.protocol === undefined ? [] : [`-p ${c.protocol}`];
    return [[...protocol, ...addresses].join(" ")];
  }
  const protocols = c.protocol === undefined ? [PROTOCOL.tcp, PROTOCOL.udp] : [c.protocol];
  return protocols.flatMap((protocol) =>
    (c.ports ?? []).map(({ from, to }) => {
      const match = protocol === PROTOCOL.tcp ? "tcp" : "udp";
      return [`-p ${protocol} -m ${match}`, ...addresses, `--${portOption} ${from}:${to}`].join(" ");
    }),
  );
}

/**
 * u32 matches for the magic number at the start of a UDP payload and, for Query mode, flag C. IPv6: without extension
 * headers, or with one hop-by-hop header of 8 bytes, as Router Alert makes it.
 */
function gistPayload(family: IpFamily, queryMode: boolean): string[] {
  const magic = "0x4e04bda5";
  const withFlag = (test: string, word: string) => (queryMode ? `${test}&&${word}&0x8000=0x8000` : test);
  const tests =
    family === 4
      ? [withFlag(`0>>22&0x3C@8=${magic}`, "0>>22&0x3C@16")]
      : [
          withFlag(`3&0xFF=17&&48=${magic}`, "56"),
          withFlag(`3&0xFF=0&&37&0xFF=17&&38&0xFF=0&&56=${magic}`, "64"),
        ];
  return tests.map((test) => `-m u32 --u32 "${test}"`);
}

/**
 * The kernel keeps a bucket as long as a rule names it, so its rate is part of the name.
 * @param burst packets at once, as a share of the rate
 */
function within(name: string, rate: number, burst = 1): string {
  const limit = clampRate(rate);
  const atOnce = Math.ceil(limit * burst);
  return `-m hashlimit --hashlimit-upto ${limit}/sec --hashlimit-burst ${atOnce} --hashlimit-name ${name}@${limit}`;
}

interface SourceTable {
  /** Chains that the sources are spread over. */
  readonly chains: number;
  readonly most: number;
  /** Milliseconds that a source is remembered after its last packet. */
  readonly expire: number;
}

const SOURCES: SourceTable = { chains: 4096, most: 65_536, expire: 5000 };

/** One bucket a source address; IPv6: a /64. When the table is full the kernel drops. */
function bySource(name: string, rate: number, family: IpFamily, table = SOURCES): string {
  const limit = clampRate(rate);
  return (
    `-m hashlimit --hashlimit-above ${limit}/sec --hashlimit-burst ${limit} --hashlimit-mode srcip` +
    `${sourceTable(family, table)} --hashlimit-name ${name}.source@${limit}`
  );
}

function sourceTable(family: IpFamily, { chains, most, expire }: SourceTable = SOURCES): string {
  const mask = family === 6 ? " --hashlimit-srcmask 64" : "";
  return `${mask} --hashlimit-htable-size ${chains} --hashlimit-htable-max ${most} --hashlimit-htable-expire ${expire}`;
}

function clampRate(rate: number): number {
  return Math.min(Math.max(Math.floor(rate), 1), MAX_RATE);
}

function part(rate: number, parts: number): number {
  return Math.max(1, Math.floor(rate / parts));
}

function counted(hook: Hook, name: string): string {
  return comment(`${hook.toLowerCase()}.${name}`);
}

function comment(name: string): string {
  return `-m comment --comment pbs:${name}`;
}
