import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { createInterface, type Interface } from "node:readline";
import test, { type ExecutionContext } from "ava";
import type { DatapathEvent, DatapathStatus, FlowCount } from "./datapath.js";

const rootTest = process.getuid?.() === 0 ? test.serial : test.skip;

const PATIENCE_MS = 15_000;
const LONG = 60_000;

type Told = DatapathEvent & { readonly flow: unknown };

/** A network namespace with a process in it that does what it is told (testdata/host.ts). */
class Host {
  readonly name: string;
  readonly #child;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  constructor(t: ExecutionContext, label: string) {
    this.name = `pbs-nfq-${process.pid}-${label}`;
    execFileSync("ip", ["netns", "add", this.name]);
    t.teardown(() => execFileSync("ip", ["netns", "del", this.name]));
    const program = new URL("testdata/host.ts", import.meta.url).pathname;
    const command = ["netns", "exec", this.name, process.execPath, "--import", "tsx", program];
    this.#child = spawn("ip", command, { stdio: ["pipe", "pipe", "inherit"] });
    this.#reader = createInterface({ input: this.#child.stdout });
    this.#lines = this.#reader[Symbol.asyncIterator]();
    t.teardown(() => this.#child.kill("SIGKILL"));
    this.run("ip", "link", "set", "lo", "up");
  }

  run(program: string, ...args: readonly string[]): string {
    return execFileSync("ip", ["netns", "exec", this.name, program, ...args], { encoding: "utf8" });
  }

  async tell(command: string, details: object = {}): Promise<unknown> {
    this.#child.stdin.write(`${JSON.stringify({ do: command, ...details })}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error(`the host ended at "${command}"`);
    const answer = JSON.parse(line.value) as { value?: unknown; error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.value;
  }

  async status(): Promise<DatapathStatus> {
    return (await this.tell("status")) as DatapathStatus;
  }

  async counter(name: string): Promise<number> {
    return (await this.status()).counters[name] ?? 0;
  }

  async received(): Promise<{ readonly datagrams: readonly string[]; readonly bytes: number }> {
    return (await this.tell("received")) as { datagrams: string[]; bytes: number };
  }

  async count(flow: string): Promise<FlowCount> {
    const [found] = (await this.tell("read", { flows: [flow] })) as (FlowCount | null)[];
    if (found === undefined || found === null) throw new Error(`${flow} is not installed`);
    return found;
  }

  /** Processors that its threads of this name may run on, as the kernel writes them. */
  processors(thread: string): readonly string[] {
    const tasks = `/proc/${this.#child.pid}/task`;
    return readdirSync(tasks)
      .filter((id) => readFileSync(`${tasks}/${id}/comm`, "utf8").trim() === thread)
      .map((id) => readFileSync(`${tasks}/${id}/status`, "utf8"))
      .map((status) => /^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1] ?? "");
  }

  async events(): Promise<readonly Told[]> {
    return (await this.tell("events")) as Told[];
  }

