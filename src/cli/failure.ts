/** Errors of start-up as one line with a remedy. */
import { KeysError } from "../authorization/keys.js";
import { SigningError } from "../authorization/signing.js";
import { TrustError } from "../authorization/trust.js";
import { ConfigError } from "../config/error.js";
import { SocketError } from "../control/socket.js";
import { FirewallError } from "../traffic/firewall.js";
import { NfqueueError } from "../traffic/nfqueue.js";
import { RelayError } from "../traffic/relays.js";
import { printable } from "./table.js";

/** Start-up cannot go on. The message says what to do. */
export class StartError extends Error {
  override readonly name = "StartError";
}

const SPEAKING = [StartError, KeysError, SigningError, TrustError, FirewallError, NfqueueError, RelayError];

/** What an error of start-up says, a line for each problem. */
export function failureText(error: unknown, program = "pbsd"): string {
  return linesOf(error)
    .map((line) => `${program}: ${printable(line)}\n`)
    .join("");
}

function linesOf(error: unknown): readonly string[] {
  if (error instanceof ConfigError) return error.message.split("\n");
  if (error instanceof SocketError) return [`${error.message} (${error.remedy})`];
  if (SPEAKING.some((kind) => error instanceof kind)) return [(error as Error).message];
  return [systemText(error)];
}

function systemText(error: unknown): string {
  const { message, code, port } = error as { message?: string; code?: string; port?: number };
  const text = message ?? String(error);
  const remedy = remedyOf(code, port);
  return remedy === undefined
    ? `${text} (see what this machine can do with: pbsctl doctor)`
    : `${text} (${remedy})`;
}

function remedyOf(code: string | undefined, port: number | undefined): string | undefined {
  if (code === "EACCES" || code === "EPERM")
    return "run as root, or as a service with the capabilities it needs";
  if (code !== "EADDRINUSE") return undefined;
  return port === 270
    ? "another program has GIST's port 270; stop it"
    : "stop the program that has the port, or change [signalling] tls_port";
}
