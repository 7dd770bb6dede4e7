/**
 * Ways out for Query-mode packets whose flow does not leave the way that the kernel takes for a raw socket.
 *
 * Linux routes what a raw socket sends by its destination and the socket's mark alone; the source address and the ports
 * that stand in the packet count for nothing. So a way that depends on those gets a mark of its own, a rule for that mark
 * and a table with one route. Nobody else's packets carry such a mark.
 */
import type netlink from "netlink";
import type { IpAddress, IpFamily } from "../../base/address.js";
import { EXIT_MARK } from "../../base/marks.js";
import type { Counters } from "./counters.js";
import { AF, attribute, KERNEL_ANSWERS_WITHIN, u32 } from "./rtnetlink.js";

/** rtnetlink. */
type Kernel = Pick<netlink.NetlinkSocket, "request">;

/** A way out of this host. */
export interface Exit {
  readonly family: IpFamily;
  /** Index of the interface. */
  readonly outbound: number;
  /** Undefined: every destination is on the link. */
  readonly gateway: IpAddress | undefined;
}

interface Slot {
  readonly mark: number;
  exit: Exit;
  key: string;
  /** False when routes have changed since: with a link its routes go. */
  fresh: boolean;
  installing: Promise<boolean> | undefined;
}

/** Marks and tables from here on. */
export const FIRST_MARK = EXIT_MARK + 1;
export const MOST_EXITS = 32;
/**
 * Before the rules that hosts commonly have. Not the very first, because the kernel puts a rule that is added without a
 * priority just before the first one there is.
 */
const RULE_PRIORITY = 270;

const RTM = { newRoute: 24, delRoute: 25, newRule: 32, delRule: 33 } as const;
const CREATE_OR_REPLACE = 0x400 | 0x100;
const CREATE_NEW = 0x400 | 0x200;
const HEADER_BYTES = 12;
const RTPROT_STATIC = 4;
const RT_SCOPE_LINK = 253;
const RT_SCOPE_NOWHERE = 255;
const RTN_UNICAST = 1;
const RTNH_F_ONLINK = 4;
const RTA = { oif: 4, gateway: 5, table: 15, via: 18 } as const;
const FRA = { priority: 6, fwmark: 10, table: 15, fwmask: 16 } as const;
const FR_ACT_TO_TABLE = 1;

export class Exits {
  readonly #counters: Counters;
  /** In the order of their last use, oldest first. */
  readonly #slots = new Map<string, Slot>();

  constructor(counters: Counters) {
    this.#counters = counters;
  }

  /** The mark of this exit if it stands ready. */
  ready(exit: Exit): number | undefined {
    const slot = this.#slots.get(keyOf(exit));
    if (slot?.fresh !== true || slot.installing !== undefined) return undefined;
    this.#used(slot);
    return slot.mark;
  }

  /** Makes it ready. Undefined when the kernel refuses. Never rejects. */
  async open(exit: Exit, kernel: Kernel): Promise<number | undefined> {
    const slot = this.#slots.get(keyOf(exit)) ?? this.#newSlot(exit);
    this.#used(slot);
    if (slot.fresh && slot.installing === undefined) return slot.mark;
    slot.fresh = true;
    slot.installing ??= this.#install(slot, kernel);
    const done = await slot.installing;
    slot.installing = undefined;
    if (!done) slot.fresh = false;
    return done ? slot.mark : undefined;
  }

