/**
 * The receiver's machine: slide 14, with the arcs that the slide lacks. Its states 4 and 5 are the packet path's work; 6
 * (compare) and 7 (policy) are the guard `reaction-due`.
 */
import type { Table } from "../../base/machine.js";

export type ReceiverState = "idle" | "decide" | "permission";

export type ReceiverEvent =
  | "query"
  | "grant"
  | "decline"
  | "ask"
  | "too-late"
  | "changed-here"
  | "ttl-over"
  | "no-refresh"
  | "exhausted"
  | "raise-security"
  | "new-key"
  | "algorithm-refused"
  | "no-algorithm-left"
  | "compared"
  | "path-bad"
  | "query-wanted"
  | "succeeded"
  | "revoked-here";

export type ReceiverGuard = "asks-for-more" | "reaction-due";

export type ReceiverAction =
  | "decide"
  | "tell-pending"
  | "install"
  | "extend"
  | "prolong"
  | "send-permission"
  | "send-path-change"
  | "react"
  | "send-refusal"
  | "remove-permission"
  | "report"
  | "report-authentication"
  | "bury"
  | "forget";

export const RECEIVER_MACHINE: Table<ReceiverState, ReceiverEvent, ReceiverGuard, ReceiverAction> = [
  { from: "idle", on: "query", do: ["decide"], to: "decide", note: "slide 14: Recv Q" },
  {
    from: "decide",
    on: "query",
    do: ["tell-pending"],
    to: "decide",
    note: "the sender's second try while a person decides",
  },
  {
    from: "decide",
    on: "ask",
    do: ["tell-pending", "report"],
    to: "decide",
    note: "policy leaves it to a person",
  },
  {
    from: "decide",
    on: "grant",
    do: ["install", "send-permission", "report", "report-authentication"],
    to: "permission",
    note: "slide 14: Grant; installed before the sender hears of it",
  },
  {
    from: "decide",
    on: "decline",
    do: ["send-refusal", "report", "bury", "forget"],
    to: "idle",
    note: "slide 14: Decline",
  },
  {
    from: "decide",
    on: "too-late",
    do: ["send-refusal", "report", "bury", "forget"],
    to: "idle",
    note: "nobody decided",
  },
  {
    from: "permission",
    on: "query",
    when: "reaction-due",
    do: ["prolong", "react"],
    to: "permission",
    note: "slide 14: states 6 and 7, SV != RV: what policy decides is the answer",
  },
  {
    from: "permission",
    on: "compared",
    when: "reaction-due",
    do: ["react"],
    to: "permission",
    note: "slide 14: states 6 and 7, once packets on their way have had time to arrive",
  },
  {
    from: "permission",
    on: "path-bad",
    do: ["install", "send-path-change"],
    to: "permission",
    note: "slide 20: P, change path; counting begins anew here before the sender hears of it",
  },
  {
    from: "permission",
    on: "query-wanted",
    do: ["send-permission"],
    to: "permission",
    note: "P that asks for a Query at once, to compare",
  },
  {
    from: "permission",
    on: "query",
    when: "asks-for-more",
    do: ["extend", "install", "send-permission", "report"],
    to: "permission",
    note: "Req-vol > AV, and the rule extends",
  },
  {
    from: "permission",
    on: "query",
    do: ["prolong", "install", "send-permission"],
    to: "permission",
    note: "slide 14: Recv Q(SV), SV = RV, Send P",
  },
  {
    from: "permission",
    on: "changed-here",
    do: ["install", "send-permission", "report"],
    to: "permission",
    note: "P unasked: a person changes the grant",
  },
  {
    from: "permission",
    on: "exhausted",
    do: [],
    to: "permission",
    note: "slide 14: RV > AV; what does not fit was dropped, and the sender may still ask for more, or is asked what it sent",
  },
  {
    from: "permission",
    on: "raise-security",
    do: ["install", "send-permission", "report-authentication"],
    to: "permission",
    note: "slide 14: state 7, raise security: P with a new algorithm; checked here before the sender hears of it",
  },
  {
    from: "permission",
    on: "new-key",
    do: ["install", "send-permission", "report-authentication"],
    to: "permission",
    note: "three quarters of the sequence numbers are used: P with a new SPI and key",
  },
  {
    from: "permission",
    on: "algorithm-refused",
    do: ["install", "send-permission", "report-authentication"],
    to: "permission",
    note: "Notify: a node on the path cannot do the algorithm; P with the next of the list",
  },
  {
    from: "permission",
    on: "no-algorithm-left",
    do: ["remove-permission", "send-refusal", "report", "bury", "forget"],
    to: "idle",
    note: "Notify about the last algorithm of the list, before any packet came with it",
  },
  {
    from: "permission",
    on: "ttl-over",
    do: ["remove-permission", "send-refusal", "report", "bury", "forget"],
    to: "idle",
    note: "slide 14: TTL = 0",
  },
  {
    from: "permission",
    on: "no-refresh",
    do: ["remove-permission", "send-refusal", "report", "bury", "forget"],
    to: "idle",
    note: "slide 14: no refresh",
  },
  {
    from: ["decide", "permission"],
    on: "revoked-here",
    do: ["remove-permission", "send-refusal", "report", "bury", "forget"],
    to: "idle",
    note: "slide 14: Revoke permission",
  },
  {
    from: ["decide", "permission"],
    on: "succeeded",
    do: ["remove-permission", "send-refusal", "report", "forget"],
    to: "idle",
    note: "Q of a flow that takes its place, by the same sender from another address: the old path's state goes",
  },
];
