import { execFileSync } from "node:child_process";
import test, { type ExecutionContext } from "ava";

const rootTest = process.getuid?.() === 0 ? test.serial : test.skip;

class Namespace {
  readonly name: string;

  constructor(t: ExecutionContext, label: string) {
    this.name = `pbs-path-${process.pid}-${label}`;
    execFileSync("ip", ["netns", "add", this.name]);
    t.teardown(() => execFileSync("ip", ["netns", "del", this.name]));
    this.ip("link set lo up");
  }

  ip(line: string): string {
    return execFileSync("ip", ["-n", this.name, ...line.split(" ")], { encoding: "utf8" });
  }

  /** Rules and routes, as a person would compare them. */
  routing(): string {
    return ["-4 rule", "-6 rule", "-4 route show table all", "-6 route show table all"]
      .map((line) => this.ip(line))
      .join("")
      .split("\n")
      .filter((line) => !line.includes("fe80"))
      .join("\n");
  }

  /** Runs a program of the test inside, and returns the lines that it prints. */
  script(body: string): string[] {
    const source = `
      import { IpAddress, IpPrefix } from "./src/base/address.js";
      import { parseFlow } from "./src/base/flow.js";
      import { silentLogger } from "./src/base/log.js";
      import { Paths } from "./src/traffic/paths.js";
      import { execFileSync } from "node:child_process";
      const steered = [];
      const ip = (line) => execFileSync("ip", line.split(" "), { encoding: "utf8" }).trim();
      const open = (local, paths) => Paths.open({
        paths, isLocal: () => local, steer: (flow, path) => steered.push(flow.sourcePort + ":" + path),
        logger: silentLogger });
      const say = (value) => console.log(JSON.stringify(value));
      ${body}
      process.exit(0);`;
    const command = ["netns", "exec", this.name, process.execPath, "--import", "tsx", "--input-type=module"];
    return execFileSync("ip", [...command, "-e", source], { encoding: "utf8" })
      .trim()
      .split("\n");
  }
}

/** A host with two ways out and a multipath route on top. */
function host(t: ExecutionContext): Namespace {
  const node = new Namespace(t, "host");
  for (const wire of ["one", "two", "three"]) node.ip(`link add ${wire} type veth peer name ${wire}-far`);
  for (const [i, wire] of ["one", "two", "three"].entries()) {
    node.ip(`link set ${wire} up`);
    node.ip(`link set ${wire}-far up`);
    node.ip(`addr add 10.0.${i}.1/24 dev ${wire}`);
    node.ip(`addr add fd0${i}::1/64 dev ${wire} nodad`);
  }
  node.ip("route add 192.0.2.0/24 via 10.0.0.2");
  node.ip("route add 198.51.100.0/24 nexthop via 10.0.0.2 nexthop via 10.0.1.2 nexthop via 10.0.2.2");
  node.ip("-6 route add 2001:db8::/32 via fd00::2");
  return node;
}

rootTest("a flow of this host goes through the list once, and comes back", (t) => {
  const node = host(t);
  const before = node.routing();
  const lines = node.script(`
    const paths = await open(true, [
      { via: IpAddress.parse("10.0.0.2") }, { via: IpAddress.parse("10.0.1.2") },
      { to: IpPrefix.parse("203.0.113.0/24"), via: IpAddress.parse("10.0.2.2") },
      { via: IpAddress.parse("10.0.2.2"), device: "three" }, { device: "absent" }, { via: IpAddress.parse("fd01::2") }]);
    const flow = parseFlow("udp 10.0.0.1:4000 > 192.0.2.7:80");
    for (let i = 0; i < 3; i++) say((await paths.next(flow))?.name ?? null);
    say(paths.mark(flow).toString(16));
    say(ip("route get 192.0.2.7 mark " + paths.mark(flow)).split("\\n")[0].trim());
    say(ip("route get 192.0.2.7").split("\\n")[0].trim());
    await paths.undo(flow);
    say([paths.current(flow) ?? null, paths.mark(flow), paths.moved]);
    const six = parseFlow("tcp [fd00::1]:4001 > [2001:db8::7]:80");
    say((await paths.next(six))?.name);
    say(ip("-6 route get 2001:db8::7 mark " + paths.mark(six)).split("\\n")[0].trim());
    await paths.next(flow);
    await paths.stop();
    say(steered);`);
  t.deepEqual(
    lines.map((line) => JSON.parse(line) as unknown),
    [
      "via 10.0.1.2 dev two",
      "via 10.0.2.2 dev three",
      null,
      "1000000",
      "192.0.2.7 via 10.0.2.2 dev three table 27002 src 10.0.2.1 mark 0x1000000 uid 0",
      "192.0.2.7 via 10.0.0.2 dev one src 10.0.0.1 uid 0",
      [null, 0, 0],
      "via fd01::2 dev two",
      "2001:db8::7 from :: via fd01::2 dev two table 27003 proto 80 src fd01::1 metric 1024 pref medium",
      ["4000:1", "4000:2", "4000:0", "4001:3", "4000:1", "4001:0", "4000:0"],
    ],
  );
  t.is(node.routing(), before);
});

rootTest("the other next hops of the kernel's own multipath route are paths too", (t) => {
  const lines = host(t).script(`
    const paths = await open(true, []);
    const flow = parseFlow("udp 10.0.0.1:4000 > 198.51.100.7:80");
    const first = /via (\\S+)/.exec(ip("route get 198.51.100.7 from 10.0.0.1"))?.[1];
    const names = [];
    for (let path; (path = await paths.next(flow)) !== undefined; ) names.push(path.name);
    say(names.length);
    say(names.some((name) => name.includes("via " + first + " ")));
    say(new Set(names).size);
    await paths.stop();`);
  t.deepEqual(lines, ["2", "false", "2"]);
});

