/** Frames as bytes, without their length field: one byte of type, then the fields in network order. */
import { ByteReader, ByteWriter, WireError } from "../../base/wire.js";
import type {
  MessageError,
  NetworkNotification,
  PeerDecision,
  ReceivedMessage,
  SendMessage,
  TransferAttributes,
} from "../service.js";
import {
  type ClientFrame,
  type ErrorCode,
  HELLO_MAGIC,
  type Invalidation,
  MAX_FRAME,
  type ServerFrame,
} from "./frames.js";
import {
  atEnd,
  codeOf,
  readDuration,
  readFlags,
  readName,
  readTarget,
  readText,
  rest,
  U16,
  U32,
  U8,
  whole,
  writeDuration,
  writeFlags,
  writeTarget,
  writeText,
} from "./values.js";

const CLIENT_TYPE: Readonly<Record<ClientFrame["type"], number>> = {
  hello: 1,
  register: 2,
  send: 3,
  lifetime: 4,
  invalidate: 5,
  decision: 6,
};

const SERVER_TYPE: Readonly<Record<ServerFrame["type"], number>> = {
  welcome: 129,
  registered: 130,
  received: 131,
  status: 132,
  notification: 133,
  error: 134,
};

const ERROR_CODE: Readonly<Record<ErrorCode, number>> = {
  version: 1,
  malformed: 2,
  "nslpid-taken": 3,
  "not-registered": 4,
  "too-many": 5,
  stopping: 6,
  "not-allowed": 7,
};

const MESSAGE_ERROR: Readonly<Record<MessageError, number>> = {
  "no-error": 0,
  "no-response": 1,
  "endpoint-found": 2,
  "unknown-nslp": 3,
  "transport-failed": 4,
  "not-authorised": 5,
  "too-large": 6,
  overloaded: 7,
};

const NOTIFICATION: Readonly<Record<NetworkNotification["type"], number>> = {
  "last-node": 1,
  "routing-status-change": 2,
  "route-deletion": 3,
  "node-authorisation-change": 4,
  "communication-failure": 5,
};

const TRANSFER = { reliable: 1, secure: 2 };

const SEND = {
  ...TRANSFER,
  stateless: 4,
  handle: 8,
  siiHandle: 16,
  timeout: 32,
  ipTtl: 64,
  hopCount: 128,
};

const RECEIVED = {
  ...TRANSFER,
  explicitlyRouted: 4,
  returnRoutable: 8,
  lastNode: 16,
  routingStateCheck: 32,
  ipDistance: 64,
};

const STATUS = { ...TRANSFER, handle: 4 };
const INVALIDATE = { bad: 1, urgent: 2, payload: 4 };
const DECISION = { peer: 1, payload: 2 };

/** Throws RangeError on what does not fit into a frame. */
export function encodeClientFrame(frame: ClientFrame): Uint8Array {
  const writer = new ByteWriter().u8(CLIENT_TYPE[frame.type]);
  switch (frame.type) {
    case "hello":
      writeText(writer.u32(HELLO_MAGIC).u16(whole(frame.version, U16)), frame.name);
      break;
    case "register":
      writer.u16(whole(frame.nslpId, U16));
      break;
    case "send":
      writeSend(writer, frame.message);
      break;
    case "lifetime":
      writeDuration(writeTarget(writer, frame.state), frame.state.lifetime);
      break;
    case "invalidate":
      writeInvalidation(writer, frame.invalidation);
      break;
    case "decision":
      writeDecision(writer.u32(whole(frame.request, U32)), frame.decision);
  }
  return finish(writer);
}

/** Throws WireError on anything that {@link encodeClientFrame} does not make. */
export function decodeClientFrame(bytes: Uint8Array): ClientFrame {
  const reader = new ByteReader(bytes);
  const frame = readClientFrame(readName(CLIENT_TYPE, reader), reader);
  atEnd(reader);
  return frame;
}

