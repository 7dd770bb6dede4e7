/**
 * Routing tables and rules of our own in the kernel, through rtnetlink: one table a path with one route, one rule that sends
 * packets with the path's mark there, and rules for single flows that cross this host. All of it bears {@link PROTOCOL} and
 * lies within {@link TABLE_BASE}, so that it can be told from what others put there.
 */
import { endianness } from "node:os";
import netlink from "netlink";
import { IpAddress, type IpFamily } from "../base/address.js";
import { type Flow, hasPorts } from "../base/flow.js";
import { PATH_MASK } from "../base/marks.js";

/** A way out of this host: a next hop, a device, or both. */
export interface NextHop {
  readonly via?: IpAddress;
  /** Index of the interface. */
  readonly device: number;
}

/** Numbers of paths: 1 to this. They stand in packets' marks. */
export const MAX_PATHS = 31;
const MARK_SHIFT = 23;

/** Originator of our routes and rules, as `ip route` and `ip rule` show it. */
const PROTOCOL = 80;
const TABLE_BASE = 27_000;
const SOURCE_PRIORITY = 2500;
const FLOW_PRIORITY = 2600;
const MARK_PRIORITY = 2700;

const AF: Readonly<Record<IpFamily, number>> = { 4: 2, 6: 10 };
const FAMILIES: readonly IpFamily[] = [4, 6];
const CREATE = 0x400;
const REPLACE = 0x100;
const AH = 51;
const GATEWAY = 5;
const NEXT_HOP_BYTES = 8;
const KERNEL_ANSWERS_WITHIN = { timeout: 2000 };
const LITTLE_ENDIAN = endianness() === "LE";

/** The mark of packets that take a path. */
export function markOf(path: number): number {
  return path << MARK_SHIFT;
}

export class PathTables {
  readonly #kernel: netlink.RtNetlinkSocket;
  /** Paths and destinations of {@link wayOfSource}. */
  readonly #ways = new Set<string>();

  /** Throws where there is no rtnetlink. */
  constructor() {
    this.#kernel = netlink.createRtNetlink();
    this.#kernel.socket.on("error", () => undefined);
  }

  close(): void {
    this.#kernel.socket.close();
  }

  /** Way out towards an address as the routing table has it now, for packets with `mark`; undefined when there is none. */
  async nextHop(to: IpAddress, from?: IpAddress): Promise<NextHop | undefined> {
    const attributes = { dst: Buffer.from(to.bytes), ...(from && { src: Buffer.from(from.bytes) }) };
    const bits = to.bytes.length * 8;
    const request = { family: AF[to.family], dstLen: bits, srcLen: from === undefined ? 0 : bits };
    const [answer] = await this.#ask(request, attributes);
    const { oif, gateway } = answer?.attrs ?? {};
    if (oif === undefined || answer?.data.type !== "UNICAST") return undefined;
    return { device: oif, ...(gateway && { via: IpAddress.fromBytes(gateway) }) };
  }

  /** All next hops of the one route that an address is sent by, in the table's order. */
  async nextHops(to: IpAddress): Promise<NextHop[]> {
    const request = {
      family: AF[to.family],
      dstLen: to.bytes.length * 8,
      flags: { fibMatch: true } as const,
    };
    const [answer] = await this.#ask(request, { dst: Buffer.from(to.bytes) });
    return answer?.attrs.multipath === undefined ? [] : readMultipath(answer.attrs.multipath);
  }

