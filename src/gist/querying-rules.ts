/** Querying-SM of RFC 5971 section 6.2, as a table. */
import type { Table } from "../base/machine.js";

export type QueryingStateName =
  "none" | "awaiting-response" | "awaiting-association" | "established" | "awaiting-refresh" | "gone";
export type QueryingEvent =
  | "message"
  | "response"
  | "no-response"
  | "no-route"
  | "refresh-due"
  | "expired"
  | "association-connected"
  | "association-lost"
  | "room"
  | "route-changed"
  | "route-gone"
  | "no-routing-state"
  | "failed"
  | "unwanted"
  | "bad"
  | "bad-urgent"
  | "tentative"
  | "shut-down";
export type QueryingGuard =
  | "usable"
  | "to-be-connected"
  | "stack-too-weak"
  | "confirm-requested"
  | "tries-left"
  | "wanted"
  | "stale"
  | "needs-association";
export type QueryingAction =
  | "queue"
  | "send"
  | "begin"
  | "send-query"
  | "adopt-peer"
  | "connect"
  | "confirm"
  | "release-queue"
  | "schedule-refresh"
  | "let-expire"
  | "recall"
  | "mark-stale"
  | "fail-queue"
  | "tell-failure"
  | "tell-route-gone"
  | "refuse-stack"
  | "remove";

const GIVE_UP: readonly QueryingAction[] = ["fail-queue", "tell-failure", "remove"];

export const QUERYING_MACHINE: Table<QueryingStateName, QueryingEvent, QueryingGuard, QueryingAction> = [
  { from: "none", on: "message", do: ["queue", "begin", "send-query"], to: "awaiting-response" },

  { from: "awaiting-response", on: "message", do: ["queue"], to: "awaiting-response" },
  {
    from: ["awaiting-response", "awaiting-refresh"],
    on: "response",
    when: "stack-too-weak",
    do: ["begin", "send-query"],
    to: "awaiting-response",
    note: "a message that needs an association came after the Query had gone without a stack proposal",
  },
  {
    from: ["awaiting-response", "awaiting-refresh"],
    on: "response",
    when: "usable",
    do: ["adopt-peer", "confirm", "release-queue", "schedule-refresh"],
    to: "established",
  },
  {
    from: ["awaiting-response", "awaiting-refresh"],
    on: "response",
    when: "to-be-connected",
    do: ["adopt-peer", "connect"],
    to: "awaiting-association",
    note: "RFC 5971 counts this wait as Established with the messages queued in the MA-SM",
  },
  {
    from: ["awaiting-response", "awaiting-refresh"],
    on: "response",
    do: ["refuse-stack", ...GIVE_UP],
    to: "gone",
    note: "the peer offers no stack that is safe enough",
  },
  {
    from: "awaiting-response",
    on: "no-response",
    when: "tries-left",
    do: ["send-query"],
    to: "awaiting-response",
  },
  { from: "awaiting-response", on: "no-response", do: GIVE_UP, to: "gone" },
  { from: "awaiting-response", on: "no-route", do: GIVE_UP, to: "gone" },
  {
    from: ["awaiting-response", "awaiting-association", "awaiting-refresh"],
    on: "failed",
    do: GIVE_UP,
    to: "gone",
  },
  {
    from: "awaiting-response",
    on: "no-routing-state",
    do: ["recall"],
    to: "awaiting-response",
    note: "each Error is about one more message sent before",
  },

  { from: "awaiting-association", on: "message", do: ["queue"], to: "awaiting-association" },
  {
    from: "awaiting-association",
    on: "association-connected",
    do: ["confirm", "release-queue", "schedule-refresh"],
    to: "established",
  },
  { from: "awaiting-association", on: "association-lost", do: GIVE_UP, to: "gone" },

  {
    from: "established",
    on: "message",
    when: "stale",
    do: ["queue", "begin", "send-query"],
    to: "awaiting-response",
  },
  {
    from: ["established", "awaiting-refresh"],
    on: "message",
    when: "needs-association",
    do: ["queue", "begin", "send-query"],
    to: "awaiting-response",
    note: "the state so far is for datagrams only, or its association is not TLS",
  },
  { from: "established", on: "message", do: ["send"], to: "established" },
  { from: "awaiting-refresh", on: "message", do: ["send"], to: "awaiting-refresh" },
  { from: "established", on: "room", do: ["release-queue"], to: "established" },
  { from: "awaiting-refresh", on: "room", do: ["release-queue"], to: "awaiting-refresh" },
  {
    from: "established",
    on: "response",
    when: "confirm-requested",
    do: ["confirm"],
    to: "established",
    note: "the answer to another of the Queries sent; the first Confirm may be lost",
  },
  {
    from: "established",
    on: "refresh-due",
    when: "wanted",
    do: ["begin", "send-query"],
    to: "awaiting-refresh",
  },
  {
    from: "established",
    on: "refresh-due",
    do: ["let-expire"],
    to: "established",
    note: "Inactive_QNode: nobody needs it any more",
  },
  { from: "established", on: "expired", when: "wanted", do: ["begin", "send-query"], to: "awaiting-refresh" },
  { from: "established", on: "expired", do: ["remove"], to: "gone" },
  {
    from: ["established", "awaiting-refresh"],
    on: "unwanted",
    do: ["let-expire"],
    to: "established",
    note: "SetStateLifetime 0; there is no teardown message",
  },
  {
    from: "awaiting-refresh",
    on: "no-response",
    when: "tries-left",
    do: ["send-query"],
    to: "awaiting-refresh",
  },
  { from: "awaiting-refresh", on: "no-response", do: GIVE_UP, to: "gone" },
  {
    from: ["established", "awaiting-refresh"],
    on: "no-routing-state",
    do: ["recall", "begin", "send-query"],
    to: "awaiting-response",
  },
  { from: ["established", "awaiting-refresh"], on: "association-lost", do: GIVE_UP, to: "gone" },
  { from: "established", on: "bad", do: ["mark-stale"], to: "established" },
  {
    from: ["established", "awaiting-refresh"],
    on: "bad-urgent",
    do: ["begin", "send-query"],
    to: "awaiting-response",
  },
  {
    from: ["established", "awaiting-refresh"],
    on: "tentative",
    do: ["begin", "send-query"],
    to: "awaiting-refresh",
  },
  {
    from: ["established", "awaiting-refresh"],
    on: "route-changed",
    do: ["begin", "send-query"],
    to: "awaiting-refresh",
    note: "the peer so far serves until another one has answered (RFC 5971 section 7.1.2)",
  },
  {
    from: ["established", "awaiting-refresh"],
    on: "route-gone",
    do: ["tell-route-gone", "begin", "send-query"],
    to: "awaiting-refresh",
  },
  {
    from: ["awaiting-response", "awaiting-association", "established", "awaiting-refresh"],
    on: "shut-down",
    do: ["fail-queue", "remove"],
    to: "gone",
  },
];
