/** Whether this host's rules and routes look at protocol and ports; where they do not, hosts are enough of a question. */
import { readFile } from "node:fs/promises";
import type netlink from "netlink";
import type { IpFamily } from "../../base/address.js";
import { dump } from "./links.js";
import { AF, attributesOf } from "./rtnetlink.js";

const RTM_GETRULE = 34;
/** Messages that say that a rule came or went. */
export const RULE_CHANGES: readonly number[] = [32, 33];
const RULE_BYTES = 12;
const FRA = { ipProto: 22, sourcePorts: 23, destinationPorts: 24 } as const;

/** The IP versions with a rule for a protocol or for ports. Rejects when the kernel does not answer. */
export async function familiesWithPortRules(
  socket: Pick<netlink.NetlinkSocket, "request">,
): Promise<ReadonlySet<IpFamily>> {
  const rules = await dump(socket, RTM_GETRULE, RULE_BYTES);
  const selective = rules.filter(looksAtPorts).map((rule) => rule[0]);
  return new Set(([4, 6] as const).filter((family) => selective.includes(AF[family])));
}

function looksAtPorts(rule: Buffer): boolean {
  const attributes = attributesOf(rule.subarray(RULE_BYTES));
  return Object.values(FRA).some((type) => attributes.has(type));
}

/**
 * The IP versions in which ports choose among paths of equal cost. The kernel does not notify of this setting; it is
 * read again with links and addresses.
 */
export async function familiesHashingPorts(): Promise<ReadonlySet<IpFamily>> {
  const [v4, v6] = await Promise.all([hashesPorts(4), hashesPorts(6)]);
  return new Set([...(v4 ? ([4] as const) : []), ...(v6 ? ([6] as const) : [])]);
}

async function hashesPorts(family: IpFamily): Promise<boolean> {
  try {
    const policy = await readFile(`/proc/sys/net/ipv${family}/fib_multipath_hash_policy`, "utf8");
    return policy.trim() !== "0";
  } catch {
    return false;
  }
}
