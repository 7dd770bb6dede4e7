/** Error messages of this node (RFC 5971 section 5.6 and appendix A.4). */
import type { GistContext } from "./context.js";
import type { MessageError } from "./service.js";
import { ERROR_CODE, errorFor, type GistFault, OBJECT_TYPE_ERROR } from "./wire/codec.js";
import type { ErrorInfo, ErrorObject, GistError, NetworkLayerInformation } from "./wire/messages.js";

/** What is wrong with a message that came, in short. */
export interface Complaint {
  readonly code: number;
  readonly subcode?: number;
  readonly info?: readonly ErrorInfo[];
  /** For a person. */
  readonly message?: string;
}

/** Object types as errors name them. */
export const OBJECT = { nli: 2, stackProposal: 3, stackConfiguration: 4 } as const;

export const NO_ROUTING_STATE: Complaint = { code: ERROR_CODE.noRoutingState };
export const ENDPOINT_FOUND: Complaint = { code: ERROR_CODE.endpointFound };

/** An object that has to be there, must not be there, or should have been translated. */
export function objectComplaint(
  kind: "missing" | "invalid" | "untranslated",
  objectType: number,
  message: string,
): Complaint {
  return {
    code: ERROR_CODE.objectType,
    subcode: OBJECT_TYPE_ERROR[kind],
    info: [{ type: "object-type", objectType }],
    message,
  };
}

/**
 * The Error message to send back, or undefined where there may be none.
 *
 * @param original the offending message
 * @param nli required in datagram mode, forbidden on an association
 */
export function errorMessage(
  context: GistContext,
  complaint: Complaint,
  original: Uint8Array,
  encapsulation: ErrorObject["encapsulation"],
  nli?: NetworkLayerInformation,
): GistError | undefined {
  const error = errorFor(faultOf(complaint), original, encapsulation);
  if (error === undefined) return undefined;
  const message = {
    type: "error",
    hops: context.options.hops,
    nslpId: 0,
    signallingSource: true,
    error,
  } as const;
  return nli === undefined ? message : { ...message, nli };
}

function faultOf({ code, subcode = 0, info = [], message = "" }: Complaint): GistFault {
  return { code, subcode, info, message };
}

/** What an Error with this code means to the NSLP whose message it ends; undefined for codes not known here. */
export function meaningOf(code: number): readonly [error: MessageError, detail: string] | undefined {
  return MEANINGS.get(code);
}

const MEANINGS: ReadonlyMap<number, readonly [MessageError, string]> = new Map([
  [ERROR_CODE.commonHeader, ["transport-failed", "the next node cannot read this node's messages"]],
  [ERROR_CODE.hopLimitExceeded, ["no-response", "the hop count ran out before a node took the Query"]],
  [ERROR_CODE.incorrectEncapsulation, ["transport-failed", "the next node refused the encapsulation"]],
  [ERROR_CODE.incorrectlyDelivered, ["transport-failed", "the next node expects another association"]],
  [ERROR_CODE.noRoutingState, ["transport-failed", "the next node has no routing state"]],
  [ERROR_CODE.unknownNslpId, ["unknown-nslp", "the next node does not host this NSLP"]],
  [ERROR_CODE.endpointFound, ["endpoint-found", "the flow's destination does not host this NSLP"]],
  [ERROR_CODE.messageTooLarge, ["too-large", "the message is too large for the path"]],
  [ERROR_CODE.objectType, ["transport-failed", "the next node refused an object"]],
  [ERROR_CODE.objectValue, ["transport-failed", "the next node refused a value"]],
  [ERROR_CODE.invalidIpTtl, ["transport-failed", "the next node refused the IP TTL"]],
  [ERROR_CODE.mriValidation, ["transport-failed", "the next node refused the flow description"]],
]);
