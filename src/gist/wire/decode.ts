/** Bytes to GIST messages. */
import type { ByteReader } from "../../base/wire.js";
import { readError, readSessionId } from "./error-object.js";
import { HEADER_ERROR, OBJECT_VALUE_ERROR } from "./errors.js";
import { type CommonHeader, headerFault, readHeader } from "./header.js";
import type {
  GistConfirm,
  GistData,
  GistError,
  GistHello,
  GistMessage,
  GistQuery,
  GistResponse,
  Mutable,
  NatTraversal,
  OpaqueObject,
  StackConfiguration,
  StackProfile,
} from "./messages.js";
import { readMri } from "./mri.js";
import { readNatTraversal } from "./nat-traversal.js";
import { readNli } from "./nli.js";
import { danglingOption, readStackConfiguration, readStackProposal } from "./stack.js";
import { OBJECT_TYPE as T, ObjectTable, ValueFault } from "./tlv.js";

/** Which objects a message takes, in their order (RFC 5971 section 5.1). */
const ORDER = {
  query: [
    T.natTraversal,
    T.mri,
    T.sessionId,
    T.nli,
    T.queryCookie,
    T.stackProposal,
    T.stackConfiguration,
    T.nslpData,
  ],
  response: [
    T.natTraversal,
    T.mri,
    T.sessionId,
    T.nli,
    T.queryCookie,
    T.responderCookie,
    T.stackProposal,
    T.stackConfiguration,
    T.nslpData,
  ],
  confirm: [T.mri, T.sessionId, T.nli, T.responderCookie, T.stackProposal, T.stackConfiguration, T.nslpData],
  data: [T.natTraversal, T.mri, T.sessionId, T.nli, T.nslpData],
  error: [T.natTraversal, T.nli, T.error],
  hello: [T.helloId],
} as const satisfies Record<GistMessage["type"], readonly number[]>;

/**
 * Reads exactly one message, without magic number. Byte fields of the result are views into `bytes`, except
 * Peer-Identity and an Error's original header: who keeps another one beyond the handling of the message copies it.
 *
 * What depends on how the message came (an NLI in datagram mode, none in connection mode, the hop count) is for the
 * node to check. Objects to be passed on (A/B = 10) are dropped in Error and MA-Hello, which go one hop.
 *
 * Throws {@link GistWireError} and nothing else. Takes time linear in the length.
 */
export function decodeGist(input: Uint8Array): GistMessage {
  // A Buffer's subarrays would be Buffers, whose slice() does not copy.
  const bytes = new Uint8Array(input.buffer, input.byteOffset, input.length);
  const header = readHeader(bytes);
  const objects = new ObjectTable(bytes, ORDER[header.type]);
  switch (header.type) {
    case "query":
      return query(header, objects);
    case "response":
      return response(header, objects);
    case "confirm":
      return confirm(header, objects);
    case "data":
      return data(header, objects);
    case "error":
      return error(header, objects);
    case "hello":
      return hello(header, objects);
  }
}

function query(header: CommonHeader, objects: ObjectTable): GistQuery {
  const message: Mutable<GistQuery> = {
    type: "query",
    hops: header.hops,
    nslpId: header.nslpId,
    signallingSource: header.s,
    mri: objects.read(T.mri, readMri),
    sessionId: objects.read(T.sessionId, readSessionId),
    nli: objects.read(T.nli, readNli),
    queryCookie: objects.read(T.queryCookie, readCookie),
  };
  addOptional(message, objects);
  const stack = readStack(objects);
  if (stack !== undefined) message.stack = stack;
  return message;
}

function response(header: CommonHeader, objects: ObjectTable): GistResponse {
  const message: Mutable<GistResponse> = {
    type: "response",
    hops: header.hops,
    nslpId: header.nslpId,
    signallingSource: header.s,
    mri: objects.read(T.mri, readMri),
    sessionId: objects.read(T.sessionId, readSessionId),
    confirmRequested: header.r,
    nli: objects.read(T.nli, readNli),
    queryCookie: objects.read(T.queryCookie, readCookie),
  };
  addOptional(message, objects);
  const responderCookie = objects.readOptional(T.responderCookie, readCookie);
  if (responderCookie !== undefined) {
    if (!header.r) throw headerFault("there is a Responder-Cookie without flag R", 7, HEADER_ERROR.rFlag);
    message.responderCookie = responderCookie;
  }
  const stack = readStack(objects);
  if (stack !== undefined) {
    if (responderCookie === undefined) throw objects.missing(T.responderCookie);
    message.stack = stack;
  }
  return message;
}

