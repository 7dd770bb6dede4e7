/** The sender's machine: slide 13, with the arcs that the slide lacks (protocol: docs/protocol.md). */
import type { Table } from "../../base/machine.js";

export type SenderState = "idle" | "wait-permission" | "permission";

export type SenderEvent =
  | "start"
  | "granted"
  | "refused"
  | "unsupported"
  | "path-change"
  | "path-changed"
  | "gave-way"
  | "no-path"
  | "asked"
  | "pending"
  | "notified"
  | "busy"
  | "ask-again"
  | "no-answer"
  | "refresh-due"
  | "refresh-alone"
  | "refresh-again"
  | "support-refused"
  | "threshold"
  | "exhausted"
  | "new-key-due"
  | "association-lost"
  | "ttl-over"
  | "revoked-here";

export type SenderGuard =
  "tries-left" | "in-use" | "answer-owed" | "nothing-gained" | "new-algorithm" | "path-left" | "patient";

export type SenderAction =
  | "send-query"
  | "ask-for-more"
  | "await-answer"
  | "prolong-wait"
  | "back-off"
  | "install"
  | "schedule-refresh"
  | "refresh-soon"
  | "refuse-application"
  | "end-connection"
  | "give-up"
  | "refuse-algorithm"
  | "change-path"
  | "remove-permission"
  | "report"
  | "report-authentication"
  | "report-silence"
  | "forget";

