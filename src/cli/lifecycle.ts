/** What the daemons have in common: how they start, the signals, and the ends that they can come to. */
import { type Identity, KeysError, loadIdentity } from "../authorization/keys.js";
import type { LogLevel } from "../config/config.js";
import { ConfigError } from "../config/error.js";
import { groupId } from "../control/socket.js";
import { EXIT, parseArguments, textOf, UsageError } from "./errors.js";
import { failureText } from "./failure.js";
import type { makeLogger } from "./logger.js";
import { feedWatchdog, notifySystemd } from "./notify.js";
import { version } from "./version.js";

/** Time that a clean end may take. */
const STOP_TIMEOUT = 5000;

export type Log = ReturnType<typeof makeLogger>;

/** A daemon's program: what its options do. `file` is that of --config, if it was given. */
export interface DaemonProgram {
  readonly name: string;
  readonly help: string;
  readonly check: (file: string | undefined) => number;
  readonly cleanUp: (file: string | undefined) => Promise<number>;
  readonly run: (file: string | undefined) => Promise<void>;
}

/** Runs one command line to its end; the process exits unless a daemon runs now. */
export async function runProgram(program: DaemonProgram, args: readonly string[]): Promise<void> {
  try {
    const status = await dispatch(program, args);
    if (status !== undefined) process.exit(status);
  } catch (error) {
    const wrong = error instanceof UsageError || error instanceof ConfigError;
    const text =
      error instanceof UsageError ? `${program.name}: ${error.message}\n` : failureText(error, program.name);
    process.stderr.write(text);
    process.exit(wrong ? EXIT.usage : EXIT.failed);
  }
}

/** The exit status; undefined when a daemon runs now. */
async function dispatch(program: DaemonProgram, args: readonly string[]): Promise<number | undefined> {
  const parsed = parseArguments(args, {
    config: { type: "string" },
    check: { type: "boolean" },
    cleanup: { type: "boolean" },
    help: { type: "boolean", short: "h" },
    version: { type: "boolean" },
  });
  const { values, positionals } = parsed;
  if (positionals.length > 0)
    throw new UsageError(`unexpected "${positionals[0]}"; see ${program.name} --help`);
  if (values["help"] === true) return print(program.help);
  if (values["version"] === true) return print(`${version}\n`);
  if (values["check"] === true && values["cleanup"] === true)
    throw new UsageError("--check and --cleanup exclude each other");
  const file = textOf(parsed, "config");
  if (values["cleanup"] === true) return program.cleanUp(file);
  if (values["check"] === true) return program.check(file);
  await program.run(file);
  return undefined;
}

export function print(text: string): number {
  process.stdout.write(text);
  return EXIT.done;
}

export interface Checkable {
  readonly file: string;
  readonly identity: {
    readonly certificate: string;
    readonly key: string;
    readonly authorities: readonly string[];
  };
}

/**
 * --check: everything that can be said without changing anything. A fault in a named file is a fault of the
 * configuration.
 */
export function checkFiles(
  name: string,
  { file, identity }: Checkable,
  groups: readonly (string | null)[],
): number {
  try {
    identityOf(identity);
    for (const group of groups) if (group !== null) groupId(group);
  } catch (error) {
    process.stderr.write(failureText(error, name));
    return EXIT.usage;
  }
  return print(`${file} is good\n`);
}

/** Key and certificates of a configuration. Throws KeysError. */
export function identityOf({ certificate, key, authorities }: Checkable["identity"]) {
  return loadIdentity({ certificateFile: certificate, keyFile: key, authorityFiles: authorities });
}

/**
 * The same read again while the daemon runs. Throws KeysError, also when the key is another one: it is the name by which
 * the peers know this node.
 */
export function renewedIdentity(before: Identity, files: Checkable["identity"]): Identity {
  const after = identityOf(files);
  if (before.publicKey.equals(after.publicKey)) return after;
  throw new KeysError(`${files.key} is another key than the one in use; a new key needs a restart`);
}

export interface Service<C> {
  /** Of the program. */
  readonly name: string;
  /** What a reader of the log should know when it ends by itself, such as "the rules stay"; empty for nothing. */
  readonly atEnd: string;
  readonly config: C;
  readonly log: Log;
  readonly start: () => Promise<Running<C>>;
  readonly load: () => C;
  /** Sections that differ and only a restart takes over. */
  readonly needRestart: (before: C, after: C) => readonly string[];
}

export interface Running<C> {
  /** Takes over what can be taken over while running. Throws KeysError, and has changed nothing then. */
  reload(config: C): void;
  stop(): Promise<void>;
}

interface Common {
  readonly file: string;
  readonly log: { readonly level: LogLevel };
}

/** Starts a daemon, and resolves when it is ready; from then on signals decide. */
export async function serve<C extends Common>(service: Service<C>): Promise<void> {
  const { name, config, log, atEnd } = service;
  const die = (error: unknown): void => {
    log.fatal({ err: error }, joined(`${name} ends because of an error`, atEnd));
    process.exit(EXIT.failed);
  };
  process.on("uncaughtException", die);
  process.on("unhandledRejection", die);
  // A log that nobody reads any more is no reason to end.
  process.stdout.on("error", () => undefined);

  const running = await service.start();
  const stopWatchdog = feedWatchdog(log);
  process.on("SIGHUP", () => reload(service, running));
  const end = (signal: NodeJS.Signals): void => {
    log.info({ signal }, joined("stopping", atEnd));
    stopWatchdog();
    notifySystemd("STOPPING=1", log);
    setTimeout(() => die(new Error("stopping took too long")), STOP_TIMEOUT).unref();
    // Nothing else ends the process: the signalling queue cannot be closed.
    running.stop().then(() => process.exit(EXIT.done), die);
  };
  process.once("SIGTERM", end);
  process.once("SIGINT", end);
  log.info({ version, config: config.file }, "ready");
  notifySystemd("READY=1", log);
}

function joined(what: string, atEnd: string): string {
  return atEnd === "" ? what : `${what}; ${atEnd}`;
}

/** Without effect when the new configuration is wrong. */
function reload<C extends Common>({ config, log, load, needRestart }: Service<C>, running: Running<C>): void {
  try {
    const after = load();
    running.reload(after);
    // Compared with what is running, not with what was read last.
    const restart = needRestart(config, after);
    if (restart.length > 0) log.warn({ sections: restart }, "changed, and needs a restart to take effect");
    log.level = after.log.level;
    log.info({}, "configuration read again");
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof KeysError)) throw error;
    log.error(
      { problems: error.message.split("\n") },
      "the configuration or a file that it names is wrong; the old one stays in force",
    );
  }
}
