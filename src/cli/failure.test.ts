import test from "ava";
import { KeysError } from "../authorization/keys.js";
import { ConfigError } from "../config/error.js";
import { SocketError } from "../control/socket.js";
import { FirewallError } from "../traffic/firewall.js";
import { failureText, StartError } from "./failure.js";

function systemError(code: string, more: object = {}): Error {
  return Object.assign(new Error(`bind ${code}`), { code, ...more });
}

const CASES: readonly (readonly [name: string, error: unknown, text: string])[] = [
  [
    "configuration: a line for each problem",
    new ConfigError("a.toml", [
      { line: 1, field: "x", message: "bad", remedy: "mend it" },
      { line: 2, field: "y", message: "worse", remedy: "mend it too" },
    ]),
    "pbsd: a.toml:1: x: bad (mend it)\npbsd: a.toml:2: y: worse (mend it too)\n",
  ],
  ["socket", new SocketError("taken", "stop it"), "pbsd: taken (stop it)\n"],
  ["keys", new KeysError("no key; make one"), "pbsd: no key; make one\n"],
  ["rules", new FirewallError("no ipset", "install it"), "pbsd: no ipset; install it\n"],
  ["start", new StartError("queue 1 is taken"), "pbsd: queue 1 is taken\n"],
  [
    "port of GIST in use",
    systemError("EADDRINUSE", { port: 270 }),
    "pbsd: bind EADDRINUSE (another program has GIST's port 270; stop it)\n",
  ],
  [
    "port of TLS in use",
    systemError("EADDRINUSE", { port: 5270 }),
    "pbsd: bind EADDRINUSE (stop the program that has the port, or change [signalling] tls_port)\n",
  ],
  [
    "not allowed",
    systemError("EPERM"),
    "pbsd: bind EPERM (run as root, or as a service with the capabilities it needs)\n",
  ],
  [
    "anything else",
    new Error("odd\nthing"),
    "pbsd: odd?thing (see what this machine can do with: pbsctl doctor)\n",
  ],
];

for (const [name, error, text] of CASES) test(name, (t) => t.is(failureText(error), text));
