/** Looks at what a machine can and cannot do for pbsd. Changes nothing: rules are tried in a network namespace that is thrown away. */
import { queuesOf } from "../../base/queues.js";
import type { Config } from "../../config/config.js";
import { checkCertificate, checkClock } from "./certificates.js";
import { checkIptables, checkRules, checkSets } from "./firewall.js";
import type { Machine } from "./machine.js";
import { type Check, type DoctorReport, fail, info, ok, warn } from "./report.js";

export interface DoctorOptions {
  /** undefined: there is none, or `configError` says what is wrong with it. */
  readonly config: Config | undefined;
  readonly configError?: string;
  /** Asked by the daemon itself: ports and queues in use are its own. */
  readonly daemon: boolean;
}

export async function examine(machine: Machine, options: DoctorOptions): Promise<DoctorReport> {
  const { config } = options;
  const checks = [
    checkConfig(options),
    checkPrivileges(machine),
    checkKernel(machine),
    ...(await checkModules(machine)),
    ...(await checkIptables(machine)),
    ...(await checkSets(machine)),
    ...(await checkRules(machine)),
    checkQueues(machine, options),
    ...(await checkSignalling(machine, options)),
    checkClock(machine),
    ...(config === undefined ? [] : checkCertificate(machine, config)),
    checkForwarding(machine),
    checkTun(machine, config),
    ...(await checkConnections(machine, config)),
    ...checkXdp(machine, config),
  ];
  return { ok: checks.every(({ result }) => result !== "fail"), checks };
}

function checkConfig({ config, configError }: DoctorOptions): Check {
  if (config !== undefined) return ok("configuration", config.file);
  if (configError !== undefined)
    return fail("configuration", configError, "see all that is wrong with: pbsd --check");
  return warn(
    "configuration",
    "none was named",
    "name it with --config; what depends on it was looked at with its defaults",
  );
}

const CAPABILITIES = new Map([
  [12, "CAP_NET_ADMIN"],
  [13, "CAP_NET_RAW"],
  [10, "CAP_NET_BIND_SERVICE"],
]);

/** Capabilities that pbsd needs and this process has not. */
export function missingCapabilities(machine: Machine): readonly string[] {
  const match = /^CapEff:\s*([0-9a-f]+)$/m.exec(machine.read("/proc/self/status") ?? "");
  const effective = BigInt(`0x${match?.[1] ?? "0"}`);
  return [...CAPABILITIES]
    .filter(([bit]) => ((effective >> BigInt(bit)) & 1n) === 0n)
    .map(([, name]) => name);
}

function checkPrivileges(machine: Machine): Check {
  const missing = missingCapabilities(machine);
  if (missing.length === 0) return ok("privileges", [...CAPABILITIES.values()].join(", "));
  return fail(
    "privileges",
    `missing: ${missing.join(", ")}`,
    "run as root, or as a service with these capabilities",
  );
}

function checkKernel(machine: Machine): Check {
  const [major = 0, minor = 0] = machine.kernel.split(".").map(Number);
  if (major > 5 || (major === 5 && minor >= 10)) return ok("kernel", machine.kernel);
  return fail("kernel", `${machine.kernel} is older than 5.10`, "use a newer kernel");
}

async function checkModules(machine: Machine): Promise<Check[]> {
  const names = ["addon", "netlink", "nfqueue", "raw-socket"] as const;
  const failures = await Promise.all(names.map((name) => machine.load(name)));
  const checks = names.flatMap((name, i) => {
    const why = failures[i];
    return why === undefined ? [] : [fail(`native ${name}`, why, "build it: scripts/setup")];
  });
  return checks.length > 0 ? checks : [ok("native modules", names.join(", "))];
}

function checkQueues(machine: Machine, { config, daemon }: DoctorOptions): Check {
  const base = config?.packets.queueBase ?? 2700;
  const numbers = queuesOf(base, serviceOf(config) === null);
  const listing = machine.read("/proc/net/netfilter/nfnetlink_queue");
  if (listing === undefined)
    return warn("queues", "the kernel does not list its queues", "modprobe nfnetlink_queue, as root");
  const taken = listing.split("\n").map((line) => Number(line.trim().split(/\s+/)[0] || Number.NaN));
  const own = numbers.filter((number) => taken.includes(number));
  if (own.length === 0) return ok("queues", `${numbers[0]} to ${numbers.at(-1)} are free`);
  if (daemon) return ok("queues", `${own.length} of ${numbers.length} are pbsd's`);
  return warn(
    "queues",
    `${own.join(", ")} in use`,
    "by pbsd: fine. By another program: change [packets] queue_base",
  );
}

