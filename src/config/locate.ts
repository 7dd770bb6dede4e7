/**
 * Where things stand in a TOML text: the parser gives values without lines, and an error without a line makes
 * people search. Reads only texts that the parser has accepted, so it checks nothing.
 */

export type Path = readonly (string | number)[];

/** Lines, counted from 1, of every key and list element of a valid TOML text. */
export class Locations {
  readonly #lines: ReadonlyMap<string, number>;

  constructor(toml: string) {
    this.#lines = new Scanner(toml).scan();
  }

  /** The line of this path, or of the nearest part above it that is there; 1 for what is missing at the top. */
  line(path: Path): number {
    for (let length = path.length; length > 0; length--) {
      const line = this.#lines.get(JSON.stringify(path.slice(0, length)));
      if (line !== undefined) return line;
    }
    return 1;
  }
}

class Scanner {
  readonly #text: string;
  #at = 0;
  #line = 1;
  readonly #lines = new Map<string, number>();
  /** How many elements each array of tables has so far, by its path. */
  readonly #tables = new Map<string, number>();

  constructor(text: string) {
    this.#text = text;
  }

  scan(): ReadonlyMap<string, number> {
    let table: Path = [];
    for (this.#skip(); this.#at < this.#text.length; this.#skip()) {
      if (this.#peek() === "[") table = this.#header();
      else this.#pair(table);
    }
    return this.#lines;
  }

  #header(): Path {
    const line = this.#line;
    const list = this.#text.startsWith("[[", this.#at);
    this.#advance(list ? 2 : 1);
    const keys = this.#keys();
    this.#advance(list ? 2 : 1);
    const parent = keys.slice(0, -1).reduce<Path>((path, key) => this.#lastElement([...path, key]), []);
    const own: Path = [...parent, ...keys.slice(-1)];
    if (!list) return this.#record(own, line);
    this.#record(own, line);
    const index = this.#tables.get(JSON.stringify(own)) ?? 0;
    this.#tables.set(JSON.stringify(own), index + 1);
    return this.#record([...own, index], line);
  }

  #lastElement(path: Path): Path {
    const count = this.#tables.get(JSON.stringify(path));
    return count === undefined ? path : [...path, count - 1];
  }

  #record(path: Path, line: number): Path {
    const key = JSON.stringify(path);
    if (!this.#lines.has(key)) this.#lines.set(key, line);
    return path;
  }

  #pair(table: Path): void {
    const line = this.#line;
    let path = table;
    for (const key of this.#keys()) path = this.#record([...path, key], line);
    this.#advance(1); // =
    this.#skip();
    this.#value(path);
  }

  /** Keys joined by dots, bare or quoted. Ends before "=" or "]". */
  #keys(): string[] {
    const keys: string[] = [];
    for (;;) {
      this.#skip();
      const next = this.#peek();
      if (next === "=" || next === "]" || next === "") return keys;
      if (next === ".") this.#advance(1);
      else keys.push(next === '"' || next === "'" ? this.#string() : this.#bare());
    }
  }

  #bare(): string {
    const start = this.#at;
    while (/[A-Za-z0-9_-]/.test(this.#peek())) this.#at++;
    // What cannot be in a valid text must not stop the scanner either.
    if (this.#at === start) this.#at++;
    return this.#text.slice(start, this.#at);
  }

  #value(path: Path): void {
    const next = this.#peek();
    if (next === "[") this.#list(path);
    else if (next === "{") this.#inlineTable(path);
    else if (next === '"' || next === "'") this.#string();
    else this.#scalar();
  }

  #scalar(): void {
    // At least one character, so that what cannot be in a valid text does not stop the scanner.
    do this.#advance(1);
    while (this.#at < this.#text.length && !/[,\]}#\n]/.test(this.#peek()));
  }

  #list(path: Path): void {
    this.#advance(1);
    for (let index = 0; ;) {
      this.#skip();
      const next = this.#peek();
      if (next === "]" || next === "") break;
      if (next === ",") {
        this.#advance(1);
        index++;
      } else this.#value(this.#record([...path, index], this.#line));
    }
    this.#advance(1);
  }

  #inlineTable(path: Path): void {
    this.#advance(1);
    for (;;) {
      this.#skip();
      const next = this.#peek();
      if (next === "}" || next === "") break;
      if (next === ",") this.#advance(1);
      else this.#pair(path);
    }
    this.#advance(1);
  }

  /** A string of any of the four kinds; its text, with escapes left as they are. */
  #string(): string {
    const mark = this.#peek();
    const delimiter = this.#text.startsWith(mark.repeat(3), this.#at) ? mark.repeat(3) : mark;
    this.#advance(delimiter.length);
    const start = this.#at;
    while (this.#at < this.#text.length && !this.#text.startsWith(delimiter, this.#at))
      this.#advance(mark === '"' && this.#peek() === "\\" ? 2 : 1);
    const text = this.#text.slice(start, this.#at);
    this.#advance(delimiter.length);
    // A multi-line string may end in quotes of its own.
    while (delimiter.length === 3 && this.#peek() === mark) this.#advance(1);
    return text;
  }

  /** Past spaces, line ends and comments. */
  #skip(): void {
    for (;;) {
      const next = this.#peek();
      if (next === "#") while (this.#at < this.#text.length && this.#peek() !== "\n") this.#at++;
      else if (next === " " || next === "\t" || next === "\r" || next === "\n" || next === "\uFEFF")
        this.#advance(1);
      else return;
    }
  }

  #peek(): string {
    return this.#text[this.#at] ?? "";
  }

  #advance(count: number): void {
    for (let i = 0; i < count; i++) if (this.#text[this.#at++] === "\n") this.#line++;
  }
}