  /** Routes or links have changed: what was installed may be gone. */
  doubt(): void {
    for (const slot of this.#slots.values()) slot.fresh = false;
  }

  /** Takes all out of the kernel again. Never rejects. */
  async removeAll(kernel: Kernel): Promise<void> {
    const slots = [...this.#slots.values()];
    this.#slots.clear();
    for (const { exit, mark } of slots) {
      await this.#tell(kernel, RTM.delRule, ruleFor(exit, mark), 0);
      await this.#tell(kernel, RTM.delRoute, routeFor(exit, mark), 0);
    }
  }

  #used(slot: Slot): void {
    this.#slots.delete(slot.key);
    this.#slots.set(slot.key, slot);
  }

  /** The one that was not used for longest gives way when there are too many. */
  #newSlot(exit: Exit): Slot {
    const key = keyOf(exit);
    const [oldest] = this.#slots.values();
    if (this.#slots.size < MOST_EXITS || oldest === undefined)
      return { mark: FIRST_MARK + this.#slots.size, exit, key, fresh: false, installing: undefined };
    this.#slots.delete(oldest.key);
    return { mark: oldest.mark, exit, key, fresh: false, installing: undefined };
  }

  async #install({ exit, mark }: Slot, kernel: Kernel): Promise<boolean> {
    this.#counters.add("exit.installed");
    const route = await this.#tell(kernel, RTM.newRoute, routeFor(exit, mark), CREATE_OR_REPLACE);
    return route && (await this.#tell(kernel, RTM.newRule, ruleFor(exit, mark), CREATE_NEW));
  }

  async #tell(kernel: Kernel, type: number, body: Buffer, flags: number): Promise<boolean> {
    try {
      await kernel.request(type, body, { flags, timeout: KERNEL_ANSWERS_WITHIN });
      return true;
    } catch (error) {
      // The rule stands from before. The package tells the reason in its text alone.
      if (error instanceof Error && /\bEEXIST\b/.test(error.message)) return true;
      this.#counters.add("exit.failed");
      return false;
    }
  }
}

/**
 * Takes out of the kernel what a node that ended without {@link Exits.removeAll} left there: rules and routes are known by
 * mark, priority, table and protocol, which nobody else uses together. Resolves with how many rules and routes there
 * were. Rejects when the kernel refuses.
 */
export async function removeLeftExits(kernel: Kernel): Promise<number> {
  let removed = 0;
  for (const family of [4, 6] as const)
    for (let mark = FIRST_MARK; mark < FIRST_MARK + MOST_EXITS; mark++)
      for (const [type, body] of [
        [RTM.delRule, ruleFor({ family }, mark)],
        [RTM.delRoute, anyRouteOf(family, mark)],
      ] as const)
        if (await removes(kernel, type, body)) removed++;
  return removed;
}

/** The kernel says that there is none, or that it is without this IP version, by an error. */
async function removes(kernel: Kernel, type: number, body: Buffer): Promise<boolean> {
  try {
    await kernel.request(type, body, { timeout: KERNEL_ANSWERS_WITHIN });
    return true;
  } catch (error) {
    if (error instanceof Error && ABSENT.test(error.message)) return false;
    throw error;
  }
}

const ABSENT = /\b(?:ENOENT|ESRCH|EAFNOSUPPORT|EOPNOTSUPP)\b/;

function keyOf({ family, outbound, gateway }: Exit): string {
  return `${family} ${outbound} ${gateway ?? ""}`;
}

function routeFor({ family, outbound, gateway }: Exit, mark: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = AF[family];
  header[5] = RTPROT_STATIC;
  header[6] = gateway === undefined && family === 4 ? RT_SCOPE_LINK : 0;
  header[7] = RTN_UNICAST;
  // The gateway need not be in a prefix of the interface in this table.
  if (gateway !== undefined) u32(RTNH_F_ONLINK).copy(header, 8);
  const parts = [header, attribute(RTA.table, u32(mark)), attribute(RTA.oif, u32(outbound))];
  if (gateway !== undefined) parts.push(gatewayAttribute(family, gateway));
  return Buffer.concat(parts);
}

/** The route of a table, wherever it leads. */
function anyRouteOf(family: IpFamily, mark: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = AF[family];
  header[5] = RTPROT_STATIC;
  header[6] = RT_SCOPE_NOWHERE;
  return Buffer.concat([header, attribute(RTA.table, u32(mark))]);
}

function gatewayAttribute(family: IpFamily, gateway: IpAddress): Buffer {
  if (gateway.family === family) return attribute(RTA.gateway, gateway.bytes);
  const familyOfGateway = Buffer.from(Uint16Array.of(AF[gateway.family]).buffer);
  return attribute(RTA.via, Buffer.concat([familyOfGateway, gateway.bytes]));
}

function ruleFor({ family }: Pick<Exit, "family">, mark: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = AF[family];
  header[7] = FR_ACT_TO_TABLE;
  return Buffer.concat([
    header,
    attribute(FRA.priority, u32(RULE_PRIORITY)),
    attribute(FRA.fwmark, u32(mark)),
    attribute(FRA.fwmask, u32(0xffff_ffff)),
    attribute(FRA.table, u32(mark)),
  ]);
}