function serviceOf(config: Config | undefined): string | null {
  return config?.signalling.service ?? null;
}

async function checkSignalling(machine: Machine, { config, daemon }: DoctorOptions): Promise<Check[]> {
  const service = serviceOf(config);
  if (service !== null) return [checkService(machine, service)];
  const { tlsPort = 5270, tcpPort = null } = config?.signalling ?? {};
  return [
    await checkPort(machine, "udp", 270, "GIST", daemon),
    await checkPort(machine, "tcp", tlsPort, "associations", daemon),
    ...(tcpPort === null
      ? []
      : [await checkPort(machine, "tcp", tcpPort, "associations without TLS", daemon)]),
  ];
}

/** Ports and signalling queue are gistd's then. */
function checkService(machine: Machine, service: string): Check {
  if (machine.exists(service)) return ok("signalling", `by gistd, at ${service}`);
  return warn(
    "signalling",
    `gistd is not at ${service}`,
    "start gistd, or take [signalling] service out of the configuration",
  );
}

async function checkPort(
  machine: Machine,
  protocol: "udp" | "tcp",
  port: number,
  purpose: string,
  daemon: boolean,
): Promise<Check> {
  const name = `${protocol} ${port}`;
  const error = await machine.tryPort(protocol, port);
  if (error === undefined) return ok(name, `free, for ${purpose}`);
  if (error === "EACCES") return fail(name, "may not be used by this user", "run as root");
  if (error !== "EADDRINUSE") return fail(name, `cannot be used: ${error}`, "check the machine's network");
  if (daemon) return ok(name, `pbsd's, for ${purpose}`);
  const other = protocol === "tcp" ? "change its port in [signalling]" : "stop it: GIST has this port alone";
  return warn(name, `in use`, `by pbsd: fine. By another program: ${other}`);
}

function checkTun(machine: Machine, config: Config | undefined): Check {
  const needed =
    config?.relay.serve === true || config?.path.some(({ relay }) => relay !== undefined) === true;
  const there = machine.exists("/dev/net/tun");
  if (needed && !there)
    return fail("TUN device", "/dev/net/tun is not there, and relays need it", "modprobe tun");
  return info("TUN device", `${there ? "there" : "not there"}; only relays need it`);
}

/** Only a host that has paths by source address ends connections. */
async function checkConnections(machine: Machine, config: Config | undefined): Promise<Check[]> {
  if (config?.path.some(({ source }) => source !== undefined) !== true) return [];
  const why = await machine.connections();
  if (why === undefined) return [ok("connections", "TCP can be ended when its source address gives way")];
  const remedy = "use a kernel that can; with this one programs hear with TCP's next try to send";
  return [warn("connections", `TCP cannot be ended: ${why}`, remedy)];
}

const FORWARDING = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"] as const;

/** Only a router can have them, and the queues judge without. */
function checkXdp(machine: Machine, config: Config | undefined): Check[] {
  const engine = config?.packets.engine ?? "auto";
  if (engine === "nfqueue") return [info("XDP", "the configuration says that the queues judge alone")];
  const { programs, sockets } = machine.xdp();
  const btf = `BTF is ${machine.exists("/sys/kernel/btf/vmlinux") ? "" : "not "}there (and not needed)`;
  const routes = FORWARDING.some((path) => machine.read(path)?.trim() === "1");
  const without = (name: string, why: string, remedy: string): Check => {
    if (engine === "xdp" && name === "XDP") return fail(name, why, remedy);
    return routes ? warn(name, why, remedy) : info(name, `${why}; of no matter for a host`);
  };
  if (programs !== undefined)
    return [without("XDP", programs, "mend that for speed, or leave it: the queues judge alone then")];
  return [
    ok("XDP", `the kernel takes the programs; ${btf}`),
    sockets === undefined
      ? ok("AF_XDP", "there, for packets with AH")
      : without("AF_XDP", sockets, "mend that for speed, or leave it: AH is verified behind the stack then"),
  ];
}

function checkForwarding(machine: Machine): Check {
  const [ipv4, ipv6] = FORWARDING.map((path) => (machine.read(path)?.trim() === "1" ? "on" : "off"));
  return info("forwarding", `IPv4 ${ipv4}, IPv6 ${ipv6}; only a router needs it`);
}
