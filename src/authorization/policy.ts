/** The receiver's policy: ordered rules, of which the first that matches decides. */
import type { IpAddress, IpPrefix } from "../base/address.js";
import { type Flow, hasPorts, protocolName } from "../base/flow.js";
import type { Milliseconds } from "../base/units.js";
import type { Decision, Grant, Policy, Requester } from "./decision.js";

/** Ends included. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

export type RuleAction =
  | { readonly type: "grant"; readonly grant: Grant }
  | { readonly type: "deny"; readonly reason: string }
  | { readonly type: "ask"; readonly grant: Grant; readonly timeout: Milliseconds };

/** What is absent matches everything; a list matches when one of its entries does. */
export interface PolicyRule {
  readonly name: string;
  readonly from?: readonly IpPrefix[];
  readonly to?: readonly IpPrefix[];
  readonly protocols?: readonly number[];
  /** Destination ports. A rule with ports matches only protocols that have them: TCP and UDP. */
  readonly ports?: readonly PortRange[];
  /** Certificate common name: * stands for any run of characters, ? for one. Case matters. */
  readonly subject?: string;
  /** SHA-256 of the certificate, hexadecimal; colons and case do not matter. */
  readonly fingerprint?: string;
  readonly action: RuleAction;
}

export interface RuleStep {
  readonly rule: string;
  readonly matched: boolean;
  /** Why it matched or not, for a person. */
  readonly why: string;
}

export interface PolicyExplanation {
  readonly decision: Decision;
  /** The rules looked at, up to the one that decided. */
  readonly steps: readonly RuleStep[];
}

/** Name that a decision has when no rule matched. */
export const NO_RULE = "no rule";

/** Says why it does not match; undefined when it does. */
type Condition = (flow: Flow, requester: Requester) => string | undefined;

interface CompiledRule {
  readonly rule: PolicyRule;
  readonly conditions: readonly Condition[];
}

export class RulePolicy implements Policy {
  readonly #rules: readonly CompiledRule[];

  constructor(rules: readonly PolicyRule[]) {
    this.#rules = rules.map((rule) => ({ rule, conditions: compile(rule) }));
  }

  decide(flow: Flow, requester: Requester): Decision {
    const found = this.#rules.find((rule) => mismatch(rule, flow, requester) === undefined);
    return found === undefined ? denyByDefault() : decisionOf(found.rule);
  }

  /** As {@link decide}, with what each rule said on the way. */
  explain(flow: Flow, requester: Requester): PolicyExplanation {
    const steps: RuleStep[] = [];
    for (const compiled of this.#rules) {
      const { rule } = compiled;
      const why = mismatch(compiled, flow, requester);
      steps.push({ rule: rule.name, matched: why === undefined, why: why ?? "all its conditions hold" });
      if (why === undefined) return { decision: decisionOf(rule), steps };
    }
    return { decision: denyByDefault(), steps };
  }
}

function mismatch({ conditions }: CompiledRule, flow: Flow, requester: Requester): string | undefined {
  for (const condition of conditions) {
    const why = condition(flow, requester);
    if (why !== undefined) return why;
  }
  return undefined;
}

function decisionOf({ name, action }: PolicyRule): Decision {
  return { ...action, rule: name };
}

function denyByDefault(): Decision {
  return { type: "deny", reason: "no rule grants this flow", rule: NO_RULE };
}

function compile(rule: PolicyRule): Condition[] {
  const conditions: Condition[] = [];
  const { from, to, protocols, ports, subject, fingerprint } = rule;
  if (from !== undefined) conditions.push((flow) => checkPrefix("source", flow.source, from));
  if (to !== undefined) conditions.push((flow) => checkPrefix("destination", flow.destination, to));
  if (protocols !== undefined) conditions.push((flow) => checkProtocol(flow, protocols));
  if (ports !== undefined) conditions.push((flow) => checkPorts(flow, ports));
  if (subject !== undefined) conditions.push(subjectCondition(subject));
  if (fingerprint !== undefined) conditions.push(fingerprintCondition(fingerprint));
  return conditions;
}

function checkPrefix(end: string, address: IpAddress, prefixes: readonly IpPrefix[]): string | undefined {
  if (prefixes.some((prefix) => prefix.contains(address))) return undefined;
  return `${end} ${address} is not in ${prefixes.join(", ")}`;
}

function checkProtocol({ protocol }: Flow, protocols: readonly number[]): string | undefined {
  if (protocols.includes(protocol)) return undefined;
  return `protocol ${protocolName(protocol)} is not ${protocols.map(protocolName).join(" or ")}`;
}

function checkPorts({ protocol, destinationPort }: Flow, ranges: readonly PortRange[]): string | undefined {
  if (!hasPorts(protocol)) return `protocol ${protocolName(protocol)} has no ports`;
  if (ranges.some(({ from, to }) => from <= destinationPort && destinationPort <= to)) return undefined;
  return `destination port ${destinationPort} is not in ${ranges.map(rangeText).join(", ")}`;
}

function rangeText({ from, to }: PortRange): string {
  return from === to ? String(from) : `${from}-${to}`;
}

function subjectCondition(pattern: string): Condition {
  return (_flow, { subject }) =>
    matchesGlob(pattern, subject) ? undefined : `subject "${subject}" does not match "${pattern}"`;
}

function fingerprintCondition(fingerprint: string): Condition {
  const wanted = fingerprint.replaceAll(":", "").toLowerCase();
  return (_flow, requester) =>
    requester.fingerprint === wanted ? undefined : `the certificate's fingerprint is not ${wanted}`;
}

/**
 * Whether the text matches a pattern of *, ? and plain characters. Goes back to the last * only, so that no pattern makes it
 * slow.
 */
export function matchesGlob(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let starText = 0;
  while (t < text.length) {
    if (pattern[p] === "*") {
      star = p++;
      starText = t;
    } else if (p < pattern.length && (pattern[p] === "?" || pattern[p] === text[t])) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++starText;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}
