import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { IpAddress, IpPrefix } from "../base/address.js";
import { bytes, ms, seconds } from "../base/units.js";
import { ConfigError } from "./error.js";
import { loadConfig, parseConfig } from "./load.js";

const IDENTITY = `[identity]
certificate = "host.crt"
key = "/keys/host.key"
authorities = ["ca/ca.pem"]
`;
/** Lines of IDENTITY. */
const BEFORE = 4;

function problems(toml: string): string[] {
  try {
    parseConfig(toml, "pbsd.toml");
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n");
    throw error;
  }
}

/** What is wrong with a text below a good [identity], with lines counted from the text's first. */
function wrong(toml: string): string[] {
  return problems(IDENTITY + toml).map((line) =>
    line.replace(/^pbsd\.toml:(\d+)/, (_, number) => String(Number(number) - BEFORE)),
  );
}

test("the shortest configuration, with every default", (t) => {
  const config = parseConfig(IDENTITY, "/etc/pbsd/pbsd.toml");
  t.is(config.identity.certificate, "/etc/pbsd/host.crt");
  t.is(config.identity.key, "/keys/host.key");
  t.deepEqual(config.identity.authorities, ["/etc/pbsd/ca/ca.pem"]);
  t.is(config.node.mode, "closed");
  t.is(config.signalling.tlsPort, 5270);
  t.is(config.packets.capacity, 1_000_000);
  t.true(config.packets.enforce);
  t.deepEqual(config.rules, []);
  t.deepEqual(config.exempt, []);
  t.is(config.control.socket, "/run/pbsd/control.sock");
  t.is(config.return.refresh, seconds(60));
});

test("the example works, and its comments show the defaults", (t) => {
  const config = loadConfig("docs/pbsd.example.toml");
  t.is(config.rules.length, 5);
  t.is(config.exempt.length, 1);
  const defaults = parseConfig(IDENTITY, config.file);
  for (const section of [
    "signalling",
    "packets",
    "request",
    "return",
    "authentication",
    "detection",
    "admission",
    "control",
    "log",
  ] as const)
    t.deepEqual(config[section], defaults[section]);
});

