import test from "ava";
import fc from "fast-check";
import { seconds } from "../base/units.js";
import { AuthorisedPeers } from "../gist/authorised-peers.js";
import { ConfigError } from "./error.js";
import { loadGistdConfig, parseGistdConfig } from "./gistd-load.js";
import { parseConfig } from "./load.js";

const IDENTITY = `[identity]
certificate = "host.crt"
key = "/keys/host.key"
authorities = ["ca/ca.pem"]
`;

function wrong(toml: string): string {
  try {
    parseGistdConfig(IDENTITY + toml, "gistd.toml");
    return "";
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

test("the shortest configuration, with every default", (t) => {
  t.like(parseGistdConfig(IDENTITY, "/etc/gistd/gistd.toml"), {
    identity: { certificate: "/etc/gistd/host.crt", key: "/keys/host.key" },
    signalling: { tlsPort: 5270, queue: 2700, routingStateValidity: seconds(30) },
    service: { socket: "/run/gistd/gist.sock", group: null, uids: [], gids: [] },
    control: { socket: "/run/gistd/control.sock", group: null },
    peers: [],
    log: { level: "info" },
  });
});

test("the example works, and its comments show the defaults", (t) => {
  const { file, ...config } = loadGistdConfig("docs/gistd.example.toml");
  const { file: _, ...defaults } = parseGistdConfig(IDENTITY, file);
  t.deepEqual({ ...config, identity: null }, { ...defaults, identity: null } as never);
});

test("peers, in their order", (t) => {
  const toml = '[[peer]]\nname = "bad.example"\naction = "refuse"\n[[peer]]\nname = "*.example"\n';
  const expected = [
    { name: "bad.example", action: "refuse" },
    { name: "*.example", action: "accept" },
  ];
  t.deepEqual(parseGistdConfig(IDENTITY + toml, "a").peers as unknown, expected);
  t.deepEqual(parseConfig(IDENTITY + toml, "a").peers as unknown, expected);
});

test("every name that the configuration takes, the node takes too", (t) => {
  const label = "[a-zA-Z0-9_-]{0,5}";
  fc.assert(
    fc.property(fc.stringMatching(new RegExp(`^[*]?[.]?${label}[.]?${label}[.]?$`)), (name) => {
      if (wrong(`[[peer]]\nname = ${JSON.stringify(name)}\n`) !== "") return;
      t.notThrows(() => new AuthorisedPeers([{ name, action: "accept" }]));
    }),
  );
  t.pass();
});

test("errors name line, field and remedy", (t) => {
  t.is(
    wrong("[service]\nsockt = 1\n"),
    'gistd.toml:6: service.sockt: unknown field (did you mean "socket"?)',
  );
  t.regex(wrong('[service]\nuids = ["root"]\n'), /service\.uids\[0\]: "root" is not a whole number/);
  t.regex(wrong('[[peer]]\nname = "*.*.example"\n'), /peer\[0\]\.name: .* is not a name of peers/);
  t.regex(wrong(`[[peer]]\nname = "${"a.".repeat(128)}"\n`), /is not a name of peers/);
  t.regex(wrong("[packets]\n"), /packets: unknown section/);
});

test("pbsd with a gistd has no paths of its own", (t) => {
  const toml = '[signalling]\nservice = "/run/gistd/gist.sock"\n[[path]]\ndevice = "eth1"\n';
  t.throws(() => parseConfig(IDENTITY + toml, "a"), {
    message: /path\[0\]: cannot be taken by the signalling of a gistd/,
  });
});

test("pbsd with a gistd has its service by one line, and no peers of its own", (t) => {
  const toml = '[signalling]\nservice = "/run/gistd/gist.sock"\n';
  t.is(parseConfig(IDENTITY + toml, "a").signalling.service, "/run/gistd/gist.sock");
  t.is(parseConfig(IDENTITY, "a").signalling.service, null);
  const error = t.throws(() => parseConfig(`${IDENTITY}${toml}[[peer]]\nname = "*"\n`, "a"));
  t.regex(error?.message ?? "", /peer\[0\]: is decided by gistd/);
});
