/**
 * Notify (G19): hop by hop, rate-limited, never about a Notify. Towards the asking host it says why there is no permission,
 * towards the receiver that a node cannot do what its Permission's Defense asks for.
 */
import type { Flow } from "../base/flow.js";
import { type Milliseconds, ms } from "../base/units.js";
import type { Direction, SessionId } from "../gist/wire/messages.js";
import { type PbsContext, send } from "./context.js";
import { encodeNotify } from "./wire/codec.js";
import {
  type Defense,
  INFO_CLASS,
  INFO_CODE,
  type Info,
  OBJECT_TYPE,
  type PbsNotify,
} from "./wire/messages.js";

interface About {
  readonly id: SessionId;
  readonly flow: Flow;
}

export interface NotifyReason {
  readonly class: number;
  readonly code: number;
  readonly objectType?: number;
  readonly retryAfter?: Milliseconds;
  /** Flows of a summary that it is about. */
  readonly listed?: readonly SessionId[];
}

export function sendNotify(context: PbsContext, about: About, reason: NotifyReason, text: string): void {
  const info: Info = {
    class: reason.class,
    code: reason.code,
    objectType: reason.objectType ?? 0,
    retryAfter: reason.retryAfter ?? ms(0),
    text,
  };
  const listed = reason.listed === undefined ? {} : { listed: reason.listed };
  sendLimited(context, about, "upstream", { type: "notify", flow: about.flow, info, ...listed });
}

/** Says to the receiver that this node cannot do what a Permission asks for. */
export function refuseDefense(context: PbsContext, about: About, defense: Defense, why: string): void {
  const info: Info = {
    class: INFO_CLASS.permanentFailure,
    code: INFO_CODE.unsupportedAlgorithm,
    objectType: OBJECT_TYPE.defense,
    retryAfter: ms(0),
    text: why,
  };
  const withoutKey = { ...defense, key: new Uint8Array() };
  sendLimited(context, about, "downstream", { type: "notify", flow: about.flow, info, defense: withoutKey });
}

function sendLimited(context: PbsContext, about: About, direction: Direction, notify: PbsNotify): void {
  if (!context.notifies.take()) return context.counters.count("limited.notify");
  send(context, { id: about.id, flow: about.flow, direction, data: encodeNotify(notify) });
  context.counters.count("notify.sent");
}
