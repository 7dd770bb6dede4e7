/** How a command ends when it does not end well. */
import { parseArgs, type ParseArgsConfig } from "node:util";

/** Wrong usage: exit status 2, nothing was changed. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Refused or failed: exit status 1. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly code: string;
  readonly remedy: string;

  constructor(code: string, message: string, remedy: string) {
    super(message);
    this.code = code;
    this.remedy = remedy;
  }
}

export const EXIT = { done: 0, failed: 1, usage: 2 } as const;

export type Options = NonNullable<ParseArgsConfig["options"]>;

export interface Parsed {
  readonly values: Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;
  readonly positionals: readonly string[];
}

/** node:util parseArgs with errors of one line. Throws {@link UsageError}. */
export function parseArguments(args: readonly string[], options: Options): Parsed {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    const code = String((error as NodeJS.ErrnoException).code);
    if (!code.startsWith("ERR_PARSE_ARGS")) throw error;
    throw new UsageError(firstSentence((error as Error).message));
  }
}

function firstSentence(message: string): string {
  return (message.split(/[.\n](?:\s|$)/)[0] ?? message).trim();
}

/** The text of an option that is given once; undefined when it is not there. */
export function textOf(parsed: Parsed, name: string): string | undefined {
  const value = parsed.values[name];
  return typeof value === "string" ? value : undefined;
}

/** Throws {@link UsageError} when it is not there. */
export function requiredText(parsed: Parsed, name: string): string {
  const value = textOf(parsed, name);
  if (value === undefined || value === "") throw new UsageError(`--${name} is missing`);
  return value;
}

/** The texts of an option that may be given several times. */
export function textsOf(parsed: Parsed, name: string): readonly string[] {
  const value = parsed.values[name];
  return Array.isArray(value) ? (value as readonly string[]) : [];
}

/** A whole number of an option. Throws {@link UsageError}. */
export function numberOf(parsed: Parsed, name: string, max: number): number | undefined {
  const value = textOf(parsed, name);
  if (value === undefined) return undefined;
  if (/^\d{1,12}$/.test(value) && Number(value) <= max) return Number(value);
  throw new UsageError(`--${name} "${value}" is not a whole number up to ${max}`);
}
