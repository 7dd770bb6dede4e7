import type { Mri, SessionId } from "./wire/messages.js";

/** What names a session at one node. */
export interface FlowSession {
  readonly nslpId: number;
  readonly sessionId: SessionId;
  /** As this node sends it. */
  readonly mri: Mri;
}
