/** Responding-SM of RFC 5971 section 6.3, as a table. */
import type { Table } from "../base/machine.js";

export type RespondingStateName = "none" | "awaiting-confirm" | "established" | "awaiting-refresh" | "gone";
export type RespondingEvent =
  | "query"
  | "confirm"
  | "no-confirm"
  | "message"
  | "data"
  | "expired"
  | "response-due"
  | "room"
  | "association-lost"
  | "no-routing-state"
  | "bad"
  | "shut-down";
export type RespondingGuard = "peer-unchanged";
export type RespondingAction =
  | "respond"
  | "respond-with-cookie"
  | "repeat-response"
  | "respond-again"
  | "await-confirm"
  | "stop-awaiting"
  | "adopt-peer"
  | "restart-expiry"
  | "send"
  | "release-queue"
  | "refuse-message"
  | "deliver"
  | "refuse-data"
  | "tell-expired"
  | "tell-failure"
  | "fail-queue"
  | "remove";

const HELD = ["established", "awaiting-refresh"] as const;
const ANY = ["awaiting-confirm", ...HELD] as const;
const END: readonly RespondingAction[] = ["fail-queue", "remove"];

export const RESPONDING_MACHINE: Table<
  RespondingStateName,
  RespondingEvent,
  RespondingGuard,
  RespondingAction
> = [
  {
    from: "none",
    on: "query",
    do: ["respond-with-cookie", "await-confirm", "repeat-response"],
    to: "awaiting-confirm",
    note: "only where state is kept before the Confirm",
  },
  {
    from: "none",
    on: "confirm",
    do: ["adopt-peer", "restart-expiry"],
    to: "established",
    note: "delayed state installation: the Confirm alone rebuilds everything",
  },
  { from: "awaiting-confirm", on: "query", do: ["respond-with-cookie"], to: "awaiting-confirm" },
  {
    from: "awaiting-confirm",
    on: "response-due",
    do: ["respond-again", "repeat-response"],
    to: "awaiting-confirm",
    note: "the Response or the Confirm was lost; with doubled waits, as for a Query",
  },
  {
    from: "awaiting-confirm",
    on: "confirm",
    do: ["stop-awaiting", "adopt-peer", "restart-expiry"],
    to: "established",
  },
  { from: "awaiting-confirm", on: "no-confirm", do: ["remove"], to: "gone" },
  { from: "awaiting-confirm", on: "data", do: ["refuse-data"], to: "awaiting-confirm" },
  { from: "awaiting-confirm", on: "message", do: ["refuse-message"], to: "awaiting-confirm" },
  { from: HELD, on: "query", when: "peer-unchanged", do: ["respond", "restart-expiry"], to: "established" },
  {
    from: "established",
    on: "query",
    do: ["respond-with-cookie", "await-confirm"],
    to: "awaiting-refresh",
    note: "another peer, or no association with it: nothing changes before it has confirmed",
  },
  { from: "awaiting-refresh", on: "query", do: ["respond-with-cookie"], to: "awaiting-refresh" },
  {
    from: "awaiting-refresh",
    on: "confirm",
    do: ["stop-awaiting", "adopt-peer", "restart-expiry"],
    to: "established",
  },
  {
    from: "awaiting-refresh",
    on: "no-confirm",
    do: [],
    to: "established",
    note: "a forged Query must not end the state; its own expiry does",
  },
  {
    from: "established",
    on: "confirm",
    do: ["adopt-peer", "restart-expiry"],
    to: "established",
    note: "of an earlier Response, or of a peer that lost its state",
  },
  { from: "established", on: "message", do: ["send"], to: "established" },
  { from: "awaiting-refresh", on: "message", do: ["send"], to: "awaiting-refresh" },
  { from: "established", on: "room", do: ["release-queue"], to: "established" },
  { from: "awaiting-refresh", on: "room", do: ["release-queue"], to: "awaiting-refresh" },
  { from: "established", on: "data", do: ["deliver"], to: "established" },
  { from: "awaiting-refresh", on: "data", do: ["deliver"], to: "awaiting-refresh" },
  { from: HELD, on: "expired", do: ["tell-expired", ...END], to: "gone", note: "Expire_RNode" },
  { from: HELD, on: "association-lost", do: ["tell-failure", ...END], to: "gone" },
  {
    from: HELD,
    on: "no-routing-state",
    do: ["tell-failure", ...END],
    to: "gone",
    note: "a responding node cannot refresh; the peer has to ask again",
  },
  { from: HELD, on: "bad", do: END, to: "gone" },
  { from: ANY, on: "shut-down", do: END, to: "gone" },
];