function readClientFrame(type: ClientFrame["type"], reader: ByteReader): ClientFrame {
  switch (type) {
    case "hello":
      return readHello(reader);
    case "register":
      return { type, nslpId: reader.u16() };
    case "send":
      return { type, message: readSend(reader) };
    case "lifetime":
      return { type, state: { ...readTarget(reader), lifetime: readDuration(reader) } };
    case "invalidate":
      return { type, invalidation: readInvalidation(reader) };
    case "decision":
      return { type, request: reader.u32(), decision: readDecision(reader) };
  }
}

/** Throws RangeError on what does not fit into a frame. */
export function encodeServerFrame(frame: ServerFrame): Uint8Array {
  const writer = new ByteWriter().u8(SERVER_TYPE[frame.type]);
  switch (frame.type) {
    case "welcome":
      writeText(writer.u16(whole(frame.version, U16)), frame.identity);
      break;
    case "registered":
      writer.u16(whole(frame.nslpId, U16));
      break;
    case "received":
      writeReceived(writer.u32(whole(frame.request, U32)), frame.message);
      break;
    case "status":
      writeStatus(writer, frame.status);
      break;
    case "notification":
      writeTarget(writer, frame.notification).u8(codeOf(NOTIFICATION, frame.notification.type));
      writeText(writer, frame.notification.detail);
      break;
    case "error":
      writeText(writer.u8(codeOf(ERROR_CODE, frame.code)), frame.text);
  }
  return finish(writer);
}

/** Throws WireError on anything that {@link encodeServerFrame} does not make. */
export function decodeServerFrame(bytes: Uint8Array): ServerFrame {
  const reader = new ByteReader(bytes);
  const frame = readServerFrame(readName(SERVER_TYPE, reader), reader);
  atEnd(reader);
  return frame;
}

function readServerFrame(type: ServerFrame["type"], reader: ByteReader): ServerFrame {
  switch (type) {
    case "welcome":
      return { type, version: reader.u16(), identity: readText(reader) };
    case "registered":
      return { type, nslpId: reader.u16() };
    case "received":
      return { type, request: reader.u32(), message: readReceived(reader) };
    case "status":
      return { type, status: readStatus(reader) };
    case "notification": {
      const target = readTarget(reader);
      const kind = readName(NOTIFICATION, reader);
      return { type, notification: { ...target, type: kind, detail: readText(reader) } };
    }
    case "error":
      return { type, code: readName(ERROR_CODE, reader), text: readText(reader) };
  }
}

function finish(writer: ByteWriter): Uint8Array {
  if (writer.length > MAX_FRAME)
    throw new RangeError(`${writer.length} bytes are more than a frame's ${MAX_FRAME}`);
  return writer.finish();
}

function readHello(reader: ByteReader): ClientFrame {
  if (reader.u32() !== HELLO_MAGIC) throw new WireError("the greeting is not one of GIST", reader.offset - 4);
  return { type: "hello", version: reader.u16(), name: readText(reader) };
}

function writeSend(writer: ByteWriter, message: SendMessage): void {
  const { transfer, handle, siiHandle, timeout, ipTtl, hopCount } = message;
  writeTarget(writer, message).u8(
    writeFlags(SEND, {
      reliable: transfer.reliable,
      secure: transfer.secure,
      stateless: transfer.establishState === false,
      handle: handle !== undefined,
      siiHandle: siiHandle !== undefined,
      timeout: timeout !== undefined,
      ipTtl: ipTtl !== undefined,
      hopCount: hopCount !== undefined,
    }),
  );
  if (handle !== undefined) writer.u32(whole(handle, U32));
  if (siiHandle !== undefined) writeText(writer, siiHandle);
  if (timeout !== undefined) writeDuration(writer, timeout);
  if (ipTtl !== undefined) writer.u8(whole(ipTtl, U8));
  if (hopCount !== undefined) writer.u8(whole(hopCount, U8));
  writer.bytes(message.data);
}

