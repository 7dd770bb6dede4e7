/** What a session of any role offers to the node. */
import type { Flow } from "../base/flow.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { FlowView, Role } from "./view.js";

export interface Session {
  readonly id: SessionId;
  readonly flow: Flow;
  readonly role: Role;
  /** No permission yet: counts against the bounds on pending sessions. */
  readonly pending: boolean;
  /** The peer that brought it; undefined at the sender. */
  readonly upstreamPeer: string | undefined;
  view(): FlowView;
  /** An operator ends it. */
  revoke(reason: string): Promise<void>;
  /** Stops timers; nothing is sent and nothing removed. */
  stop(): void;
}
