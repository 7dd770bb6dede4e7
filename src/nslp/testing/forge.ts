/** Messages that no honest node makes, handed to a node of a line in memory. */
import type { Signer } from "../../authorization/signing.js";
import type { Flow } from "../../base/flow.js";
import type { SendMessage } from "../../gist/service.js";
import type { Direction, SessionId } from "../../gist/wire/messages.js";
import { mriOf } from "../mri.js";
import { encodeUnsigned, signatureInput, withSignature } from "../wire/codec.js";
import { PBS_NSLP_ID, type PbsPermission, type PbsQuery, type Unsigned } from "../wire/messages.js";
import type { Line, Place } from "./line.js";

/** A message as GIST would carry it, whatever is in it. */
export function carried(id: string, flow: Flow, direction: Direction, data: Uint8Array): SendMessage {
  return {
    data,
    nslpId: PBS_NSLP_ID,
    sessionId: id as SessionId,
    mri: mriOf(flow, direction),
    transfer: { reliable: true, secure: true },
  };
}

/** A Query or Permission of somebody's own making, signed for one session. */
export function signed(
  signer: Signer,
  id: string,
  content: Omit<Unsigned<PbsQuery>, "certificate"> | Omit<Unsigned<PbsPermission>, "certificate">,
): SendMessage {
  const unsigned = encodeUnsigned({ ...content, certificate: signer.certificate });
  const signature = signer.signSync(signatureInput(id as SessionId, PBS_NSLP_ID, unsigned));
  const direction = content.type === "query" ? "downstream" : "upstream";
  return carried(id, content.flow, direction, withSignature(unsigned, signature));
}

/** Hands a message to one node as if its neighbour `from` had sent it, whatever its path says. */
export function inject(line: Line, message: SendMessage, from: Place, to: Place): void {
  line.node(to).recvMessage({
    ...message,
    routingStateCheck: false,
    siiHandle: from,
    transfer: { ...message.transfer, explicitlyRouted: false, returnRoutable: true, lastNode: false },
    ipTtl: 64,
    ipDistance: 1,
    hopCount: 15,
    inboundInterface: "eth0",
  });
}