  /**
   * Makes a path: its table, and the rule for its mark. Rejects when the kernel refuses the next hop.
   * @param source of packets for which nobody has chosen one
   */
  async addPath(family: IpFamily, path: number, hop: NextHop, source?: IpAddress): Promise<void> {
    const { via, device } = hop;
    await this.#kernel.newRoute(
      {
        family: AF[family],
        table: 0,
        protocol: PROTOCOL as never,
        type: "UNICAST",
        scope: via === undefined && family === 4 ? "LINK" : "UNIVERSE",
      },
      {
        table: TABLE_BASE + path,
        oif: device,
        ...(via && { gateway: Buffer.from(via.bytes) }),
        ...(source && { prefsrc: Buffer.from(source.bytes) }),
      },
      { flags: CREATE | REPLACE, ...KERNEL_ANSWERS_WITHIN },
    );
    await this.#addRule(family, markRule(path));
  }

  /** Sends one flow that crosses this host by a path's table. */
  async addFlow(flow: Flow, path: number): Promise<void> {
    for (const rule of flowRules(flow, path)) await this.#addRule(flow.source.family, rule);
  }

  async removeFlow(flow: Flow, path: number): Promise<void> {
    for (const rule of flowRules(flow, path)) await this.#removeRule(flow.source.family, rule);
  }

  /**
   * Sockets that are connected to where this flow goes, and have no source yet, get the path's; what has it goes by the path.
   * Sockets with another source stay as they are.
   */
  async addSource(flow: Flow, path: number, source: IpAddress): Promise<void> {
    const way = `${path} ${flow.destination}`;
    // The kernel would have the same rule twice.
    if (!this.#ways.has(way)) await this.#addRule(source.family, wayOfSource(flow, path, source));
    this.#ways.add(way);
    await this.#addRule(source.family, choiceOfSource(flow, path, source), CHOICE_FLAGS[source.family]);
  }

  /** No more sockets get it; those that have it stay on its path until {@link removeAll}. */
  async removeSource(flow: Flow, path: number, source: IpAddress = flow.source): Promise<void> {
    await this.#removeRule(source.family, choiceOfSource(flow, path, source));
  }

  /** Takes out every rule and route of ours, those of an earlier run too. */
  async removeAll(): Promise<void> {
    this.#ways.clear();
    for (const family of FAMILIES) {
      for (const { attrs, data } of await this.#rules(family)) await this.#deleteRule(data, attrs);
      for (let path = 1; path <= MAX_PATHS; path++) await this.#removeRoute(family, path);
    }
  }

  async #rules(family: IpFamily): Promise<netlink.rt.RuleMessage[]> {
    const all = await this.#kernel.getRules({ family: AF[family] }, {}, KERNEL_ANSWERS_WITHIN);
    return all.filter(({ attrs }) => attrs.protocol === PROTOCOL && isOurs(attrs.table));
  }

  /** Without looking first: a dump is of all tables, and the main one may hold all of the Internet's routes. */
  async #removeRoute(family: IpFamily, path: number): Promise<void> {
    const route = {
      family: AF[family],
      table: 0,
      protocol: PROTOCOL as never,
      scope: "NOWHERE",
      type: "UNSPEC",
    } as const;
    const attributes = { table: TABLE_BASE + path };
    await this.#kernel.delRoute(route, attributes, KERNEL_ANSWERS_WITHIN).catch(unlessAbsent);
  }

  async #ask(
    request: netlink.rt.Route,
    attributes: netlink.rt.RouteAttrs,
  ): Promise<netlink.rt.RouteMessage[]> {
    // "Unreachable" is an error of the kernel's.
    return this.#kernel.getRoute(request, attributes, KERNEL_ANSWERS_WITHIN).catch(() => []);
  }

  async #addRule(
    family: IpFamily,
    attributes: netlink.rt.RuleAttrs,
    flags: netlink.rt.RuleFlags = {},
  ): Promise<void> {
    const rule = { ...lengths(family, attributes), action: "toTbl", flags } as const;
    await this.#kernel.newRule(rule, attributes, { flags: CREATE, ...KERNEL_ANSWERS_WITHIN });
  }

  async #removeRule(family: IpFamily, attributes: netlink.rt.RuleAttrs): Promise<void> {
    await this.#deleteRule({ ...lengths(family, attributes), action: "toTbl" }, attributes);
  }

  async #deleteRule(rule: netlink.rt.Rule, attributes: netlink.rt.RuleAttrs): Promise<void> {
    await this.#kernel.delRule(rule, attributes, KERNEL_ANSWERS_WITHIN).catch(unlessAbsent);
  }
}

