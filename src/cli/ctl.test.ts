import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { bytes, seconds } from "../base/units.js";
import { countOf, FLOW, startFixture, viewOf } from "../control/test-parts.js";
import { type AuthenticationView, CannotAuthenticate, type DetectionView } from "../nslp/view.js";
import { pbsctl } from "./ctl.js";

interface Ran {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

async function run(...args: readonly string[]): Promise<Ran> {
  let out = "";
  let err = "";
  const status = await pbsctl(args, {
    write: async (text) => void (out += text),
    error: (text) => void (err += text),
  });
  return { status, out, err };
}

async function fixture(t: ExecutionContext) {
  const parts = await startFixture((end) => t.teardown(end));
  const ctl = (...args: readonly string[]) => run("--socket", parts.socket, ...args);
  /** One JSON document and nothing else. */
  const json = async (...args: readonly string[]): Promise<unknown> => {
    const { out, err } = await ctl("--json", ...args);
    t.is(err, "");
    t.is(out.trimEnd().split("\n").length, 1);
    return JSON.parse(out);
  };
  return { ...parts, ctl, json };
}

const AUTHENTICATION: AuthenticationView = {
  level: "hmac",
  algorithm: "aes-cmac-96",
  spi: 0x1234,
  sequence: 77,
  failures: { missing: 1, malformed: 0, unknownSpi: 2, replayed: 3, badIcv: 4 },
};

const USAGE: readonly (readonly [args: readonly string[], message: string])[] = [
  [[], 'no command; "pbsctl --help" lists them'],
  [["statsu"], 'unknown command "statsu"; did you mean "status"?'],
  [["frobnicate"], 'unknown command "frobnicate"; "pbsctl --help" lists the commands'],
  [["status", "--colour"], "Unknown option '--colour'"],
  [["status", "now"], "usage: pbsctl status"],
  [["--socket"], "Option '--socket <value>' argument missing"],
  [["flow"], "usage: pbsctl flow ID"],
  [["flow", "xyz"], '"xyz" is not an id; it has up to 32 hexadecimal digits, see pbsctl flows'],
  [["flows", "--limit", "many"], '--limit "many" is not a whole number up to 100000000'],
  [["flows", "--role", "king"], "--role is one of: sender, router, receiver"],
  [["request"], "usage: pbsctl request FLOW [--volume V]"],
  [["request", "tcp 1.2.3.4 > 5.6.7.8:80"], '"1.2.3.4" needs a port'],
  [
    ["request", FLOW, "--volume", "lots"],
    '--volume: "lots" is not a size; write bytes as a number or a size such as "500kB", "10MB" or "10MiB"',
  ],
  [
    ["grant", "ab", "--lifetime", "10"],
    '--lifetime: "10" is not a duration; write a number and a unit, such as "500ms", "30s", "10m", "2h" or "1d"',
  ],
  [["authenticate", "ab"], "usage: pbsctl authenticate ID LEVEL"],
  [["authenticate", "ab", "md5"], '"md5" is not a level; write none, hmac, public-key'],
  [["unblock", "all of it"], '"all of it" is not the id of a block'],
  [["revoke", "ab", "--reason", ""], "--reason is not a text of 1 to 255 bytes"],
  [["keys"], "keys needs one of: ca, host, issue, show, import"],
  [["keys", "ca", "--name", "x"], "--out is missing"],
  [["keys", "host", "--out", "/nonexistent/x", "--name", "x"], "--address is missing"],
  [
    ["keys", "host", "--out", "/nonexistent/x", "--name", "x", "--address", "router1"],
    '--address: "router1" is not an IP address',
  ],
  [
    ["keys", "ca", "--out", "/nonexistent/x", "--name", "x", "--type", "dsa"],
    '--type "dsa" is not one of: p256, rsa2048, ed25519',
  ],
  [["keys", "issue", "--days", "0", "--ca", "a", "--csr", "b", "--out", "c"], "--days is at least 1"],
];

for (const [args, message] of USAGE)
  test(`usage: ${args.join(" ")}`, async (t) => {
    t.deepEqual(await run(...args), { status: 2, out: "", err: `pbsctl: ${message}\n` });
  });

test("help of pbsctl and of every command", async (t) => {
  const { status, out } = await run("--help");
  t.is(status, 0);
  const names = [...out.matchAll(/^ {2}((?:keys )?[a-z]+)(?: |$)/gm)].map((match) => match[1] ?? "");
  t.true(names.length >= 17);
  for (const name of names) {
    const help = await run(...name.split(" "), "--help");
    t.is(help.status, 0, name);
    t.true(help.out.startsWith(`pbsctl ${name}`), name);
  }
});

test("no daemon: one line with the remedy, or one document", async (t) => {
  const socket = "/nonexistent/control.sock";
  t.deepEqual(await run("status", "--socket", socket), {
    status: 1,
    out: "",
    err: `pbsctl: pbsd does not answer on ${socket} (start pbsd, or name its socket with --socket)\n`,
  });
  const { status, out, err } = await run("--json", "flows", "--socket", socket);
  t.is(status, 1);
  t.is(err, "");
  t.like(JSON.parse(out), { error: { code: "no-daemon" } });
});

test("status", async (t) => {
  const { ctl, json } = await fixture(t);
  const { status, out } = await ctl("status");
  t.is(status, 0);
  t.regex(out, /^node +test, closed network\npbsd +1\.2\.3, process \d+, up 0ms\n/);
  t.regex(out, /^engine +fake, 1 of 10 flows, 0 packets held$/m);
  t.regex(out, /^pbs query\.received +2$/m);
  t.like(await json("status"), { version: "1.2.3" });
});

test("flows as a table and as JSON", async (t) => {
  const { ctl, json, pbs } = await fixture(t);
  t.is((await ctl("flows")).out, "no flows\n");
  pbs.views = [
    viewOf(1, { flow: FLOW, authentication: AUTHENTICATION }),
    viewOf(2, { countedVolume: bytes(123_456_789), remaining: null, rule: null, state: "wait-p" }),
  ];
  t.is(
    (await ctl("flows")).out,
    `ID        ROLE      STATE       FLOW                                       USED  ALLOWED   LEFT  AH           RULE
00000001  receiver  permission  tcp 192.168.20.1:4000 > 192.168.21.4:80    2 kB    10 MB  1m40s  aes-cmac-96  web
00000002  receiver  wait-p      tcp 192.168.20.1:1026 > 192.168.21.4:80  123 MB    10 MB      -  -            -
`,
  );
  t.regex((await ctl("flows", "--limit", "1")).out, /\n1 more; use --match, --limit or --offset\n$/);
  t.deepEqual(await json("flows", "--match", ":4000"), { flows: [pbs.views[0]], offset: 0, total: 1 });
});

test("blocks", async (t) => {
  const { ctl } = await fixture(t);
  t.is(
    (await ctl("blocks")).out,
    `ID             LEFT  WHAT                                     WHERE
192.168.20.2  1m30s  all packets from 192.168.20.2            -
p1              10m  tcp 192.168.20.1:4000 > 192.168.21.4:80  02:00:00:00:00:02 on eth1
`,
  );
  t.deepEqual(await ctl("unblock", "p1"), { status: 0, out: "passes again\n", err: "" });
  t.deepEqual(await ctl("unblock", "p1"), {
    status: 1,
    out: "",
    err: 'pbsctl: nothing is blocked as "p1" (see: pbsctl blocks)\n',
  });
});

test("authenticate", async (t) => {
  const { ctl, pbs } = await fixture(t);
  pbs.views = [viewOf(0xabc, { authentication: AUTHENTICATION })];
  const { status, out } = await ctl("authenticate", "00000A", "public-key");
  t.is(status, 0);
  t.deepEqual(pbs.calls, ["authenticate 00000a public-key"]);
  t.regex(out, /^authentication +aes-cmac-96, SPI 0x00001234, sequence 77$/m);
  t.regex(out, /^failures +1 without AH, 0 malformed, 2 of unknown SPI, 3 replayed, 4 with a bad ICV$/m);
  pbs.failure = new CannotAuthenticate("the sender cannot", "choose another");
  t.deepEqual(await ctl("authenticate", "00000A", "hmac"), {
    status: 1,
    out: "",
    err: "pbsctl: the sender cannot (choose another)\n",
  });
});

test("flow", async (t) => {
  const { ctl, json, pbs } = await fixture(t);
  pbs.views = [viewOf(0xabc, { flow: FLOW })];
  const { out } = await ctl("flow", "00000A");
  t.regex(out, /^counted here +2 kB in 3 packets$/m);
  t.regex(out, /^rule +web$/m);
  t.deepEqual(await json("flow", "0"), pbs.views[0]);
  t.deepEqual(await ctl("flow", "f"), {
    status: 1,
    out: "",
    err: 'pbsctl: no flow "f" (see the ids in: pbsctl flows; pbsctl pending)\n',
  });
});

const ATTACK: DetectionView = {
  mode: "react",
  epoch: 1,
  start: bytes(1_000_000),
  last: { epoch: 1, sent: bytes(1_500_000), received: bytes(1_500_000), mark: null, verdict: "fits" },
  hops: [
    { node: "router", counted: bytes(1_500_000), verified: false },
    { node: "router2\u001b[31m", counted: bytes(1_500_000), verified: true },
  ],
  findings: 1,
  attack: {
    kind: "excess",
    amount: 2_000_000,
    sent: bytes(1_000_000),
    received: bytes(3_000_000),
    allowed: bytes(10_000_000),
    epoch: 0,
    threshold: 3000,
    mark: null,
    period: seconds(10),
    rule: "web",
    hops: [],
    where: { from: "router", to: "receiver", change: 2_000_000 },
    reaction: "public-key",
    mode: "react",
  },
};

test("flow and explain show what was compared, what routers said, and an attack", async (t) => {
  const { ctl, pbs, counts } = await fixture(t);
  pbs.views = [viewOf(0xabc, { flow: FLOW, detection: ATTACK, path: "via 10.0.0.2" })];
  counts.set(FLOW, countOf(2000));
  const { out } = await ctl("flow", "00000A");
  t.regex(out, /^path +via 10\.0\.0\.2$/m);
  t.regex(out, /^detection +react; epoch 1, counted from 1 MB; 1 findings$/m);
  t.regex(out, /^compared +sent 1\.5 MB, received 1\.5 MB: fits$/m);
  t.regex(out, /^hop +router counted 1\.5 MB \(signature not checked\)$/m);
  t.regex(out, /^hop +router2\?\[31m counted 1\.5 MB$/m);
  t.regex(
    out,
    /^last finding +excess, between router and receiver \(sent 1000000, received 3000000, threshold 3000, epoch 0\): public-key$/m,
  );
  const explained = await ctl("explain", FLOW);
  t.regex(
    explained.out,
    /an attack was found between router and receiver: excess \(1 MB sent, 3 MB received\)/,
  );
  t.regex(explained.out, /it was moved to another path: via 10\.0\.0\.2/);
});

test("request: granted and refused", async (t) => {
  const { ctl, json, pbs } = await fixture(t);
  t.deepEqual(await ctl("request", "tcp", "192.168.20.1:4000", "to", "192.168.21.4:80", "--volume", "1MiB"), {
    status: 0,
    out: "granted 10 MB, id abababab\n",
    err: "",
  });
  pbs.outcome = { granted: false, id: "cd".repeat(16), allowedVolume: bytes(0), reason: "no rule\u001b[2J" };
  t.deepEqual(await ctl("request", FLOW), { status: 1, out: "refused: no rule?[2J\n", err: "" });
  t.like(await json("request", FLOW), { granted: false });
  t.deepEqual(pbs.calls, [
    `request ${FLOW} 1048576`,
    `request ${FLOW} undefined`,
    `request ${FLOW} undefined`,
  ]);
});

test("pending, grant, deny, revoke", async (t) => {
  const { ctl, json, pbs } = await fixture(t);
  t.is((await ctl("pending")).out, "none\n");
  pbs.views = [viewOf(0xab)];
  const id = viewOf(0xab).id;
  pbs.waiting = [
    {
      id,
      flow: FLOW,
      requester: "sender1",
      rule: "by hand",
      requestedVolume: bytes(1e6),
      expiresIn: seconds(59),
    },
  ];
  t.is(
    (await ctl("pending")).out,
    `ID        FLOW                                     REQUESTER  ASKED  RULE     EXPIRES IN
000000ab  tcp 192.168.20.1:4000 > 192.168.21.4:80  sender1     1 MB  by hand         59s
`,
  );
  t.like(await json("pending"), { pending: [{ id }] });
  t.regex(
    (await ctl("grant", "000000ab", "--volume", "5MB", "--lifetime", "90s")).out,
    /^granted\nid +000000ab/,
  );
  t.is((await ctl("deny", "000000ab", "--reason", "not today")).out, "denied\n");
  t.is((await ctl("revoke", "000000ab")).out, "revoked\n");
  t.deepEqual(pbs.calls, [
    'grant 000000ab {"volume":5000000,"lifetime":90000}',
    "deny 000000ab not today",
    "revoke 000000ab undefined",
  ]);
});

test("events, as text and as one document a line", async (t) => {
  const { ctl, pbs } = await fixture(t);
  pbs.emit("10 MB");
  pbs.emit("evil\u001b[2J\nline");
  const { out } = await ctl("events");
  t.is(out.split("\n")[0], `2023-11-14T22:13:20.000Z  granted         sender    abababab  ${FLOW}  10 MB`);
  t.is(out.trimEnd().split("\n").length, 2);
  t.true(out.includes("evil?[2J?line"));
  const lines = (await ctl("events", "--json")).out.trimEnd().split("\n");
  t.deepEqual(
    lines.map((line) => (JSON.parse(line) as { detail: string }).detail),
    ["10 MB", "evil\u001b[2J\nline"],
  );
});

test("peers: nothing in them steers the terminal", async (t) => {
  const { ctl, json } = await fixture(t);
  const { out } = await ctl("peers");
  t.true(out.includes("router?[31m"));
  t.false(out.includes("\u001b"));
  t.like(await json("peers"), { identity: "00ff" });
  t.regex(out, /^routing states +1 towards receivers, 2 towards senders$/m);
  t.regex(out, /^received\.query +7$/m);
});

test("peers --routes: the routing states as well", async (t) => {
  const { ctl, json } = await fixture(t);
  const { out } = await ctl("peers", "--routes");
  t.regex(out, /^querying +2 +0011223344556677 +downstream .* established +192\.168\.20\.3 .* tls +20s$/m);
  t.like(await json("peers", "--routes"), { more: false, routes: [{ nslpId: 2, carriedBy: "tls" }] });
  t.like(await json("peers", "--routes", "--limit", "0"), { more: true, routes: [] });
  t.regex((await ctl("peers", "--routes", "--limit", "0")).out, /there are more|no routing states/);
});

test("explain", async (t) => {
  const { ctl, json, pbs, counts } = await fixture(t);
  pbs.views = [viewOf(1, { flow: FLOW })];
  counts.set(FLOW, countOf(5000));
  t.is(
    (await ctl("explain", FLOW)).out,
    `flow             ${FLOW}
this node        receiver
verdict          passes (engine fake)
because          it has a permission: 5 kB of 10 MB used, 1m40s left, granted by rule "web"
permission       00000001, permission
counters         5 kB in 3 packets; dropped: 0 over volume, 0 expired
rule matches     "web": all its conditions hold
policy says      grant ("web")
would change it  pbsctl revoke 00000001
`,
  );
  t.like(await json("explain", FLOW, "--subject", "x"), { verdict: "passes" });
});

test("doctor asks the daemon", async (t) => {
  const { ctl, json } = await fixture(t);
  t.is((await ctl("doctor")).out, "    CHECK   FOUND\nok  kernel  6.1\n");
  t.deepEqual(await json("doctor"), {
    ok: true,
    checks: [{ name: "kernel", result: "ok", detail: "6.1", remedy: null }],
  });
});

function temporary(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), "pbs-keys-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test("keys: authority, host, issue, show, import", async (t) => {
  const directory = temporary(t);
  const at = (name: string): string => join(directory, name);
  t.is((await run("keys", "ca", "--out", at("ca"), "--name", "Example")).status, 0);
  t.is(statSync(at("ca/ca.key")).mode & 0o077, 0);
  const addresses = ["--address", "192.168.20.1", "--address", "2001:db8::1"];
  const made = await run("keys", "host", "--out", at("host"), "--name", "host1", ...addresses, "--json");
  t.deepEqual(JSON.parse(made.out), { keyFile: at("host.key"), requestFile: at("host.csr") });
  t.regex((await run("keys", "show", at("host.csr"))).out, /^request of +host1\naddress +192\.168\.20\.1\n/);

  const issued = await run(
    "keys",
    "issue",
    "--ca",
    at("ca"),
    "--csr",
    at("host.csr"),
    "--out",
    at("host.crt"),
    "--days",
    "30",
  );
  t.is(issued.status, 0, issued.err);
  const shown = await run("keys", "show", at("host.crt"), "--json");
  t.like(JSON.parse(shown.out), {
    certificate: {
      subject: "host1",
      issuer: "Example",
      addresses: ["192.168.20.1", "2001:db8::1"],
      keyType: "P-256",
    },
  });
  const import_ = ["keys", "import", "--certificate", at("host.crt"), "--key", at("host.key")];
  t.is((await run(...import_, "--authority", at("ca/ca.pem"), "--out", at("own"))).status, 0);
  t.true(existsSync(at("own.pem")) && existsSync(at("own.key")));
});

