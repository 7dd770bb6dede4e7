/** The router's machine: slide 15, with the arcs that the slide lacks. */
import type { Table } from "../../base/machine.js";

export type RouterState = "idle" | "wait-permission" | "permission";

export type RouterEvent =
  | "query"
  | "granted"
  | "refused"
  | "path-change"
  | "path-changed"
  | "path-kept"
  | "unsupported"
  | "notified"
  | "pending"
  | "algorithm-refused"
  | "wait-over"
  | "state-over"
  | "revoked-here";

export type RouterGuard = "new-algorithm" | "mine-to-move" | "names-this";

export type RouterAction =
  | "forward-query"
  | "report-query"
  | "forward-permission"
  | "forward-notify"
  | "forward-refusal"
  | "refuse-algorithm"
  | "await-permission"
  | "prolong-wait"
  | "install"
  | "remove-permission"
  | "keep-alive"
  | "leave"
  | "say-stuck"
  | "change-path"
  | "report"
  | "report-authentication"
  | "forget";

export const ROUTER_MACHINE: Table<RouterState, RouterEvent, RouterGuard, RouterAction> = [
  {
    from: "idle",
    on: "query",
    do: ["await-permission", "forward-query"],
    to: "wait-permission",
    note: "slide 15: Recv Q, forward Q",
  },
  {
    from: "wait-permission",
    on: "query",
    do: ["await-permission", "forward-query"],
    to: "wait-permission",
    note: "the sender's second try",
  },
  {
    from: "wait-permission",
    on: "granted",
    do: ["install", "keep-alive", "forward-permission", "report", "report-authentication"],
    to: "permission",
    note: "slide 15: P with AV > 0; installed before it goes on",
  },
  {
    from: "wait-permission",
    on: "refused",
    do: ["forward-permission", "report", "forget"],
    to: "idle",
    note: "slide 15: P with AV = 0",
  },
  {
    from: "wait-permission",
    on: "notified",
    do: ["forward-notify", "report", "forget"],
    to: "idle",
    note: "Notify: there will be no Permission",
  },
  {
    from: "wait-permission",
    on: "pending",
    do: ["prolong-wait", "forward-notify"],
    to: "wait-permission",
    note: "Notify: a person decides",
  },
  {
    from: "wait-permission",
    on: "wait-over",
    do: ["report", "forget"],
    to: "idle",
    note: "no answer in 10 s: a flood of Queries leaves nothing behind",
  },
  {
    from: "permission",
    on: "query",
    do: ["report-query", "forward-query"],
    to: "permission",
    note: "slide 15: Recv Q in state 3; the router's own count goes with it",
  },
  {
    from: "wait-permission",
    on: "path-change",
    do: ["forward-permission"],
    to: "wait-permission",
    note: "slide 20: P, change path",
  },
  {
    from: "permission",
    on: "path-change",
    when: "mine-to-move",
    do: ["change-path"],
    to: "permission",
    note: "P, change path, names this router: packets vanish behind it, and it has another way",
  },
  {
    from: "permission",
    on: "path-changed",
    do: ["forward-permission"],
    to: "permission",
    note: "then the sender hears of it, and sends a Query for the new path",
  },
  {
    from: "permission",
    on: "path-kept",
    do: ["forward-permission", "say-stuck", "leave"],
    to: "permission",
    note: "it has no other way after all: the sender is told, and may have one",
  },
  {
    from: "permission",
    on: "path-change",
    when: "names-this",
    do: ["forward-permission", "say-stuck", "leave"],
    to: "permission",
    note: "P, change path, names this router, which cannot",
  },
  {
    from: "permission",
    on: "path-change",
    do: ["forward-permission", "leave"],
    to: "permission",
    note: "slide 20: P, change path; what is installed stays until the flow has had time to leave",
  },
  {
    from: "wait-permission",
    on: "unsupported",
    do: ["refuse-algorithm"],
    to: "wait-permission",
    note: "P with an algorithm that this router cannot do: the receiver hears of it and chooses another",
  },
  {
    from: "wait-permission",
    on: "algorithm-refused",
    do: ["forward-refusal"],
    to: "wait-permission",
    note: "Notify of a node upstream, for the receiver",
  },
  {
    from: "permission",
    on: "granted",
    when: "new-algorithm",
    do: ["install", "keep-alive", "forward-permission", "report-authentication"],
    to: "permission",
    note: "slide 15: P, new algorithm; or a new SPI and key",
  },
  {
    from: "permission",
    on: "granted",
    do: ["install", "keep-alive", "forward-permission"],
    to: "permission",
    note: "refresh or change",
  },
  {
    from: "permission",
    on: "refused",
    do: ["remove-permission", "forward-permission", "report", "forget"],
    to: "idle",
    note: "slide 15: P with AV = 0",
  },
  {
    from: "permission",
    on: "notified",
    do: ["forward-notify"],
    to: "permission",
    note: "a Notify ends no permission",
  },
  { from: "permission", on: "pending", do: ["forward-notify"], to: "permission" },
  {
    from: "permission",
    on: "unsupported",
    do: ["refuse-algorithm"],
    to: "permission",
    note: "P with an algorithm that this router cannot do: what is installed stays",
  },
  {
    from: "permission",
    on: "algorithm-refused",
    do: ["forward-refusal"],
    to: "permission",
    note: "Notify of a node upstream, for the receiver",
  },
  {
    from: "permission",
    on: "state-over",
    do: ["remove-permission", "report", "forget"],
    to: "idle",
    note: "slide 15: TTL = 0 or no refresh",
  },
  {
    from: ["wait-permission", "permission"],
    on: "revoked-here",
    do: ["remove-permission", "forward-notify", "report", "forget"],
    to: "idle",
    note: "an operator ends it at this router",
  },
];
