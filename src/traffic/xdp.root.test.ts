import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import test, { type ExecutionContext } from "ava";
import type { FlowCount } from "./datapath.js";
import { flowKey } from "../base/flow.js";
import { AUTHENTICATED, datagram, headerSum, sealed, SPI, VERDICTS } from "./testdata/verdicts.js";
import type { XdpOptions, XdpStatus } from "./xdp.js";

const rootTest = process.getuid?.() === 0 ? test.serial : test.skip;

const PATIENCE_MS = 15_000;
const FUZZ_ROUNDS = 20_000;

/** Sender 10.1.0.1, router, receiver 10.2.0.2 (and fd01::1, fd02::2) as network namespaces in a row. */
class Row {
  readonly #prefix = `pbs-xdp-${process.pid}`;
  #router: Program | undefined;

  constructor(t: ExecutionContext) {
    for (const name of ["a", "r", "b"]) {
      execFileSync("ip", ["netns", "add", this.name(name)]);
      t.teardown(() => execFileSync("ip", ["netns", "del", this.name(name)]));
      this.run(name, "ip", "link", "set", "lo", "up");
    }
    t.teardown(() => this.#router?.end());
    this.#link("a", "inside", 1, 1500);
    this.#link("b", "outside", 2, 1280);
    for (const setting of ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
      this.run("r", "sysctl", "-qw", setting);
    for (const address of ["10.2.0.2", "fd02::2"]) this.run("a", "ping", "-c", "1", "-w", "5", "-q", address);
  }

  name(host: string): string {
    return `${this.#prefix}-${host}`;
  }

  run(host: string, program: string, ...args: readonly string[]): string {
    return execFileSync("ip", ["netns", "exec", this.name(host), program, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  start(host: string, program: string, ...args: readonly string[]) {
    return spawn("ip", ["netns", "exec", this.name(host), program, ...args], { stdio: "ignore" });
  }

  python(host: string, program: string): ChildProcessWithoutNullStreams {
    return spawn("ip", ["netns", "exec", this.name(host), "python3", "-c", program]);
  }

  /** A new process in the router. */
  router(): Program {
    this.#router = new Program(this.name("r"));
    return this.#router;
  }

  #link(host: string, name: string, net: number, mtu: number): void {
    const ends = [
      ["r", name, 254],
      [host, "veth", net],
    ] as const;
    this.run(
      "r",
      "ip",
      "link",
      "add",
      name,
      "type",
      "veth",
      "peer",
      "name",
      "veth",
      "netns",
      this.name(host),
    );
    for (const [where, link, last] of ends) {
      this.run(where, "ip", "addr", "add", `10.${net}.0.${last}/24`, "dev", link);
      this.run(where, "ip", "addr", "add", `fd0${net}::${last}/64`, "dev", link, "nodad");
      this.run(where, "ip", "link", "set", link, "mtu", String(mtu), "up");
      this.run(where, "ethtool", "-K", link, "gro", "on");
    }
    this.run(host, "ip", "route", "add", "default", "via", `10.${net}.0.254`);
    this.run(host, "ip", "-6", "route", "add", "default", "via", `fd0${net}::254`);
  }
}

/** Policy and priority of threads that receive for an interface, and their numbers, as ps has them. */
function receivers(name: string): { readonly policy: string; readonly id: string }[] {
  const lines = execFileSync("ps", ["-eo", "cls,rtprio,pid,comm"], { encoding: "utf8" }).split("\n");
  return lines
    .filter((line) => line.includes(` napi/${name}-`))
    .map((line) => line.trim().split(/\s+/))
    .map(([policy = "", priority = "", id = ""]) => ({ policy: `${policy} ${priority}`, id }));
}

/** The process in the router (testdata/xdp-router.ts). */
class Program {
  readonly #child;
  readonly #lines: AsyncIterator<string>;

  constructor(namespace: string) {
    const program = new URL("testdata/xdp-router.ts", import.meta.url).pathname;
    const command = ["netns", "exec", namespace, process.execPath, "--import", "tsx", program];
    this.#child = spawn("ip", command, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.stdin.on("error", () => undefined);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async tell<T>(command: string, details: object = {}): Promise<T> {
    this.#child.stdin.write(`${JSON.stringify({ do: command, ...details })}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error(`the router's process ended at "${command}"`);
    const answer = JSON.parse(line.value) as { value: T; error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.value;
  }

  start(options: Partial<XdpOptions> = {}): Promise<boolean> {
    return this.tell<boolean>("start", { options });
  }

  status(): Promise<XdpStatus> {
    return this.tell<XdpStatus>("status");
  }

  async count(flow: string): Promise<FlowCount> {
    const [found] = await this.tell<(FlowCount | null)[]>("read", { flows: [flow] });
    if (found === undefined || found === null) throw new Error(`${flow} is not installed`);
    return found;
  }

  /** Ends at once, without a word to the kernel. */
  async die(): Promise<void> {
    const gone = once(this.#child, "exit");
    this.kill();
    await gone;
  }

  /** Lets it stop by itself, so that what it ran is counted; by force if it does not. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, "exit");
    const limit = setTimeout(() => this.kill(), PATIENCE_MS);
    this.#child.stdin.end();
    await gone;
    clearTimeout(limit);
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

async function until(what: string, right: () => Promise<boolean> | boolean): Promise<void> {
  const start = performance.now();
  while (!(await right()))
    if (performance.now() - start > PATIENCE_MS) throw new Error(`this did not happen: ${what}`);
}

rootTest("every packet of the table has its verdict, by the program and by the queue", async (t) => {
  const router = new Row(t).router();
  const { verdicts, differences } = await router.tell<{
    verdicts: { name: string; queue: string; xdp: string; sent: number[] }[];
    differences: object[];
  }>("judge");
  t.deepEqual(
    verdicts.map(({ name, queue, xdp }) => ({ name, queue, xdp })),
    VERDICTS.map(({ name, queue, xdp }) => ({ name, queue, xdp })),
  );
  t.deepEqual(differences, []);
  verdicts.forEach(({ name, xdp, sent }, i) => {
    if (xdp !== "send") return;
    const packet = VERDICTS[i]?.packet ?? new Uint8Array(0);
    const four = sent[0] === 0x45;
    const hops = four ? 8 : 7;
    t.is(sent[hops], (packet[hops] ?? 0) - 1, name);
    if (four) t.is(headerSum(Uint8Array.from(sent)), 0, name);
  });
});

/** Both engines get the same packets; each of these actions is to be seen often enough to mean something. */
async function changedAtRandom(
  t: ExecutionContext,
  command: string,
  often: readonly string[],
): Promise<void> {
  const router = new Row(t).router();
  const seed = Number(process.env["PBS_SEED"] ?? process.pid);
  const { disagreed, actions, differences } = await router.tell<{
    disagreed: object[];
    actions: Record<string, number>;
    differences: object[];
  }>(command, { rounds: FUZZ_ROUNDS, seed });
  t.log({ seed, actions });
  t.deepEqual(disagreed, []);
  t.deepEqual(differences, []);
  for (const action of often) t.true((actions[action] ?? 0) > FUZZ_ROUNDS / 100, action);
}

rootTest("packets changed at random get the same verdicts from both, and the same counts", (t) =>
  changedAtRandom(t, "fuzz", ["send", "drop", "stack"]),
);

rootTest(
  "super-packets changed at random get the same verdicts and counts, by their program or the queue",
  (t) => changedAtRandom(t, "fuzzSegments", ["send", "stack"]),
);

/** The clock of the programs' buckets. */
const COARSE_SECONDS = 0.02;

rootTest("what needs no permission goes to the stack within its class's rate", async (t) => {
  const { counters, ...passed } = await new Row(t)
    .router()
    .tell<{ counters: Record<string, number> } & Record<string, { count: number; seconds: number }>>(
      "classes",
    );
  // What a full bucket holds, and how much comes in a second.
  const buckets = {
    signalling: [40, 40],
    signallingOfAnother: [40, 40],
    icmp: [2000, 2000],
    exempt: [10, 10],
    open: [113, 9],
    openOfAnother: [111, 9],
  } as const;
  for (const [name, [full, rate]] of Object.entries(buckets)) {
    const { count = 0, seconds = 0 } = passed[name] ?? {};
    const most = Math.ceil(full + rate * (seconds + COARSE_SECONDS)) + 1;
    t.true(count >= full && count <= most, `${name}: ${count} of ${full} to ${most}`);
  }
  const sum = (...names: string[]) => names.reduce((total, name) => total + (counters[name] ?? 0), 0);
  t.is(sum("xdp.pass.signalling", "drop.rate.signalling"), 6000);
  t.is(sum("xdp.pass.icmp", "drop.rate.icmp"), 3000);
  t.is(sum("xdp.pass.exempt", "drop.rate.exempt"), 3000);
  t.is(sum("xdp.pass.open", "drop.rate.open"), 6000);
});

rootTest("legacy hosts of two networks do not share, and others stay out", async (t) => {
  const { first, second, strange } = await new Row(t)
    .router()
    .tell<{ first: number[]; second: number; strange: number }>("legacy");
  t.true(
    first.every((count) => count > 0),
    `whoever comes later still gets something: ${first.join(", ")}`,
  );
  const least = 212;
  const sum = first.reduce((total, count) => total + count, 0);
  t.true(sum > least / 2 && sum < least * 2, `${sum} of all`);
  t.true(second > (first[0] ?? 0) * 0.8, `${second} of the other network, ${first[0]} of the first`);
  t.is(strange, 0);
});

rootTest(
  "it is counted where a flow's packets come in, and they are dropped where that is wanted",
  async (t) => {
    t.deepEqual(await new Row(t).router().tell("places"), {
      passed: ["send", "send", "send"],
      counted: [
        ["inside", "20000000000", 96],
        ["inside", "20000000001", 48],
      ],
      byAddress: ["drop", "send", "send"],
      again: "send",
      byInterface: ["drop", "drop", "send"],
      over: "send",
      dropped: 3,
    });
  },
);

rootTest("an exempt class may be for AH, whatever is behind it", async (t) => {
  t.deepEqual(await new Row(t).router().tell("exemptAuthenticated"), ["stack", "drop"]);
});

rootTest("nothing passes from a blocked source until its time is over", async (t) => {
  const result = await new Row(t).router().tell("block");
  t.deepEqual(result, { actions: ["drop", "send", "send"], dropped: 1 });
});

const LISTEN = `import socket;s=socket.create_server(("10.2.0.2",5000));c,_=s.accept();n=0
while True:
  d=c.recv(1<<16)
  if not d:break
  n+=len(d)
print(n)`;

/** Connects, says so, waits for a line, and sends so many bytes. */
function connectAndSend(count: number): string {
  return `import socket;s=socket.socket();s.bind(("10.1.0.1",4000));s.settimeout(10);s.connect(("10.2.0.2",5000))
print(flush=True);input();s.sendall(bytes(${count}))`;
}

const FORTH = "tcp 10.1.0.1:4000 > 10.2.0.2:5000";
const BACK = "tcp 10.2.0.2:5000 > 10.1.0.1:4000";
const BYTES = 20_000_000;

/** BYTES by TCP through the router, from when it is told to go. */
class Transfer {
  readonly #server;
  readonly #client;

  private constructor(server: ChildProcessWithoutNullStreams, client: ChildProcessWithoutNullStreams) {
    this.#server = server;
    this.#client = client;
  }

  /** Resolves when there is a connection. */
  static async start(row: Row): Promise<Transfer> {
    const server = row.python("b", LISTEN);
    await until("the server listens", () => row.run("b", "ss", "-ltn").includes(":5000"));
    const client = row.python("a", connectAndSend(BYTES));
    await once(client.stdout, "data");
    return new Transfer(server, client);
  }

  go(): void {
    this.#client.stdin.end("\n");
  }

  /** How many bytes have come, at the end. */
  async received(): Promise<number> {
    const [line] = (await once(this.#server.stdout, "data")) as [Buffer];
    return Number(line.toString());
  }

  end(): void {
    this.#server.kill();
    this.#client.kill();
  }
}

async function transfer(row: Row): Promise<number> {
  const running = await Transfer.start(row);
  running.go();
  return running.received().finally(() => running.end());
}

for (const [virtual, engine] of [
  ["generic", "xdp-generic"],
  ["native", "xdp"],
] as const)
  rootTest(`TCP through a router with ${engine}; without permission nothing passes`, async (t) => {
    const row = new Row(t);
    const router = row.router();
    // The other end of a veth leaves checksums to be filled in, unless it is told not to.
    if (virtual === "native")
      for (const host of ["a", "b"]) row.run(host, "ethtool", "-K", "veth", "tx", "off");
    t.false(await router.start({ virtual }));
    t.deepEqual(
      (await router.status()).interfaces.map(({ name, engine: which }) => [name, which]),
      [
        ["inside", engine],
        ["outside", engine],
      ],
    );
    t.throws(() => row.run("a", "ping", "-c", "3", "-i", "0.01", "-W", "1", "-q", "10.2.0.2"));
    t.is((await router.status()).counters["drop.no-permission"], 3);
    await router.tell("install", { flows: [FORTH, BACK], volume: 2 ** 40 });
    t.is(await transfer(row), BYTES);
    const { bytes, overVolume } = await router.count(FORTH);
    t.true(bytes > BYTES && bytes < BYTES * 1.2, `${bytes} bytes were counted`);
    t.is(overVolume, 0);
    await router.tell("stop");
    t.deepEqual(await router.tell("clean"), ["inside", "outside"]);
    row.run("a", "ping", "-c", "1", "-w", "5", "-q", "10.2.0.2");
  });

/**
 * A sender that is given up on all that is large, and not on what is small, takes the way for one with a narrow bucket, and
 * stays slow long after.
 */
rootTest("without its process a router with xdp-generic sends TCP's super-packets on, too", async (t) => {
  const row = new Row(t);
  const first = row.router();
  await first.start();
  await first.tell("install", { flows: [FORTH, BACK], volume: 2 ** 40 });
  const running = await Transfer.start(row);
  await first.die();
  running.go();
  t.is(await running.received(), BYTES);
  running.end();
  const second = row.router();
  t.true(await second.start());
  const { bytes, packets } = await second.count(FORTH);
  // Segments carry 1228 bytes each, behind a header of 52.
  const least = Math.ceil(BYTES / 1228);
  t.true(packets >= least && packets < least * 1.05, `${packets} packets`);
  t.true(bytes >= BYTES + 52 * least && bytes < (BYTES + 52 * least) * 1.05, `${bytes} bytes`);
  await second.tell("stop");
  t.deepEqual(await second.tell("clean"), ["inside", "outside"]);
  t.deepEqual(await second.tell("clean"), [], "nothing is left");
});

rootTest(
  "a program sends the super-packets of permitted TCP flows, and leaves all others alone",
  async (t) => {
    const tried = await new Row(t).router().tell<Record<string, object>>("segments");
    const sent = (header: number) => ({ action: "send", bytes: 3000 + 3 * header, packets: 3 });
    t.deepEqual({ IPv4: tried["IPv4"], IPv6: tried["IPv6"] }, { IPv4: sent(40), IPv6: sent(60) });
    for (const [name, left] of Object.entries(tried).slice(2))
      t.deepEqual(left, { action: "stack", bytes: 0, packets: 0 }, name);
  },
);

rootTest("super-packets get no more than the volume, and the last of it is told", async (t) => {
  const row = new Row(t);
  const router = row.router();
  await router.start();
  const volume = 3_000_000;
  await router.tell("install", { flows: [FORTH], volume });
  await router.tell("install", { flows: [BACK], volume: 2 ** 40 });
  const running = await Transfer.start(row);
  running.go();
  await until("more is sent than may be", async () => (await router.count(FORTH)).overVolume > 0);
  const { bytes } = await router.count(FORTH);
  t.true(bytes <= volume && bytes > volume / 2, `${bytes} bytes`);
  await until("the event", async () =>
    (await router.tell<object[]>("events")).some((event) => "type" in event && event.type === "exhausted"),
  );
  running.end();
  await router.tell("stop");
  await router.tell("clean");
});

for (const virtual of ["generic", "native"] as const)
  rootTest(`the stack sends where a queueing discipline shapes what is sent (${virtual})`, async (t) => {
    const row = new Row(t);
    const router = row.router();
    await router.start({ virtual });
    const echo = ["icmp 10.1.0.1 > 10.2.0.2", "icmp 10.2.0.2 > 10.1.0.1"];
    await router.tell("install", { flows: echo, volume: 2 ** 40 });
    const tbf = "dev outside root tbf rate 10mbit burst 32kb latency 50ms".split(" ");
    const isShaped = (wanted: boolean) =>
      until(`the discipline is seen: ${wanted}`, async () => {
        const outside = (await router.status()).interfaces.find(({ name }) => name === "outside");
        return (outside?.reason?.includes("tbf") ?? false) === wanted;
      });
    const passed = async () => (await router.status()).counters["xdp.pass.egress"];
    const ping = () => row.run("a", "ping", "-c", "3", "-i", "0.01", "-W", "2", "-q", "10.2.0.2");
    row.run("r", "tc", "qdisc", "add", ...tbf);
    await isShaped(true);
    ping();
    t.is(await passed(), 3, "requests");
    row.run("r", "tc", "qdisc", "del", ...tbf);
    await isShaped(false);
    ping();
    t.is(await passed(), 3);
    t.is((await router.count("icmp 10.1.0.1 > 10.2.0.2")).packets, 6);
    await router.tell("stop");
    await router.tell("clean");
  });

rootTest("threads that receive come first when they shall, those made anew too", async (t) => {
  const row = new Row(t);
  const router = row.router();
  const name = `p${process.pid}`;
  row.run("r", "ip", "link", "set", "outside", "down");
  row.run("r", "ip", "link", "set", "outside", "name", name);
  row.run("r", "ip", "link", "set", name, "up");
  row.run("r", "sh", "-c", `echo 1 > /sys/class/net/${name}/threaded`);
  t.deepEqual(
    receivers(name).map(({ policy }) => policy),
    ["TS -"],
  );
  await router.start({ virtual: "native", receivePriority: 3 });
  const [first] = receivers(name);
  t.is(first?.policy, "FF 3");
  for (const state of ["down", "up"]) row.run("r", "ip", "link", "set", name, state);
  await until("the new thread", () => {
    const [second, ...more] = receivers(name);
    return second?.policy === "FF 3" && second.id !== first?.id && more.length === 0;
  });
  await router.tell("stop");
  await router.tell("clean");
});

rootTest("changes of the interfaces are followed", async (t) => {
  const row = new Row(t);
  const router = row.router();
  await router.start({ virtual: "native" });
  await router.tell("install", {
    flows: [
      "icmp 10.1.0.1 > 10.2.0.2",
      "icmp 10.2.0.2 > 10.1.0.1",
      "icmp 10.1.0.1 > 10.3.0.2",
      "icmp 10.3.0.2 > 10.1.0.1",
    ],
    volume: 2 ** 40,
  });
  const ping = (to = "10.2.0.2", size = "56"): string =>
    row.run("a", "ping", "-c", "4", "-i", "0.01", "-W", "2", "-q", "-s", size, to);
  const sent = async () => (await router.status()).counters["accept"] ?? 0;
  const isSentBy = async (what: string, action: () => void): Promise<void> => {
    await until(what, async () => {
      const before = await sent();
      action();
      return (await sent()) - before >= 8;
    });
  };
  const engineOf = async (name: string): Promise<string | undefined> =>
    (await router.status()).interfaces.find((one) => one.name === name)?.engine;
  await isSentBy("first packets", () => ping());

  row.run("r", "ip", "link", "set", "inside", "address", "02:00:00:00:00:77");
  row.run("a", "ip", "neigh", "flush", "all");
  await isSentBy("another hardware address of the router", () => ping());

  row.run("b", "ip", "link", "set", "veth", "address", "02:00:00:00:00:78");
  row.run("r", "ip", "neigh", "flush", "all");
  await isSentBy("another hardware address of the next hop", () => ping());

  row.run("r", "ip", "link", "set", "inside", "name", "renamed");
  await until("the new name", async () => (await engineOf("renamed")) === "xdp");
  t.true(
    (await router.status()).interfaces.every(({ authenticates }) => authenticates === "af_xdp"),
    "programs that took others' places have their sockets",
  );
  await isSentBy("another name", () => ping());

  for (const state of ["down", "up"]) row.run("r", "ip", "link", "set", "outside", state);
  row.run("r", "ip", "-6", "addr", "replace", "fd02::254/64", "dev", "outside", "nodad");
  await isSentBy("down and up", () => ping());

  row.run("r", "ip", "link", "add", "third", "type", "veth", "peer", "name", "other", "netns", row.name("b"));
  for (const [host, link, last] of [
    ["r", "third", 254],
    ["b", "other", 2],
  ] as const) {
    row.run(host, "ip", "addr", "add", `10.3.0.${last}/24`, "dev", link);
    row.run(host, "ip", "link", "set", link, "up");
    row.run(host, "ethtool", "-K", link, "gro", "on");
  }
  await until("a program on a new interface", async () => (await engineOf("third")) === "xdp");
  row.run(
    "b",
    "ip",
    "route",
    "add",
    "10.1.0.0/24",
    "via",
    "10.3.0.254",
    "metric",
    "0",
    "src",
    "10.3.0.2",
    "table",
    "3",
  );
  row.run("b", "ip", "rule", "add", "from", "10.3.0.2", "table", "3");
  await isSentBy("a way out that is new", () => ping("10.3.0.2"));

  row.run("r", "ip", "route", "add", "unreachable", "10.2.0.2/32");
  t.throws(() => ping(), undefined, "the route is gone");
  row.run("r", "ip", "route", "del", "unreachable", "10.2.0.2/32");
  row.run("r", "ip", "link", "set", "outside", "mtu", "600");
  t.throws(() => ping("10.2.0.2", "700"), undefined, "larger than the way out takes");
  row.run("r", "ip", "link", "set", "outside", "mtu", "1280");

  row.run("r", "sysctl", "-qw", "net.ipv4.conf.third.forwarding=0", "net.ipv6.conf.third.forwarding=0");
  await until(
    "a program off where nothing is forwarded",
    async () => (await engineOf("third")) === "nfqueue",
  );
  t.false(row.run("r", "ip", "link", "show", "third").includes("prog/xdp"));
  row.run("r", "sysctl", "-qw", "net.ipv4.conf.third.forwarding=1", "net.ipv6.conf.third.forwarding=1");
  await until("sockets where it is forwarded again", async () =>
    (await router.status()).interfaces.some((one) => one.name === "third" && one.authenticates === "af_xdp"),
  );
  row.run("r", "ip", "link", "del", "third");
  await until("the interface is gone", async () => (await engineOf("third")) === undefined);
  await isSentBy("the others go on", () => ping());
  await router.tell("stop");
  await router.tell("clean");
});

/** Takes the frames given as arguments, in hexadecimal digits, and sends them. */
const SEND_FRAMES = `import socket,sys
s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW);s.bind(("veth",0))
for f in sys.argv[1:]:s.send(bytes.fromhex(f))`;

/** Says when it listens, and then each frame with AH that comes. */
const TELL_FRAMES = `import socket
s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,socket.htons(3));s.bind(("veth",0))
print(flush=True)
while True:
  f=s.recv(4096)
  if (f[12:14]==b"\\x08\\0" and f[23]==51) or (f[12:14]==b"\\x86\\xdd" and f[20]==51):print(f.hex(),flush=True)`;

const PADDING = 200;
const GOOD = [1, 2, 3, 4, 7];

/** Packets of a flow, good and bad, and what a frame has behind the packet. */
function goodAndBad(flow: (typeof AUTHENTICATED)[number]): readonly (readonly [Uint8Array, number])[] {
  const forged = sealed(flow, 5);
  forged.set([0xff], forged.length - 1);
  const unpadded = [
    ...GOOD.slice(0, 4).map((sequence) => sealed(flow, sequence)),
    forged,
    sealed(flow, 6, SPI + 1),
    sealed(flow, 2),
    sealed(flow, 0),
    datagram(flow),
  ];
  return [
    ...unpadded.map((packet) => [packet, 0] as const),
    [sealed(flow, 7), PADDING],
    [sealed(flow, 8), 0], // the volume is used up
  ];
}

function frameTo(address: string, packet: Uint8Array, padding: number): string {
  const four = (packet[0] ?? 0) >> 4 === 4;
  const ethernet = `${address.replaceAll(":", "")}020000000001${four ? "0800" : "86dd"}`;
  return ethernet + Buffer.from(packet).toString("hex") + "00".repeat(padding);
}

const EXPECTED = {
  accept: 10,
  "ah.verified": 10,
  "drop.ah-bad-icv": 2,
  "drop.ah-unknown-spi": 2,
  "drop.ah-replayed": 4,
  "drop.ah-missing": 2,
  "drop.over-volume": 2,
};

for (const [by, interfaces, handed] of [
  ["af_xdp", undefined, 20],
  ["nfqueue", [], 0],
] as const)
  rootTest(`packets with AH, good and bad, verified by ${by}`, async (t) => {
    const row = new Row(t);
    const router = row.router();
    await router.start({ virtual: "native", ...(interfaces && { interfaces }) });
    for (const flow of AUTHENTICATED) {
      const volume = GOOD.length * sealed(flow, 1).length;
      await router.tell("protect", { flows: [flowKey(flow)], volume });
    }
    const { interfaces: engines } = await router.status();
    t.deepEqual(
      engines.map(({ name, authenticates }) => [name, authenticates]),
      [
        ["inside", by],
        ["outside", by],
      ],
    );
    const tells = spawn("ip", ["netns", "exec", row.name("b"), "python3", "-c", TELL_FRAMES], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    t.teardown(() => tells.kill());
    const told = createInterface({ input: tells.stdout })[Symbol.asyncIterator]();
    await told.next();
    const address = row.run("r", "cat", "/sys/class/net/inside/address").trim();
    const packets = AUTHENTICATED.flatMap(goodAndBad);
    row.run("a", "python3", "-c", SEND_FRAMES, ...packets.map((one) => frameTo(address, ...one)));
    const counted = async () => {
      const { counters } = await router.status();
      return Object.fromEntries(Object.keys(EXPECTED).map((name) => [name, counters[name] ?? 0]));
    };
    await until("all are counted", async () => {
      const { "ah.verified": _, ...verdicts } = await counted();
      return Object.values(verdicts).reduce((sum, count) => sum + count) === packets.length;
    });
    t.deepEqual(await counted(), EXPECTED);
    t.is((await router.status()).counters["xdp.handed"], handed);
    for (const flow of AUTHENTICATED)
      for (const sequence of GOOD) {
        const sent = sealed(flow, sequence);
        const line = await told.next();
        const got = Buffer.from(line.done === true ? "" : line.value, "hex").subarray(14);
        const four = flow.source.family === 4;
        const [hops, changed] = four ? [8, [8, 10, 11]] : [7, [7]];
        t.is(got.length, sent.length, "nothing is behind the packet");
        t.is(got[hops], (sent[hops] ?? 0) - 1);
        if (four) t.is(headerSum(got), 0);
        for (const at of changed) got[at] = sent[at] ?? 0;
        t.deepEqual([...got], [...sent]);
      }
    await router.tell("stop");
    await router.tell("clean");
  });

rootTest("without its process the router goes on; the next one goes on with its counts", async (t) => {
  const row = new Row(t);
  const echo = ["icmp 10.1.0.1 > 10.2.0.2", "icmp 10.2.0.2 > 10.1.0.1"] as const;
  const ping = (count: number): string =>
    row.run("a", "ping", "-c", String(count), "-i", "0.01", "-W", "1", "-q", "-s", "72", "10.2.0.2");
  const first = row.router();
  await first.start({ virtual: "native" });
  await first.tell("install", { flows: [echo[0]], volume: 2000 });
  await first.tell("install", { flows: [echo[1]], volume: 10_000 });
  ping(5);
  await first.die();
  ping(5);
  const second = row.router();
  t.true(await second.start({ virtual: "native" }));
  t.like(await second.count(echo[0]), { bytes: 1000, packets: 10, overVolume: 0 });
  t.is((await second.status()).flows, 2);
  ping(5);
  ping(10);
  t.like(await second.count(echo[0]), { bytes: 2000, packets: 20, overVolume: 5 });
  await until("the event", async () =>
    (await second.tell<object[]>("events")).some((event) => "type" in event && event.type === "exhausted"),
  );
  await second.tell("remove", { flows: [echo[0]] });
  t.throws(() => ping(1));
  await second.tell("stop");
  await second.tell("clean");
});