function confirm(header: CommonHeader, objects: ObjectTable): GistConfirm {
  const message: Mutable<GistConfirm> = {
    type: "confirm",
    hops: header.hops,
    nslpId: header.nslpId,
    signallingSource: header.s,
    mri: objects.read(T.mri, readMri),
    sessionId: objects.read(T.sessionId, readSessionId),
    nli: objects.read(T.nli, readNli),
  };
  addOptional(message, objects);
  const responderCookie = objects.readOptional(T.responderCookie, readCookie);
  const proposal = objects.readOptional(T.stackProposal, readStackProposal);
  const configuration = objects.readOptional(T.stackConfiguration, readStackConfiguration);
  if (responderCookie !== undefined) message.responderCookie = responderCookie;
  if (proposal !== undefined) {
    if (responderCookie === undefined) throw objects.missing(T.responderCookie);
    message.proposal = proposal;
  }
  if (configuration !== undefined) {
    if (proposal === undefined) throw objects.missing(T.stackProposal);
    checkStack(objects, proposal, configuration);
    message.configuration = configuration;
  }
  return message;
}

function data(header: CommonHeader, objects: ObjectTable): GistData {
  const message: Mutable<GistData> = {
    type: "data",
    hops: header.hops,
    nslpId: header.nslpId,
    signallingSource: header.s,
    mri: objects.read(T.mri, readMri),
    sessionId: objects.read(T.sessionId, readSessionId),
    queryMode: header.c,
    explicitlyRouted: header.e,
    data: objects.read(T.nslpData, readBytes),
  };
  addOptional(message, objects);
  const nli = objects.readOptional(T.nli, readNli);
  if (nli !== undefined) message.nli = nli;
  else if (header.c) throw objects.missing(T.nli);
  return message;
}

function error(header: CommonHeader, objects: ObjectTable): GistError {
  const message: Mutable<GistError> = {
    type: "error",
    ...plainHeader(header),
    error: objects.read(T.error, readError),
  };
  addOptional(message, objects);
  const nli = objects.readOptional(T.nli, readNli);
  if (nli !== undefined) message.nli = nli;
  return message;
}

function hello(header: CommonHeader, objects: ObjectTable): GistHello {
  return {
    type: "hello",
    ...plainHeader(header),
    replyRequested: header.r,
    helloId: objects.read(T.helloId, (reader) => {
      const id = reader.u32();
      if (id === 0 && header.r)
        throw new ValueFault(OBJECT_VALUE_ERROR.notSupported, "a request has an ID of 0", reader.offset - 4);
      return id;
    }),
  };
}

function plainHeader(header: CommonHeader): { hops: number; nslpId: number; signallingSource: boolean } {
  return { hops: header.hops, nslpId: header.nslpId, signallingSource: header.s };
}

/** Optional objects that mean the same in every message that takes them. */
function addOptional(
  message: { natTraversal?: NatTraversal; data?: Uint8Array; opaque?: readonly OpaqueObject[] } & {
    readonly type: GistMessage["type"];
  },
  objects: ObjectTable,
): void {
  const natTraversal = objects.readOptional(T.natTraversal, readNatTraversal);
  if (natTraversal !== undefined) message.natTraversal = natTraversal;
  if (message.type === "error") return;
  const payload = objects.readOptional(T.nslpData, readBytes);
  if (payload !== undefined) message.data = payload;
  if (objects.opaque.length > 0) message.opaque = objects.opaque;
}

/** Stack-Proposal and Stack-Configuration-Data of a Query or Response: both or neither. */
function readStack(
  objects: ObjectTable,
): { proposal: readonly StackProfile[]; configuration: StackConfiguration } | undefined {
  if (!objects.has(T.stackProposal) && !objects.has(T.stackConfiguration)) return undefined;
  const proposal = objects.read(T.stackProposal, readStackProposal);
  const configuration = objects.read(T.stackConfiguration, readStackConfiguration);
  checkStack(objects, proposal, configuration);
  return { proposal, configuration };
}

function checkStack(
  objects: ObjectTable,
  proposal: readonly StackProfile[],
  configuration: StackConfiguration,
): void {
  const option = danglingOption(proposal, configuration);
  if (option !== undefined)
    throw objects.stackMismatch(`an option is for profile ${option.profile} of ${proposal.length}`);
}

function readBytes(reader: ByteReader): Uint8Array {
  return reader.bytes(reader.remaining);
}

function readCookie(reader: ByteReader): Uint8Array {
  // An empty cookie proves nothing; reading a word first makes it an Incorrect Length.
  if (reader.remaining === 0) reader.u32();
  return reader.bytes(reader.remaining);
}
