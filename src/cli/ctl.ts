/** pbsctl: the control program of pbsd. */
import { DEFAULT_SOCKET } from "../config/config.js";
import type { Command, Output } from "./command.js";
import { authenticateCommand } from "./commands/authenticate.js";
import { blocksCommand, unblockCommand } from "./commands/blocks.js";
import { denyCommand, grantCommand, pendingCommand, revokeCommand } from "./commands/decide.js";
import { doctorCommand } from "./commands/doctor.js";
import { eventsCommand } from "./commands/events.js";
import { explainCommand } from "./commands/explain.js";
import { flowCommand, flowsCommand } from "./commands/flows.js";
import { keysCommands } from "./commands/keys.js";
import { loadCommand } from "./commands/load.js";
import { peersCommand } from "./commands/peers.js";
import { requestCommand } from "./commands/request.js";
import { statusCommand } from "./commands/status.js";
import { type ControlProgram, runControl } from "./control-program.js";

const COMMANDS: readonly Command[] = [
  statusCommand,
  flowsCommand,
  flowCommand,
  requestCommand,
  pendingCommand,
  grantCommand,
  denyCommand,
  authenticateCommand,
  revokeCommand,
  blocksCommand,
  unblockCommand,
  eventsCommand,
  peersCommand,
  explainCommand,
  doctorCommand,
  loadCommand,
  ...keysCommands,
];

const PBSCTL: ControlProgram = {
  name: "pbsctl",
  daemon: "pbsd",
  defaultSocket: DEFAULT_SOCKET,
  commands: COMMANDS,
  values: 'Sizes: 1500, "10MB", "10MiB". Durations: "500ms", "30s", "10m", "2h". ID: any unique beginning.\n',
};

/** Runs one command line, without the names of node and script. Resolves to the exit status; does not reject. */
export function pbsctl(args: readonly string[], output: Output): Promise<number> {
  return runControl(PBSCTL, args, output);
}
