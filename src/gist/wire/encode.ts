/** GIST messages to bytes. */
import { ByteWriter } from "../../base/wire.js";
import { writeError } from "./error-object.js";
import { finishHeader, writeHeader } from "./header.js";
import type {
  GistConfirm,
  GistData,
  GistError,
  GistHello,
  GistMessage,
  GistQuery,
  GistResponse,
  Mri,
  NatTraversal,
  NetworkLayerInformation,
  SessionId,
  StackConfiguration,
  StackProfile,
} from "./messages.js";
import { mriBytes } from "./mri.js";
import { writeNli } from "./nli.js";
import { sessionIdBytes } from "./session-id.js";
import { danglingOption, writeStackConfiguration, writeStackProposal } from "./stack.js";
import { beginObject, endObject, OBJECT_TYPE as T, writeBytesObject, writeOpaque } from "./tlv.js";

/** Room for all but the payload of a usual message, so that the buffer seldom grows. */
const USUAL_LENGTH = 320;

/**
 * The message without magic number. Throws RangeError on what {@link decodeGist} would refuse: fields that do not fit
 * or do not go together, payload and cookies that are not of whole words, objects above 16,380 bytes.
 */
export function encodeGist(message: GistMessage): Uint8Array {
  const writer = new ByteWriter(USUAL_LENGTH + payloadLength(message));
  writeHeader(writer, message);
  switch (message.type) {
    case "query":
      writeQuery(writer, message);
      break;
    case "response":
      writeResponse(writer, message);
      break;
    case "confirm":
      writeConfirm(writer, message);
      break;
    case "data":
      writeData(writer, message);
      break;
    case "error":
      writeErrorMessage(writer, message);
      break;
    case "hello":
      writeHello(writer, message);
      break;
  }
  if ("opaque" in message) for (const object of message.opaque ?? []) writeOpaque(writer, object);
  finishHeader(writer);
  return writer.view();
}

function payloadLength(message: GistMessage): number {
  return "data" in message ? (message.data?.length ?? 0) : 0;
}

function writeQuery(writer: ByteWriter, message: GistQuery): void {
  natTraversal(writer, message.natTraversal);
  mriAndSession(writer, message.mri, message.sessionId);
  nliObject(writer, message.nli);
  cookie(writer, T.queryCookie, message.queryCookie);
  if (message.stack !== undefined) stack(writer, message.stack.proposal, message.stack.configuration);
  payload(writer, message.data);
}

function writeResponse(writer: ByteWriter, message: GistResponse): void {
  if (message.responderCookie !== undefined && !message.confirmRequested)
    throw new RangeError("a Response with a Responder-Cookie asks for a Confirm");
  if (message.stack !== undefined && message.responderCookie === undefined)
    throw new RangeError("a Response with a Stack-Proposal has a Responder-Cookie");
  natTraversal(writer, message.natTraversal);
  mriAndSession(writer, message.mri, message.sessionId);
  nliObject(writer, message.nli);
  cookie(writer, T.queryCookie, message.queryCookie);
  if (message.responderCookie !== undefined) cookie(writer, T.responderCookie, message.responderCookie);
  if (message.stack !== undefined) stack(writer, message.stack.proposal, message.stack.configuration);
  payload(writer, message.data);
}

function writeConfirm(writer: ByteWriter, message: GistConfirm): void {
  if (message.proposal !== undefined && message.responderCookie === undefined)
    throw new RangeError("a Confirm with a Stack-Proposal has a Responder-Cookie");
  if (message.configuration !== undefined && message.proposal === undefined)
    throw new RangeError("a Confirm with Stack-Configuration-Data has a Stack-Proposal");
  mriAndSession(writer, message.mri, message.sessionId);
  nliObject(writer, message.nli);
  if (message.responderCookie !== undefined) cookie(writer, T.responderCookie, message.responderCookie);
  if (message.proposal !== undefined) stack(writer, message.proposal, message.configuration);
  payload(writer, message.data);
}

function writeData(writer: ByteWriter, message: GistData): void {
  if (message.queryMode && message.nli === undefined) throw new RangeError("Data in Query mode has an NLI");
  natTraversal(writer, message.natTraversal);
  mriAndSession(writer, message.mri, message.sessionId);
  if (message.nli !== undefined) nliObject(writer, message.nli);
  payload(writer, message.data);
}

function writeErrorMessage(writer: ByteWriter, message: GistError): void {
  natTraversal(writer, message.natTraversal);
  if (message.nli !== undefined) nliObject(writer, message.nli);
  const start = beginObject(writer, T.error);
  writeError(writer, message.error);
  endObject(writer, start);
}

function writeHello(writer: ByteWriter, message: GistHello): void {
  const { helloId, replyRequested } = message;
  const lowest = replyRequested ? 1 : 0;
  if (!Number.isInteger(helloId) || helloId < lowest || helloId > 0xffffffff)
    throw new RangeError(`a Hello-ID of ${helloId} cannot be written`);
  const start = beginObject(writer, T.helloId);
  endObject(writer.u32(helloId), start);
}

function natTraversal(writer: ByteWriter, object: NatTraversal | undefined): void {
  if (object !== undefined) writeBytesObject(writer, T.natTraversal, object.value);
}

function mriAndSession(writer: ByteWriter, mri: Mri, sessionId: SessionId): void {
  const start = beginObject(writer, T.mri);
  endObject(writer.bytes(mriBytes(mri)), start);
  writeBytesObject(writer, T.sessionId, sessionIdBytes(sessionId));
}

function nliObject(writer: ByteWriter, nli: NetworkLayerInformation): void {
  const start = beginObject(writer, T.nli);
  writeNli(writer, nli);
  endObject(writer, start);
}

function cookie(writer: ByteWriter, type: number, value: Uint8Array): void {
  if (value.length === 0) throw new RangeError("a cookie is not empty");
  writeBytesObject(writer, type, value);
}

function stack(
  writer: ByteWriter,
  proposal: readonly StackProfile[],
  configuration: StackConfiguration | undefined,
): void {
  const proposalStart = beginObject(writer, T.stackProposal);
  writeStackProposal(writer, proposal);
  endObject(writer, proposalStart);
  if (configuration === undefined) return;
  const option = danglingOption(proposal, configuration);
  if (option !== undefined)
    throw new RangeError(`an option is for profile ${option.profile} of ${proposal.length}`);
  const start = beginObject(writer, T.stackConfiguration);
  writeStackConfiguration(writer, configuration);
  endObject(writer, start);
}

function payload(writer: ByteWriter, data: Uint8Array | undefined): void {
  if (data !== undefined) writeBytesObject(writer, T.nslpData, data);
}
