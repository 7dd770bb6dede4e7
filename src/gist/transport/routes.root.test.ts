/**
 * Routes that depend on more than the destination: a host between two networks, with policy rules. Two far ends have the
 * same addresses, so where a packet arrives tells which way it went. Needs root.
 */
import { execFileSync } from "node:child_process";
import test, { type ExecutionContext } from "ava";
import type { NodeSetup, TestFlow } from "./root-test-node.js";
import { ip, makeNamespaces, RemoteNode } from "./root-test-remote.js";
import { issue, makeAuthority } from "./test-certificates.js";

const QUEUE = 2791;
const NSLP = 32704;
const OTHER_TABLE = "100";
const OTHER_PORT = "9001";

const authority = makeAuthority("test authority");

interface Plan {
  readonly flag: readonly string[];
  /** The host's addresses on either side, and the far ends' there. */
  readonly near: readonly [string, string];
  readonly far: readonly [string, string];
  readonly bits: string;
  /** Where every flow goes to; each far end has it. */
  readonly destination: string;
  /** Hosts behind the left far end. */
  readonly behind: string;
  readonly prefixBehind: string;
  readonly everything: string;
}

const PLANS: readonly Plan[] = [
  {
    flag: ["-4"],
    near: ["10.92.1.1", "10.92.2.1"],
    far: ["10.92.1.2", "10.92.2.2"],
    bits: "24",
    destination: "10.92.9.9",
    behind: "10.92.50.7",
    prefixBehind: "10.92.50.0/24",
    everything: "default",
  },
  {
    flag: ["-6"],
    near: ["fd92:1::1", "fd92:2::1"],
    far: ["fd92:1::2", "fd92:2::2"],
    bits: "64",
    destination: "fd92:9::9",
    behind: "fd92:50::7",
    prefixBehind: "fd92:50::/64",
    everything: "default",
  },
];

function inside(name: string, ...command: string[]): void {
  execFileSync("ip", ["netns", "exec", name, ...command], { stdio: ["ignore", "ignore", "pipe"] });
}

