/** gistd's command line. */
import { hostname } from "node:os";
import { DEFAULT_GISTD_FILE, type GistdConfig } from "../config/gistd-config.js";
import { loadGistdConfig } from "../config/gistd-load.js";
import { assertUnused } from "../control/socket.js";
import { cleanUpExits } from "../gist/transport/cleanup.js";
import { GistDaemon } from "./gistd-daemon.js";
import { checkFiles, print, runProgram, serve } from "./lifecycle.js";
import { makeLogger } from "./logger.js";
import { gistdNeedsRestart } from "./reload.js";

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
  return runProgram({ name: "gistd", help: HELP, check, cleanUp, run }, args);
}

function load(file: string | undefined): GistdConfig {
  return loadGistdConfig(file ?? DEFAULT_GISTD_FILE);
}

function check(file: string | undefined): number {
  const config = load(file);
  return checkFiles("gistd", config, [config.control.group, config.service.group]);
}

async function cleanUp(file: string | undefined): Promise<number> {
  await assertUnused({ path: load(file).control.socket, owner: "gistd" });
  await cleanUpExits();
  return print("rules and routes of signalling are removed\n");
}

function run(file: string | undefined): Promise<void> {
  const config = load(file);
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