rootTest("who has no path left says so, and one receiver cannot have all rules of a router", (t) => {
  const lines = host(t).script(`
    const paths = await open(false, [{ via: IpAddress.parse("10.0.1.2") }]);
    const flow = (port, to = "192.0.2.7") => parseFlow("udp 172.16.0.9:" + port + " > " + to + ":80");
    say(await paths.hasNext(flow(4000)));
    await paths.next(flow(4000));
    say(await paths.hasNext(flow(4000)));
    say(await paths.hasNext(parseFlow("udp 10.0.0.1:4000 > 192.0.2.7:80")));
    let moved = 1;
    for (; moved < 100; moved++) if (await paths.next(flow(4000 + moved)).then(() => false, () => true)) break;
    say(moved);
    say((await paths.next(flow(5000, "192.0.2.8"))).name);
    await paths.stop();`);
  t.deepEqual(
    lines.map((line) => JSON.parse(line) as unknown),
    [true, false, true, 64, "via 10.0.1.2 dev two"],
  );
});

rootTest("a flow that crosses this host is moved alone, by a rule", (t) => {
  const node = host(t);
  const before = node.routing();
  const lines = node.script(`
    const paths = await open(false, [{ via: IpAddress.parse("10.0.1.2") }]);
    const flow = parseFlow("udp 172.16.0.9:4000 > 192.0.2.7:80");
    const other = parseFlow("udp 172.16.0.9:4001 > 192.0.2.7:80");
    await paths.next(flow);
    await paths.next(other);
    const get = (sport, protocol = "udp") => /via (\\S+)/.exec(ip(
      "route get 192.0.2.7 from 172.16.0.9 iif three ipproto " + protocol + " sport " + sport + " dport 80"))?.[1];
    execFileSync("sysctl", ["-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.three.rp_filter=0"]);
    say([get(4000), get(4001), get(4002), get(4000, "tcp")]);
    await paths.undo(other);
    say([get(4000), get(4001)]);
    say(ip("rule show").includes("ipproto ah"));
    await paths.undo(flow);
    say([get(4000), ip("rule show").includes("ipproto ah"), steered.length]);
    await paths.next(flow);`);
  t.deepEqual(
    lines.map((line) => JSON.parse(line) as unknown),
    [
      ["10.0.1.2", "10.0.1.2", "10.0.0.2", "10.0.0.2"],
      ["10.0.1.2", "10.0.0.2"],
      true,
      ["10.0.0.2", false, 0],
    ],
  );
  t.not(node.routing(), before, "it ended without stopping");
  node.script("await Paths.cleanup();");
  t.is(node.routing(), before);
});

const SOURCED = `
  const paths = await open(true, [{ source: IpAddress.parse("SOURCE"), via: IpAddress.parse("GATEWAY") }]);
  const flow = parseFlow("tcp FIRST:4000 > DESTINATION:80");
  const get = (more) => /src (\\S+)/.exec(ip("FAMILY route get DESTINATION " + more))?.[1];
  const gateway = (more) => /via (\\S+)/.exec(ip("FAMILY route get DESTINATION " + more))?.[1];
  const path = await paths.next(flow);
  say([path.name, path.source.toString(), paths.mark(flow), steered.length]);
  say([get("ipproto tcp dport 80"), gateway("ipproto tcp dport 80")]);
  say([get("ipproto tcp dport 81"), get("ipproto udp dport 80")]);
  say(gateway("from FIRST ipproto tcp dport 80"));
  say(gateway("from SOURCE ipproto tcp sport 5000 dport 80"));
  say((await paths.next(parseFlow("tcp FIRST:4001 > DESTINATION:80"))).name === path.name);
  say((await paths.next(parseFlow("tcp SOURCE:4001 > DESTINATION:80"))) ?? null);
  await paths.undoSource(flow);
  say([get("ipproto tcp dport 80"), gateway("from SOURCE ipproto tcp sport 5000 dport 80")]);
  await paths.stop();`;

for (const [family, names] of [
  [
    "-4",
    { SOURCE: "10.0.1.1", GATEWAY: "10.0.1.2", FIRST: "10.0.0.1", DESTINATION: "192.0.2.7", OLD: "10.0.0.2" },
  ],
  [
    "-6",
    { SOURCE: "fd01::1", GATEWAY: "fd01::2", FIRST: "fd00::1", DESTINATION: "2001:db8::7", OLD: "fd00::2" },
  ],
] as const)
  rootTest(`IP${family}: new connections have another source, those that have one stay`, (t) => {
    const node = host(t);
    const before = node.routing();
    const { SOURCE, GATEWAY, FIRST, DESTINATION, OLD } = names;
    const inFlow = (address: string) => (family === "-6" ? `[${address}]` : address);
    const script = SOURCED.replaceAll("FAMILY", family)
      .replaceAll(`tcp FIRST:`, `tcp ${inFlow(FIRST)}:`)
      .replaceAll(`tcp SOURCE:`, `tcp ${inFlow(SOURCE)}:`)
      .replaceAll(`> DESTINATION:`, `> ${inFlow(DESTINATION)}:`)
      .replaceAll("SOURCE", SOURCE)
      .replaceAll("GATEWAY", GATEWAY)
      .replaceAll("FIRST", FIRST)
      .replaceAll("DESTINATION", DESTINATION);
    t.deepEqual(
      node.script(script).map((line) => JSON.parse(line) as unknown),
      [
        [`source ${SOURCE} via ${GATEWAY} dev two`, SOURCE, 0, 0],
        [SOURCE, GATEWAY],
        [FIRST, FIRST],
        OLD,
        GATEWAY,
        true,
        null,
        [FIRST, GATEWAY],
      ],
    );
    t.is(node.routing(), before);
  });