/** The kernel's words for a rule, a route, a table, or a whole IP version that is not there. */
const ABSENT = /ENOENT|ESRCH|EAFNOSUPPORT|EOPNOTSUPP/;

function unlessAbsent(error: unknown): void {
  if (!ABSENT.test(String(error))) throw error;
}

function isOurs(table: number | undefined): boolean {
  return table !== undefined && table > TABLE_BASE && table <= TABLE_BASE + MAX_PATHS;
}

function lengths(family: IpFamily, { src, dst }: netlink.rt.RuleAttrs): netlink.rt.Rule {
  return { family: AF[family], srcLen: 8 * (src?.length ?? 0), dstLen: 8 * (dst?.length ?? 0), table: 0 };
}

function markRule(path: number): netlink.rt.RuleAttrs {
  return {
    fwmark: markOf(path),
    fwmask: PATH_MASK,
    table: TABLE_BASE + path,
    priority: MARK_PRIORITY + path,
    protocol: PROTOCOL,
  };
}

/** IPv6: with the source that the path would give to a packet that has none. */
const CHOICE_FLAGS: Readonly<Record<IpFamily, netlink.rt.RuleFlags>> = { 4: {}, 6: { findSaddr: true } };
const UNSPECIFIED = Buffer.alloc(4);

/** IPv4: a rule for the source 0.0.0.0 with all its bits is for look-ups before a source is chosen, and for no packet. */
function choiceOfSource(flow: Flow, path: number, source: IpAddress): netlink.rt.RuleAttrs {
  const { destination, protocol, destinationPort } = flow;
  return {
    src: source.family === 4 ? UNSPECIFIED : Buffer.from(source.bytes),
    dst: Buffer.from(destination.bytes),
    ipProto: protocol,
    ...(hasPorts(protocol) && { dportRange: { start: destinationPort, end: destinationPort } }),
    table: TABLE_BASE + path,
    priority: SOURCE_PRIORITY,
    protocol: PROTOCOL,
  };
}

function wayOfSource({ destination }: Flow, path: number, source: IpAddress): netlink.rt.RuleAttrs {
  return {
    src: Buffer.from(source.bytes),
    dst: Buffer.from(destination.bytes),
    table: TABLE_BASE + path,
    priority: SOURCE_PRIORITY + 1,
    protocol: PROTOCOL,
  };
}

/**
 * With AH over IPv4 a router's rule cannot see ports, so a second one takes all AH between the two hosts. The same rule twice,
 * for two flows, goes when both are gone.
 */
function flowRules({ source, destination, ...flow }: Flow, path: number): netlink.rt.RuleAttrs[] {
  const common = {
    src: Buffer.from(source.bytes),
    dst: Buffer.from(destination.bytes),
    table: TABLE_BASE + path,
    priority: FLOW_PRIORITY,
    protocol: PROTOCOL,
  };
  const port = (number: number) => ({ start: number, end: number });
  const ports = hasPorts(flow.protocol)
    ? { sportRange: port(flow.sourcePort), dportRange: port(flow.destinationPort) }
    : {};
  return [
    { ...common, ipProto: flow.protocol, ...ports },
    { ...common, ipProto: AH },
  ];
}

/** struct rtnexthop (linux/rtnetlink.h), each with attributes. */
function readMultipath(bytes: Buffer): NextHop[] {
  const hops: NextHop[] = [];
  for (let at = 0; at + NEXT_HOP_BYTES <= bytes.length;) {
    const length = LITTLE_ENDIAN ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
    if (length < NEXT_HOP_BYTES || at + length > bytes.length) break;
    const device = LITTLE_ENDIAN ? bytes.readInt32LE(at + 4) : bytes.readInt32BE(at + 4);
    let via: IpAddress | undefined;
    netlink.parseAttributes(bytes.subarray(at + NEXT_HOP_BYTES, at + length), ({ type, data }) => {
      if (type === GATEWAY && (data.length === 4 || data.length === 16)) via = IpAddress.fromBytes(data);
    });
    hops.push({ device, ...(via && { via }) });
    at += (length + 3) & ~3;
  }
  return hops;
}