  /** Closes the process's input; the exit code, once it has ended by itself. */
  async end(): Promise<number | null> {
    this.#child.stdin.end();
    const [code] = (await once(this.#child, "exit")) as [number | null];
    return code;
  }
}

/** Asks again until the answer is right; fails the test when that takes too long. */
async function until(what: string, right: () => Promise<boolean>): Promise<void> {
  const start = performance.now();
  while (!(await right()))
    if (performance.now() - start > PATIENCE_MS) throw new Error(`this did not happen: ${what}`);
}

interface Pair {
  readonly a: Host;
  readonly b: Host;
}

/** Two hosts, 10.9.0.1 and .2, fd09::1 and ::2, with the kernel sets. */
function pair(t: ExecutionContext): Pair {
  const a = new Host(t, "a");
  const b = new Host(t, "b");
  a.run("ip", "link", "add", "veth", "type", "veth", "peer", "name", "veth", "netns", b.name);
  [a, b].forEach((host, i) => {
    host.run("ip", "addr", "add", `10.9.0.${i + 1}/24`, "dev", "veth");
    host.run("ip", "addr", "add", `fd09::${i + 1}/64`, "dev", "veth", "nodad");
    host.run("ip", "link", "set", "veth", "up");
    host.run("ipset", "create", "PBS-permitted4", "hash:ip,port,ip", "family", "inet", "timeout", "600");
    host.run("ipset", "create", "PBS-permitted6", "hash:ip,port,ip", "family", "inet6", "timeout", "600");
    host.run("ipset", "create", "PBS-known4", "hash:ip", "family", "inet", "timeout", "600");
    host.run("ipset", "create", "PBS-known6", "hash:ip", "family", "inet6", "timeout", "600");
  });
  // Neighbours are found before anything is counted.
  for (const address of ["10.9.0.2", "fd09::2"]) a.run("ping", "-c", "1", "-w", "5", "-q", address);
  return { a, b };
}

/** Of traffic between the hosts, permitted flows go to one queue; others to a second at the sender, or are dropped. */
function guard(host: Host, chain: "INPUT" | "OUTPUT", protocols: readonly string[]): void {
  for (const [tool, set] of [
    ["iptables", "PBS-permitted4"],
    ["ip6tables", "PBS-permitted6"],
  ] as const)
    for (const protocol of protocols) {
      if ((protocol === "icmpv6") !== (tool === "ip6tables") && protocol.startsWith("icmp")) continue;
      const rule = [tool, "-t", "mangle", "-A", chain, "-p", protocol] as const;
      // The answer of a rejecting rule comes over the loopback interface.
      if (chain === "OUTPUT") host.run(...rule, "-o", "lo", "-j", "RETURN");
      const echo = protocol === "icmpv6" ? ["--icmpv6-type", "echo-request"] : [];
      const known = ["-m", "set", "--match-set", set, "src,dst,dst", "-j", "NFQUEUE", "--queue-num", "2701"];
      const unknown = chain === "OUTPUT" ? ["NFQUEUE", "--queue-num", "2702"] : ["DROP"];
      host.run(...rule, ...echo, ...known);
      host.run(...rule, ...echo, "-j", ...unknown);
    }
}

const FOUR = "udp 10.9.0.1:4000 > 10.9.0.2:5000";
const SIX = "udp [fd09::1]:4000 > [fd09::2]:5000";

for (const [name, flow, back] of [
  ["IPv4", FOUR, "udp 10.9.0.2:5000 > 10.9.0.1:4000"],
  ["IPv6", SIX, "udp [fd09::2]:5000 > [fd09::1]:4000"],
] as const)
  rootTest(`${name}: dropped before a permission, passed within it, cut at its volume`, async (t) => {
    const { a, b } = pair(t);
    guard(b, "INPUT", ["udp"]);
    await b.tell("start");
    await b.tell("bind", { flow: back });
    await a.tell("send", { flow, count: 5, size: 100 });
    t.deepEqual((await b.received()).datagrams, []);
    await b.tell("install", { flows: [flow], volume: 1050, notifyAt: 500, duration: LONG });
    await a.tell("send", { flow, count: 15, size: 100 });
    await until("the volume is used up", async () => (await b.counter("drop.over-volume")) === 5);
    const ten = Array.from({ length: 10 }, (_, i) => String(i).padStart(4, "0"));
    await until("ten arrive", async () => (await b.received()).datagrams.length === 10);
    t.deepEqual((await b.received()).datagrams, ten);
    const count = await b.count(flow);
    t.like(count, { bytes: 1000, packets: 10, overVolume: 5, expired: 0 });
    t.deepEqual(await b.events(), [
      { type: "threshold", flow, bytes: 500 },
      { type: "exhausted", flow, bytes: 1000 },
    ] as unknown as Told[]);
    await b.tell("install", { flows: [flow], volume: 1100, duration: LONG });
    await a.tell("send", { flow, count: 1, size: 100 });
    await until("one more arrives", async () => (await b.received()).datagrams.length === 11);
    await b.tell("install", { flows: [flow], volume: 9000, duration: 0 });
    await a.tell("send", { flow, count: 1, size: 100 });
    await until("its time is over", async () => (await b.counter("drop.expired")) === 1);
    await b.tell("remove", { flows: [flow] });
    await a.tell("send", { flow, count: 1, size: 100 });
    await until("it is unknown", async () => (await b.counter("drop.no-permission")) === 1);
    t.is((await b.received()).datagrams.length, 11);
    const [queue] = (await b.status()).queues;
    t.deepEqual(queue, { number: 2701, purpose: "permitted", packets: 18, dropped: 0 });
    await b.tell("stop");
    t.is(await b.end(), 0);
  });

for (const [name, flow, back] of [
  ["IPv4", FOUR, "udp 10.9.0.2:5000 > 10.9.0.1:4000"],
  ["IPv6", SIX, "udp [fd09::2]:5000 > [fd09::1]:4000"],
] as const)
  rootTest(
    `${name}: a steered flow takes its own path, with packets held before, and comes back`,
    async (t) => {
      const { a, b } = pair(t);
      guard(a, "OUTPUT", ["udp"]);
      otherPath(a, b);
      await a.tell("start");
      await b.tell("bind", { flow: back });
      const received = async () => (await b.received()).datagrams.length;
      await a.tell("send", { flow, count: 3, size: 100 });
      await until("three are held", async () => (await a.status()).held === 3);
      await a.tell("steer", { flow, path: 3 });
      await a.tell("install", { flows: [flow], volume: 10_000, duration: LONG });
      await until("they arrive", async () => (await received()) === 3);
      await a.tell("send", { flow, count: 4, size: 100 });
      await until("those after them too", async () => (await received()) === 7);
      await a.tell("steer", { flow, path: 0 });
      await a.tell("send", { flow, count: 2, size: 100 });
      await until("they are counted", async () => (await a.count(flow)).packets === 9);
      t.is(await received(), 7, "the first path again");
      await a.tell("steer", { flow, path: 3 });
      await a.tell("send", { flow, count: 1, size: 100 });
      await until("one more arrives", async () => (await received()) === 8);
    },
  );

/** A second wire, to which the mark of path 3 leads. What comes by the first one does not arrive any more. */
function otherPath(a: Host, b: Host): void {
  a.run("ip", "link", "add", "other", "type", "veth", "peer", "name", "other", "netns", b.name);
  [a, b].forEach((host, i) => {
    host.run("ip", "addr", "add", `10.8.0.${i + 1}/24`, "dev", "other");
    host.run("ip", "addr", "add", `fd08::${i + 1}/64`, "dev", "other", "nodad");
    host.run("ip", "link", "set", "other", "up");
    for (const name of ["all", "other", "veth"])
      host.run("sysctl", "-qw", `net.ipv4.conf.${name}.rp_filter=0`);
  });
  for (const [family, via] of [
    ["-4", "10.8.0.2"],
    ["-6", "fd08::2"],
  ] as const) {
    a.run("ip", family, "route", "add", "default", "via", via, "table", "77");
    a.run("ip", family, "rule", "add", "fwmark", "0x1800000/0xf800000", "lookup", "77");
  }
  for (const tool of ["iptables", "ip6tables"])
    b.run(tool, "-t", "raw", "-A", "PREROUTING", "-i", "veth", "-p", "udp", "-j", "DROP");
}

rootTest("in an open network a flow may go without permission", async (t) => {
  const { a, b } = pair(t);
  const open = ["-m", "mark", "--mark", "0x10000/0x10000", "-j", "RETURN"];
  a.run("iptables", "-t", "mangle", "-A", "OUTPUT", ...open);
  guard(a, "OUTPUT", ["udp"]);
  b.run("iptables", "-t", "mangle", "-A", "INPUT", ...open);
  guard(b, "INPUT", ["udp"]);
  for (const host of [a, b]) await host.tell("start", { options: { openMark: 0x10000 } });
  await b.tell("bind", { flow: "udp 10.9.0.2:5000 > 10.9.0.1:4000" });
  // Another flow that looks the same to the kernel set has a permission.
  await b.tell("install", { flows: [FOUR.replace("4000", "4001")], volume: 10_000, duration: LONG });
  await a.tell("send", { flow: FOUR, count: 3, size: 100 });
  await until("three are held", async () => (await a.status()).held === 3);
  await a.tell("letGo", { flow: FOUR, duration: LONG });
  await a.tell("send", { flow: FOUR, count: 2, size: 100 });
  await until("all arrive", async () => (await b.received()).datagrams.length === 5);
  t.is(await a.counter("open"), 5);
  t.is(await b.counter("open"), 5);
  await a.tell("refuse", { flow: FOUR, duration: LONG });
  await a.tell("send", { flow: FOUR, count: 1, size: 100 });
  await until("it is refused", async () => (await a.counter("refuse")) === 1);
});

rootTest("without enforcement what exceeds the volume passes, counted", async (t) => {
  const { a, b } = pair(t);
  guard(b, "INPUT", ["udp"]);
  await b.tell("start", { options: { enforce: false } });
  await b.tell("bind", { flow: "udp 10.9.0.2:5000 > 10.9.0.1:4000" });
  await b.tell("install", { flows: [FOUR], volume: 250, duration: LONG });
  await a.tell("send", { flow: FOUR, count: 5, size: 100 });
  await until("all arrive", async () => (await b.received()).datagrams.length === 5);
  t.like(await b.count(FOUR), { bytes: 500, packets: 5, overVolume: 3 });
});

rootTest("the first packets of a flow are held, asked for once, and released in order", async (t) => {
  const { a, b } = pair(t);
  guard(a, "OUTPUT", ["udp"]);
  await a.tell("start");
  await b.tell("bind", { flow: "udp 10.9.0.2:5000 > 10.9.0.1:4000" });
  await a.tell("send", { flow: FOUR, count: 12, size: 100 });
  await until("eight are held", async () => (await a.status()).held === 8);
  await until("four are too many", async () => (await a.counter("drop.hold-flow-full")) === 4);
  t.deepEqual(await a.events(), [{ type: "wanted", flow: FOUR }] as unknown as Told[]);
  t.deepEqual((await b.received()).datagrams, []);
  await a.tell("install", { flows: [FOUR], volume: 10_000, duration: LONG });
  await a.tell("send", { flow: FOUR, count: 1, size: 100 });
  await until("they arrive", async () => (await b.received()).datagrams.length === 9);
  const eight = Array.from({ length: 8 }, (_, i) => String(i).padStart(4, "0"));
  t.deepEqual((await b.received()).datagrams, [...eight, "0000"]);
  t.like(await a.count(FOUR), { bytes: 900, packets: 9 });

  // Same addresses and destination port: the kernel set cannot tell the flows apart.
  const beside = "udp 10.9.0.1:4001 > 10.9.0.2:5000";
  await a.tell("send", { flow: beside, count: 2, size: 100 });
  await until("the flow beside it is held", async () => (await a.status()).held === 2);
  t.is(await a.counter("requeue"), 2);
  t.deepEqual(await a.events(), [{ type: "wanted", flow: beside }] as unknown as Told[]);
  await a.tell("install", { flows: [beside], volume: 10_000, duration: LONG });
  await until("it arrives too", async () => (await b.received()).datagrams.length === 11);
  await a.tell("stop");
  t.is(await a.end(), 0);
});

rootTest("what nobody answers is dropped in time, and asked for anew", async (t) => {
  const { a } = pair(t);
  guard(a, "OUTPUT", ["udp"]);
  await a.tell("start", { options: { holdTime: 300 } });
  await a.tell("send", { flow: FOUR, count: 3, size: 100 });
  await until("they are dropped", async () => (await a.counter("drop.hold-timeout")) === 3);
  t.is((await a.status()).held, 0);
  await a.tell("send", { flow: FOUR, count: 1, size: 100 });
  await until("it is held", async () => (await a.counter("hold")) === 4);
  t.is((await a.events()).length, 2);
});

rootTest("a refused application hears at once", async (t) => {
  const { a, b } = pair(t);
  const flow = "tcp 10.9.0.1:4000 > 10.9.0.2:80";
  guard(a, "OUTPUT", ["tcp"]);
  const marked = ["-A", "OUTPUT", "-m", "mark", "--mark", "0x100/0x100", "-p", "tcp", "-j", "REJECT"];
  a.run("iptables", ...marked, "--reject-with", "tcp-reset");
  await b.tell("serve", { address: "10.9.0.2", port: 80 });
  await a.tell("start");
  await a.tell("transfer", { flow, size: 1000 });
  await until("the SYN is held", async () => (await a.status()).held === 1);
  await a.tell("refuse", { flow, duration: LONG });
  t.is(await a.tell("transferred"), "ECONNREFUSED");
  // Within the time of the refusal nobody is asked again.
  await a.tell("transfer", { flow, size: 1000 });
  t.is(await a.tell("transferred"), "ECONNREFUSED");
  t.is(await a.counter("refuse"), 2);
  t.deepEqual(await a.events(), [{ type: "wanted", flow }] as unknown as Told[]);
});

rootTest("TCP in super-packets is counted as on the wire", async (t) => {
  const { a, b } = pair(t);
  const there = "tcp 10.9.0.1:4000 > 10.9.0.2:80";
  const back = "tcp 10.9.0.2:80 > 10.9.0.1:4000";
  const size = 20_000_000;
  guard(a, "OUTPUT", ["tcp"]);
  guard(b, "INPUT", ["tcp"]);
  await b.tell("serve", { address: "10.9.0.2", port: 80 });
  for (const host of [a, b]) {
    await host.tell("start");
    await host.tell("install", { flows: [there, back], volume: 1e9, duration: LONG });
  }
  await a.tell("transfer", { flow: there, size });
  t.is(await a.tell("transferred"), "done");
  await until("all arrives", async () => (await b.received()).bytes === size);
  const [sent, got] = [await a.count(there), await b.count(there)];
  const expected = size + Math.ceil(size / 1448) * 52;
  t.log({ sent: sent.bytes, received: got.bytes, expected, queued: (await b.status()).queues[0]?.packets });
  for (const { bytes } of [sent, got]) {
    t.true(bytes >= expected, `${bytes} < ${expected}`);
    t.true(bytes <= expected * 1.02, `${bytes} > ${expected} by too much`);
  }
  t.true(((await b.status()).queues[0]?.packets ?? 0) < got.packets);
});

for (const [family, protocol, ping, address] of [
  ["IPv4", "icmp", "icmp 10.9.0.1 > 10.9.0.2", "10.9.0.2"],
  ["IPv6", "icmpv6", "icmpv6 fd09::1 > fd09::2", "fd09::2"],
] as const)
  rootTest(`${family}: echo passes with a permission only`, async (t) => {
    const { a, b } = pair(t);
    const echoed = (): boolean => {
      try {
        a.run("ping", "-c", "2", "-i", "0.2", "-W", "1", address);
        return true;
      } catch {
        return false;
      }
    };
    guard(b, "INPUT", [protocol]);
    await b.tell("start");
    t.false(echoed());
    await b.tell("install", { flows: [ping], volume: 10_000, duration: LONG });
    t.true(echoed());
    t.like(await b.count(ping), { packets: 2 });
  });

rootTest("a missing set is an error, and nothing is installed", async (t) => {
  const { b } = pair(t);
  await b.tell("start");
  b.run("ipset", "destroy", "PBS-permitted4");
  await t.throwsAsync(b.tell("install", { flows: [SIX, FOUR], volume: 1, duration: LONG }), {
    message: /PBS-permitted4 does not exist/,
  });
  t.is((await b.status()).flows, 0);
  b.run("ipset", "create", "PBS-permitted4", "hash:ip,port,ip", "family", "inet", "timeout", "600");
  await b.tell("install", { flows: [SIX, FOUR], volume: 1, duration: LONG });
  t.regex(b.run("ipset", "list", "PBS-permitted4"), /^10\.9\.0\.1,udp:5000,10\.9\.0\.2 timeout \d+$/m);
  t.regex(b.run("ipset", "list", "PBS-permitted6"), /^fd09::1,udp:5000,fd09::2 timeout \d+$/m);
  b.run("ipset", "flush", "PBS-permitted4");
  await b.tell("refill");
  t.regex(b.run("ipset", "list", "PBS-permitted4"), /^10\.9\.0\.1,udp:5000/m);
});

rootTest(
  "sources of permitted flows are known, and a set that does not take them costs nothing",
  async (t) => {
    const { b } = pair(t);
    await b.tell("start");
    await b.tell("install", { flows: [SIX, FOUR], volume: 1, duration: LONG });
    t.regex(b.run("ipset", "list", "PBS-known4"), /^10\.9\.0\.1 timeout \d+$/m);
    t.regex(b.run("ipset", "list", "PBS-known6"), /^fd09::1 timeout \d+$/m);
    for (const set of ["PBS-known4", "PBS-known6", "PBS-permitted4"]) b.run("ipset", "flush", set);
    b.run("ipset", "destroy", "PBS-known4");
    await b.tell("refill");
    t.regex(b.run("ipset", "list", "PBS-permitted4"), /^10\.9\.0\.1,udp:5000/m);
    t.regex(b.run("ipset", "list", "PBS-known6"), /^fd09::1/m);
  },
);

rootTest("without an engine nothing passes", async (t) => {
  const { a, b } = pair(t);
  guard(b, "INPUT", ["udp"]);
  await b.tell("start");
  await b.tell("install", { flows: [FOUR], volume: 10_000, duration: LONG });
  await b.tell("bind", { flow: "udp 10.9.0.2:5000 > 10.9.0.1:4000" });
  await a.tell("send", { flow: FOUR, count: 1, size: 100 });
  await until("one arrives", async () => (await b.received()).datagrams.length === 1);
  await b.tell("stop");
  await a.tell("send", { flow: FOUR, count: 3, size: 100 });
  await until("the kernel has seen them", async () =>
    /^ +4 +400 NFQUEUE/m.test(b.run("iptables", "-t", "mangle", "-L", "INPUT", "-v", "-x", "-n")),
  );
  t.is((await b.received()).datagrams.length, 1);
});

rootTest(
  "what only shares the set's element with a flow that gets AH goes through the rules once more",
  async (t) => {
    const { a, b } = pair(t);
    const aside = ["-m", "mark", "--mark", "0x100000/0x100000"];
    const rule = ["-t", "mangle", "-A", "OUTPUT", "-p", "udp"];
    a.run("iptables", ...rule, ...aside, "-j", "RETURN");
    a.run("iptables", ...rule, "-j", "NFQUEUE", "--queue-num", "2703");
    await a.tell("start");
    await b.tell("bind", { flow: "udp 10.9.0.2:5000 > 10.9.0.1:4000" });
    await a.tell("send", { flow: FOUR, count: 3, size: 100 });
    await until("the datagrams arrive", async () => (await b.received()).datagrams.length === 3);
    t.deepEqual(await a.events(), []);
    t.is((await a.status()).held, 0);
  },
);

rootTest("threads keep to the processors that they are given, and to none that is not there", async (t) => {
  const host = new Host(t, "a");
  const wrong = { queueBase: 2800, processor: 1023 };
  await t.throwsAsync(host.tell("start", { options: wrong }), {
    message: /processor 1023; give processors that there are/,
  });
  await host.tell("start", { options: { processor: 0, ahProcessor: 0 } });
  const anywhere = host.processors("pbs-hold");
  t.deepEqual(host.processors("pbs-permitted"), ["0"]);
  t.deepEqual(host.processors("pbs-ah"), ["0"]);
  t.is(anywhere.length, 1);
  if (cpus().length > 1) t.notDeepEqual(anywhere, ["0"]);
});
