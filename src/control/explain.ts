/** Why a flow passes here or does not, and what would change that. */
import type { PolicyExplanation } from "../authorization/policy.js";
import type { IpAddress } from "../base/address.js";
import { type Flow, flowKey, hasPorts, reverse } from "../base/flow.js";
import type { ExemptClass } from "../config/config.js";
import { formatDuration, formatSize } from "../config/quantity.js";
import type { FlowView, Role } from "../nslp/view.js";
import type { FlowCount } from "../traffic/datapath.js";

export interface Explanation {
  readonly flow: string;
  /** What this node is to the flow. */
  readonly role: Role;
  readonly verdict: "passes" | "dropped" | "held";
  /** The reasons, most decisive first. */
  readonly because: readonly string[];
  readonly engine: string;
  readonly permission: FlowView | null;
  readonly counters: FlowCount | null;
  /** What this node's own rules say to the flow; they decide only where the role is receiver. */
  readonly policy: PolicyExplanation | null;
  /** What would change the verdict. */
  readonly change: readonly string[];
}

export interface ExplainInput {
  readonly flow: Flow;
  readonly engine: string;
  readonly permission: FlowView | undefined;
  readonly count: FlowCount | undefined;
  readonly policy: PolicyExplanation;
  /** This host itself has asked for the opposite direction, and grants the way back for that. */
  readonly returnGranted: boolean;
  readonly exempt: readonly ExemptClass[];
  readonly isOwn: (address: IpAddress) => boolean;
}

export function explain(input: ExplainInput): Explanation {
  const { flow, engine, permission, count, policy } = input;
  const role = permission?.role ?? roleOf(flow, input.isOwn);
  return {
    flow: flowKey(flow),
    role,
    ...judge(input, role),
    engine,
    permission: permission ?? null,
    counters: count ?? null,
    policy: role === "receiver" ? policy : null,
  };
}

type Judgement = Pick<Explanation, "verdict" | "because" | "change">;

function judge(input: ExplainInput, role: Role): Judgement {
  const exempt = input.exempt.find((entry) => isExempt(entry, input.flow));
  if (exempt !== undefined)
    return {
      verdict: "passes",
      because: [`it belongs to the exempt class "${exempt.name}", up to ${exempt.rate} packets a second`],
      change: [`take [[exempt]] "${exempt.name}" out of the configuration and restart pbsd`],
    };
  const { permission, count } = input;
  if (count === undefined || permission === undefined) return withoutPermission(input, role);
  return withPermission(permission, count);
}

function withPermission(permission: FlowView, count: FlowCount): Judgement {
  const { id, allowedVolume, remaining, rule } = permission;
  const granted = rule === null ? "" : `, granted by rule "${rule}"`;
  const used = `${formatSize(count.bytes)} of ${formatSize(allowedVolume)} used`;
  if (remaining !== null && remaining <= 0)
    return {
      verdict: "dropped",
      because: [`the permission's lifetime is over${granted}`],
      change: ["a refresh by the sender", `at the receiver: pbsctl grant ${id.slice(0, 8)} --lifetime 10m`],
    };
  if (count.bytes >= allowedVolume)
    return {
      verdict: "dropped",
      because: [`the granted volume is used up: ${used}${granted}`],
      change: [
        `at the receiver: pbsctl grant ${id.slice(0, 8)} --volume ${formatSize(allowedVolume * 2).replace(" ", "")}`,
      ],
    };
  const left = remaining === null ? "" : `, ${formatDuration(remaining)} left`;
  return {
    verdict: "passes",
    because: [
      `it has a permission: ${used}${left}${granted}`,
      ...authenticationText(permission),
      ...detectionText(permission),
    ],
    change: [`pbsctl revoke ${id.slice(0, 8)}`],
  };
}

/** Packets of such a flow pass only if they prove where they come from. */
function authenticationText({ authentication }: FlowView): string[] {
  if (authentication === null) return [];
  const { algorithm, failures } = authentication;
  const { missing, malformed, unknownSpi, replayed, badIcv } = failures;
  const failed = missing + malformed + unknownSpi + replayed + badIcv;
  const dropped = failed === 0 ? "" : `; ${failed} packets without a good one were dropped`;
  return [`its packets carry AH with ${algorithm}${dropped}`];
}

function detectionText({ detection, path }: FlowView): string[] {
  const moved = path === null ? [] : [`it was moved to another path: ${path}`];
  const attack = detection?.attack ?? null;
  if (attack === null) return moved;
  const { kind, sent, received, reaction, mode, where } = attack;
  const place = where === null ? "" : ` between ${where.from} and ${where.to}`;
  const done = mode === "react" ? `the reaction was: ${reaction}` : `a reaction would be: ${reaction}`;
  const numbers = `${formatSize(sent)} sent, ${formatSize(received)} received`;
  return [...moved, `an attack was found${place}: ${kind} (${numbers}); ${done}`];
}

function withoutPermission(input: ExplainInput, role: Role): Judgement {
  const { permission, policy, flow } = input;
  const state = permission === undefined ? [] : [`PBS is in state "${permission.state}" for it`];
  const lastReason = permission?.lastReason ?? null;
  const reason = lastReason === null ? [] : [`the last answer was: ${lastReason}`];
  const because = ["it has no permission here", ...state, ...reason];
  if (role === "sender")
    return {
      verdict: "held",
      because: [...because, "a first packet is held while the receiver is asked, and refused if it says no"],
      change: [`pbsctl request "${flowKey(flow)}"`, "a rule at the receiver that grants it"],
    };
  if (role === "router")
    return {
      verdict: "dropped",
      because,
      change: ["a Permission of the receiver that passes through this node"],
    };
  if (input.returnGranted && policy.decision.type === "deny")
    return {
      verdict: "dropped",
      because: [
        ...because,
        "a Query would be granted as return traffic: this host asked for the other direction",
      ],
      change: ["a Query of the sender"],
    };
  return { verdict: "dropped", because: [...because, policyText(policy)], change: policyChange(policy) };
}

function policyText({ decision }: PolicyExplanation): string {
  if (decision.type === "deny") return `a Query would be denied by "${decision.rule}": ${decision.reason}`;
  if (decision.type === "ask") return `a Query would wait for a person (rule "${decision.rule}")`;
  return `a Query would be granted ${formatSize(decision.grant.volume)} by rule "${decision.rule}"`;
}

function policyChange({ decision }: PolicyExplanation): string[] {
  if (decision.type === "deny")
    return [`a [[rule]] with action "grant" before "${decision.rule}", then SIGHUP to pbsd`];
  if (decision.type === "ask") return ["a Query of the sender, then: pbsctl pending; pbsctl grant ID"];
  return ["a Query of the sender"];
}

/** As the rules have it: towards the named port, or back from it. */
function isExempt(entry: ExemptClass, flow: Flow): boolean {
  return isTowards(entry, flow) || isTowards(entry, reverse(flow));
}

function isTowards({ protocol, ports, from, to }: ExemptClass, flow: Flow): boolean {
  if (protocol !== undefined && protocol !== flow.protocol) return false;
  if (from !== undefined && !from.contains(flow.source)) return false;
  if (to !== undefined && !to.contains(flow.destination)) return false;
  if (ports === undefined) return true;
  const port = flow.destinationPort;
  return hasPorts(flow.protocol) && ports.some((range) => range.from <= port && port <= range.to);
}

function roleOf(flow: Flow, isOwn: (address: IpAddress) => boolean): Role {
  if (isOwn(flow.source)) return "sender";
  return isOwn(flow.destination) ? "receiver" : "router";
}
