/** What a command of pbsctl is. */
import type { Client } from "./client.js";
import type { Options, Parsed } from "./errors.js";

export interface Output {
  /** Written as it is. The promise resolves when the reader has taken it. */
  write(text: string): Promise<void>;
  error(text: string): void;
}

export interface Context {
  readonly client: Client;
  readonly json: boolean;
  readonly output: Output;
}

export interface Command {
  readonly name: string;
  /** After the name, such as "ID [--reason TEXT]". */
  readonly usage: string;
  /** One line. */
  readonly summary: string;
  /** Further lines of --help; empty for none. */
  readonly help: string;
  readonly options: Options;
  readonly arguments: { readonly min: number; readonly max: number };
  /** Returns the exit status. */
  run(context: Context, parsed: Parsed): Promise<number>;
}

/** One JSON document, or text for a person. */
export function show(context: Context, value: unknown, text: () => string): Promise<void> {
  return context.output.write(context.json ? `${JSON.stringify(value)}\n` : text());
}
