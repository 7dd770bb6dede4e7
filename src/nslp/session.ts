/** What a session of any role offers to the node. */
import type { Flow } from "../base/flow.js";
import type { Milliseconds } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { RouterRest } from "./resting.js";
import type { FlowView, Role } from "./view.js";

/** What a session has accepted: replays are older, and another signer has no part in it. */
export class Heard {
  /** The keys that signed the first Query and the first Permission; certificates may be renewed meanwhile. */
  readonly signers: { query?: string; permission?: string } = {};
  /** Message-Seq of the last Query and of the last Permission. */
  query: number | undefined;
  permission: number | undefined;
  /** When a Query of it last went before new requests. */
  favoured = Number.NEGATIVE_INFINITY;
}

export interface Session {
  readonly id: SessionId;
  readonly flow: Flow;
  readonly role: Role;
  /** No permission yet: counts against the bounds on pending sessions. */
  readonly pending: boolean;
  /** The peer that brought it; undefined at the sender. */
  readonly upstreamPeer: string | undefined;
  /** The next peer on the flow's path, as far as that is known: its last Permission came from there. */
  readonly nextPeer: string | undefined;
  /** The peer that its last Query came from; undefined at the sender. */
  readonly previousPeer: string | undefined;
  readonly heard: Heard;
  /** Its permission is in the packet path, or is on its way there. */
  readonly holds: boolean;
  /** When it was last asked for; set by the table that it stands in. */
  touched: number;
  /** What it is worth keeping of, if all that can be done without it is waiting. Absent: it is always awake. */
  readonly atRest?: RouterRest | undefined;
  /** Takes up again what it was at before it went to rest. */
  wake?(): void;
  /** Of its permission; 0 without one. */
  readonly refreshTime: Milliseconds;
  view(): FlowView;
  /** An operator ends it. */
  revoke(reason: string): Promise<void>;
  /** Ends it without a word: its timers stop, nothing is sent, and what is under way has no effect. */
  stop(): void;
}
