/** iptables and ipset: are they there, and does this kernel have what the rules need? */
import type { Machine } from "./machine.js";
import { type Check, fail, ok, warn } from "./report.js";

export async function checkIptables(machine: Machine): Promise<Check[]> {
  return Promise.all(["iptables", "ip6tables"].map((program) => checkProgram(machine, program)));
}

async function checkProgram(machine: Machine, program: string): Promise<Check> {
  const { status, output } = await machine.run(program, ["--version"]);
  if (status !== 0) return fail(program, "is not there", "apt-get install iptables");
  const [, version = output, backend = "legacy"] = /v(\S+)(?:\s+\((\w+)\))?/.exec(output) ?? [];
  return ok(program, `${version}, backend ${backend === "nf_tables" ? "nft" : "legacy"}`);
}

const NAMESPACE = ["--net", "--"];

/** Runs a command in a network namespace of its own, which is gone when the command ends. */
function inNamespace(machine: Machine, script: string) {
  return machine.run("unshare", [...NAMESPACE, "sh", "-c", script]);
}

async function hasNamespaces(machine: Machine): Promise<boolean> {
  return (await inNamespace(machine, "true")).status === 0;
}

export async function checkSets(machine: Machine): Promise<Check[]> {
  const { status, output } = await machine.run("ipset", ["--version"]);
  if (status !== 0) return [fail("ipset", "is not there", "apt-get install ipset")];
  const version = /v([\d.]+)/.exec(output)?.[1] ?? output;
  if (!(await hasNamespaces(machine)))
    return [warn("ipset", `${version}; its sets could not be tried`, "run as root")];
  const made = await inNamespace(
    machine,
    "ipset create d4 hash:ip,port,ip timeout 600 && ipset create d6 hash:ip,port,ip family inet6 timeout 600",
  );
  if (made.status === 0) return [ok("ipset", version)];
  return [
    fail(
      "ipset",
      `${version}; hash:ip,port,ip cannot be made: ${lastLine(made.output)}`,
      "modprobe ip_set_hash_ipportip",
    ),
  ];
}

interface RuleProbe {
  readonly name: string;
  readonly rule: string;
  readonly module: string;
}

const PROBES: readonly RuleProbe[] = [
  { name: "NFQUEUE", rule: "-t mangle -A FORWARD -j NFQUEUE --queue-num 1", module: "xt_NFQUEUE" },
  {
    name: "hashlimit",
    rule: "-t mangle -A FORWARD -m hashlimit --hashlimit-upto 10/sec --hashlimit-name doctor -j RETURN",
    module: "xt_hashlimit",
  },
  {
    name: "u32",
    rule: '-t mangle -A PREROUTING -p udp -m udp --dport 270 -m u32 --u32 "48=0x4e04bda5" -j DROP',
    module: "xt_u32",
  },
  {
    name: "length",
    rule: "-t mangle -A PREROUTING -m length --length 9000:65535 -j DROP",
    module: "xt_length",
  },
  { name: "comment", rule: "-t mangle -A FORWARD -m comment --comment doctor -j DROP", module: "xt_comment" },
  {
    name: "mark and REJECT",
    rule: "-A OUTPUT -p tcp -m mark --mark 1/1 -j REJECT --reject-with tcp-reset",
    module: "xt_mark ipt_REJECT ip6t_REJECT",
  },
];
const IPV4_PROBES: readonly RuleProbe[] = [
  {
    name: "addrtype",
    rule: "-t mangle -A OUTPUT -m addrtype --dst-type BROADCAST -j DROP",
    module: "xt_addrtype",
  },
];
const IPV6_PROBES: readonly RuleProbe[] = [
  {
    name: "hl",
    rule: "-t mangle -A INPUT -p icmpv6 -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j RETURN",
    module: "xt_hl",
  },
];
const SET_PROBE =
  "ipset create d hash:ip,port,ip && iptables -t mangle -A FORWARD -m set --match-set d src,dst,dst -j ACCEPT";

/** Each rule that pbsd needs, tried for IPv4 and IPv6. */
export async function checkRules(machine: Machine): Promise<Check[]> {
  if (!(await hasNamespaces(machine)))
    return [warn("rules", "could not be tried", "run as root, where network namespaces are allowed")];
  const checks: Check[] = [];
  for (const probe of [...PROBES, ...IPV4_PROBES]) checks.push(await tryRule(machine, "iptables", probe));
  for (const probe of [...PROBES, ...IPV6_PROBES]) checks.push(await tryRule(machine, "ip6tables", probe));
  checks.push(await tryScript(machine, "set match", SET_PROBE, "xt_set"));
  return checks;
}

function tryRule(machine: Machine, program: string, { name, rule, module }: RuleProbe): Promise<Check> {
  return tryScript(machine, `${name} (${program})`, `${program} ${rule}`, module);
}

async function tryScript(machine: Machine, name: string, script: string, module: string): Promise<Check> {
  const { status, output } = await inNamespace(machine, script);
  if (status === 0) return ok(name, "works");
  return fail(
    name,
    `does not work: ${lastLine(output)}`,
    `modprobe -a ${module}; if there is none, install the kernel's extra modules`,
  );
}

function lastLine(output: string): string {
  return output.split("\n").at(-1) ?? "";
}
