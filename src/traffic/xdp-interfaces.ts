/** Which interfaces of this network namespace a router's XDP program can stand on, and why others cannot have one. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename, join } from "node:path";

export interface Candidate {
  readonly name: string;
  readonly index: number;
  /** As net.ipv4.conf.*.rp_filter: the larger of the interface's and that for all. */
  readonly checkSource: 0 | 1 | 2;
  /** It is the kernel's own, as a veth is, so packets may come with checksums and segments still to be made. */
  readonly virtual: boolean;
  /** Hardware address: frames to others are not for this host. */
  readonly address: string;
}

export interface Unfit {
  readonly name: string;
  readonly index: number;
  readonly reason: string;
}

export interface Interfaces {
  readonly candidates: readonly Candidate[];
  readonly unfit: readonly Unfit[];
}

const ETHERNET = 1;
const LOOPBACK = 772;

/** @param root of the file system, for tests */
export function readInterfaces(root = "/"): Interfaces {
  const candidates: Candidate[] = [];
  const unfit: Unfit[] = [];
  for (const name of readdirSync(join(root, "sys/class/net")).sort()) {
    const reason = whyNot(root, name);
    const index = number(join(root, "sys/class/net", name, "ifindex"));
    if (reason === undefined) candidates.push(...candidate(root, name, index));
    else if (reason !== "") unfit.push({ name, index, reason });
  }
  return { candidates, unfit };
}

/** None when the interface is gone in the meantime. */
function candidate(root: string, name: string, index: number): Candidate[] {
  const at = join(root, "sys/class/net", name);
  try {
    const virtual = readlinkSync(at).includes("/virtual/");
    const address = readFileSync(join(at, "address"), "utf8").trim();
    return [{ name, index, checkSource: sourceCheck(root, name), virtual, address }];
  } catch {
    return [];
  }
}

/** Undefined: nothing speaks against it. Empty: it is nothing that a router forwards by. */
function whyNot(root: string, name: string): string | undefined {
  const at = join(root, "sys/class/net", name);
  const type = number(join(at, "type"));
  if (type === LOOPBACK || Number.isNaN(type)) return "";
  if (type !== ETHERNET) return "it does not carry Ethernet frames";
  const master = masterOf(at);
  if (master !== undefined) return `it is a port of ${master}`;
  if (!forwards(root, name)) return "it does not forward";
  return undefined;
}

/** The bridge, bond or routing domain that the interface belongs to. */
function masterOf(at: string): string | undefined {
  try {
    return basename(readlinkSync(join(at, "master")));
  } catch {
    return undefined;
  }
}

function forwards(root: string, name: string): boolean {
  return (
    number(join(root, "proc/sys/net/ipv4/conf", name, "forwarding")) === 1 ||
    number(join(root, "proc/sys/net/ipv6/conf", name, "forwarding")) === 1
  );
}

function sourceCheck(root: string, name: string): 0 | 1 | 2 {
  const [all = 0, own = 0] = ["all", name].map((which) =>
    number(join(root, "proc/sys/net/ipv4/conf", which, "rp_filter")),
  );
  const larger = Math.max(all || 0, own || 0);
  return larger === 1 || larger === 2 ? larger : 0;
}

function number(file: string): number {
  try {
    return Number(readFileSync(file, "utf8"));
  } catch {
    return Number.NaN;
  }
}
