/** The configuration as the parts take it: checked, in units, with every default filled in. Immutable. */
import type { Algorithm } from "../base/algorithm.js";
import type { AdmissionOptions } from "../authorization/admission.js";
import type { AuthenticationRule } from "../authorization/algorithm.js";
import type { DetectionPolicy, MovePolicy } from "../authorization/reaction.js";
import type { PolicyRule, PortRange } from "../authorization/policy.js";
import type { IpAddress, IpPrefix } from "../base/address.js";
import type { Bytes, Milliseconds } from "../base/units.js";

export interface Config {
  /** The file it was read from. */
  readonly file: string;
  readonly node: { readonly name: string; readonly mode: "closed" | "open" };
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
    /** How far apart turns of the event loop are where messages come often; 0: as they come. */
    readonly gather: Milliseconds;
    /** Socket of a gistd that does the signalling; null: pbsd does it itself. */
    readonly service: string | null;
  };
  /** Ways to refresh many flows with few signatures, and how long a refresh waits for others. */
  readonly refresh: { readonly tree: boolean; readonly summary: boolean; readonly collect: Milliseconds };
  readonly packets: PacketsConfig;
  readonly exempt: readonly ExemptClass[];
  /** Bytes a second of traffic without permission, of all and of one source; with mode "open". */
  readonly open: SharedRate;
  readonly legacy: readonly LegacyHosts[];
  readonly request: {
    readonly volume: Bytes;
    readonly idleTimeout: Milliseconds;
    readonly answerWithin: Milliseconds;
  };
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
  readonly detection: {
    /** Of flows to this host; rules may say something else. */
    readonly policy: DetectionPolicy;
    /** Of flows from this host. */
    readonly moves: MovePolicy;
    readonly blockFor: Milliseconds;
    /** Reports a second into passing Queries. */
    readonly reports: number;
  };
  /** What is worked on first, and who is turned away, when there is too much. */
  readonly admission: AdmissionOptions;
  /** Next hops other than the routing table's, in order. */
  readonly path: readonly PathConfig[];
  /** Whether this node passes on what others send through it, and the UDP port of all relays. */
  readonly relay: { readonly serve: boolean; readonly port: number };
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
  readonly openMark: number;
  /** false: packets above the granted volume pass here. */
  readonly enforce: boolean;
  /** Fragments are put together before they are judged; otherwise they are dropped. */
  readonly reassemble: boolean;
  readonly firewall: "auto" | "nft" | "legacy";
  readonly engine: "auto" | "xdp" | "nfqueue";
  /** Real-time priority of the kernel's receive threads of interfaces that XDP judges; 0: as they are. */
  readonly receivePriority: number;
  /** Numbers of the processors that the threads for permitted packets, and for packets with AH, keep to; null: any. */
  readonly processor: number | null;
  readonly ahProcessor: number | null;
}

/** Another way out for flows to some destinations: at least one of `via` and `device`, or a relay, or a source. */
export interface PathConfig {
  /** Absent: to everywhere. */
  readonly to?: IpPrefix;
  readonly via?: IpAddress;
  readonly device?: string;
  readonly relay?: IpAddress;
  /** Another address of this host, for new flows. */
  readonly source?: IpAddress;
}

/** Bytes a second. */
export interface SharedRate {
  readonly rate: Bytes;
  readonly sourceRate: Bytes;
}

/** Hosts that know nothing of PBS: what they send and get passes within a rate. */
export interface LegacyHosts extends SharedRate {
  readonly name: string;
  readonly prefix: IpPrefix;
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
