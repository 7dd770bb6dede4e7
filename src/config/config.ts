/** The configuration as the parts take it: checked, in units, with every default filled in. Immutable. */
import type { Algorithm } from "../base/algorithm.js";
import type { AuthenticationRule } from "../authorization/algorithm.js";
import type { PolicyRule, PortRange } from "../authorization/policy.js";
import type { IpPrefix } from "../base/address.js";
import type { Bytes, Milliseconds } from "../base/units.js";

export interface Config {
  /** The file it was read from. */
  readonly file: string;
  readonly node: { readonly name: string; readonly mode: "closed" };
  /** Absolute paths. */
  readonly identity: {
    readonly certificate: string;
    readonly key: string;
    readonly authorities: readonly string[];
  };
  readonly signalling: {
    readonly tlsPort: number;
    /** Port for associations without TLS; null: there are none. */
    readonly tcpPort: number | null;
    readonly routingStateValidity: Milliseconds;
    readonly associationHold: Milliseconds;
    /** Intercepted Query-mode packets a second. */
    readonly interceptRate: number;
    /** Router Alert value of Queries. */
    readonly routerAlert: number;
    /** Socket of a gistd that does the signalling; null: pbsd does it itself. */
    readonly service: string | null;
  };
  readonly packets: PacketsConfig;
  readonly exempt: readonly ExemptClass[];
  readonly request: { readonly volume: Bytes; readonly idleTimeout: Milliseconds };
  readonly return: {
    readonly policy: "auto" | "rules";
    readonly volume: Bytes;
    readonly lifetime: Milliseconds;
    readonly refresh: Milliseconds;
    readonly authentication?: AuthenticationRule;
  };
  /** What this node takes part in as sender and as router; as receiver the rules say it. */
  readonly authentication: {
    readonly accept: readonly Algorithm[];
    /** Bytes that TCP segments to and from this host leave free for an Authentication Header. */
    readonly reserve: number;
  };
  readonly rules: readonly PolicyRule[];
  /** Neighbours of the signalling that are believed; empty: all whom an authority signed. */
  readonly peers: readonly PeerRule[];
  readonly control: { readonly socket: string; readonly group: string | null };
  readonly log: { readonly level: LogLevel };
}

/** One entry of the Authorised Peer Database: by name in the certificate, the first that fits decides. */
export interface PeerRule {
  /** "router.example.net", "*.example.net" or "*". */
  readonly name: string;
  readonly action: "accept" | "refuse";
}

export interface PacketsConfig {
  /** First of four NFQUEUE numbers. */
  readonly queueBase: number;
  /** Flows that the table holds. */
  readonly capacity: number;
  /** Packets held for one flow while it is asked for, and for all. */
  readonly holdPacketsPerFlow: number;
  readonly holdPackets: number;
  readonly holdTime: Milliseconds;
  /** How long a refused flow of this host is answered at once, without a new Query. */
  readonly refuseFor: Milliseconds;
  readonly refuseMark: number;
  /** false: packets above the granted volume pass here. */
  readonly enforce: boolean;
  /** Fragments are put together before they are judged; otherwise they are dropped. */
  readonly reassemble: boolean;
  readonly firewall: "auto" | "nft" | "legacy";
}

/** Traffic that passes without permission, within a rate. What is absent matches everything. */
export interface ExemptClass {
  readonly name: string;
  readonly protocol?: number;
  readonly ports?: readonly PortRange[];
  readonly from?: IpPrefix;
  readonly to?: IpPrefix;
  /** Packets a second. */
  readonly rate: number;
}

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const DEFAULT_CONFIG_FILE = "/etc/pbsd/pbsd.toml";
export const DEFAULT_SOCKET = "/run/pbsd/control.sock";
