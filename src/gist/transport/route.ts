/**
 * Which way this host would send a flow's packets, asked of the kernel through rtnetlink and remembered for a
 * moment. Also the names of interfaces and the host's own addresses, kept up to date by the kernel's notifications.
 */
import { endianness } from "node:os";
import netlink from "netlink";
import { IpAddress } from "../../base/address.js";
import type { Logger } from "../../base/log.js";
import type { Time, Timer } from "../../base/time.js";
import { type Milliseconds, ms } from "../../base/units.js";
import type { Mri } from "../wire/messages.js";
import type { Counters } from "./counters.js";
import type { Route } from "./transport.js";

export interface RouteTableOptions {
  readonly time: Time;
  readonly logger: Logger;
  readonly counters: Counters;
  /** How long an answer of the kernel is believed when no notification says otherwise. */
  readonly lifetime: Milliseconds;
  /** Answers remembered at most. */
  readonly capacity: number;
  /** Questions to the kernel at a time; more are answered with "no route". */
  readonly pending: number;
}

interface Link {
  readonly name: string;
  readonly mtu: number;
}

interface Remembered {
  readonly route: Route | undefined;
  readonly until: number;
}

const ROUTE_PROTOCOL = 0;
const AF_INET = 2;
const AF_INET6 = 10;
const DUMP = 0x300;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFINFO_BYTES = 16;
const KERNEL_ANSWERS_WITHIN = 2000;
/** A burst of notifications, such as a link that goes down with all its routes, reloads links and addresses once. */
const SETTLE = ms(50);

const LITTLE_ENDIAN = endianness() === "LE";

/** netlink numbers stand in the byte order of the machine. */
function readU32(buffer: Buffer, offset: number): number {
  return LITTLE_ENDIAN ? buffer.readUInt32LE(offset) : buffer.readUInt32BE(offset);
}

/** Where the flow's packets go in the direction of signalling: the target of route look-up and Query mode. */
export function towards(mri: Mri): IpAddress {
  return mri.direction === "downstream" ? mri.destination : mri.source;
}

export class RouteTable {
  readonly #options: RouteTableOptions;
  #requests: netlink.RtNetlinkSocket | undefined;
  #notifications: netlink.NetlinkSocket | undefined;
  readonly #cache = new Map<string, Remembered>();
  readonly #asked = new Map<string, Promise<Route | undefined>>();
  /** Counts changes, so that an answer older than a change is not remembered. */
  #epoch = 0;
  #links = new Map<number, Link>();
  #addresses = new Set<string>();
  #reload: Timer | undefined;

  constructor(options: RouteTableOptions) {
    this.#options = options;
  }

  /** Opens netlink and reads links and addresses. Rejects with one clear error. */
  async start(): Promise<void> {
    try {
      this.#requests = netlink.createRtNetlink();
      this.#requests.socket.on("error", (error) => this.#failed(error));
      this.#listen();
      await this.#load();
    } catch (error) {
      this.stop();
      throw new Error(`cannot read routes and links from the kernel: ${text(error)}`);
    }
  }

  stop(): void {
    this.#reload?.cancel();
    this.#requests?.socket.close();
    this.#notifications?.close();
    this.#requests = undefined;
    this.#notifications = undefined;
    this.#cache.clear();
  }

  /** The route towards the MRI's target if the kernel was asked lately and there is one; no waiting, no promise. */
  cached(mri: Mri): Route | undefined {
    return this.#remembered(key(towards(mri)))?.route;
  }

  /** The route towards the MRI's target; undefined when there is none. Never rejects. */
  lookup(mri: Mri): Promise<Route | undefined> {
    const target = towards(mri);
    const name = key(target);
    const remembered = this.#remembered(name);
    if (remembered !== undefined) return Promise.resolve(remembered.route);
    const asked = this.#asked.get(name);
    if (asked !== undefined) return asked;
    if (this.#asked.size >= this.#options.pending) {
      this.#options.counters.add("route.overload");
      return Promise.resolve(undefined);
    }
    const answer = this.#ask(target, name).finally(() => this.#asked.delete(name));
    this.#asked.set(name, answer);
    return answer;
  }

  /** Name of the interface with this index; "" when not known. */
  interfaceName(index: number): string {
    return this.#links.get(index)?.name ?? "";
  }

  /** Whether this is one of the host's own addresses. */
  isLocal(address: IpAddress): boolean {
    return this.#addresses.has(key(address));
  }

  #remembered(name: string): Remembered | undefined {
    const entry = this.#cache.get(name);
    if (entry === undefined || entry.until > this.#options.time.now()) return entry;
    this.#cache.delete(name);
    return undefined;
  }

  async #ask(target: IpAddress, name: string): Promise<Route | undefined> {
    const epoch = this.#epoch;
    const route = await this.#request(target);
    if (epoch === this.#epoch) this.#remember(name, route);
    return route;
  }