export const SENDER_MACHINE: Table<SenderState, SenderEvent, SenderGuard, SenderAction> = [
  {
    from: "idle",
    on: "start",
    do: ["await-answer", "send-query"],
    to: "wait-permission",
    note: "slide 13: Send Q",
  },
  {
    from: "wait-permission",
    on: "granted",
    do: ["install", "schedule-refresh", "report", "report-authentication"],
    to: "permission",
    note: "slide 13: P with AV > 0; held packets go",
  },
  {
    from: "wait-permission",
    on: "refused",
    do: ["refuse-application", "report", "forget"],
    to: "idle",
    note: "slide 13: P with AV = 0",
  },
  {
    from: "wait-permission",
    on: "unsupported",
    do: ["refuse-algorithm"],
    to: "wait-permission",
    note: "P with an algorithm that this host cannot do: the receiver hears of it and chooses another",
  },
  {
    from: "wait-permission",
    on: "pending",
    do: ["prolong-wait"],
    to: "wait-permission",
    note: "Notify: a person decides at the receiver",
  },
  {
    from: "wait-permission",
    on: "notified",
    do: ["refuse-application", "report", "forget"],
    to: "idle",
    note: "Notify: a node on the path cannot or will not",
  },
  {
    from: "wait-permission",
    on: "busy",
    when: "patient",
    do: ["back-off", "report"],
    to: "wait-permission",
    note: "Notify: a node on the path is busy, and says when to come again",
  },
  {
    from: "wait-permission",
    on: "busy",
    when: "path-left",
    do: ["change-path"],
    to: "wait-permission",
    note: "it has been busy for too long, or asks for more work than this host does: another path",
  },
  {
    from: "wait-permission",
    on: "busy",
    do: ["refuse-application", "report", "forget"],
    to: "idle",
    note: "and there is no other path",
  },
  {
    from: "wait-permission",
    on: "ask-again",
    do: ["await-answer", "send-query"],
    to: "wait-permission",
    note: "at the time that the busy node named",
  },
  {
    from: "wait-permission",
    on: "no-answer",
    when: "tries-left",
    do: ["await-answer", "send-query"],
    to: "wait-permission",
    note: "slide 13: timeout; a second try on the same path (drafts)",
  },
  {
    from: "wait-permission",
    on: "no-answer",
    when: "path-left",
    do: ["report-silence", "change-path"],
    to: "wait-permission",
    note: "slides 13 and 19: two tries without an answer, change route",
  },
  {
    from: "wait-permission",
    on: "path-changed",
    do: ["await-answer", "send-query"],
    to: "wait-permission",
    note: "slide 13: send Q, on the new path",
  },
  {
    from: "wait-permission",
    on: "no-answer",
    do: ["give-up", "report", "forget"],
    to: "idle",
    note: "two tries without an answer, and no other path; an open network lets the packets go without permission",
  },
  {
    from: "wait-permission",
    on: "no-path",
    do: ["give-up", "report", "forget"],
    to: "idle",
    note: "all paths have been tried",
  },
  {
    from: "permission",
    on: "granted",
    when: "nothing-gained",
    do: ["remove-permission", "refuse-application", "report", "forget"],
    to: "idle",
    note: "slide 13: SV > AV; asked for more and got none",
  },
  {
    from: "permission",
    on: "granted",
    when: "new-algorithm",
    do: ["install", "report", "report-authentication"],
    to: "permission",
    note: "slide 13: P, new algorithm; or a new SPI and key",
  },
  {
    from: "permission",
    on: "unsupported",
    do: ["refuse-algorithm"],
    to: "permission",
    note: "P with an algorithm that this host cannot do: what is installed stays",
  },
  {
    from: "permission",
    on: "new-key-due",
    do: ["await-answer", "send-query"],
    to: "permission",
    note: "three quarters of the sequence numbers are used: the receiver sees it, too, and makes a new key",
  },
  {
    from: "permission",
    on: "granted",
    do: ["install", "report"],
    to: "permission",
    note: "answer to a refresh, or P unasked",
  },
  {
    from: "permission",
    on: "refused",
    do: ["remove-permission", "refuse-application", "report", "forget"],
    to: "idle",
    note: "slide 13: P with AV = 0",
  },
  {
    from: "permission",
    on: "refresh-due",
    when: "in-use",
    do: ["await-answer", "send-query", "schedule-refresh"],
    to: "permission",
    note: "slide 13: Send Q every T",
  },
  {
    from: "permission",
    on: "refresh-alone",
    do: ["await-answer", "send-query"],
    to: "permission",
    note: "Notify: a node does not have this flow of a summary, or on another path",
  },
  {
    from: "permission",
    on: "refresh-again",
    do: ["await-answer", "send-query"],
    to: "permission",
    note: "Notify: a node did not take a summary because of others in it",
  },
  {
    from: "wait-permission",
    on: "support-refused",
    do: ["await-answer", "send-query"],
    to: "wait-permission",
    note: "Notify: a node on the path cannot help to save signatures; Q without",
  },
  {
    from: "permission",
    on: "support-refused",
    do: ["await-answer", "send-query"],
    to: "permission",
    note: "Notify: a node on the path cannot help to save signatures; Q without",
  },
  {
    from: "permission",
    on: "refresh-due",
    do: ["schedule-refresh"],
    to: "permission",
    note: "an idle flow is left to expire everywhere",
  },
  {
    from: "permission",
    on: "threshold",
    do: ["ask-for-more", "await-answer", "send-query"],
    to: "permission",
    note: "80 % of AV is used",
  },
  {
    from: "permission",
    on: "exhausted",
    when: "answer-owed",
    do: [],
    to: "permission",
    note: "more was asked for already",
  },
  {
    from: "permission",
    on: "exhausted",
    do: ["ask-for-more", "await-answer", "send-query"],
    to: "permission",
    note: "a packet did not fit: SV + length > AV",
  },
  {
    from: "permission",
    on: "no-answer",
    when: "tries-left",
    do: ["await-answer", "send-query"],
    to: "permission",
    note: "a refresh went unanswered",
  },
  {
    from: "permission",
    on: "no-answer",
    when: "path-left",
    do: ["report", "report-silence", "change-path"],
    to: "permission",
    note: "slide 19: two tries without an answer; what is installed goes on",
  },
  {
    from: "permission",
    on: "no-answer",
    do: ["report"],
    to: "permission",
    note: "soft state lasts until its TTL",
  },
  {
    from: "permission",
    on: "path-change",
    do: ["change-path"],
    to: "permission",
    note: "slide 20: P, change path",
  },
  {
    from: "permission",
    on: "path-changed",
    do: ["await-answer", "send-query"],
    to: "permission",
    note: "Q on the new path: permission and volume are carried over",
  },
  {
    from: "permission",
    on: "asked",
    do: ["await-answer", "send-query"],
    to: "permission",
    note: "the receiver wants to compare now",
  },
  { from: "permission", on: "pending", do: ["prolong-wait"], to: "permission" },
  {
    from: "permission",
    on: "notified",
    do: ["report"],
    to: "permission",
    note: "a Notify is unsigned: it ends no permission",
  },
  {
    from: "permission",
    on: "busy",
    when: "patient",
    do: ["back-off", "report"],
    to: "permission",
    note: "a refresh was turned away: no silence, and no reason to take another path",
  },
  {
    from: "permission",
    on: "busy",
    when: "path-left",
    do: ["report", "change-path"],
    to: "permission",
    note: "busy for too long: no better than silence",
  },
  {
    from: "permission",
    on: "busy",
    do: ["back-off", "report"],
    to: "permission",
    note: "no other path",
  },
  {
    from: "permission",
    on: "ask-again",
    do: ["await-answer", "send-query", "schedule-refresh"],
    to: "permission",
    note: "the refresh that was turned away",
  },
  {
    from: "permission",
    on: "association-lost",
    do: ["refresh-soon"],
    to: "permission",
    note: "the next node may have restarted without its state",
  },
  {
    from: "permission",
    on: "ttl-over",
    do: ["remove-permission", "report", "forget"],
    to: "idle",
    note: "slide 13: TTL = 0",
  },
  {
    from: ["wait-permission", "permission"],
    on: "revoked-here",
    do: ["remove-permission", "refuse-application", "report", "forget"],
    to: "idle",
    note: "an operator ends it at this host",
  },
  {
    from: ["wait-permission", "permission"],
    on: "gave-way",
    do: ["remove-permission", "refuse-application", "end-connection", "forget"],
    to: "idle",
    note: "only another source address has a path left: the application hears of it, and opens its connection anew",
  },
];
