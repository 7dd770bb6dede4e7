/** The receiver's machine: slide 14, with the arcs that the slide lacks. Its states 4 to 6 are the packet path's work. */
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
  | "revoked-here";

export type ReceiverGuard = "asks-for-more";

export type ReceiverAction =
  | "decide"
  | "tell-pending"
  | "install"
  | "extend"
  | "prolong"
  | "send-permission"
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
    note: "slide 14: Recv Q(SV), Send P; the comparison of SV with what came is detection's",
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
    note: "slide 14: RV > AV; what does not fit was dropped, and the sender may still ask for more",
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
];
