/** Error messages of this node (RFC 5971 section 5.6 and appendix A.4). */
import type { GistContext } from "./context.js";
import type { MessageError } from "./service.js";
import {
  ERROR_CODE,
  errorFor,
  type GistFault,
  MRI_ERROR,
  OBJECT_TYPE_ERROR,
  OBJECT_VALUE_ERROR,
} from "./wire/codec.js";
import type { ErrorInfo, ErrorObject, GistError, Mri } from "./wire/messages.js";
import { type MriPart, offsetInMri } from "./wire/mri.js";
import { OBJECT_TYPE, quoteObject, quoteStack } from "./wire/tlv.js";

/** What is wrong with a message that came; `message` is for a person. */
export function fault(code: number, subcode = 0, message = "", info: readonly ErrorInfo[] = []): GistFault {
  return { code, subcode, info, message };
}

export const NO_ROUTING_STATE = fault(ERROR_CODE.noRoutingState);
export const ENDPOINT_FOUND = fault(ERROR_CODE.endpointFound);
export const HOP_LIMIT = fault(ERROR_CODE.hopLimitExceeded);
export const ENCAPSULATION = fault(ERROR_CODE.incorrectEncapsulation);

/** An object that has to be there, must not be there, or should have been translated. */
export function objectFault(
  kind: "missing" | "invalid" | "untranslated",
  object: keyof typeof OBJECT_TYPE,
  message: string,
): GistFault {
  const info = { type: "object-type", objectType: OBJECT_TYPE[object] } as const;
  return fault(ERROR_CODE.objectType, OBJECT_TYPE_ERROR[kind], message, [info]);
}

/** MRI Validation Failure, with the MRI of the offending message and the part at fault (RFC 5971 appendix A.4.4.12). */
export function mriFault(
  refused: keyof typeof MRI_ERROR,
  message: string,
  mri: Mri,
  original: Uint8Array,
): GistFault {
  const info = quoteObject(original, OBJECT_TYPE.mri, offsetInMri(mri, REFUSED_PART[refused]));
  return fault(ERROR_CODE.mriValidation, MRI_ERROR[refused], message, info === undefined ? [] : [info]);
}

const REFUSED_PART: Readonly<Record<keyof typeof MRI_ERROR, MriPart>> = {
  tooWild: "target-prefix",
  ipVersion: "ip-version",
  ingressFilter: "origin",
};

/** A stack proposal that is not what it should be, with both objects (RFC 5971 appendix A.4.4.10). */
export function stackFault(message: string, original: Uint8Array): GistFault {
  return fault(ERROR_CODE.objectValue, OBJECT_VALUE_ERROR.stackMismatch, message, quoteStack(original));
}

/**
 * The Error message to send back, or undefined where there may be none.
 * In datagram mode it needs an NLI, on an association it has none.
 *
 * @param original the offending message
 */
export function errorMessage(
  context: GistContext,
  about: GistFault,
  original: Uint8Array,
  encapsulation: ErrorObject["encapsulation"],
): GistError | undefined {
  const error = errorFor(about, original, encapsulation);
  if (error === undefined) return undefined;
  return { type: "error", hops: context.options.hops, nslpId: 0, signallingSource: true, error };
}

/** What an Error means to the NSLP whose message it ends; undefined for codes not known here. */
export function meaningOf(
  error: ErrorObject,
): { readonly error: MessageError; readonly detail: string } | undefined {
  const meaning = MEANINGS.get(error.code);
  if (meaning === undefined) return undefined;
  const details = [meaning[1]];
  if (error.code === ERROR_CODE.objectType && error.subcode === OBJECT_TYPE_ERROR.untranslated)
    details[0] = "there is a NAT on the path that knows no GIST";
  for (const info of error.info) if (info.type === "mtu") details.push(`it takes ${info.mtu} bytes`);
  if (error.comment !== undefined) details.push(error.comment);
  return { error: meaning[0], detail: details.join(": ") };
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
