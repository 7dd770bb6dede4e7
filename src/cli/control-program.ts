/** A control program: finds the command, checks its usage, runs it, and turns what goes wrong into one line and a status. */
import { suggest } from "../config/suggest.js";
import { Client } from "./client.js";
import type { Command, Output } from "./command.js";
import { CommandError, EXIT, type Options, parseArguments, textOf, UsageError } from "./errors.js";
import { printable } from "./table.js";
import { version } from "./version.js";

export interface ControlProgram {
  readonly name: string;
  /** The daemon that it speaks to. */
  readonly daemon: string;
  readonly defaultSocket: string;
  readonly commands: readonly Command[];
  /** Lines of --help about how values are written; empty for none. */
  readonly values: string;
}

const GLOBAL = {
  socket: { type: "string" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
  version: { type: "boolean" },
} as const satisfies Options;

/** Runs one command line, without the names of node and script. Resolves to the exit status; does not reject. */
export async function runControl(
  program: ControlProgram,
  args: readonly string[],
  output: Output,
): Promise<number> {
  try {
    return await dispatch(program, args, output);
  } catch (error) {
    return await report(program, error, args, output);
  }
}

async function dispatch(program: ControlProgram, args: readonly string[], output: Output): Promise<number> {
  const found = findCommand(program, args);
  if (found === undefined) return withoutCommand(program, args, output);
  const { command, rest } = found;
  const parsed = parseArguments(rest, { ...command.options, ...GLOBAL });
  if (parsed.values["help"] === true) {
    await output.write(helpOf(program, command));
    return EXIT.done;
  }
  checkArguments(program, command, parsed.positionals);
  const client = new Client(textOf(parsed, "socket") ?? program.defaultSocket, program.daemon);
  return command.run({ client, json: parsed.values["json"] === true, output }, parsed);
}

async function withoutCommand(
  program: ControlProgram,
  args: readonly string[],
  output: Output,
): Promise<number> {
  const { values } = parseArguments(args, GLOBAL);
  if (values["version"] === true) await output.write(`${version}\n`);
  else if (values["help"] === true) await output.write(help(program));
  else throw new UsageError(`no command; "${program.name} --help" lists them`);
  return EXIT.done;
}

interface Found {
  readonly command: Command;
  /** All arguments but the words of the command's name. */
  readonly rest: readonly string[];
}

/** The command is the first word that is neither an option nor the value of --socket. Names may have two words. */
function findCommand(program: ControlProgram, args: readonly string[]): Found | undefined {
  const at = args.findIndex((arg, i) => !arg.startsWith("-") && args[i - 1] !== "--socket");
  const [first, second] = args.slice(at);
  if (at < 0 || first === undefined) return undefined;
  const two = program.commands.find(({ name }) => name === `${first} ${second}`);
  const command = two ?? program.commands.find(({ name }) => name === first);
  if (command === undefined) throw new UsageError(unknownCommand(program, first));
  return { command, rest: args.toSpliced(at, two === undefined ? 1 : 2) };
}

function unknownCommand({ name: program, commands }: ControlProgram, word: string): string {
  const names = commands.map(({ name }) => name);
  const family = names.filter((name) => name.startsWith(`${word} `));
  if (family.length > 0)
    return `${word} needs one of: ${family.map((name) => name.slice(word.length + 1)).join(", ")}`;
  const near = suggest(word, names);
  const hint = near === undefined ? `"${program} --help" lists the commands` : `did you mean "${near}"?`;
  return `unknown command "${word}"; ${hint}`;
}

function checkArguments(program: ControlProgram, command: Command, positionals: readonly string[]): void {
  const { min, max } = command.arguments;
  if (positionals.length >= min && positionals.length <= max) return;
  throw new UsageError(`usage: ${program.name} ${command.name} ${command.usage}`.trimEnd());
}

async function report(
  { name }: ControlProgram,
  error: unknown,
  args: readonly string[],
  output: Output,
): Promise<number> {
  if (error instanceof UsageError) {
    output.error(`${name}: ${printable(error.message)}\n`);
    return EXIT.usage;
  }
  const { code, message, remedy } =
    error instanceof CommandError
      ? error
      : new CommandError("internal", String(error), "report this as a bug");
  if (args.includes("--json"))
    await output.write(`${JSON.stringify({ error: { code, message, remedy } })}\n`);
  else output.error(`${name}: ${printable(message)} (${printable(remedy)})\n`);
  return EXIT.failed;
}

function help({ name: program, commands, defaultSocket, values }: ControlProgram): string {
  const names = commands.map(({ name, usage }) => `${name} ${usage}`.trimEnd());
  const width = Math.min(44, Math.max(...names.map((name) => name.length)));
  const lines = commands.map(({ summary }, i) => {
    const name = names[i] ?? "";
    return name.length > width
      ? `  ${name}\n  ${"".padEnd(width)}  ${summary}`
      : `  ${name.padEnd(width)}  ${summary}`;
  });
  return `${program} [--socket PATH] [--json] COMMAND

${lines.join("\n")}

  --socket PATH  the daemon's control socket, default ${defaultSocket}
  --json         one JSON document instead of text
  --help         of ${program}, or of the command before it
  --version      of ${program}

${values}Exit status: 0 done, 1 refused or failed, 2 wrong usage.
`;
}

function helpOf({ name: program }: ControlProgram, { name, usage, summary, help: more }: Command): string {
  const head = `${program} ${name} ${usage}`.trimEnd();
  return `${head}\n\n${summary}.\n${more === "" ? "" : `\n${more}\n`}`;
}