/** Without rules all goes to the left. */
function build(t: ExecutionContext): [string, string, string] {
  const names = makeNamespaces(t, ["h", "x", "y"]) as [string, string, string];
  const [host, ...ends] = names;
  for (const [side, end] of ends.entries()) {
    const device = `side${side}`;
    ip("link", "add", device, "netns", host, "type", "veth", "peer", "name", "way", "netns", end);
    ip("-n", end, "link", "set", "lo", "up");
    for (const { near, far, bits, destination } of PLANS) {
      const nodad = destination.includes(":") ? ["nodad"] : [];
      ip("-n", host, "addr", "add", `${near[side as 0 | 1]}/${bits}`, "dev", device, ...nodad);
      ip("-n", end, "addr", "add", `${far[side as 0 | 1]}/${bits}`, "dev", "way", ...nodad);
      ip("-n", end, "addr", "add", destination, "dev", "lo", ...nodad);
    }
    ip("-n", host, "link", "set", device, "up");
    ip("-n", end, "link", "set", "way", "up");
    for (const tool of ["iptables", "ip6tables"]) {
      const rule = ["-p", "udp", "--dport", "270", "-j", "NFQUEUE", "--queue-num", `${QUEUE}`];
      inside(end, tool, "-t", "mangle", "-A", "PREROUTING", ...rule);
    }
    inside(end, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.way.rp_filter=0");
  }
  inside(host, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
  for (const { flag, far, prefixBehind, everything } of PLANS) {
    ip("-n", host, ...flag, "route", "add", everything, "via", far[0]);
    ip("-n", host, ...flag, "route", "add", prefixBehind, "via", far[0]);
    ip("-n", host, ...flag, "route", "add", everything, "via", far[1], "table", OTHER_TABLE);
  }
  return names;
}

function setup(name: string, queueNumber: number | undefined): NodeSetup {
  return {
    queueNumber,
    ...issue(authority, name),
    authorities: [authority.pem],
    answers: { [NSLP]: "taken" },
  };
}

interface Nodes {
  readonly host: RemoteNode;
  readonly ends: readonly RemoteNode[];
}

async function startNodes(t: ExecutionContext, names: readonly [string, string, string]): Promise<Nodes> {
  const [host, ...ends] = names.map((name) => new RemoteNode(name)) as [RemoteNode, RemoteNode, RemoteNode];
  t.teardown(() => Promise.all([host, ...ends].map((node) => node.end())));
  t.is(await host.obey({ order: "start", setup: setup("host", undefined) }), undefined);
  for (const end of ends) t.is(await end.obey({ order: "start", setup: setup("end", QUEUE) }), undefined);
  return { host, ends };
}

let sent = 0;

/** Sends a Query for the flow; its packet arrives at this end, with this source. */
async function arrives(
  t: ExecutionContext,
  { host, ends }: Nodes,
  flow: TestFlow,
  side: 0 | 1,
  source: string,
): Promise<void> {
  sent++;
  const message = Buffer.of(1, 9, 0, 1, NSLP >> 8, NSLP & 0xff, 0x80, 0x60, 0, 0, 0, sent).toString("hex");
  await host.obey({ order: "query", flow, spoofSource: source === flow.source, message });
  const there = ends[side] as RemoteNode;
  const datagram = await there.next("datagram");
  t.is(datagram.message, message);
  t.is(datagram.source, source);
  t.is((ends[1 - side] as RemoteNode).left("datagram"), 0);
}

interface Asked {
  readonly asked: {
    readonly interfaceName: string;
    readonly interfaceAddress: string;
    readonly nextHop: string;
  };
}

async function routeOf({ host }: Nodes, flow: TestFlow): Promise<Asked["asked"]> {
  return ((await host.obey({ order: "route", flow })) as Asked).asked;
}

/** The change is told of at least once, and nothing of it is left over for the next one. */
async function changing({ host }: Nodes, change: () => void): Promise<void> {
  change();
  await host.next("changed");
}

async function followsRules(t: ExecutionContext, nodes: Nodes, name: string, plan: Plan): Promise<void> {
  const { flag, near, far, destination, behind } = plan;
  const rule = (action: string, ...selector: string[]): Promise<void> =>
    changing(nodes, () => ip("-n", name, ...flag, "rule", action, ...selector, "lookup", OTHER_TABLE));
  const left = { interfaceName: "side0", interfaceAddress: near[0], nextHop: far[0] };
  const right = { interfaceName: "side1", interfaceAddress: near[1], nextHop: far[1] };

  const fromRight = { source: near[1], destination };
  const fromLeft = { source: near[0], destination };
  t.like(await routeOf(nodes, fromLeft), left);
  await arrives(t, nodes, fromLeft, 0, near[0]);

  await rule("add", "from", near[1]);
  t.like(await routeOf(nodes, fromLeft), left, "by source: not this one");
  t.like(await routeOf(nodes, fromRight), right, "by source");
  await arrives(t, nodes, fromLeft, 0, near[0]);
  await arrives(t, nodes, fromRight, 1, near[1]);

  const forwarded = { source: behind, destination };
  t.like(await routeOf(nodes, forwarded), left, "of a host behind this one");
  await arrives(t, nodes, forwarded, 0, behind);
  await rule("add", "from", plan.prefixBehind);
  t.like(await routeOf(nodes, forwarded), right, "by the source of a host behind this one");
  await arrives(t, nodes, forwarded, 1, behind);
  await rule("del", "from", plan.prefixBehind);
  t.like(await routeOf(nodes, forwarded), left, "as before");
  await arrives(t, nodes, forwarded, 0, behind);

  const byPort = { source: near[0], destination, port: Number(OTHER_PORT) };
  await rule("add", "ipproto", "udp", "dport", OTHER_PORT);
  t.like(await routeOf(nodes, byPort), { interfaceName: "side1", nextHop: far[1] }, "by port");
  t.like(await routeOf(nodes, { ...byPort, port: 9000 }), left, "another port");
  await arrives(t, nodes, byPort, 1, near[0]);
  await arrives(t, nodes, { ...byPort, port: 9000 }, 0, near[0]);
  await rule("del", "ipproto", "udp", "dport", OTHER_PORT);
  await rule("del", "from", near[1]);
}

if (process.getuid?.() === 0) {
  for (const [index, plan] of PLANS.entries())
    test.serial(`routes and Query mode follow policy rules, IPv${index === 0 ? 4 : 6}`, async (t) => {
      t.timeout(60_000);
      const names = build(t);
      const nodes = await startNodes(t, names);
      await followsRules(t, nodes, names[0], plan);
      t.like(await nodes.host.obey({ order: "stop" }), { "exit.installed": 3, "query-mode.sent": 8 });
      t.notRegex(ip("-n", names[0], ...plan.flag, "rule"), /fwmark/, "nothing is left in the kernel");
    });

  test.serial("changes of links, addresses, routes and gateways are told once for each burst", async (t) => {
    t.timeout(60_000);
    const names = build(t);
    const [host] = names;
    const nodes = await startNodes(t, names);
    const flow = { source: "10.92.1.1", destination: "10.92.9.9" };
    const quiet = async (): Promise<void> => {
      // An order takes its turn after what was told before it.
      await nodes.host.obey({ order: "route", flow });
    };
    await quiet();

    const routes = Array.from({ length: 200 }, (_, i) => `route add 10.93.${i}.0/24 via 10.92.1.2`).join(
      "\n",
    );
    execFileSync("ip", ["-n", host, "-batch", "-"], { input: routes, stdio: ["pipe", "ignore", "pipe"] });
    await nodes.host.next("changed");
    await quiet();
    t.true(nodes.host.left("changed") < 20, "far fewer than there were routes");

    for (const change of [
      ["link", "set", "side1", "mtu", "1400"],
      ["addr", "add", "10.92.77.1/24", "dev", "side0"],
      ["-6", "addr", "add", "fd92:77::1/64", "dev", "side0", "nodad"],
      ["-6", "route", "add", "fd92:78::/64", "via", "fd92:1::2"],
      ["-6", "rule", "add", "from", "fd92:79::/64", "lookup", OTHER_TABLE],
      ["nexthop", "add", "id", "7", "via", "10.92.1.2", "dev", "side0"],
      ["link", "set", "side1", "down"],
    ]) {
      while (nodes.host.left("changed") > 0) await nodes.host.next("changed");
      await changing(nodes, () => ip("-n", host, ...change));
      t.pass(change.join(" "));
    }

    // The gateway is another machine now, with the same address.
    t.is((await routeOf(nodes, flow)).nextHop, "10.92.1.2");
    const neighbour = (address: string): string =>
      ip("-n", host, "neigh", "replace", "10.92.1.2", "lladdr", address, "dev", "side0");
    neighbour("02:00:00:00:00:01");
    await quiet();
    while (nodes.host.left("changed") > 0) await nodes.host.next("changed");
    await changing(nodes, () => neighbour("02:00:00:00:00:02"));
    t.pass("gateway");
  });
} else {
  test.skip("routes by policy rules need root", () => {});
}
