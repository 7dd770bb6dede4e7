/**
 * Notify (G19): hop by hop, rate-limited, never about a Notify. Towards the asking host it says why there is no permission,
 * towards the receiver that a node cannot do what its Permission's Defense asks for.
 */
import type { Flow } from "../base/flow.js";
import { type Milliseconds, ms } from "../base/units.js";
import type { Direction, SessionId } from "../gist/wire/messages.js";
import type { Refusal } from "./admission/admission.js";
import { type PbsContext, send } from "./context.js";
import { encodeNotify } from "./wire/codec.js";
import {
  type Defense,
  INFO_CLASS,
  INFO_CODE,
  type Info,
  OBJECT_TYPE,
  type PbsNotify,
  type Ticket,
} from "./wire/messages.js";

export const BUSY_TEXT = "this node is busy";

interface About {
  readonly id: SessionId;
  readonly flow: Flow;
}

/** What a Notify has beside its INFO. */
export interface Attached {
  readonly listed?: readonly SessionId[] | undefined;
  readonly ticket?: Ticket | undefined;
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

/** A router without a place in its packet path has no permission to pass on. */
export function tellFull(context: PbsContext, about: About): void {
  const reason = { class: INFO_CLASS.transientFailure, code: INFO_CODE.tableFull };
  sendNotify(context, about, reason, "this router's flow table is full");
}

/** Says to the asking host when to come again. Each peer has a share of its own of these. */
export function sendBusy(context: PbsContext, about: About, peer: string, refusal: Refusal): void {
  const { retryAfter, ticket } = refusal;
  const info: Info = {
    class: INFO_CLASS.transientFailure,
    code: INFO_CODE.busy,
    objectType: 0,
    retryAfter,
    text: BUSY_TEXT,
  };
  if (!context.refusals.take(peer)) return context.counters.count("limited.notify");
  sendNow(context, about, "upstream", { type: "notify", flow: about.flow, info, ...(ticket && { ticket }) });
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
  sendNow(context, about, direction, notify);
}

function sendNow(context: PbsContext, about: About, direction: Direction, notify: PbsNotify): void {
  send(context, { id: about.id, flow: about.flow, direction, data: encodeNotify(notify) });
  context.counters.count("notify.sent");
}
