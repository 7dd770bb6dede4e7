/** pbsd's command line. */
import { existsSync } from "node:fs";
import { type Config, DEFAULT_CONFIG_FILE, DEFAULT_SOCKET } from "../config/config.js";
import { ConfigError } from "../config/error.js";
import { loadConfig, parseConfig, readConfig } from "../config/load.js";
import { assertUnused } from "../control/socket.js";
import { cleanUpExits } from "../gist/transport/cleanup.js";
import { Firewall } from "../traffic/firewall.js";
import { Paths } from "../traffic/paths.js";
import { XdpDatapath } from "../traffic/xdp.js";
import { Daemon } from "./daemon.js";
import { failureText } from "./failure.js";
import { closeAsLastStarted, forgetStart, rememberStart } from "./last-start.js";
import { checkFiles, print, runProgram, serve } from "./lifecycle.js";
import { makeLogger } from "./logger.js";
import { CLEANUP_OPTIONS } from "./parts.js";
import { needRestart } from "./reload.js";

const HELP = `pbsd [--config FILE] [--check | --cleanup]

Takes part in permission-based sending: nobody sends to a host until that host said yes.

  --config FILE  the configuration, default ${DEFAULT_CONFIG_FILE}
  --check        says whether the configuration and the files that it names are good; changes nothing
  --cleanup      takes rules, sets and routes of its own out of the kernel; the machine is open afterwards
  --help, --version

SIGHUP reads the configuration again, SIGTERM ends the daemon; the rules stay, so that nothing unpermitted passes.
Exit status: 0 done, 1 failed, 2 wrong usage or configuration.
`;

/** Runs one command line to its end; the process exits. */
export function pbsd(args: readonly string[]): Promise<void> {
  return runProgram({ name: "pbsd", help: HELP, check, cleanUp, run }, args);
}

function load(file: string | undefined): Config {
  return loadConfig(file ?? DEFAULT_CONFIG_FILE);
}

function check(file: string | undefined): number {
  const config = load(file);
  return checkFiles("pbsd", config, [config.control.group]);
}

/** Works without a good configuration too: it may be what has gone wrong. */
async function cleanUp(file: string | undefined): Promise<number> {
  const socket = socketOf(file);
  await assertUnused({ path: socket, owner: "pbsd" });
  await (await Firewall.probe(CLEANUP_OPTIONS)).remove();
  await cleanUpExits();
  await Paths.cleanup();
  XdpDatapath.detach();
  forgetStart(file ?? DEFAULT_CONFIG_FILE, socket);
  return print("rules, sets, routes and XDP programs are removed; this machine is open\n");
}

function socketOf(file: string | undefined): string {
  if (file === undefined && !existsSync(DEFAULT_CONFIG_FILE)) return DEFAULT_SOCKET;
  try {
    return load(file).control.socket;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(failureText(error));
    return DEFAULT_SOCKET;
  }
}

async function run(file: string | undefined): Promise<void> {
  const path = file ?? DEFAULT_CONFIG_FILE;
  try {
    await runWith(path);
  } catch (error) {
    await stayClosed();
    throw error;
  }
}

async function runWith(path: string): Promise<void> {
  const text = readConfig(path);
  const config = parseConfig(text, path);
  const log = makeLogger(config.node.name, config.log.level, process.stdout);
  return serve({
    name: "pbsd",
    atEnd: "the rules stay, so nothing unpermitted passes",
    config,
    log,
    start: async () => {
      const daemon = await Daemon.start(config, log);
      try {
        rememberStart(text);
      } catch (error) {
        log.warn({ err: error }, "a start that fails cannot close this machine as it is now");
      }
      return daemon;
    },
    load: () => loadConfig(config.file),
    needRestart,
  });
}

/** A start that fails leaves the machine as closed as the last one that did not. */
async function stayClosed(): Promise<void> {
  try {
    if (await closeAsLastStarted())
      process.stderr.write("pbsd: the rules of the last start are in place, so this machine is closed\n");
  } catch (error) {
    process.stderr.write(failureText(error, "pbsd: rules of the last start"));
  }
}