  async #request(target: IpAddress): Promise<Route | undefined> {
    this.#options.counters.add("route.asked");
    try {
      const messages = await this.#requests?.getRoute(
        { family: target.family === 4 ? AF_INET : AF_INET6, dstLen: target.bytes.length * 8 },
        { dst: Buffer.from(target.bytes) },
        { timeout: KERNEL_ANSWERS_WITHIN },
      );
      const answer = messages?.[0];
      return answer === undefined ? undefined : await this.#read(answer);
    } catch {
      // The kernel says "unreachable" by an error.
      this.#options.counters.add("route.none");
      return undefined;
    }
  }

  async #read(answer: netlink.rt.RouteMessage): Promise<Route | undefined> {
    const { oif, prefsrc, metrics } = answer.attrs;
    if (oif === undefined || prefsrc === undefined) return undefined;
    if (answer.data.type !== "UNICAST" && answer.data.type !== "LOCAL") return undefined;
    // An interface that just appeared is not in the table before its notification has settled.
    if (!this.#links.has(oif)) await this.#load();
    const link = this.#links.get(oif);
    if (link === undefined) return undefined;
    return {
      interfaceAddress: IpAddress.fromBytes(prefsrc),
      interfaceName: link.name,
      mtu: metrics?.mtu === undefined ? link.mtu : readU32(metrics.mtu, 0),
    };
  }

  #remember(name: string, route: Route | undefined): void {
    if (this.#cache.size >= this.#options.capacity) {
      const oldest = this.#cache.keys().next().value;
      if (oldest !== undefined) this.#cache.delete(oldest);
    }
    this.#cache.set(name, { route, until: this.#options.time.now() + this.#options.lifetime });
  }

  #listen(): void {
    const { MulticastGroups } = netlink.rt;
    // The lower layer: it is enough to know that something changed, so nothing is parsed.
    const socket = netlink.createNetlink(ROUTE_PROTOCOL);
    const firstOfRoutes = Number(netlink.rt.MessageType.NEWROUTE);
    socket.on("message", (messages) => {
      this.#forget();
      // Messages of links and addresses are numbered below those of routes and rules.
      if (messages.some(({ type }) => type < firstOfRoutes)) this.#reloadSoon();
    });
    socket.on("invalid", () => this.#lost());
    // Too many at a time: some were lost.
    socket.on("error", () => this.#lost());
    for (const group of [
      MulticastGroups.LINK,
      MulticastGroups.IPV4_IFADDR,
      MulticastGroups.IPV4_ROUTE,
      MulticastGroups.IPV4_RULE,
      MulticastGroups.IPV6_IFADDR,
      MulticastGroups.IPV6_ROUTE,
      MulticastGroups.IPV6_RULE,
    ])
      socket.addMembership(group);
    this.#notifications = socket;
  }

  #lost(): void {
    this.#forget();
    this.#reloadSoon();
  }

  #forget(): void {
    this.#options.counters.add("route.changed");
    this.#epoch++;
    this.#cache.clear();
  }

  #reloadSoon(): void {
    this.#reload ??= this.#options.time.after(SETTLE, () => {
      this.#reload = undefined;
      this.#load().then(
        () => this.#forget(),
        (error) => this.#failed(error),
      );
    });
  }

  async #load(): Promise<void> {
    const requests = this.#requests;
    if (requests === undefined) return;
    const [links, addresses] = [await this.#loadLinks(requests.socket), await requests.getAddresses()];
    this.#links = links;
    this.#addresses = new Set(
      addresses.flatMap(({ attrs }) => {
        const own = attrs.local ?? attrs.address;
        return own === undefined || (own.length !== 4 && own.length !== 16) ? [] : [own.toString("latin1")];
      }),
    );
  }

  // Not by the package's own link parser: it gives up on the whole answer when it meets one attribute it does not
  // expect, and two attributes are all that is needed.
  async #loadLinks(socket: netlink.NetlinkSocket): Promise<Map<number, Link>> {
    const request = Buffer.alloc(IFINFO_BYTES);
    const [messages] = await socket.request(netlink.rt.MessageType.GETLINK, request, {
      flags: DUMP,
      timeout: KERNEL_ANSWERS_WITHIN,
    });
    const links = new Map<number, Link>();
    for (const { data } of messages) {
      if (data.length < IFINFO_BYTES) continue;
      const attributes = new Map<number, Buffer>();
      netlink.parseAttributes(data.subarray(IFINFO_BYTES), ({ type, data: value }) => {
        attributes.set(type, value);
      });
      const name = attributes.get(IFLA_IFNAME);
      const mtu = attributes.get(IFLA_MTU);
      if (name === undefined || mtu?.length !== 4) continue;
      links.set(readU32(data, 4), {
        name: name.toString("utf8", 0, name.length - 1),
        mtu: readU32(mtu, 0),
      });
    }
    return links;
  }

  #failed(error: unknown): void {
    this.#options.counters.add("route.failed");
    this.#options.logger.warn({ error: text(error) }, "reading routes from the kernel failed");
  }
}

function key(address: IpAddress): string {
  const { bytes } = address;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
