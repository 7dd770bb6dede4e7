/** From a TOML file to a checked value, or to every problem that the file has. */
import { readFileSync, statSync } from "node:fs";
import { parse, TomlError } from "smol-toml";
import type { z } from "zod";
import { ConfigError, type ConfigProblem, fieldName } from "./error.js";
import { Locations } from "./locate.js";
import { suggest } from "./suggest.js";

/** What a configuration file of one program looks like. */
export interface Format<S extends z.ZodType> {
  readonly schema: S;
  /** Field names by section, for "did you mean". */
  readonly fields: Readonly<Record<string, readonly string[]>>;
  /** Where its user finds every field explained. */
  readonly example: string;
}

const MAX_FILE = 8 * 1024 * 1024;
/** Past these, more lines help nobody. */
const MAX_PROBLEMS = 50;

/** The text of a configuration file. Throws {@link ConfigError}. */
export function readDocument(file: string, example: string): string {
  try {
    if (statSync(file).size > MAX_FILE)
      throw fileError(file, "is larger than 8 MiB", "check that it is the right file");
    return readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw unreadable(file, example, error as NodeJS.ErrnoException);
  }
}

function unreadable(file: string, example: string, error: NodeJS.ErrnoException): ConfigError {
  if (error.code === "ENOENT")
    return fileError(file, "there is no such file", `copy ${example} there, or name another with --config`);
  if (error.code === "EACCES") return fileError(file, "may not be read by this user", "run as root");
  if (error.code === "EISDIR") return fileError(file, "is a directory", "name a file");
  return fileError(file, `cannot be read: ${error.message}`, "check the file");
}

function fileError(file: string, message: string, remedy: string): ConfigError {
  return new ConfigError(file, [{ line: 0, field: "", message, remedy }]);
}

/**
 * Checks the text of a configuration.
 * @param file name for messages
 * Throws {@link ConfigError} with all problems found.
 */
export function parseDocument<S extends z.ZodType>(
  toml: string,
  file: string,
  format: Format<S>,
): z.output<S> {
  const raw = parseToml(toml, file);
  const result = format.schema.safeParse(raw);
  if (result.success) return result.data;
  const locations = new Locations(toml);
  const problems = result.error.issues
    .flatMap((issue) => problemsOf(issue, locations, raw, format))
    .sort((a, b) => a.line - b.line);
  throw new ConfigError(file, problems.slice(0, MAX_PROBLEMS));
}

function parseToml(toml: string, file: string): unknown {
  try {
    return parse(toml);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [reason = ""] = error.message.replace(/^Invalid TOML document: /, "").split("\n");
    throw new ConfigError(file, [
      {
        line: error.line,
        field: "",
        message: `not TOML: ${reason}`,
        remedy: `look at column ${error.column}`,
      },
    ]);
  }
}

type Issue = z.core.$ZodIssue;

type AnyFormat = Format<z.ZodType>;

function problemsOf(issue: Issue, locations: Locations, raw: unknown, format: AnyFormat): ConfigProblem[] {
  const at = (path: readonly PropertyKey[], message: string, remedy: string): ConfigProblem => ({
    line: locations.line(path as readonly (string | number)[]),
    field: fieldName(path),
    message,
    remedy,
  });
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => at([...issue.path, key], ...unknownKey(issue.path, key, format)));
  if (issue.code === "custom") return [at(issue.path, issue.message, String(issue.params?.["remedy"]))];
  if (issue.code === "invalid_type") return [at(issue.path, ...wrongType(issue, raw))];
  if (issue.code === "too_small") return [at(issue.path, "is an empty list", "write one or more")];
  if (issue.code === "too_big")
    return [at(issue.path, "has too many entries", `write ${issue.maximum} at most`)];
  return [at(issue.path, issue.message, `see ${format.example}`)];
}

function unknownKey(
  path: readonly PropertyKey[],
  key: string,
  { fields: all }: AnyFormat,
): [message: string, remedy: string] {
  const section = path[0];
  const known = section === undefined ? Object.keys(all) : (all[String(section)] ?? []);
  const near = suggest(key, known);
  if (near !== undefined)
    return [`unknown ${section === undefined ? "section" : "field"}`, `did you mean "${near}"?`];
  const home = Object.entries(all).find(([, fields]) => fields.includes(key))?.[0];
  if (section === undefined && home !== undefined)
    return ["a field outside of a section", `move it below [${home}]`];
  return [`unknown ${section === undefined ? "section" : "field"}`, `known are ${known.join(", ")}`];
}

function wrongType(issue: z.core.$ZodIssueInvalidType, raw: unknown): [message: string, remedy: string] {
  const [section = "", index] = issue.path;
  if (valueAt(raw, issue.path) === undefined) return ["is missing", "write a list with one or more"];
  if (issue.expected === "array" && issue.path.length > 1)
    return ["is not a list", 'write a list such as ["ca.pem"]'];
  if (issue.expected === "array")
    return ["is not a list of sections", `write [[${String(section)}]] with two brackets`];
  const brackets = index === undefined ? `[${String(section)}]` : `[[${String(section)}]]`;
  return ["is not a section", `write ${brackets} on a line of its own`];
}

function valueAt(raw: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce((value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key], raw);
}

/** Plain objects and lists only: addresses are immutable by themselves, and bytes cannot be frozen. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  if (!Array.isArray(value) && Object.getPrototypeOf(value) !== Object.prototype) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
