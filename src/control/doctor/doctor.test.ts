import test from "ava";
import { parseConfig } from "../../config/load.js";
import { examine } from "./doctor.js";
import type { CommandResult, Machine } from "./machine.js";
import type { Check } from "./report.js";

const GOOD: Machine = {
  kernel: "6.1.0-18-amd64",
  run: async (program, args) => answer(0, args[0] === "--version" ? `${program} v1.8.9 (nf_tables)` : ""),
  read: (path) => FILES[path],
  exists: () => true,
  tryPort: async () => undefined,
  load: async () => undefined,
  xdp: () => ({}),
  connections: async () => undefined,
  wall: () => Date.UTC(2026, 5, 1),
};

const FILES: Readonly<Record<string, string>> = {
  "/proc/self/status": "Name:\tnode\nCapEff:\t000001ffffffffff\n",
  "/proc/net/netfilter/nfnetlink_queue": "",
  "/proc/sys/net/ipv4/ip_forward": "1\n",
};

function answer(status: number, output: string): CommandResult {
  return { status, output };
}

async function find(machine: Partial<Machine>, name: string, daemon = false): Promise<Check | undefined> {
  const { checks } = await examine({ ...GOOD, ...machine }, { config: undefined, daemon });
  return checks.find((check) => check.name === name);
}

test("a good machine", async (t) => {
  const { ok, checks } = await examine(GOOD, { config: undefined, daemon: false });
  t.true(ok);
  t.deepEqual(
    checks.filter(({ result }) => result === "warn" || result === "fail").map(({ name }) => name),
    ["configuration"],
  );
  t.true(checks.every(({ result, remedy }) => (result === "ok" || result === "info") === (remedy === null)));
});

test("a configuration with errors", async (t) => {
  const { ok, checks } = await examine(GOOD, {
    config: undefined,
    configError: "x.toml:1: bad",
    daemon: false,
  });
  t.false(ok);
  t.like(checks[0], { result: "fail", detail: "x.toml:1: bad" });
});

test("missing capabilities", async (t) => {
  const check = await find(
    { read: (path) => (path === "/proc/self/status" ? "CapEff:\t0000000000001000\n" : "") },
    "privileges",
  );
  t.like(check, { result: "fail", detail: "missing: CAP_NET_RAW, CAP_NET_BIND_SERVICE" });
});

test("an old kernel", async (t) => {
  t.like(await find({ kernel: "5.4.0-100-generic" }, "kernel"), { result: "fail" });
  t.like(await find({ kernel: "5.10.0" }, "kernel"), { result: "ok" });
});

test("a missing program", async (t) => {
  const run = async (program: string): Promise<CommandResult> => answer(program === "ipset" ? -1 : 0, "v1");
  t.like(await find({ run }, "ipset"), { result: "fail", remedy: "apt-get install ipset" });
});

test("backends", async (t) => {
  t.is((await find({}, "iptables"))?.detail, "1.8.9, backend nft");
  const run = async (): Promise<CommandResult> => answer(0, "iptables v1.8.9 (legacy)");
  t.is((await find({ run }, "iptables"))?.detail, "1.8.9, backend legacy");
});

test("a rule that the kernel does not take", async (t) => {
  const run = async (_program: string, args: readonly string[]): Promise<CommandResult> =>
    args.some((arg) => arg.includes("hashlimit"))
      ? answer(2, "iptables: No chain/target/match by that name.")
      : answer(0, "v1");
  t.like(await find({ run }, "hashlimit (iptables)"), {
    result: "fail",
    detail: "does not work: iptables: No chain/target/match by that name.",
  });
  t.like(await find({ run }, "u32 (iptables)"), { result: "ok" });
});

test("no network namespaces: rules are not tried on the machine itself", async (t) => {
  const run = async (program: string, args: readonly string[]): Promise<CommandResult> => {
    t.true(program === "unshare" || args[0] === "--version");
    return answer(program === "unshare" ? 1 : 0, "v1");
  };
  t.like(await find({ run }, "rules"), { result: "warn" });
});

test("ports and queues in use, by pbsd itself or by others", async (t) => {
  const machine: Partial<Machine> = {
    tryPort: async () => "EADDRINUSE",
    read: (path) => (path.includes("nfnetlink_queue") ? " 2701  1234 0 2 65535 0 0 0 1\n" : FILES[path]),
  };
  t.like(await find(machine, "udp 270"), { result: "warn" });
  t.like(await find(machine, "udp 270", true), { result: "ok" });
  t.like(await find(machine, "queues"), { result: "warn", detail: "2701 in use" });
  t.like(await find(machine, "queues", true), { result: "ok" });
  t.like(await find({ tryPort: async () => "EACCES" }, "tcp 5270"), { result: "fail" });
});

test("with a gistd the ports and the signalling queue are its own", async (t) => {
  const toml =
    '[identity]\ncertificate = "c"\nkey = "k"\nauthorities = ["a"]\n[signalling]\nservice = "/run/gist.sock"';
  const config = parseConfig(toml, "/etc/pbsd/pbsd.toml");
  const found = async (there: boolean) => {
    const machine = { ...GOOD, exists: () => there, tryPort: async () => "EADDRINUSE" };
    return (await examine(machine, { config, daemon: false })).checks;
  };
  const checks = await found(true);
  t.false(checks.some(({ name }) => /^(udp|tcp) /.test(name)));
  t.like(
    checks.find(({ name }) => name === "signalling"),
    { result: "ok" },
  );
  t.like(
    checks.find(({ name }) => name === "queues"),
    { detail: "2701 to 2703 are free" },
  );
  const missing = await found(false);
  t.like(
    missing.find(({ name }) => name === "signalling"),
    { result: "warn" },
  );
});

test("a native module that was not built", async (t) => {
  const load = async (name: string) => (name === "addon" ? "Cannot find module" : undefined);
  t.like(await find({ load }, "native addon"), { result: "fail", remedy: "build it: scripts/setup" });
});

test("connections, where a source address may give way", async (t) => {
  t.is(await find({}, "connections"), undefined);
  const toml = `[node]\nname = "a"\n[identity]\nkey = "k"\ncertificate = "c"\nauthorities = ["ca"]\n[[path]]\nsource = "192.0.2.1"\n`;
  const config = parseConfig(toml, "/etc/pbsd/pbsd.toml");
  const found = async (why?: string): Promise<Check | undefined> => {
    const { checks } = await examine({ ...GOOD, connections: async () => why }, { config, daemon: false });
    return checks.find(({ name }) => name === "connections");
  };
  t.like(await found(), { result: "ok" });
  t.like(await found("no"), { result: "warn", detail: "TCP cannot be ended: no" });
});

test("a clock that cannot be right", async (t) => {
  t.like(await find({ wall: () => 0 }, "clock"), { result: "fail" });
});

test("XDP", async (t) => {
  t.like(await find({}, "XDP"), { result: "ok" });
  t.like(await find({}, "AF_XDP"), { result: "ok" });
  const xdp = () => ({ programs: "the XDP engine was not built", sockets: "no AF_XDP" });
  t.like(await find({ xdp }, "XDP"), { result: "warn", detail: "the XDP engine was not built" });
  t.is(await find({ xdp }, "AF_XDP"), undefined, "of no use without programs");
  t.like(await find({ xdp: () => ({ sockets: "no AF_XDP" }) }, "AF_XDP"), { result: "warn" });
  const host = { xdp, read: (path: string) => (path.includes("forward") ? "0\n" : FILES[path]) };
  t.like(await find(host, "XDP"), { result: "info" });
});