test("the defaults that the example's comments show are the defaults", async (t) => {
  const { readFileSync } = await import("node:fs");
  const text = readFileSync("docs/pbsd.example.toml", "utf8");
  const [settings = ""] = text.split("[[exempt]]");
  const rest =
    text.slice(text.indexOf("\n[request]"), text.indexOf("\n# The policy")) +
    text.slice(text.indexOf("\n[control]"));
  const uncommented = (settings + rest)
    .replace(/^# (?=(?:name|group) = )/gm, "## ")
    .replace(/^# ([a-z_]+ = )/gm, "$1");
  const shown = parseConfig(uncommented, "docs/pbsd.example.toml");
  const plain = parseConfig(IDENTITY, "docs/pbsd.example.toml");
  for (const section of [
    "signalling",
    "packets",
    "request",
    "return",
    "authentication",
    "detection",
    "admission",
    "control",
    "log",
  ] as const)
    t.deepEqual(shown[section], plain[section], section);
});

test("threads keep to processors only if told", (t) => {
  const packets = (text: string) => parseConfig(`${IDENTITY}\n[packets]\n${text}`, "pbsd.toml").packets;
  t.like(packets(""), { processor: null, ahProcessor: null });
  t.like(packets("processor = 0\nah_processor = 3"), { processor: 0, ahProcessor: 3 });
});

test("rules become those of the policy", (t) => {
  const { rules } = parseConfig(
    `${IDENTITY}
[[rule]]
name = "web"
from = "192.168.20.0/24"
to = ["2001:db8::1"]
protocol = ["tcp", 17]
ports = ["80", "8000-8100", 443]
subject = "*.example"
fingerprint = "${"AB:".repeat(31)}AB"
action = "grant"
volume = "10MiB"
lifetime = "90s"
extend = false
[[rule]]
action = "ask"
timeout = "5s"
[[rule]]
action = "deny"
reason = "no"
`,
    "x.toml",
  );
  t.deepEqual(rules, [
    {
      name: "web",
      from: [IpPrefix.parse("192.168.20.0/24")],
      to: [IpPrefix.parse("2001:db8::1/128")],
      protocols: [6, 17],
      ports: [
        { from: 80, to: 80 },
        { from: 8000, to: 8100 },
        { from: 443, to: 443 },
      ],
      subject: "*.example",
      fingerprint: "ab".repeat(32),
      action: {
        type: "grant",
        grant: { volume: bytes(10_485_760), lifetime: seconds(90), refresh: seconds(30), extend: false },
      },
    },
    {
      name: "rule 2",
      action: {
        type: "ask",
        grant: { volume: bytes(10_000_000), lifetime: seconds(600), refresh: seconds(60), extend: true },
        timeout: seconds(5),
      },
    },
    { name: "rule 3", action: { type: "deny", reason: "no" } },
  ]);
});

test("detection: of the node, and of rules that say something else", (t) => {
  const config = parseConfig(
    `${IDENTITY}
[detection]
mode = "dry-run"
settle = "500ms"
loss_percent = 2.5
on_loss = "alarm"
return_after = "0"
[[path]]
via = "192.168.30.3"
device = "eth1"
[[path]]
to = "2001:db8::/32"
device = "eth2"
[[rule]]
action = "grant"
[[rule]]
action = "ask"
detection = "react"
excess = "1MB"
on_excess = "revoke"
[[rule]]
action = "grant"
detection = "off"
`,
    "x.toml",
  );
  const { policy, moves } = config.detection;
  t.is(policy.mode, "dry-run");
  t.like(policy.limits, { settle: ms(500), lossShare: 0.025, excess: bytes(3000), lossPeriods: 2 });
  t.is(policy.onLoss, "alarm");
  t.is(moves.returnAfter, ms(0));
  t.deepEqual(config.path, [
    { via: IpAddress.parse("192.168.30.3"), device: "eth1" },
    { to: IpPrefix.parse("2001:db8::/32"), device: "eth2" },
  ]);
  const own = config.rules.map(({ action }) => (action.type === "deny" ? undefined : action.grant.detection));
  t.deepEqual(own, [
    undefined,
    {
      ...policy,
      mode: "react",
      onExcess: "revoke",
      limits: { ...policy.limits, excess: bytes(1_000_000) },
    },
    { ...policy, mode: "off" },
  ]);
});

test("detection and paths that cannot be", (t) => {
  t.deepEqual(
    wrong(`[detection]
loss_percent = 101
on_excess = "change-path"
[[path]]
to = "192.168.0.0/16"
[[path]]
to = "192.168.0.0/16"
via = "2001:db8::1"
[[rule]]
action = "deny"
detection = "off"
on_loss = "alarm"
`),
    [
      "2: detection.loss_percent: 101 is out of range (write a number from 0 to 100)",
      '3: detection.on_excess: "change-path" is not one of its values (write "public-key" or "revoke" or "alarm")',
      "4: path[0].via: is missing (write the next hop's address, the device of the path, a relay, or a source)",
      "8: path[1].via: is not of the same IP version as to (write two paths)",
      '11: rule[0].detection: means nothing in a rule with action "deny" (take it out)',
      '12: rule[0].on_loss: means nothing in a rule with action "deny" (take it out)',
    ],
  );
});

test("how packets prove where they come from", (t) => {
  const config = parseConfig(
    `${IDENTITY}
[return]
authentication = "hmac"
[authentication]
accept = ["hmac-sha1-96", "ed25519"]
[[rule]]
action = "grant"
authentication = "public-key"
[[rule]]
action = "ask"
authentication = "hmac"
algorithms = ["hmac-sha1-96", "ed25519", "aes-cmac-96"]
[[rule]]
action = "grant"
authentication = "none"
algorithms = "ed25519"
`,
    "x.toml",
  );
  const asked = config.rules.map(({ action }) =>
    action.type === "deny" ? undefined : action.grant.authentication,
  );
  t.deepEqual(asked, [
    { level: "public-key" },
    { level: "hmac", algorithms: ["hmac-sha1-96", "ed25519", "aes-cmac-96"] },
    { level: "none", algorithms: ["ed25519"] },
  ]);
  t.deepEqual(config.return.authentication, { level: "hmac" });
  t.deepEqual(config.authentication.accept, ["hmac-sha1-96", "ed25519"]);
});

test("the configuration cannot be changed", (t) => {
  const config = parseConfig(IDENTITY, "x.toml");
  t.throws(() => ((config.packets as { capacity: number }).capacity = 1), { instanceOf: TypeError });
});

const CASES: readonly (readonly [name: string, toml: string, errors: readonly string[]])[] = [
  [
    "unknown field, near a known one",
    "[packets]\nque_base = 1",
    ['2: packets.que_base: unknown field (did you mean "queue_base"?)'],
  ],
  ["unknown field, near none", "[log]\ncolour = 1", ["2: log.colour: unknown field (known are level)"]],
  ["unknown section", "[paquets]\nx = 1", ['1: paquets: unknown section (did you mean "packets"?)']],
  [
    "field of another section in a rule",
    '[[rule]]\naction = "deny"\nvolumen = 1',
    ['3: rule[0].volumen: unknown field (did you mean "volume"?)'],
  ],
  [
    "not a number",
    '[signalling]\ntls_port = "https"',
    ['2: signalling.tls_port: "https" is not a whole number (write a whole number from 1 to 65535)'],
  ],
  [
    "marks with a meaning already",
    "[packets]\nrefuse_mark = 0x00090000\nopen_mark = 0x80800020",
    [
      "2: packets.refuse_mark: has bits 0x00080000, which pbsd has a meaning of its own for (choose from the bits 0xd043d5c0)",
      "3: packets.open_mark: has bits 0x00800020, which pbsd has a meaning of its own for (choose from the bits 0xd043d5c0)",
    ],
  ],
  [
    "a mark that shares bits with the default of another",
    "[packets]\nrefuse_mark = 0x40010000",
    [
      "2: packets.refuse_mark: has bits 0x00010000 of open_mark, which is 0x00010000 (choose other bits for one of them)",
    ],
  ],
  [
    "two ports that are one",
    '[signalling]\nstacks = "tls-and-tcp"\ntcp_port = 5270',
    ["3: signalling.tcp_port: is tls_port too, which is 5270 (choose another port)"],
  ],
  [
    "out of range",
    "[signalling]\ntls_port = 65536",
    ["2: signalling.tls_port: 65536 is out of range (write a whole number from 1 to 65535)"],
  ],
  [
    "not a size",
    '[request]\nvolume = "10 bananas"',
    [
      '2: request.volume: "10 bananas" is not a size (write bytes as a number or a size such as "500kB", "10MB" or "10MiB")',
    ],
  ],
  [
    "size too small",
    "[request]\nvolume = 10",
    ["2: request.volume: 10 is too small (write 1500 bytes or more)"],
  ],
  [
    "size of another type",
    "[request]\nvolume = true",
    ['2: request.volume: true is not a size (write a size such as "10MB")'],
  ],
  [
    "duration without unit",
    "[packets]\nhold_time = 30",
    ['2: packets.hold_time: 30 has no unit (write "30s" for seconds)'],
  ],
  [
    "not a duration",
    '[packets]\nhold_time = "soon"',
    [
      '2: packets.hold_time: "soon" is not a duration (write a number and a unit, such as "500ms", "30s", "10m", "2h" or "1d")',
    ],
  ],
  [
    "too short",
    '[packets]\nhold_time = "1ms"',
    ['2: packets.hold_time: "1ms" is too short (write "100ms" or more)'],
  ],
  [
    "a node that would rest for too long",
    '[signalling]\ngather = "51ms"',
    ['2: signalling.gather: is too long (write "50ms" or less)'],
  ],
  [
    "not a flag",
    '[packets]\nenforce = "no"',
    ['2: packets.enforce: "no" is not true or false (write true or false)'],
  ],
  [
    "not a choice",
    '[packets]\nfirewall = "pf"',
    ['2: packets.firewall: "pf" is not one of its values (write "auto" or "nft" or "legacy")'],
  ],
  [
    "a mode that there is not",
    '[node]\nmode = "opn"',
    ['2: node.mode: "opn" is not one of its values (write "closed" or "open")'],
  ],
  [
    "not a prefix",
    '[[rule]]\naction = "deny"\nfrom = ["10.0.0.0/8", "10.0.0/24"]',
    [
      '3: rule[0].from: "10.0.0" is not an IP address (write a prefix such as "192.168.20.0/24", or a list of them)',
    ],
  ],
  [
    "host bits",
    '[[rule]]\naction = "deny"\nfrom = "10.0.0.1/8"',
    ['3: rule[0].from: "10.0.0.1/8" has bits beyond its length (write "10.0.0.0/8" or "10.0.0.1")'],
  ],
  [
    "not a protocol",
    '[[rule]]\naction = "deny"\nprotocol = "http"',
    [
      '3: rule[0].protocol: "http" is not a protocol (write "tcp", "udp", "icmp", "icmpv6" or a number below 256)',
    ],
  ],
  [
    "not a port",
    '[[rule]]\naction = "deny"\nprotocol = "tcp"\nports = ["80", "http"]',
    [
      '4: rule[0].ports: "http" is not a port (write a port such as "80", a range such as "8000-8100", or a list of them)',
    ],
  ],
  [
    "ports of a protocol without ports",
    '[[rule]]\naction = "deny"\nprotocol = "icmp"\nports = 80',
    ['4: rule[0].ports: its protocol has no ports (leave it out, or write protocol = "tcp" or "udp")'],
  ],
  [
    "empty list",
    '[[rule]]\naction = "deny"\nfrom = []',
    ["3: rule[0].from: is an empty list (leave it out to match everything)"],
  ],
  [
    "rule without action",
    '[[rule]]\nname = "x"',
    ['1: rule[0].action: is missing (write "grant" or "deny" or "ask")'],
  ],
  [
    "meaningless field",
    '[[rule]]\naction = "deny"\nvolume = "10MB"',
    ['3: rule[0].volume: means nothing in a rule with action "deny" (take it out)'],
  ],
  [
    "refresh above lifetime",
    '[[rule]]\naction = "grant"\nlifetime = "1s"\nrefresh = "2s"',
    [
      "4: rule[0].refresh: is longer than the lifetime, so the flow would stop before it (write a shorter one)",
    ],
  ],
  [
    "not a level",
    '[[rule]]\naction = "grant"\nauthentication = "md5"',
    ['3: rule[0].authentication: "md5" is not one of its values (write "none" or "hmac" or "public-key")'],
  ],
  [
    "not an algorithm",
    '[authentication]\naccept = ["hmac-md5-96"]',
    [
      '2: authentication.accept: "hmac-md5-96" is not one of its values (write a list of: hmac-sha256-128, hmac-sha384-192, aes-cmac-96, hmac-sha1-96, rsa-2048, ecdsa-p256, ed25519, tree-rsa-2048, tree-ecdsa-p256, tree-ed25519)',
    ],
  ],
  [
    "no algorithm at all",
    "[authentication]\naccept = []",
    [
      "2: authentication.accept: is an empty list (write a list of: hmac-sha256-128, hmac-sha384-192, aes-cmac-96, hmac-sha1-96, rsa-2048, ecdsa-p256, ed25519, tree-rsa-2048, tree-ecdsa-p256, tree-ed25519)",
    ],
  ],
  [
    "an algorithm twice",
    '[[rule]]\naction = "grant"\nauthentication = "hmac"\nalgorithms = ["aes-cmac-96", "aes-cmac-96"]',
    ["4: rule[0].algorithms: names one twice (write each once)"],
  ],
  [
    "algorithms without authentication",
    '[[rule]]\naction = "grant"\nalgorithms = ["aes-cmac-96"]',
    [
      '3: rule[0].algorithms: means nothing without authentication (write authentication = "hmac" or "public-key")',
    ],
  ],
  [
    "no algorithm of the level",
    '[return]\nauthentication = "hmac"\nalgorithms = ["ed25519"]',
    [
      '3: return.algorithms: has none for authentication = "hmac" (add one of: hmac-sha256-128, hmac-sha384-192, aes-cmac-96, hmac-sha1-96)',
    ],
  ],
  [
    "authentication of what is denied",
    '[[rule]]\naction = "deny"\nauthentication = "hmac"\nalgorithms = ["aes-cmac-96"]',
    [
      '3: rule[0].authentication: means nothing in a rule with action "deny" (take it out)',
      '4: rule[0].algorithms: means nothing in a rule with action "deny" (take it out)',
    ],
  ],
  [
    "two rules of one name",
    '[[rule]]\nname = "a"\naction = "deny"\n[[rule]]\nname = "a"\naction = "deny"',
    ['5: rule[1].name: "a" is the name of two (choose another name)'],
  ],
  [
    "not a fingerprint",
    '[[rule]]\naction = "deny"\nfingerprint = "abc"',
    [
      '3: rule[0].fingerprint: "abc" is not a SHA-256 fingerprint (write the 64 hexadecimal digits that "pbsctl keys show" prints)',
    ],
  ],
  [
    "long reason",
    `[[rule]]\naction = "deny"\nreason = "${"x".repeat(256)}"`,
    ["3: rule[0].reason: is longer than 255 bytes (shorten it)"],
  ],
  [
    "exempt class without rate",
    '[[exempt]]\nname = "ssh"',
    ["1: exempt[0].rate: is missing (write a whole number from 1 to 1000000)"],
  ],
  [
    "exempt class with a bad name",
    '[[exempt]]\nname = "my ssh"\nrate = 1',
    [
      '2: exempt[0].name: "my ssh" is not a name of an exempt class (write up to 16 letters, digits and hyphens)',
    ],
  ],
  [
    "exempt class of two families",
    '[[exempt]]\nname = "ssh"\nrate = 1\nfrom = "10.0.0.0/8"\nto = "::1"',
    ["5: exempt[0].to: is not of the same IP version as from (write two classes)"],
  ],
  [
    "section of the wrong kind",
    "[rule]\nx = 1",
    ["1: rule: is not a list of sections (write [[rule]] with two brackets)"],
  ],
  [
    "list of the wrong kind",
    "[[packets]]\nx = 1",
    ["1: packets: is not a section (write [packets] on a line of its own)"],
  ],
  [
    "many at once, in the order of their lines",
    '[log]\nlevel = "loud"\n[signalling]\ntls_port = 0\nx = 1\n[[rule]]\naction = "maybe"',
    [
      '2: log.level: "loud" is not one of its values (write "trace" or "debug" or "info" or "warn" or "error" or "fatal" or "silent")',
      "4: signalling.tls_port: 0 is out of range (write a whole number from 1 to 65535)",
      "5: signalling.x: unknown field (known are stacks, tls_port, tcp_port, routing_state_validity, association_hold, intercept_rate, router_alert, gather, service)",
      '7: rule[0].action: "maybe" is not one of its values (write "grant" or "deny" or "ask")',
    ],
  ],
];

for (const [name, toml, errors] of CASES) test(`wrong: ${name}`, (t) => t.deepEqual(wrong(toml), errors));

test("wrong: no identity", (t) => {
  t.deepEqual(problems(""), [
    "pbsd.toml:1: identity.certificate: is missing (write the path of a file)",
    "pbsd.toml:1: identity.key: is missing (write the path of a file)",
    "pbsd.toml:1: identity.authorities: is missing (write a list with one or more)",
  ]);
});

test("wrong: authorities is not a list", (t) => {
  t.deepEqual(problems('[identity]\ncertificate = "a"\nkey = ""\nauthorities = "ca.pem"'), [
    "pbsd.toml:3: identity.key: is empty (write the path of a file)",
    'pbsd.toml:4: identity.authorities: is not a list (write a list such as ["ca.pem"])',
  ]);
});

test("wrong: a field above all sections", (t) => {
  t.deepEqual(problems(`tls_port = 1\n${IDENTITY}`), [
    "pbsd.toml:1: tls_port: a field outside of a section (move it below [signalling])",
  ]);
});

test("wrong: not TOML", (t) => {
  const [line = "", ...more] = problems("[node]\nname = x y");
  t.regex(line, /^pbsd\.toml:2: not TOML: .+ \(look at column \d+\)$/);
  t.deepEqual(more, []);
});

test("files that cannot be read", (t) => {
  const missing = t.throws(() => loadConfig("/nonexistent/pbsd.toml"), { instanceOf: ConfigError });
  t.is(
    missing?.message,
    "/nonexistent/pbsd.toml: there is no such file (copy docs/pbsd.example.toml there, or name another with --config)",
  );
  t.is(
    t.throws(() => loadConfig("/"), { instanceOf: ConfigError })?.message,
    "/: is a directory (name a file)",
  );
});

test("a file is read", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "pbs-config-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "pbsd.toml");
  writeFileSync(file, IDENTITY);
  t.is(loadConfig(file).identity.certificate, join(directory, "host.crt"));
});

test("associations without TLS have a port only where they are wanted", (t) => {
  const tcpPort = (toml: string) => parseConfig(IDENTITY + toml, "a").signalling.tcpPort;
  t.is(tcpPort(""), null);
  t.is(tcpPort("[signalling]\ntcp_port = 5999\n"), null);
  t.is(tcpPort('[signalling]\nstacks = "tls-and-tcp"\n'), 5271);
  t.is(tcpPort('[signalling]\nstacks = "tls-and-tcp"\ntcp_port = 5999\n'), 5999);
});

test("paths through relays and by source addresses", (t) => {
  const { path, relay } = parseConfig(
    `${IDENTITY}
[[path]]
to = "192.168.21.0/24"
relay = "198.51.100.8"
[[path]]
source = "203.0.113.5"
via = "203.0.113.1"
[relay]
serve = true
`,
    "x.toml",
  );
  t.deepEqual(relay, { serve: true, port: 6080 });
  t.deepEqual(
    path.map((one) => [one.to, one.via, one.relay, one.source].map((part) => part?.toString())),
    [
      ["192.168.21.0/24", undefined, "198.51.100.8", undefined],
      [undefined, "203.0.113.1", undefined, "203.0.113.5"],
    ],
  );
  t.deepEqual(parseConfig(IDENTITY, "x.toml").relay, { serve: false, port: 6080 });
  t.deepEqual(
    wrong(`[[path]]
relay = "198.51.100.8"
device = "eth1"
[[path]]
source = "203.0.113.5"
to = "2001:db8::/32"
[relay]
port = 0
`),
    [
      "2: path[0].relay: is reached by the routing table's path (take via, device and source out, or write two paths)",
      "5: path[1].source: is not of the same IP version as to and via (write two paths)",
      "8: relay.port: 0 is out of range (write a whole number from 1 to 65535)",
    ],
  );
});
