/** Node-SM of RFC 5971 section 6.1: what becomes of a message before any session's own machine sees it. */
import type { Table } from "../base/machine.js";

type Event = "query" | "response" | "confirm" | "data" | "send";
export type NodeGuard =
  | "state-exists"
  | "state-of-another-peer"
  | "cookie-known"
  | "weaker-than-state"
  | "cookie-good"
  | "tables-full"
  | "undecided"
  | "source-limited"
  | "nslp-peers"
  | "kept-before-confirm"
  | "last-node"
  | "own-query"
  | "explicitly-routed"
  | "upstream"
  | "stateless"
  | "too-many-handshakes";
type Action =
  | "to-session"
  | "create-session"
  | "ask-nslp"
  | "respond-stateless"
  | "pass-on"
  | "refuse-endpoint"
  | "refuse-state"
  | "refuse-association"
  | "deliver"
  | "send-stateless"
  | "refuse-no-state"
  | "refuse-last-node"
  | "refuse-overloaded"
  | "drop";

export const NODE_MACHINE: Table<"node", Event, NodeGuard, Action> = [
  {
    from: "node",
    on: "query",
    when: "own-query",
    do: ["pass-on"],
    to: "node",
    note: "it came back in a loop",
  },
  { from: "node", on: "query", when: "state-exists", do: ["to-session"], to: "node" },
  { from: "node", on: "query", when: "tables-full", do: ["drop"], to: "node" },
  {
    from: "node",
    on: "query",
    when: "undecided",
    do: ["ask-nslp"],
    to: "node",
    note: "the Query comes again with the NSLP's answer",
  },
  {
    from: "node",
    on: "query",
    when: "kept-before-confirm",
    do: ["create-session"],
    to: "node",
    note: "the NSLP peers, and state is not delayed; above the rate for one peer it is all the same",
  },
  { from: "node", on: "query", when: "nslp-peers", do: ["respond-stateless"], to: "node" },
  { from: "node", on: "query", when: "last-node", do: ["refuse-endpoint"], to: "node" },
  { from: "node", on: "query", do: ["pass-on"], to: "node" },

  { from: "node", on: "response", when: "cookie-known", do: ["to-session"], to: "node" },
  { from: "node", on: "response", do: ["drop"], to: "node", note: "never answered: it may be forged" },

  {
    from: "node",
    on: "confirm",
    when: "weaker-than-state",
    do: ["drop"],
    to: "node",
    note: "state over TLS is not given up for what anybody on the path could have sent",
  },
  { from: "node", on: "confirm", when: "tables-full", do: ["drop"], to: "node" },
  {
    from: "node",
    on: "confirm",
    when: "source-limited",
    do: ["drop"],
    to: "node",
    note: "one peer sets up too much new state at a time",
  },
  { from: "node", on: "confirm", when: "cookie-good", do: ["to-session"], to: "node" },
  { from: "node", on: "confirm", when: "state-exists", do: ["drop"], to: "node", note: "late, or forged" },
  {
    from: "node",
    on: "confirm",
    do: ["refuse-state"],
    to: "node",
    note: "as Data without state; datagrams within the rate for all",
  },

  { from: "node", on: "data", when: "state-exists", do: ["to-session"], to: "node" },
  { from: "node", on: "data", when: "explicitly-routed", do: ["deliver"], to: "node" },
  { from: "node", on: "data", when: "state-of-another-peer", do: ["refuse-association"], to: "node" },
  { from: "node", on: "data", do: ["refuse-state"], to: "node" },

  { from: "node", on: "send", when: "state-exists", do: ["to-session"], to: "node" },
  {
    from: "node",
    on: "send",
    when: "upstream",
    do: ["refuse-no-state"],
    to: "node",
    note: "only the node upstream can set that state up",
  },
  { from: "node", on: "send", when: "last-node", do: ["refuse-last-node"], to: "node" },
  {
    from: "node",
    on: "send",
    when: "stateless",
    do: ["send-stateless"],
    to: "node",
    note: "Data in Query mode, once",
  },
  { from: "node", on: "send", when: "tables-full", do: ["refuse-overloaded"], to: "node" },
  { from: "node", on: "send", when: "too-many-handshakes", do: ["refuse-overloaded"], to: "node" },
  { from: "node", on: "send", do: ["create-session"], to: "node" },
];
