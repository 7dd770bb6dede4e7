/** The common header (RFC 5971 appendix A.1) and which flags go with which message (section 5.1). */
import { ByteReader, type ByteWriter } from "../../base/wire.js";
import { ERROR_CODE, GistWireError, HEADER_ERROR } from "./errors.js";
import type { ErrorInfo, GistMessage } from "./messages.js";
import { COMMON_HEADER_LENGTH, MAX_LENGTH_WORDS, objectsLength } from "./tlv.js";

const VERSION = 1;

export const MESSAGE_TYPE = { query: 0, response: 1, confirm: 2, data: 3, error: 4, hello: 5 } as const;

type MessageName = keyof typeof MESSAGE_TYPE;

const NAMES = Object.keys(MESSAGE_TYPE) as MessageName[];

/** Flag C shares a byte with the type. */
const C = 0x80;
const FLAG = { s: 0x80, r: 0x40, e: 0x20 } as const;

export interface CommonHeader {
  readonly type: MessageName;
  readonly hops: number;
  readonly nslpId: number;
  readonly c: boolean;
  readonly s: boolean;
  readonly r: boolean;
  readonly e: boolean;
}

/** What a flag may be in a message. */
type Rule = "always" | "never" | "either";

const RULES: Readonly<Record<MessageName, { readonly c: Rule; readonly r: Rule; readonly e: Rule }>> = {
  query: { c: "always", r: "always", e: "never" },
  response: { c: "never", r: "either", e: "never" },
  confirm: { c: "never", r: "never", e: "never" },
  data: { c: "either", r: "never", e: "either" },
  error: { c: "never", r: "never", e: "never" },
  hello: { c: "never", r: "either", e: "never" },
};

/** Reads and checks the header of a whole message. The NSLPID of Error and MA-Hello means nothing and is read as 0. */
export function readHeader(message: Uint8Array): CommonHeader {
  const { length } = message;
  if (length < COMMON_HEADER_LENGTH) throw lengthFault(`${length} bytes are no GIST message`, message);
  const reader = new ByteReader(message);
  const version = reader.u8();
  if (version !== VERSION) throw headerFault(`version ${version} is not known`, 0, HEADER_ERROR.version);
  const hops = reader.u8();
  const words = reader.u16();
  const nslpId = reader.u16();
  const typeByte = reader.u8();
  const type = NAMES[typeByte & ~C];
  if (type === undefined)
    throw headerFault(`message type ${typeByte & ~C} is not known`, 6, HEADER_ERROR.type);
  const flags = reader.u8();
  const header = {
    type,
    hops,
    nslpId: type === "error" || type === "hello" ? 0 : nslpId,
    c: (typeByte & C) !== 0,
    s: (flags & FLAG.s) !== 0,
    r: (flags & FLAG.r) !== 0,
    e: (flags & FLAG.e) !== 0,
  };
  checkFlags(header);
  if (COMMON_HEADER_LENGTH + 4 * words !== length)
    throw lengthFault(`Message Length is ${words} words, but the message has ${length} bytes`, message);
  return header;
}

function checkFlags(header: CommonHeader): void {
  const { type } = header;
  const rules = RULES[type];
  if (!allows(rules.r, header.r)) throw headerFault(`flag R is wrong in ${type}`, 7, HEADER_ERROR.rFlag);
  if (!allows(rules.e, header.e)) throw headerFault(`flag E is wrong in ${type}`, 7, HEADER_ERROR.eFlag);
  if (!allows(rules.c, header.c)) throw headerFault(`flag C is wrong in ${type}`, 6, HEADER_ERROR.cFlag);
}

function allows(rule: Rule, flag: boolean): boolean {
  return rule === "either" || (rule === "always") === flag;
}

/** Error 1 (Common Header Parse Error). */
export function headerFault(
  message: string,
  offset: number,
  subcode: number,
  info: readonly ErrorInfo[] = [],
): GistWireError {
  return new GistWireError(message, offset, ERROR_CODE.commonHeader, subcode, info);
}

function lengthFault(reason: string, message: Uint8Array): GistWireError {
  return headerFault(reason, 2, HEADER_ERROR.length, [objectsLength(message)]);
}

/** Writes the header with a length of 0, which {@link finishHeader} fills in. Throws RangeError. */
export function writeHeader(writer: ByteWriter, message: GistMessage): void {
  const { hops, nslpId, type } = message;
  if (!Number.isInteger(hops) || hops < 0 || hops > 0xff)
    throw new RangeError(`a hop count of ${hops} cannot be written`);
  const highest = type === "error" || type === "hello" ? 0 : 0xffff;
  if (!Number.isInteger(nslpId) || nslpId < 0 || nslpId > highest)
    throw new RangeError(`an NSLPID of ${nslpId} cannot stand in ${type}`);
  writer
    .u8(VERSION)
    .u8(hops)
    .u16(0)
    .u16(nslpId)
    .u8(MESSAGE_TYPE[type] | (isQueryMode(message) ? C : 0))
    .u8((message.signallingSource ? FLAG.s : 0) | flagR(message) | flagE(message));
}

/** Fills in the length. Throws RangeError when the message is too long. */
export function finishHeader(writer: ByteWriter): void {
  const words = (writer.length - COMMON_HEADER_LENGTH) / 4;
  if (words > MAX_LENGTH_WORDS) throw new RangeError(`a GIST message of ${words} words cannot be written`);
  writer.patchU16(2, words);
}

function isQueryMode(message: GistMessage): boolean {
  return message.type === "query" || (message.type === "data" && message.queryMode);
}

function flagR(message: GistMessage): number {
  switch (message.type) {
    case "query":
      return FLAG.r;
    case "response":
      return message.confirmRequested ? FLAG.r : 0;
    case "hello":
      return message.replyRequested ? FLAG.r : 0;
    default:
      return 0;
  }
}

function flagE(message: GistMessage): number {
  return message.type === "data" && message.explicitlyRouted ? FLAG.e : 0;
}
