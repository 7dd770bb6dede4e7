/** pbsctl: finds the command, checks its usage, runs it, and turns what goes wrong into one line and a status. */
import { DEFAULT_SOCKET } from "../config/config.js";
import { suggest } from "../config/suggest.js";
import { Client } from "./client.js";
import type { Command, Output } from "./command.js";
import { CommandError, EXIT, type Options, parseArguments, textOf, UsageError } from "./errors.js";
import { denyCommand, grantCommand, pendingCommand, revokeCommand } from "./commands/decide.js";
import { doctorCommand } from "./commands/doctor.js";
import { eventsCommand } from "./commands/events.js";
import { explainCommand } from "./commands/explain.js";
import { flowCommand, flowsCommand } from "./commands/flows.js";
import { keysCommands } from "./commands/keys.js";
import { peersCommand } from "./commands/peers.js";
import { requestCommand } from "./commands/request.js";
import { statusCommand } from "./commands/status.js";
import { printable } from "./table.js";
import { version } from "./version.js";

const COMMANDS: readonly Command[] = [
  statusCommand,
  flowsCommand,
  flowCommand,
  requestCommand,
  pendingCommand,
  grantCommand,
  denyCommand,
  revokeCommand,
  eventsCommand,
  peersCommand,
  explainCommand,
  doctorCommand,
  ...keysCommands,
];

const GLOBAL = {
  socket: { type: "string" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
  version: { type: "boolean" },
} as const satisfies Options;

/** Runs one command line, without the names of node and script. Resolves to the exit status; does not reject. */
export async function pbsctl(args: readonly string[], output: Output): Promise<number> {
  try {
    return await dispatch(args, output);
  } catch (error) {
    return await report(error, args, output);
  }
}

async function dispatch(args: readonly string[], output: Output): Promise<number> {
  const found = findCommand(args);
  if (found === undefined) return withoutCommand(args, output);
  const { command, rest } = found;
  const parsed = parseArguments(rest, { ...command.options, ...GLOBAL });
  if (parsed.values["help"] === true) {
    await output.write(helpOf(command));
    return EXIT.done;
  }
  checkArguments(command, parsed.positionals);
  const client = new Client(textOf(parsed, "socket") ?? DEFAULT_SOCKET);
  return command.run({ client, json: parsed.values["json"] === true, output }, parsed);
}

async function withoutCommand(args: readonly string[], output: Output): Promise<number> {
  const { values } = parseArguments(args, GLOBAL);
  if (values["version"] === true) await output.write(`${version}\n`);
  else if (values["help"] === true) await output.write(help());
  else throw new UsageError('no command; "pbsctl --help" lists them');
  return EXIT.done;
}

interface Found {
  readonly command: Command;
  /** All arguments but the words of the command's name. */
  readonly rest: readonly string[];
}

/** The command is the first word that is neither an option nor the value of --socket. Names may have two words. */
function findCommand(args: readonly string[]): Found | undefined {
  const at = args.findIndex((arg, i) => !arg.startsWith("-") && args[i - 1] !== "--socket");
  const [first, second] = args.slice(at);
  if (at < 0 || first === undefined) return undefined;
  const two = COMMANDS.find(({ name }) => name === `${first} ${second}`);
  const command = two ?? COMMANDS.find(({ name }) => name === first);
  if (command === undefined) throw new UsageError(unknownCommand(first));
  return { command, rest: args.toSpliced(at, two === undefined ? 1 : 2) };
}

function unknownCommand(word: string): string {
  if (word === "keys")
    return `keys needs one of: ${keysCommands.map(({ name }) => name.slice(5)).join(", ")}`;
  const near = suggest(
    word,
    COMMANDS.map(({ name }) => name),
  );
  const hint = near === undefined ? '"pbsctl --help" lists the commands' : `did you mean "${near}"?`;
  return `unknown command "${word}"; ${hint}`;
}

function checkArguments(command: Command, positionals: readonly string[]): void {
  const { min, max } = command.arguments;
  if (positionals.length >= min && positionals.length <= max) return;
  throw new UsageError(`usage: pbsctl ${command.name} ${command.usage}`.trimEnd());
}

async function report(error: unknown, args: readonly string[], output: Output): Promise<number> {
  if (error instanceof UsageError) {
    output.error(`pbsctl: ${printable(error.message)}\n`);
    return EXIT.usage;
  }
  const { code, message, remedy } =
    error instanceof CommandError
      ? error
      : new CommandError("internal", String(error), "report this as a bug");
  if (args.includes("--json"))
    await output.write(`${JSON.stringify({ error: { code, message, remedy } })}\n`);
  else output.error(`pbsctl: ${printable(message)} (${printable(remedy)})\n`);
  return EXIT.failed;
}

function help(): string {
  const names = COMMANDS.map(({ name, usage }) => `${name} ${usage}`.trimEnd());
  const width = Math.min(44, Math.max(...names.map((name) => name.length)));
  const lines = COMMANDS.map(({ summary }, i) => {
    const name = names[i] ?? "";
    return name.length > width
      ? `  ${name}\n  ${"".padEnd(width)}  ${summary}`
      : `  ${name.padEnd(width)}  ${summary}`;
  });
  return `pbsctl [--socket PATH] [--json] COMMAND

${lines.join("\n")}

  --socket PATH  the daemon's control socket, default ${DEFAULT_SOCKET}
  --json         one JSON document instead of text
  --help         of pbsctl, or of the command before it
  --version      of pbsctl

Sizes: 1500, "10MB", "10MiB". Durations: "500ms", "30s", "10m", "2h". ID: any unique beginning.
Exit status: 0 done, 1 refused or failed, 2 wrong usage.
`;
}

function helpOf({ name, usage, summary, help: more }: Command): string {
  const head = `pbsctl ${name} ${usage}`.trimEnd();
  return `${head}\n\n${summary}.\n${more === "" ? "" : `\n${more}\n`}`;
}
