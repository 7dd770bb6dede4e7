/** The transports on real interfaces: three network namespaces in a row, the middle one forwards. Needs root. */
import test, { type ExecutionContext } from "ava";
import type { NodeSetup } from "./root-test-node.js";
import { ip, makeNamespaces, RemoteNode } from "./root-test-remote.js";
import { issue, makeAuthority } from "./test-certificates.js";

const QUEUE = 2790;
const TAKEN = 32704;
const PASSED = 32705;
const UNTOUCHED = 32706;
const DROPPED = 32707;
const DECIDED_LATER = 32708;
const OTHER_PORT = 5555;

const authority = makeAuthority("test authority");

interface Row {
  readonly sender: RemoteNode;
  readonly router: RemoteNode;
  readonly receiver: RemoteNode;
}

/** sender 10.91.1.1 – 10.91.1.2 router 10.91.2.1 – 10.91.2.2 receiver; fd91:1:: and fd91:2:: alike. */
function buildNamespaces(t: ExecutionContext): readonly [string, string, string] {
  const names = makeNamespaces(t, ["s", "r", "d"]) as [string, string, string];
  const [sender, router, receiver] = names;
  link(sender, router, "1");
  link(router, receiver, "2");
  const inside = (name: string, ...command: string[]) => ip("netns", "exec", name, ...command);
  for (const key of ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
    inside(router, "sysctl", "-qw", key);
  ip("-n", sender, "route", "add", "default", "via", "10.91.1.2");
  ip("-n", sender, "-6", "route", "add", "default", "via", "fd91:1::2");
  ip("-n", receiver, "route", "add", "default", "via", "10.91.2.1");
  ip("-n", receiver, "-6", "route", "add", "default", "via", "fd91:2::1");
  for (const name of [router, receiver])
    for (const tool of ["iptables", "ip6tables"])
      inside(name, tool, "-t", "mangle", "-A", "PREROUTING", ...udp270);
  return names;
}

const udp270 = ["-p", "udp", "--dport", "270", "-j", "NFQUEUE", "--queue-num", `${QUEUE}`];

function link(left: string, right: string, net: string): void {
  const peer = ["type", "veth", "peer", "name", `left${net}`, "netns", right];
  ip("link", "add", `right${net}`, "netns", left, ...peer);
  for (const [name, device, host] of [
    [left, `right${net}`, "1"],
    [right, `left${net}`, "2"],
  ] as const) {
    ip("-n", name, "addr", "add", `10.91.${net}.${host}/24`, "dev", device);
    ip("-n", name, "addr", "add", `fd91:${net}::${host}/64`, "dev", device, "nodad");
    ip("-n", name, "link", "set", device, "up");
  }
}

function setup(name: string): NodeSetup {
  const answers =
    name === "router"
      ? {
          [TAKEN]: "taken",
          [PASSED]: "decrement-hops",
          [UNTOUCHED]: "untouched",
          [DECIDED_LATER]: "decrement-hops",
        }
      : { [TAKEN]: "taken", [PASSED]: "taken", [UNTOUCHED]: "taken", [DECIDED_LATER]: "taken" };
  return {
    queueNumber: QUEUE,
    ...issue(authority, name),
    authorities: [authority.pem],
    answers,
    undecided: name === "router" ? [DECIDED_LATER] : [],
  } as NodeSetup;
}

async function startRow(t: ExecutionContext, names: readonly string[]): Promise<Row> {
  const [sender, router, receiver] = names.map((name) => new RemoteNode(name)) as [
    RemoteNode,
    RemoteNode,
    RemoteNode,
  ];
  const row = { sender, router, receiver };
  t.teardown(() => Promise.all(Object.values(row).map((node) => node.end())));
  for (const [name, node] of Object.entries(row))
    t.is(await node.obey({ order: "start", setup: setup(name) }), undefined);
  return row;
}

function message(nslpId: number, flags: number, hops = 9): string {
  return Buffer.of(1, hops, 0, 1, nslpId >> 8, nslpId & 0xff, flags, 0x60, 1, 2, 3, 4).toString("hex");
}

async function crosses(
  t: ExecutionContext,
  row: Row,
  source: string,
  own: string,
  far: string,
): Promise<void> {
  const query = (nslpId: number, spoofSource = true): Promise<unknown> =>
    row.sender.obey({
      order: "query",
      flow: { source, destination: far },
      spoofSource,
      message: message(nslpId, 0x80),
    });

  await query(TAKEN);
  const taken = await row.router.next("datagram");
  t.deepEqual(taken, {
    report: "datagram",
    message: message(TAKEN, 0x80),
    source,
    sourcePort: 270,
    destination: far,
    ipTtl: 64,
    inboundInterface: "left1",
    intercepted: true,
  });

  await query(TAKEN, false);
  t.is((await row.router.next("datagram")).source, own);

  await query(PASSED);
  t.is((await row.router.next("datagram")).message, message(PASSED, 0x80));
  const passed = await row.receiver.next("datagram");
  t.is(passed.message, message(PASSED, 0x80, 8));
  t.is(passed.ipTtl, 63);
  t.is(passed.source, source);

  await query(UNTOUCHED);
  await row.router.next("datagram");
  t.is((await row.receiver.next("datagram")).message, message(UNTOUCHED, 0x80));

  await query(DROPPED);
  await row.router.next("datagram");
  t.is(row.receiver.left("datagram"), 0);
}

/** Two decisions that come in the other order than the packets. */
async function verdictsComeLate(t: ExecutionContext, row: Row, source: string, far: string): Promise<void> {
  const first = message(DECIDED_LATER, 0x80, 20);
  const second = message(DECIDED_LATER, 0x80, 30);
  for (const text of [first, second]) {
    const flow = { source, destination: far };
    await row.sender.obey({ order: "query", flow, spoofSource: true, message: text });
    t.is((await row.router.next("datagram")).message, text);
  }
  // Meanwhile others pass.
  const flow = { source, destination: far };
  const passing = message(PASSED, 0x80);
  await row.sender.obey({ order: "query", flow, spoofSource: true, message: passing });
  await row.router.next("datagram");
  t.is((await row.receiver.next("datagram")).message, message(PASSED, 0x80, 8));
  await row.router.obey({ order: "decide" });
  t.is((await row.receiver.next("datagram")).message, message(DECIDED_LATER, 0x80, 29));
  t.is((await row.receiver.next("datagram")).message, message(DECIDED_LATER, 0x80, 19));
}

async function datagramsCross(t: ExecutionContext, row: Row, to: string, from: string): Promise<void> {
  await row.sender.obey({ order: "datagram", to, message: message(TAKEN, 0x01) });
  const datagram = await row.receiver.next("datagram");
  t.is(datagram.message, message(TAKEN, 0x01));
  t.is(datagram.source, from);
  t.is(datagram.sourcePort, 270);
  t.false(datagram.intercepted);
  t.is(row.router.left("datagram"), 0);

  // As a Response goes: to the port from which the Query came.
  await row.receiver.obey({ order: "listen", port: OTHER_PORT });
  await row.sender.obey({ order: "datagram", to, port: OTHER_PORT, message: message(TAKEN, 0x01) });
  const { sourcePort, payload } = await row.receiver.next("heard");
  t.is(sourcePort, 270);
  t.is(payload, `4e04bda5${message(TAKEN, 0x01)}`);
}

async function associationsCross(t: ExecutionContext, row: Row, to: string): Promise<void> {
  const sent = message(TAKEN, 0x03);
  t.is(await row.sender.obey({ order: "talk", to, port: 5270, message: sent }), "receiver");
  t.deepEqual(await row.receiver.next("message"), { report: "message", message: sent, peer: "sender" });
}

async function routesFollow(t: ExecutionContext, row: Row, namespace: string): Promise<void> {
  const asked = (): Promise<unknown> =>
    row.sender.obey({ order: "route", flow: { source: "10.91.1.1", destination: "10.91.2.2" } });
  const route = { interfaceAddress: "10.91.1.1", interfaceName: "right1", mtu: 1500, nextHop: "10.91.1.2" };
  t.deepEqual(await asked(), { asked: route, cached: route });
  ip("-n", namespace, "route", "change", "default", "via", "10.91.1.2", "mtu", "1400");
  // Well before the remembered route would be too old by itself.
  const deadline = performance.now() + 2000;
  let now = await asked();
  while (JSON.stringify(now).includes("1500") && performance.now() < deadline) now = await asked();
  t.deepEqual(now, { asked: { ...route, mtu: 1400 }, cached: { ...route, mtu: 1400 } });
}

if (process.getuid?.() === 0) {
  test("Query mode, datagram mode and associations cross a router, over IPv4 and IPv6", async (t) => {
    t.timeout(60_000);
    const names = buildNamespaces(t);
    const row = await startRow(t, names);
    // A source that is none of the sender's own addresses, as of a host behind a gateway.
    await crosses(t, row, "10.91.1.77", "10.91.1.1", "10.91.2.2");
    await crosses(t, row, "fd91:1::77", "fd91:1::1", "fd91:2::2");
    await verdictsComeLate(t, row, "10.91.1.77", "10.91.2.2");
    await verdictsComeLate(t, row, "fd91:1::77", "fd91:2::2");
    await datagramsCross(t, row, "10.91.2.2", "10.91.1.1");
    await datagramsCross(t, row, "fd91:2::2", "fd91:1::1");
    await associationsCross(t, row, "10.91.2.2");
    await associationsCross(t, row, "fd91:2::2");
    await routesFollow(t, row, names[0]);
    t.like(await row.router.obey({ order: "stop" }), {
      "intercept.taken": 4,
      "intercept.passed-on": 8,
      "intercept.waited": 4,
      "intercept.untouched": 2,
      "intercept.dropped": 2,
      "intercept.datagram-mode": 2,
    });
  });
} else {
  test.skip("the transports on real interfaces need root", () => {});
}
