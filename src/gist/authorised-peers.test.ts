import test from "ava";
import { type AuthorisedPeer, AuthorisedPeers } from "./authorised-peers.js";

const accept = (name: string): AuthorisedPeer => ({ name, action: "accept" });
const refuse = (name: string): AuthorisedPeer => ({ name, action: "refuse" });

const CASES: [what: string, list: AuthorisedPeer[], names: string[], admitted: boolean][] = [
  ["an empty list admits who was signed", [], ["anybody.example"], true],
  ["an empty list admits a peer without a name", [], [], true],
  ["a name that is listed", [accept("r1.example.net")], ["r1.example.net"], true],
  ["no match refuses", [accept("r1.example.net")], ["r2.example.net"], false],
  ["a peer without a name matches nothing", [accept("*")], [], false],
  ["case does not count", [accept("R1.Example.net")], ["r1.eXample.NET"], true],
  ["nor does a last dot", [accept("r1.example.net")], ["r1.example.net."], true],
  ["a wildcard stands for one label", [accept("*.example.net")], ["r1.example.net"], true],
  ["not for two", [accept("*.example.net")], ["a.r1.example.net"], false],
  ["not for none", [accept("*.example.net")], ["example.net"], false],
  ["not for an empty one", [accept("*.example.net")], [".example.net"], false],
  ["not for part of one", [accept("*.example.net")], ["r1.badexample.net"], false],
  ["a wildcard in a certificate is no name", [accept("*.example.net")], ["*.example.net"], false],
  ["the first entry that fits decides", [refuse("bad.x.org"), accept("*.x.org")], ["bad.x.org"], false],
  ["in order", [accept("*.x.org"), refuse("bad.x.org")], ["bad.x.org"], true],
  ["any of several names", [accept("b.org")], ["a.org", "b.org"], true],
  [
    "an earlier entry wins over an earlier name",
    [refuse("b.org"), accept("a.org")],
    ["a.org", "b.org"],
    false,
  ],
  ["everybody but one", [refuse("bad.x.org"), accept("*")], ["good.y.com"], true],
];

for (const [what, list, names, admitted] of CASES)
  test(what, (t) => {
    t.is(new AuthorisedPeers(list).admits(names), admitted);
  });

test("a pattern that is none is refused, and the list so far stays", (t) => {
  const peers = new AuthorisedPeers([accept("a.org")]);
  const wrong = [
    "",
    ".",
    "a..b",
    "r*.example.net",
    "a.*.net",
    "**.net",
    "*.",
    "a b",
    "x".repeat(300),
    "-a.org",
  ];
  for (const name of wrong) t.throws(() => peers.set([accept(name)]), { instanceOf: RangeError }, name);
  t.true(peers.admits(["a.org"]));
});
