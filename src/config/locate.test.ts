import test from "ava";
import fc from "fast-check";
import { parse, stringify } from "smol-toml";
import { Locations, type Path } from "./locate.js";

const TEXT = `# comment = 1
top = 1

[a]
b = "x # not a comment"
"c d" = [
  1,
  # = [
  { e = 1, f = "}" },
]
'quoted' = """
[not.a.table]
x = 1""""
g.h = 2 # after

[[rule]]
name = 'one'
[[rule]]
name = "t\\"wo"
[rule.sub]
k = 1
[[rule.list]]
z = 1
[[rule.list]]
z = 2
`;

const CASES: readonly (readonly [Path, number])[] = [
  [["top"], 2],
  [["a"], 4],
  [["a", "b"], 5],
  [["a", "c d"], 6],
  [["a", "c d", 0], 7],
  [["a", "c d", 1], 9],
  [["a", "c d", 1, "f"], 9],
  [["a", "quoted"], 11],
  [["a", "g", "h"], 14],
  [["rule"], 16],
  [["rule", 0], 16],
  [["rule", 0, "name"], 17],
  [["rule", 1], 18],
  [["rule", 1, "name"], 19],
  [["rule", 1, "sub", "k"], 21],
  [["rule", 1, "list", 1, "z"], 25],
  // What is missing is where its section begins.
  [["a", "missing"], 4],
  [["rule", 1, "volume"], 18],
  [["missing", "field"], 1],
];

test("the text is TOML", (t) => {
  t.notThrows(() => parse(TEXT));
});

for (const [path, line] of CASES)
  test(`line of ${path.join(".")}`, (t) => t.is(new Locations(TEXT).line(path), line));

test("lines end in carriage returns too", (t) => {
  t.is(new Locations("a = 1\r\n[b]\r\nc = 2\r\n").line(["b", "c"]), 3);
});

test("any text ends the scan", (t) => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."[]{}=.,\"'#\n\\ab1 "), maxLength: 60 }), (text) => {
      t.true(new Locations(text).line(["a"]) >= 1);
    }),
    { numRuns: 2000 },
  );
});

test("keys of any name in any table are found where they stand", (t) => {
  const key = fc.string({ minLength: 1, maxLength: 6, unit: fc.constantFrom(..."ab-_ .=#[") });
  const tables = fc.dictionary(key, fc.dictionary(key, fc.oneof(fc.integer(), fc.string()), { minKeys: 1 }), {
    minKeys: 1,
  });
  fc.assert(
    fc.property(tables, (value) => {
      const text = stringify(value);
      const lines = text.split("\n");
      const locations = new Locations(text);
      for (const [table, fields] of Object.entries(value))
        for (const [name, content] of Object.entries(fields)) {
          const line = lines[locations.line([table, name]) - 1] ?? "";
          t.deepEqual(parse(line), { [name]: content });
        }
    }),
  );
});
