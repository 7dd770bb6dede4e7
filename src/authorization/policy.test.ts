import test from "ava";
import fc from "fast-check";
import { IpPrefix } from "../base/address.js";
import { parseFlow } from "../base/flow.js";
import { bytes, seconds } from "../base/units.js";
import type { Grant, Requester } from "./decision.js";
import { matchesGlob, NO_RULE, type PolicyRule, RulePolicy } from "./policy.js";

const grant: Grant = {
  volume: bytes(1e7),
  lifetime: seconds(600),
  refresh: seconds(60),
  extend: true,
};
const alice: Requester = { subject: "alice.example", fingerprint: "ab".repeat(32) };
const web = parseFlow("tcp 192.168.20.1:4000 > 192.168.21.4:80");

function rule(name: string, change: Partial<PolicyRule>): PolicyRule {
  return { name, action: { type: "grant", grant }, ...change };
}

function granted(change: Partial<PolicyRule>, flow = web, requester = alice): boolean {
  return new RulePolicy([rule("only", change)]).decide(flow, requester).type === "grant";
}

test("with no rule, or none that matches, the flow is denied", (t) => {
  for (const rules of [[], [rule("ssh", { ports: [{ from: 22, to: 22 }] })]]) {
    const decision = new RulePolicy(rules).decide(web, alice);
    t.deepEqual(decision, { type: "deny", reason: "no rule grants this flow", rule: NO_RULE });
  }
});

test("the first rule that matches decides", (t) => {
  const deny = rule("b", { action: { type: "deny", reason: "closed" } });
  const ask = rule("c", { action: { type: "ask", grant, timeout: seconds(30) } });
  const first = (...rules: PolicyRule[]) => new RulePolicy(rules).decide(web, alice);
  t.deepEqual(first(rule("a", {}), deny, ask), { type: "grant", grant, rule: "a" });
  t.deepEqual(first(deny, rule("a", {})), { type: "deny", reason: "closed", rule: "b" });
  t.deepEqual(first(ask, deny), { type: "ask", grant, timeout: seconds(30), rule: "c" });
});

test("prefixes", (t) => {
  t.true(granted({ from: [IpPrefix.parse("10.0.0.0/8"), IpPrefix.parse("192.168.20.0/24")] }));
  t.false(granted({ from: [IpPrefix.parse("192.168.21.0/24")] }));
  t.false(granted({ from: [IpPrefix.parse("::/0")] }));
  t.false(granted({ from: [] }));
  t.true(granted({ to: [IpPrefix.parse("192.168.21.4")] }));
  t.false(granted({ to: [IpPrefix.parse("192.168.21.5")] }));
});

test("protocols and destination ports", (t) => {
  t.true(granted({ protocols: [17, 6] }));
  t.false(granted({ protocols: [17] }));
  t.true(granted({ ports: [{ from: 80, to: 80 }] }));
  t.true(
    granted({
      ports: [
        { from: 1, to: 10 },
        { from: 80, to: 90 },
      ],
    }),
  );
  t.false(granted({ ports: [{ from: 4000, to: 4000 }] }), "the source port is not looked at");
  const ping = parseFlow("icmp 192.168.20.1 > 192.168.21.4");
  t.false(granted({ ports: [{ from: 0, to: 65535 }] }, ping), "ICMP has no ports");
  t.true(granted({ protocols: [1] }, ping));
});

test("subject and fingerprint", (t) => {
  t.true(granted({ subject: "*.example" }));
  t.false(granted({ subject: "*.EXAMPLE" }));
  t.true(granted({ fingerprint: alice.fingerprint }));
  t.true(granted({ fingerprint: alice.fingerprint.toUpperCase().replace(/..(?!$)/g, "$&:") }));
  t.false(granted({ fingerprint: "cd".repeat(32) }));
  t.false(granted({ fingerprint: "" }));
  t.false(granted({ subject: "*.example", fingerprint: "cd".repeat(32) }), "all conditions count");
});

test("explain says what each rule said, and agrees with decide", (t) => {
  const policy = new RulePolicy([
    rule("ssh", {
      ports: [
        { from: 22, to: 22 },
        { from: 2200, to: 2299 },
      ],
    }),
    rule("lan", { from: [IpPrefix.parse("10.0.0.0/8")] }),
    rule("ping", { protocols: [1, 58] }),
    rule("bob", { subject: "bob" }),
    rule("web", {}),
    rule("never looked at", {}),
  ]);
  const { decision, steps } = policy.explain(web, alice);
  t.deepEqual(decision, policy.decide(web, alice));
  t.deepEqual(steps, [
    { rule: "ssh", matched: false, why: "destination port 80 is not in 22, 2200-2299" },
    { rule: "lan", matched: false, why: "source 192.168.20.1 is not in 10.0.0.0/8" },
    { rule: "ping", matched: false, why: "protocol tcp is not icmp or icmpv6" },
    { rule: "bob", matched: false, why: 'subject "alice.example" does not match "bob"' },
    { rule: "web", matched: true, why: "all its conditions hold" },
  ]);
  t.is(new RulePolicy([]).explain(web, alice).decision.rule, NO_RULE);
});

test("globs match as regular expressions do", (t) => {
  const letters = fc.array(fc.constantFrom("a", "b", "*", "?", "."), { maxLength: 8 }).map((l) => l.join(""));
  const text = fc.array(fc.constantFrom("a", "b", "."), { maxLength: 8 }).map((l) => l.join(""));
  fc.assert(
    fc.property(letters, text, (pattern, value) => {
      const source = pattern.replace(/\./g, "\\.").replace(/\*/g, ".*").replace(/\?/g, ".");
      return matchesGlob(pattern, value) === new RegExp(`^${source}$`).test(value);
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

test("no glob is slow", (t) => {
  t.false(matchesGlob("*a".repeat(100), "a".repeat(64).repeat(1000).concat("b")));
});
