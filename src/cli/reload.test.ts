import test from "ava";
import { parseConfig } from "../config/load.js";
import { needRestart } from "./reload.js";

const BASE = `[identity]
certificate = "c"
key = "k"
authorities = ["a"]
`;

const config = (more: string) => parseConfig(BASE + more, "/etc/pbsd/pbsd.toml");

test("nothing changed", (t) => {
  const text = '[[rule]]\nfrom = "10.0.0.0/8"\naction = "grant"';
  t.deepEqual(needRestart(config(text), config(text)), []);
});

test("rules and log level are taken over", (t) => {
  t.deepEqual(needRestart(config(""), config('[[rule]]\naction = "deny"\n[log]\nlevel = "debug"')), []);
});

test("the rest needs a restart, and is named as the file names it", (t) => {
  const after = config(
    '[signalling]\ntls_port = 5271\n[[exempt]]\nname = "x"\nrate = 1\nfrom = "10.0.0.0/8"',
  );
  t.deepEqual(needRestart(config(""), after), ["[signalling]", "[[exempt]]"]);
});

test("the files of the identity are taken over, wherever they are", (t) => {
  const other = parseConfig(BASE.replace('"c"', '"renewed"'), "/etc/pbsd/pbsd.toml");
  t.deepEqual(needRestart(config(""), other), []);
});
