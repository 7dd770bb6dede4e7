/** Notify (G19): hop by hop towards the asking host, rate-limited, never about a Notify. */
import type { Flow } from "../base/flow.js";
import { type Milliseconds, ms } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import { type PbsContext, send } from "./context.js";
import { encodeNotify } from "./wire/codec.js";

export interface NotifyReason {
  readonly class: number;
  readonly code: number;
  readonly objectType?: number;
  readonly retryAfter?: Milliseconds;
}

export function sendNotify(
  context: PbsContext,
  about: { readonly id: SessionId; readonly flow: Flow },
  reason: NotifyReason,
  text: string,
): void {
  if (!context.notifies.take()) return context.counters.count("limited.notify");
  const data = encodeNotify({
    type: "notify",
    flow: about.flow,
    info: {
      class: reason.class,
      code: reason.code,
      objectType: reason.objectType ?? 0,
      retryAfter: reason.retryAfter ?? ms(0),
      text,
    },
  });
  send(context, { id: about.id, flow: about.flow, direction: "upstream", data });
  context.counters.count("notify.sent");
}
