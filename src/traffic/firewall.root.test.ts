import { execFileSync, spawnSync } from "node:child_process";
import test, { type ExecutionContext } from "ava";
import type { FirewallOptions } from "./firewall.js";

const root = process.getuid?.() === 0;
const rootTest = root ? test : test.skip;

const options: FirewallOptions = {
  queueBase: 2700,
  tlsPort: 5270,
  tcpPort: null,
  refuseMark: 0x50420000,
  backend: "auto",
  interceptRate: 5000,
  setSize: 1000,
  reserve: 28,
  reassemble: true,
  exempt: [{ name: "dns", protocol: 17, ports: [{ from: 53, to: 53 }], rate: 100 }],
};

/** A network namespace of its own; every command runs inside. */
class Namespace {
  readonly #name: string;

  constructor(t: ExecutionContext, label: string) {
    this.#name = `pbs-firewall-${process.pid}-${label}`;
    execFileSync("ip", ["netns", "add", this.#name]);
    t.teardown(() => execFileSync("ip", ["netns", "del", this.#name]));
    this.run("ip", ["link", "set", "lo", "up"]);
  }

  run(program: string, args: readonly string[], input = ""): string {
    const command = ["netns", "exec", this.#name, program, ...args];
    const result = spawnSync("ip", command, { input, encoding: "utf8" });
    if (result.status !== 0) throw new Error(`${program} ${args.join(" ")}: ${result.stderr}`);
    return result.stdout;
  }

  /** Calls a method of the firewall there, and returns what it gave. */
  firewall(method: "install" | "remove" | "counters", changes: Partial<FirewallOptions> = {}): unknown {
    const module = new URL("firewall.ts", import.meta.url).href;
    const script = `import { Firewall } from ${JSON.stringify(module)};
      import { IpPrefix } from ${JSON.stringify(new URL("../base/address.ts", import.meta.url).href)};
      const options = ${JSON.stringify({ ...options, ...changes })};
      for (const one of options.legacy ?? []) one.prefix = IpPrefix.parse(one.prefix);
      const firewall = await Firewall.probe(options);
      console.log(JSON.stringify((await firewall.${method}()) ?? null));`;
    const args = ["--import", "tsx", "--input-type=module", "--eval", script];
    return JSON.parse(this.run(process.execPath, args));
  }

  block(source: string, duration: number): void {
    const at = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
    const script = `import { SourceBlocker } from ${at("source-block.ts")};
      import { IpAddress } from ${at("../base/address.ts")};
      await new SourceBlocker().block(IpAddress.parse(${JSON.stringify(source)}), ${duration});`;
    this.run(process.execPath, ["--import", "tsx", "--input-type=module", "--eval", script]);
  }

  /** Blocks two places of one flow, ends the first block, and returns what each change left in the chain. */
  blockPlaces(backend: string, six: boolean): string[] {
    const at = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
    const flow = six ? "tcp [fd20::1]:4000 > [fd21::4]:80" : "udp 192.168.20.1:4000 > 192.168.21.4:9000";
    const script = `import { execFileSync } from "node:child_process";
      import { PlaceBlocker } from ${at("place-block.ts")};
      import { parseFlow } from ${at("../base/flow.ts")};
      import { SystemTime } from ${at("../base/time.ts")};
      const blocker = PlaceBlocker.of(${JSON.stringify(backend)}, new SystemTime(), console);
      const flow = parseFlow(${JSON.stringify(flow)});
      const tool = ${JSON.stringify(`${six ? "ip6tables" : "iptables"}-${backend}`)};
      const list = () => execFileSync(tool, ["-t", "mangle", "-S", "PBS-OFF-PATH"], { encoding: "utf8" });
      const seen = [];
      await blocker.block({ flow, interface: "eth1", authenticated: false }, 60000);
      await blocker.block({ flow, interface: "eth0", address: "02:00:00:00:00:02", authenticated: true }, 60000);
      seen.push(list());
      await blocker.unblock("p1");
      seen.push(list());
      blocker.stop();
      console.log(JSON.stringify(seen));`;
    const args = ["--import", "tsx", "--input-type=module", "--eval", script];
    return JSON.parse(this.run(process.execPath, args)) as string[];
  }

  /** The rules as a person would save them, without what changes by itself. */
  rules(): string {
    return ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"]
      .map((tool) => `${tool}\n${this.run(`${tool}-save`, [])}`)
      .join("")
      .replaceAll(/^#.*\n/gm, "")
      .replaceAll(/\[\d+:\d+\]/g, "[]");
  }
}

const FOREIGN = `*mangle
:theirs - [0:0]
-A INPUT -p tcp --dport 22 -j theirs
-A theirs -j MARK --set-mark 7
-A OUTPUT -p udp --dport 53 -j MARK --set-mark 9
COMMIT
*filter
:INPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
-A OUTPUT -p tcp --dport 25 -j REJECT
COMMIT
*nat
-A POSTROUTING -o lo -j MASQUERADE
COMMIT
`;

const backends = ["nft", "legacy"] as const;

for (const backend of backends) {
  rootTest(`${backend}: installed twice and removed, foreign rules are as before`, (t) => {
    const namespace = new Namespace(t, `${backend}-foreign`);
    for (const tool of ["iptables", "ip6tables"]) namespace.run(`${tool}-${backend}-restore`, [], FOREIGN);
    const before = namespace.rules();
    namespace.firewall("install", { backend });
    const once = namespace.rules();
    t.regex(once, /\*mangle[^]*:INPUT[^]*-A INPUT -j PBS-INPUT\n-A INPUT -p tcp -m tcp --dport 22 -j theirs/);
    t.regex(once, /-A OUTPUT -j PBS-REFUSE\n-A OUTPUT -p tcp -m tcp --dport 25/);
    namespace.firewall("install", { backend });
    t.is(namespace.rules(), once);
    namespace.firewall("remove", { backend });
    t.is(namespace.rules(), before);
    t.is(namespace.run("ipset", ["list", "-n"]), "");
  });

  rootTest(`${backend}: other options replace chains, sets and the other backend's rules`, (t) => {
    const namespace = new Namespace(t, `${backend}-change`);
    const other = backend === "nft" ? "legacy" : "nft";
    namespace.firewall("install", { backend: other, setSize: 64 });
    namespace.run("ipset", ["add", "PBS-permitted4", "192.0.2.1,tcp:80,192.0.2.2"]);
    namespace.run("ipset", ["add", "PBS-known4", "192.0.2.1"]);
    namespace.firewall("install", { backend, setSize: 2000, exempt: [] });
    const rules = namespace.rules();
    t.notRegex(rules, /PBS-[IOF]-dns/);
    t.is(rules.match(/-A FORWARD -j PBS-FORWARD/g)?.length, 2);
    const set = namespace.run("ipset", ["list", "PBS-permitted4"]);
    t.regex(set, /maxelem 2000/);
    t.regex(set, /Number of entries: 0/);
    t.regex(
      namespace.run("ipset", ["list", "PBS-known4"]),
      /^192\.0\.2\.1 timeout/m,
      "who is known stays so",
    );
    namespace.firewall("remove", { backend: other });
    t.notRegex(namespace.rules(), /PBS-/);
  });
}

for (const backend of backends)
  rootTest(`${backend}: an open network's classes, and sources that are blocked`, (t) => {
    const namespace = new Namespace(t, `${backend}-open`);
    const shared = { total: 1_250_000, source: 12_500 };
    const open = {
      backend,
      openMark: 0x10000,
      open: shared,
      legacy: [{ name: "old", prefix: "192.0.2.0/24", ...shared }],
    };
    namespace.firewall("install", open as never);
    const once = namespace.rules();
    t.regex(once, /-A PBS-F-pbs.open .*--hashlimit-above \S+b\/s/);
    namespace.block("192.0.2.9", 90_000);
    namespace.block("2001:db8::9", 1);
    t.regex(namespace.run("ipset", ["list", "PBS-blocked6"]), /2001:db8::9 timeout [01]/);
    namespace.firewall("install", open as never);
    t.is(namespace.rules(), once);
    t.regex(namespace.run("ipset", ["list", "PBS-blocked4"]), /192\.0\.2\.9 timeout (8\d|90)/);
    namespace.firewall("remove", { backend });
    t.notRegex(namespace.rules(), /PBS-/);
    t.is(namespace.run("ipset", ["list", "-n"]), "");
    t.throws(() => namespace.block("192.0.2.9", 1), { message: /FirewallError/ });
  });

rootTest("nft: tables that were not there before are gone afterwards", (t) => {
  const namespace = new Namespace(t, "nft-bare");
  t.is(namespace.run("nft", ["list", "ruleset"]), "");
  namespace.firewall("install", { backend: "nft" });
  namespace.firewall("install", { backend: "nft" });
  namespace.firewall("remove", { backend: "nft" });
  t.is(namespace.run("nft", ["list", "ruleset"]), "");
});

rootTest("nft: a table that we made stays when somebody else has put a rule in since", (t) => {
  const namespace = new Namespace(t, "nft-shared");
  namespace.firewall("install", { backend: "nft" });
  namespace.run("iptables-nft", [
    "-t",
    "mangle",
    "-A",
    "INPUT",
    "-p",
    "tcp",
    "-j",
    "MARK",
    "--set-mark",
    "1",
  ]);
  namespace.firewall("remove", { backend: "nft" });
  t.is(namespace.rules().match(/-A INPUT -p tcp -j MARK/g)?.length, 1);
  t.notRegex(namespace.rules(), /PBS-/);
});

rootTest("what goes through the chains is counted by name", (t) => {
  const namespace = new Namespace(t, "counters");
  namespace.firewall("install");
  namespace.run("ip", ["link", "add", "d0", "type", "veth", "peer", "name", "d1"]);
  for (const link of ["d0", "d1"]) namespace.run("ip", ["link", "set", link, "up"]);
  namespace.run("ip", ["addr", "add", "192.0.2.1/24", "dev", "d0"]);
  // An unknown packet goes to a queue without a listener, which is a drop, and the program is told so.
  const script = `import socket
for port in (53, 54):
    try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.2", port))
    except PermissionError: pass`;
  namespace.run("python3", ["-c", script]);
  const counters = namespace.firewall("counters") as Record<string, number>;
  t.is(counters["output.exempt.dns.passed"], 1);
  t.is(counters["output.queued.unknown"], 1);
});

for (const backend of ["nft", "legacy"] as const)
  for (const six of [false, true])
    rootTest(
      `places are blocked by rules of ${backend}, IPv${six ? 6 : 4}, until a daemon begins anew`,
      (t) => {
        const namespace = new Namespace(t, `places-${backend}-${six ? 6 : 4}`);
        namespace.firewall("install", { backend });
        const [both = "", second = ""] = namespace.blockPlaces(backend, six);
        const rules = (text: string) => text.split("\n").filter((line) => line.startsWith("-A"));
        t.is(rules(both).length, 3);
        t.is(rules(second).length, 2);
        t.regex(
          rules(both)[0] ?? "",
          six ? /-s fd20::1\/128 .*-i eth1 -p tcp/ : /-s 192\.168\.20\.1\/32 .*-i eth1 -p udp/,
        );
        for (const rule of rules(second)) t.regex(rule, /-i eth0 .*--mac-source 02:00:00:00:00:02/);
        namespace.firewall("install", { backend });
        const tool = `${six ? "ip6tables" : "iptables"}-${backend}`;
        t.deepEqual(rules(namespace.run(tool, ["-t", "mangle", "-S", "PBS-OFF-PATH"])), []);
      },
    );
