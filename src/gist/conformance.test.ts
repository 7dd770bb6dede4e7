/** Keeps docs/conformance.md honest: what it names exists, and what RFC 5971 requires is shown. */
import { readFileSync } from "node:fs";
import test from "ava";

const PAGE = new URL("../../docs/conformance.md", import.meta.url);
const TESTS = new URL("./", import.meta.url);
const LEVELS = ["MUST", "SHOULD", "MAY"];
const STATES = ["met", "open", "choice"];

interface Row {
  readonly section: string;
  readonly requirement: string;
  readonly level: string;
  readonly state: string;
  readonly shownBy: string;
}

/** A test as the page names it. */
interface Reference {
  readonly file: string;
  readonly title: string;
}

/** A title in a test file: `"fixed"`, a template with `${computed}` parts, or the name of a variable. */
const TITLE = /\btest(?:\.serial)?\(\s*(?:"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`|([a-z]\w*),)/g;
const COMPUTED = /\$\{[^}]*\}/;
const REFERENCE = /^`([^`]+\.test\.ts)`: (.+)$/;
const BETWEEN_REFERENCES = /; (?=`[^`]+\.test\.ts`: )/;

const rows = readFileSync(PAGE, "utf8").split("\n").flatMap(rowOf);
const sources = new Map<string, string>();

function rowOf(line: string): Row[] {
  if (!line.startsWith("| ") || line.startsWith("| RFC ")) return [];
  const [, section = "", requirement = "", level = "", state = "", shownBy = ""] = line
    .split("|")
    .map((cell) => cell.trim());
  return [{ section, requirement, level, state, shownBy }];
}

/** Throws when the cell names something else than tests. */
function references({ shownBy, state }: Row): Reference[] {
  if (shownBy === "" || state === "choice") return [];
  return shownBy.split(BETWEEN_REFERENCES).map((part) => {
    const [, file, title] = REFERENCE.exec(part) ?? [];
    if (file === undefined || title === undefined) throw new Error(`"${part}" names no test`);
    return { file, title };
  });
}

/** Throws when there is no such file. */
function source(file: string): string {
  const text = sources.get(file) ?? readFileSync(new URL(file, TESTS), "utf8");
  sources.set(file, text);
  return text;
}

function exists({ file, title }: Reference): boolean {
  const text = source(file);
  for (const [, fixed, template, variable] of text.matchAll(TITLE)) {
    if (fixed?.replaceAll('\\"', '"') === title) return true;
    if (template !== undefined && isMadeFrom(template, title, text)) return true;
    if (variable !== undefined && standsIn(text, title)) return true;
  }
  return false;
}

/** Whether a template gives the title with parts that stand in the file. */
function isMadeFrom(template: string, title: string, text: string): boolean {
  const pattern = template.split(COMPUTED).map(escaped).join("(.+)");
  const parts = new RegExp(`^${pattern}$`).exec(title);
  return parts?.slice(1).every((part) => standsIn(text, part)) === true;
}

/** As a number, a string or a key. */
function standsIn(text: string, part: string): boolean {
  return /^\d+$/.test(part) || text.includes(`"${part}"`) || new RegExp(`\\b${escaped(part)}:`).test(text);
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}

test("the page has rows, each with a known level and state", (t) => {
  t.true(rows.length > 100);
  for (const { section, requirement, level, state } of rows) {
    t.regex(section, /^(?:App\. [AB]|[3-8])(?:\.\d+)*$/, requirement);
    t.true(LEVELS.includes(level), requirement);
    t.true(STATES.includes(state), requirement);
  }
});

test("every test that the page names exists", (t) => {
  const missing = rows
    .flatMap(references)
    .filter((reference) => !exists(reference))
    .map(({ file, title }) => `${file}: ${title}`);
  t.deepEqual(missing, []);
});

test("every requirement that is met is shown by a test, and a choice has its reason", (t) => {
  for (const row of rows) {
    if (row.state === "met") t.true(references(row).length > 0, row.requirement);
    if (row.state === "choice") t.true(row.shownBy.length > 20, row.requirement);
  }
});

test("everything that is required is met", (t) => {
  const open = rows.filter(({ level, state }) => level === "MUST" && state !== "met");
  t.deepEqual(
    open.map(({ section, requirement }) => `${section}: ${requirement}`),
    [],
  );
});

test("a title that no test has, and a file that is not there, are found out", (t) => {
  t.false(exists({ file: "wire/errors.test.ts", title: "1/0: no such case" }));
  t.false(exists({ file: "wire/golden.test.ts", title: "no such test" }));
  t.throws(() => exists({ file: "wire/none.test.ts", title: "none" }));
  t.throws(() => references({ section: "", requirement: "", level: "", state: "met", shownBy: "somewhere" }));
});
