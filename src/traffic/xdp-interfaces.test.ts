import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test from "ava";
import { readInterfaces } from "./xdp-interfaces.js";

const ETHERNET = 1;
const LOOPBACK = 772;
const TUNNEL = 65534;

interface Link {
  readonly index: number;
  readonly type?: number;
  readonly virtual?: boolean;
  readonly forwards?: boolean;
  readonly sourceCheck?: number;
  readonly master?: string;
}

/** A machine's /sys and /proc with these interfaces. */
function machine(links: Readonly<Record<string, Link>>): string {
  const root = mkdtempSync(join(tmpdir(), "pbs-interfaces-"));
  const put = (file: string, text: string): void => {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), `${text}\n`);
  };
  mkdirSync(join(root, "sys/class/net"), { recursive: true });
  put("proc/sys/net/ipv4/conf/all/rp_filter", "1");
  for (const [name, link] of Object.entries(links)) {
    const device = `sys/devices/${link.virtual === true ? "virtual/" : "pci0/"}net/${name}`;
    put(`${device}/type`, String(link.type ?? ETHERNET));
    put(`${device}/address`, `02:00:00:00:00:0${link.index}`);
    put(`${device}/ifindex`, String(link.index));
    if (link.master !== undefined) symlinkSync(`../${link.master}`, join(root, device, "master"));
    symlinkSync(join("../../..", device), join(root, "sys/class/net", name));
    put(`proc/sys/net/ipv4/conf/${name}/forwarding`, link.forwards === false ? "0" : "1");
    put(`proc/sys/net/ipv4/conf/${name}/rp_filter`, String(link.sourceCheck ?? 0));
  }
  return root;
}

test("interfaces that forward Ethernet can have a program; of the others it is said why not", (t) => {
  const root = machine({
    lo: { index: 1, type: LOOPBACK, virtual: true },
    eth0: { index: 2, sourceCheck: 2 },
    veth: { index: 3, virtual: true },
    tun0: { index: 4, type: TUNNEL, virtual: true },
    eth1: { index: 5, master: "br0" },
    eth2: { index: 6, forwards: false },
  });
  t.teardown(() => rmSync(root, { recursive: true }));
  t.deepEqual(readInterfaces(root), {
    candidates: [
      { name: "eth0", index: 2, checkSource: 2, virtual: false, address: "02:00:00:00:00:02" },
      { name: "veth", index: 3, checkSource: 1, virtual: true, address: "02:00:00:00:00:03" },
    ],
    unfit: [
      { name: "eth1", index: 5, reason: "it is a port of br0" },
      { name: "eth2", index: 6, reason: "it does not forward" },
      { name: "tun0", index: 4, reason: "it does not carry Ethernet frames" },
    ],
  });
});
