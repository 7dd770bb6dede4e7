/** gistd's command line. */
import { hostname } from "node:os";
import { DEFAULT_GISTD_FILE, type GistdConfig } from "../config/gistd-config.js";
import { loadGistdConfig } from "../config/gistd-load.js";
import { assertUnused } from "../control/socket.js";
import { cleanUpExits } from "../gist/transport/cleanup.js";
import { parseArguments, textOf, UsageError } from "./errors.js";
import { GistDaemon } from "./gistd-daemon.js";
import { checkFiles, print, runProgram, serve } from "./lifecycle.js";
import { makeLogger } from "./logger.js";
import { gistdNeedsRestart } from "./reload.js";
import { version } from "./version.js";

const HELP = `gistd [--config FILE] [--check | --cleanup]

GIST (RFC 5971) as a service: signalling applications of this machine, pbsd among them, use it through a Unix socket.

  --config FILE  the configuration, default ${DEFAULT_GISTD_FILE}
  --check        says whether the configuration and the files that it names are good; changes nothing
  --cleanup      takes out of the kernel what a gistd that was killed left there
  --help, --version

SIGHUP reads the configuration again, SIGTERM ends the daemon.
Exit status: 0 done, 1 failed, 2 wrong usage or configuration.
`;

/** Runs one command line to its end; the process exits. */
export function gistd(args: readonly string[]): Promise<void> {
  return runProgram("gistd", () => dispatch(args));
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
  if (positionals.length > 0) throw new UsageError(`unexpected "${positionals[0]}"; see gistd --help`);
  if (values["help"] === true) return print(HELP);
  if (values["version"] === true) return print(`${version}\n`);
  if (values["check"] === true && values["cleanup"] === true)
    throw new UsageError("--check and --cleanup exclude each other");
  const config = loadGistdConfig(textOf(parsed, "config") ?? DEFAULT_GISTD_FILE);
  if (values["check"] === true)
    return checkFiles("gistd", config, [config.control.group, config.service.group]);
  if (values["cleanup"] === true) return cleanUp(config);
  await run(config);
  return undefined;
}

async function cleanUp({ control }: GistdConfig): Promise<number> {
  await assertUnused({ path: control.socket, owner: "gistd" });
  await cleanUpExits();
  return print("rules and routes of signalling are removed\n");
}

function run(config: GistdConfig): Promise<void> {
  const log = makeLogger(hostname(), config.log.level, process.stdout);
  return serve({
    name: "gistd",
    atEnd: "",
    config,
    log,
    start: () => GistDaemon.start(config, log),
    load: () => loadGistdConfig(config.file),
    needRestart: gistdNeedsRestart,
  });
}
