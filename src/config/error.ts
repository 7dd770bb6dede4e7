/** What is wrong with a configuration, and what to do about it. */

export interface ConfigProblem {
  /** Line in the file, from 1; 0 when the problem is the file itself. */
  readonly line: number;
  /** Such as "rule[1].volume"; empty when the problem is the file itself. */
  readonly field: string;
  readonly message: string;
  readonly remedy: string;
}

/** Every problem of one file; `message` is a line for each, ready for a terminal. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly file: string;
  readonly problems: readonly ConfigProblem[];

  constructor(file: string, problems: readonly ConfigProblem[]) {
    super(problems.map((problem) => formatProblem(file, problem)).join("\n"));
    this.file = file;
    this.problems = problems;
  }
}

function formatProblem(file: string, { line, field, message, remedy }: ConfigProblem): string {
  const where = line === 0 ? file : `${file}:${line}`;
  return [where, field, `${message} (${remedy})`].filter((part) => part !== "").join(": ");
}

/** "rule[1].volume" of ["rule", 1, "volume"]. */
export function fieldName(path: readonly PropertyKey[]): string {
  return path.reduce<string>((name, part) => {
    if (typeof part === "number") return `${name}[${part}]`;
    return name === "" ? String(part) : `${name}.${String(part)}`;
  }, "");
}
