/** Data in Query mode: one message along the flow's path, without routing state (RFC 5971 section 5.1). */
import { countSent, type GistContext, ownNli } from "./context.js";
import { dataMessage, longestInQueryMode, needsAssociation } from "./outlet.js";
import type { MessageError, SendMessage } from "./service.js";
import { encodeGist } from "./wire/codec.js";
import type { Route } from "./transport/transport.js";

/** Sends, and reports what became of it. */
export function sendStateless(context: GistContext, send: SendMessage): void {
  const refuse = (error: MessageError, detail: string): void => context.nslps.status(send, error, detail);
  if (send.transfer.reliable || send.transfer.secure) {
    refuse("transport-failed", "a message without routing state is neither reliable nor secure");
    return;
  }
  if (needsAssociation(send)) {
    refuse("too-large", "it does not fit a datagram");
    return;
  }
  const asked = context.routes.lookup(send.mri, (route) => {
    if (route === undefined) refuse("no-response", "there is no route to the flow's destination");
    else sendAlong(context, send, route);
  });
  if (!asked) refuse("overloaded", "too many routes are being looked up");
}

function sendAlong(context: GistContext, send: SendMessage, route: Route): void {
  const ttl = send.ipTtl ?? context.options.ipTtl;
  const message = {
    ...dataMessage(context, send),
    signallingSource: false,
    queryMode: true,
    nli: ownNli(context, route.interfaceAddress, ttl, context.validity()),
  } as const;
  const bytes = encodeGist(message);
  const most = longestInQueryMode(route.mtu);
  if (bytes.length > most) {
    context.nslps.status(send, "too-large", `a message of ${bytes.length} bytes is above ${most}`);
    return;
  }
  if (!context.datagrams.take()) {
    context.counters.count("limited.datagram");
    context.nslps.status(send, "overloaded", "this node may not send more datagrams now");
    return;
  }
  countSent(context, message);
  context.transport.sendQueryMode(send.mri, bytes, { spoofSource: true, ttl });
  context.nslps.status(send, "no-error", "", { reliable: false, secure: false });
}
