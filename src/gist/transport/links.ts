/** This host's interfaces and addresses, as read from the kernel when something changed. */
import type netlink from "netlink";
import { IpAddress, type IpFamily } from "../../base/address.js";
import { isLinkLocal } from "./addresses.js";
import { attributesOf, DUMP, KERNEL_ANSWERS_WITHIN, readU32 } from "./rtnetlink.js";

export interface Link {
  readonly name: string;
  readonly mtu: number;
}

const RTM_GETLINK = 18;
const RTM_GETADDR = 22;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFINFO_BYTES = 16;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFADDR_BYTES = 8;

export class Links {
  #links: ReadonlyMap<number, Link> = new Map();
  #local: ReadonlySet<string> = new Set();
  #addresses: ReadonlyMap<number, readonly IpAddress[]> = new Map();

  /** Reads all anew. Rejects when the kernel does not answer, and changes nothing then. */
  async load(socket: netlink.NetlinkSocket): Promise<void> {
    const links = await dump(socket, RTM_GETLINK, IFINFO_BYTES);
    const addresses = await dump(socket, RTM_GETADDR, IFADDR_BYTES);
    this.#links = new Map(links.flatMap(linkOf));
    const owned = addresses.flatMap(addressOf);
    this.#local = new Set(owned.map(({ address }) => address.toString()));
    const byLink = new Map<number, IpAddress[]>();
    for (const { index, address } of owned) byLink.set(index, [...(byLink.get(index) ?? []), address]);
    this.#addresses = byLink;
  }

  link(index: number): Link | undefined {
    return this.#links.get(index);
  }

  isLocal(address: IpAddress): boolean {
    return this.#local.has(address.toString());
  }

  /** Addresses of an interface by which other hosts can reach it. */
  addresses(index: number, family: IpFamily): readonly IpAddress[] {
    const all = this.#addresses.get(index) ?? [];
    return all.filter((address) => address.family === family && !isLinkLocal(address));
  }
}

/** All that the kernel has of a kind: messages of at least so many bytes, of all IP versions. */
// Not by the package's own parsers: they give up on the whole answer when they meet one attribute they do not expect.
export async function dump(
  socket: Pick<netlink.NetlinkSocket, "request">,
  type: number,
  headerBytes: number,
): Promise<Buffer[]> {
  const [messages] = await socket.request(type, Buffer.alloc(headerBytes), {
    flags: DUMP,
    timeout: KERNEL_ANSWERS_WITHIN,
  });
  return messages.map(({ data }) => Buffer.from(data)).filter((data) => data.length >= headerBytes);
}

function linkOf(data: Buffer): [number, Link][] {
  const attributes = attributesOf(data.subarray(IFINFO_BYTES));
  const name = attributes.get(IFLA_IFNAME);
  const mtu = attributes.get(IFLA_MTU);
  if (name === undefined || mtu?.length !== 4) return [];
  return [[readU32(data, 4), { name: name.toString("utf8", 0, name.length - 1), mtu: readU32(mtu, 0) }]];
}

function addressOf(data: Buffer): { index: number; address: IpAddress }[] {
  const attributes = attributesOf(data.subarray(IFADDR_BYTES));
  // On a link with two ends IFA_ADDRESS is the other one.
  const own = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  if (own === undefined || (own.length !== 4 && own.length !== 16)) return [];
  return [{ index: readU32(data, 4), address: IpAddress.fromBytes(own) }];
}
