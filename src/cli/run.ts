/** pbsd: command line, signals, and the ends that a daemon can come to. */
import { existsSync } from "node:fs";
import { loadIdentity } from "../authorization/keys.js";
import { type Config, DEFAULT_CONFIG_FILE, DEFAULT_SOCKET } from "../config/config.js";
import { ConfigError } from "../config/error.js";
import { loadConfig } from "../config/load.js";
import { assertUnused, groupId } from "../control/socket.js";
import { Firewall } from "../traffic/firewall.js";
import { Daemon } from "./daemon.js";
import { EXIT, parseArguments, textOf, UsageError } from "./errors.js";
import { failureText } from "./failure.js";
import { makeLogger } from "./logger.js";
import { feedWatchdog, notifySystemd } from "./notify.js";
import { CLEANUP_OPTIONS } from "./parts.js";
import { needRestart } from "./reload.js";
import { version } from "./version.js";

const HELP = `pbsd [--config FILE] [--check | --cleanup]

Takes part in permission-based sending: nobody sends to a host until that host said yes.

  --config FILE  the configuration, default ${DEFAULT_CONFIG_FILE}
  --check        says whether the configuration and the files that it names are good; changes nothing
  --cleanup      takes rules and sets out of the kernel; the machine is open afterwards
  --help, --version

SIGHUP reads the configuration again, SIGTERM ends the daemon; the rules stay, so that nothing unpermitted passes.
Exit status: 0 done, 1 failed, 2 wrong usage or configuration.
`;

/** Time that a clean end may take. */
const STOP_TIMEOUT = 5000;

/** Runs one command line to its end; the process exits. */
export async function pbsd(args: readonly string[]): Promise<void> {
  try {
    const status = await dispatch(args);
    if (status !== undefined) process.exit(status);
  } catch (error) {
    const wrong = error instanceof UsageError || error instanceof ConfigError;
    process.stderr.write(error instanceof UsageError ? `pbsd: ${error.message}\n` : failureText(error));
    process.exit(wrong ? EXIT.usage : EXIT.failed);
  }
}

/** The exit status; undefined when a daemon runs now. */
async function dispatch(args: readonly string[]): Promise<number | undefined> {
  const parsed = parseArguments(args, {
    config: { type: "string" },
    check: { type: "boolean" },
    cleanup: { type: "boolean" },
    help: { type: "boolean", short: "h" },
    version: { type: "boolean" },
  });
  const { values, positionals } = parsed;
  if (positionals.length > 0) throw new UsageError(`unexpected "${positionals[0]}"; see pbsd --help`);
  if (values["help"] === true) return print(HELP);
  if (values["version"] === true) return print(`${version}\n`);
  if (values["check"] === true && values["cleanup"] === true)
    throw new UsageError("--check and --cleanup exclude each other");
  const file = textOf(parsed, "config");
  if (values["cleanup"] === true) return cleanUp(file);
  const config = loadConfig(file ?? DEFAULT_CONFIG_FILE);
  if (values["check"] === true) return check(config);
  await run(config);
  return undefined;
}

function print(text: string): number {
  process.stdout.write(text);
  return EXIT.done;
}

/** Everything that can be said without changing anything. A fault in a named file is a fault of the configuration. */
function check({ file, identity, control }: Config): number {
  try {
    loadIdentity({
      certificateFile: identity.certificate,
      keyFile: identity.key,
      authorityFiles: identity.authorities,
    });
    if (control.group !== null) groupId(control.group);
  } catch (error) {
    process.stderr.write(failureText(error));
    return EXIT.usage;
  }
  return print(`${file} is good\n`);
}

/** Works without a good configuration too: it may be what has gone wrong. */
async function cleanUp(file: string | undefined): Promise<number> {
  await assertUnused(socketOf(file));
  await (await Firewall.probe(CLEANUP_OPTIONS)).remove();
  return print("rules and sets are removed; this machine is open\n");
}

function socketOf(file: string | undefined): string {
  if (file === undefined && !existsSync(DEFAULT_CONFIG_FILE)) return DEFAULT_SOCKET;
  try {
    return loadConfig(file ?? DEFAULT_CONFIG_FILE).control.socket;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(failureText(error));
    return DEFAULT_SOCKET;
  }
}

async function run(config: Config): Promise<void> {
  const log = makeLogger(config.node.name, config.log.level, process.stdout);
  const die = (error: unknown): void => {
    log.fatal({ err: error }, "pbsd ends because of an error; the rules stay, so nothing unpermitted passes");
    process.exit(EXIT.failed);
  };
  process.on("uncaughtException", die);
  process.on("unhandledRejection", die);
  // A log that nobody reads any more is no reason to end.
  process.stdout.on("error", () => undefined);

  const daemon = await Daemon.start(config, log);
  const stopWatchdog = feedWatchdog(log);
  let current = config;
  process.on("SIGHUP", () => {
    const changed = reload(daemon, current, log);
    if (changed !== undefined) log.level = (current = changed).log.level;
  });
  const end = (signal: NodeJS.Signals): void => {
    log.info({ signal }, "stopping; the rules stay");
    stopWatchdog();
    notifySystemd("STOPPING=1", log);
    setTimeout(() => die(new Error("stopping took too long")), STOP_TIMEOUT).unref();
    // Nothing else ends the process: the signalling queue cannot be closed.
    daemon.stop().then(() => process.exit(EXIT.done), die);
  };
  process.once("SIGTERM", end);
  process.once("SIGINT", end);
  log.info({ version, config: config.file }, "ready");
  notifySystemd("READY=1", log);
}

/** The new configuration once it is in force; undefined when the old one stays. */
function reload(daemon: Daemon, before: Config, log: ReturnType<typeof makeLogger>): Config | undefined {
  try {
    const after = loadConfig(before.file);
    daemon.reload(after);
    const restart = needRestart(before, after);
    if (restart.length > 0) log.warn({ sections: restart }, "changed, and needs a restart to take effect");
    log.info({ rules: after.rules.length }, "configuration read again");
    // What needs a restart is compared with what is running, not with what was read last.
    return { ...before, rules: after.rules, log: after.log };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    log.error(
      { problems: error.message.split("\n") },
      "the configuration is wrong; the old one stays in force",
    );
    return undefined;
  }
}