test("keys: files that are there stay, unless told otherwise", async (t) => {
  const directory = temporary(t);
  const args = ["keys", "ca", "--out", directory, "--name", "Example"];
  t.is((await run(...args)).status, 0);
  const before = readFileSync(join(directory, "ca.key"));
  const again = await run(...args);
  t.is(again.status, 1);
  t.regex(again.err, /^pbsctl: .+\n$/);
  t.deepEqual(readFileSync(join(directory, "ca.key")), before);
  t.is((await run(...args, "--force")).status, 0);
  t.notDeepEqual(readFileSync(join(directory, "ca.key")), before);
});

test("keys: what cannot be read", async (t) => {
  const directory = temporary(t);
  const { status, err } = await run("keys", "show", join(directory, "none.crt"));
  t.is(status, 1);
  t.regex(err, /^pbsctl: .+\n$/);
  t.deepEqual(readdirSync(directory), []);
});

/** pbsctl as a process of its own. */
function spawn(...args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    const command = ["--import", "tsx", "src/cli/pbsctl.ts", ...args];
    execFile(process.execPath, command, { maxBuffer: 16 * 1024 * 1024 }, (error, out, err) =>
      resolve({ status: typeof error?.code === "number" ? error.code : 0, out, err }),
    );
  });
}

test("as a process: output and exit status", async (t) => {
  const { socket, pbs } = await startFixture((end) => t.teardown(end));
  pbs.views = Array.from({ length: 3000 }, (_, i) => viewOf(i));
  const flows = await spawn("--socket", socket, "--json", "flows", "--limit", "3000");
  t.is(flows.status, 0, flows.err);
  t.is((JSON.parse(flows.out) as { flows: unknown[] }).flows.length, 3000);
  t.deepEqual(await spawn("--socket", socket, "flow", "zz"), {
    status: 2,
    out: "",
    err: 'pbsctl: "zz" is not an id; it has up to 32 hexadecimal digits, see pbsctl flows\n',
  });
});
