/** What the two sides of a load are told, as it goes to their processes. */
import type { KeyChoice } from "../authorization/keys.js";
import type { AddressBlock } from "./space.js";

export type Arrival = "constant" | "poisson";

/** How the sending side behaves. Times in milliseconds. */
export interface SenderBehaviour {
  /** Volume that a flow asks for, and by which it asks for more. */
  readonly volume: number;
  /** Bytes a second that each flow reports as sent; at 80 % of its permission it asks for more. 0: nothing is reported. */
  readonly reportedRate: number;
  /** Wait for the first and the second answer; after that the attempt has failed. */
  readonly timeouts: readonly number[];
  /** A flow that got no permission asks again after so long; undefined: never. */
  readonly retryAfter?: number;
  /** Flows refresh by themselves, at 0.5 to 1.5 times the period of their permission. */
  readonly refreshes: boolean;
  /** A flow that is over makes room for a new one at once. */
  readonly replace: boolean;
  /**
   * How refreshes save signatures; undefined: each is signed by itself. "trees": what falls due together is. "summaries":
   * {@link SUMMARY_FLOWS} flows of a pair of hosts refresh in one message, and what is left by trees. Every node is taken to know it.
   */
  readonly saving?: Saving;
}

export const SAVINGS = ["trees", "summaries"] as const;
export type Saving = (typeof SAVINGS)[number];

/** Flows that one message refreshes. */
export const SUMMARY_FLOWS = 100;
/** Milliseconds that a message which may be signed with others waits for them. */
export const GATHERED_FOR = 100;

/** How the receiving side behaves. */
export interface ReceiverBehaviour {
  /** Milliseconds, as they stand in Permissions. */
  readonly ttl: number;
  readonly refresh: number;
  /** Share of the new flows that are refused, and of the others that are revoked within `revokeWithin` milliseconds. */
  readonly refusedShare: number;
  readonly revokedShare: number;
  readonly revokeWithin: number;
}

/** One process of the tool: a GIST node with the flows of many hosts. */
export interface HostOptions {
  readonly role: "sender" | "receiver";
  readonly flows: number;
  readonly senders: AddressBlock;
  readonly receivers: AddressBlock;
  /** Address and interface of the link towards the router. */
  readonly address: string;
  readonly interface: string;
  readonly tlsPort: number;
  readonly queue: number;
  /** Directory of an authority that issues all certificates; undefined: `identity` is used for all flows. */
  readonly authority?: string;
  readonly identity?: IdentityFiles;
  readonly keyType: KeyChoice;
  /** How many keys the certificates share. */
  readonly keys: number;
  /** Milliseconds; undefined: GIST's default. */
  readonly validity?: number;
  /** Of the messages that come in, the share whose signature is checked. */
  readonly verifiedShare: number;
  readonly sending: SenderBehaviour;
  readonly receiving: ReceiverBehaviour;
}

export interface IdentityFiles {
  readonly certificate: string;
  readonly key: string;
  readonly authorities: readonly string[];
}
