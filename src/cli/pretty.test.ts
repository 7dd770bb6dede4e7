import test from "ava";
import { makeLogger } from "./logger.js";
import { prettyLine } from "./pretty.js";

test("a line for a person: clock, level, message, fields", (t) => {
  const line = prettyLine(
    '{"level":30,"time":1700000000123,"pid":1,"node":"r","flow":"tcp","n":3,"msg":"ready"}\n',
  );
  t.regex(line, /^\d\d:\d\d:\d\d\.123 info {2}ready {2}flow=tcp {2}n=3\n$/);
});

test("an error keeps its stack, other text cannot steer the terminal", (t) => {
  const line = prettyLine(
    '{"level":60,"time":0,"err":{"stack":"Error: x\\n    at y"},"evil":"\\u001b[2J","msg":"a\\nb"}',
  );
  t.true(line.includes("err=Error: x\n    at y"));
  t.true(line.includes("evil=?[2J"));
  t.true(line.includes("a?b"));
});

test("what is not JSON is passed on", (t) => {
  t.is(prettyLine("plain\n"), "plain\n");
});

test("the logger writes JSON, or readable lines on a terminal", (t) => {
  let text = "";
  const write = (line: string): void => void (text += line);
  makeLogger("r1", "info", { write }).info({ a: 1 }, "ready");
  t.like(JSON.parse(text), { level: 30, node: "r1", a: 1, msg: "ready" });
  text = "";
  const log = makeLogger("r1", "info", { write, isTTY: true });
  log.debug("not shown");
  log.warn("careful");
  t.regex(text, /warn.* {2}careful\n$/);
});