function readSend(reader: ByteReader): SendMessage {
  const target = readTarget(reader);
  const has = readFlags(SEND, reader.u8(), reader);
  return {
    ...target,
    transfer: { ...transferOf(has), ...(has.stateless && { establishState: false }) },
    ...(has.handle && { handle: reader.u32() }),
    ...(has.siiHandle && { siiHandle: readText(reader) }),
    ...(has.timeout && { timeout: readDuration(reader) }),
    ...(has.ipTtl && { ipTtl: reader.u8() }),
    ...(has.hopCount && { hopCount: reader.u8() }),
    data: rest(reader),
  };
}

function writeReceived(writer: ByteWriter, message: ReceivedMessage): void {
  const { transfer, routingStateCheck, ipDistance } = message;
  writeTarget(writer, message).u8(
    writeFlags(RECEIVED, { ...transfer, routingStateCheck, ipDistance: ipDistance !== undefined }),
  );
  writeText(writer, message.siiHandle).u8(whole(message.ipTtl, U8)).u8(whole(message.hopCount, U8));
  if (ipDistance !== undefined) writer.u8(whole(ipDistance, U8));
  writeText(writer, message.inboundInterface).bytes(message.data);
}

function readReceived(reader: ByteReader): ReceivedMessage {
  const target = readTarget(reader);
  const has = readFlags(RECEIVED, reader.u8(), reader);
  const { explicitlyRouted, returnRoutable, lastNode, routingStateCheck } = has;
  return {
    ...target,
    transfer: { ...transferOf(has), explicitlyRouted, returnRoutable, lastNode },
    routingStateCheck,
    siiHandle: readText(reader),
    ipTtl: reader.u8(),
    hopCount: reader.u8(),
    ipDistance: has.ipDistance ? reader.u8() : undefined,
    inboundInterface: readText(reader),
    data: rest(reader),
  };
}

function writeStatus(writer: ByteWriter, status: Extract<ServerFrame, { type: "status" }>["status"]): void {
  const { handle, transfer } = status;
  const { reliable, secure } = transfer;
  writeTarget(writer, status).u8(writeFlags(STATUS, { reliable, secure, handle: handle !== undefined }));
  if (handle !== undefined) writer.u32(whole(handle, U32));
  writeText(writer.u8(codeOf(MESSAGE_ERROR, status.error)), status.detail);
}

function readStatus(reader: ByteReader): Extract<ServerFrame, { type: "status" }>["status"] {
  const target = readTarget(reader);
  const has = readFlags(STATUS, reader.u8(), reader);
  return {
    ...target,
    transfer: transferOf(has),
    handle: has.handle ? reader.u32() : undefined,
    error: readName(MESSAGE_ERROR, reader),
    detail: readText(reader),
  };
}

function transferOf({ reliable, secure }: TransferAttributes): TransferAttributes {
  return { reliable, secure };
}

function writeInvalidation(writer: ByteWriter, invalidation: Invalidation): void {
  const { status, urgent, payload } = invalidation;
  const flags = { bad: status === "bad", urgent, payload: payload !== undefined };
  writeTarget(writer, invalidation).u8(writeFlags(INVALIDATE, flags));
  if (payload !== undefined) writer.bytes(payload);
}

function readInvalidation(reader: ByteReader): Invalidation {
  const target = readTarget(reader);
  const has = readFlags(INVALIDATE, reader.u8(), reader);
  return {
    ...target,
    status: has.bad ? "bad" : "tentative",
    urgent: has.urgent,
    ...(has.payload && { payload: rest(reader) }),
  };
}

function writeDecision(writer: ByteWriter, { peer, payload }: PeerDecision): void {
  writer.u8(writeFlags(DECISION, { peer, payload: payload !== undefined }));
  if (payload !== undefined) writer.bytes(payload);
}

function readDecision(reader: ByteReader): PeerDecision {
  const has = readFlags(DECISION, reader.u8(), reader);
  return { peer: has.peer, ...(has.payload && { payload: rest(reader) }) };
}
