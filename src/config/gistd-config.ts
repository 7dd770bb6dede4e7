/** The configuration of gistd as its parts take it: checked, in units, with every default filled in. Immutable. */
import type { Milliseconds } from "../base/units.js";
import type { LogLevel, PeerRule } from "./config.js";

export interface GistdConfig {
  /** The file it was read from. */
  readonly file: string;
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
    /** NFQUEUE number from which intercepted packets are taken. */
    readonly queue: number;
    /** Routing states at the same time. */
    readonly capacity: number;
  };
  readonly service: {
    readonly socket: string;
    readonly group: string | null;
    /** Users that may use the service besides root and the daemon's own. */
    readonly uids: readonly number[];
    /** Groups whose processes may use it, by their effective group. */
    readonly gids: readonly number[];
  };
  /** Neighbours that are believed; empty: all whom an authority signed. */
  readonly peers: readonly PeerRule[];
  readonly control: { readonly socket: string; readonly group: string | null };
  readonly log: { readonly level: LogLevel };
}

export const DEFAULT_GISTD_FILE = "/etc/gistd/gistd.toml";
export const DEFAULT_GISTD_CONTROL = "/run/gistd/control.sock";
export const DEFAULT_SERVICE = "/run/gistd/gist.sock";
