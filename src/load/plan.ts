/** What a load is to be. */
import type { KeyChoice } from "../authorization/keys.js";
import { seconds } from "../base/units.js";
import type { ReceiverBehaviour, SenderBehaviour } from "./options.js";
import type { Tables } from "./router.js";

export interface LoadPlan {
  /** Of all lanes together. */
  readonly flows: number;
  /** Each lane is a sending and a receiving neighbour of the router, with processes of their own. */
  readonly lanes: number;
  /** Hosts with certificates of their own, in each lane. */
  readonly senders: number;
  readonly receivers: number;
  readonly keyType: KeyChoice;
  /** Keys that the certificates of one process share. */
  readonly keys: number;
  /** GIST's routing state validity at all nodes, in milliseconds. */
  readonly validity: number;
  /** Share of the messages whose signatures the tool itself checks; the router checks all. */
  readonly verifiedShare: number;
  readonly sending: SenderBehaviour;
  readonly receiving: ReceiverBehaviour;
  /** Cores, as taskset has them; undefined: all. */
  readonly routerCores?: string;
  readonly hostCores?: string;
  /** Tables of the router's pbsd.toml, over what the load needs. */
  readonly configuration: Tables;
  readonly routerArguments: readonly string[];
  /** Where the router runs and leaves its log; undefined: nowhere that lasts. */
  readonly keepIn?: string;
}

const HOUR = seconds(3600);

/** Individual signatures, no timers: only what is asked for happens. */
export const STILL: LoadPlan = {
  flows: 5000,
  lanes: 1,
  senders: 32,
  receivers: 32,
  keyType: "rsa2048",
  keys: 4,
  validity: HOUR,
  verifiedShare: 0.01,
  sending: {
    volume: 10_000_000,
    reportedRate: 0,
    timeouts: [2000, 4000],
    refreshes: false,
    replace: false,
  },
  receiving: { ttl: 24 * HOUR, refresh: HOUR, refusedShare: 0, revokedShare: 0, revokeWithin: 0 },
  configuration: {},
  routerArguments: [],
};
