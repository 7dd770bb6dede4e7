/** gistctl: the control program of gistd. */
import { DEFAULT_GISTD_CONTROL } from "../config/gistd-config.js";
import type { Output } from "./command.js";
import { gistStatusCommand } from "./commands/gist-status.js";
import { peersCommand, routesCommand } from "./commands/peers.js";
import { type ControlProgram, runControl } from "./control-program.js";

const GISTCTL: ControlProgram = {
  name: "gistctl",
  daemon: "gistd",
  defaultSocket: DEFAULT_GISTD_CONTROL,
  commands: [gistStatusCommand, peersCommand, routesCommand],
  values: "",
};

/** Runs one command line, without the names of node and script. Resolves to the exit status; does not reject. */
export function gistctl(args: readonly string[], output: Output): Promise<number> {
  return runControl(GISTCTL, args, output);
}
