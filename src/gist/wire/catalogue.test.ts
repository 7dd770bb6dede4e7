/**
 * The Error for each code and subcode of RFC 5971 appendix A.4.4: bytes that cause it, and the bytes that answer them,
 * put together by hand. Codes that only a node can find (2 to 8, 9/4, 10/4, 11, 12) are given as it finds them.
 */
import test from "ava";
import { decodeGist, encodeGist, errorFor, type GistFault, GistWireError } from "./codec.js";
import type { ErrorInfo, ErrorObject } from "./messages.js";

function hex(...parts: string[]): Uint8Array {
  return new Uint8Array(Buffer.from(parts.join("").replace(/#.*$/gm, "").replace(/\s+/g, ""), "hex"));
}

function word16(value: number): string {
  return value.toString(16).padStart(4, "0");
}

const SID = "00010203 04050607 08090a0b 0c0d0e0f";
const MRI4 = "00 00 48c0  c0a81401 c0a81504  20 20 06 00  0fa0 0050";
const MRI6 = `00 00 68c0  20010db8 00000000 00000000 00000001  20010db8 00000000 00000000 00000002
  80 80 06 00  0fa0 0050`;

const SESSION_OBJECT = `0001 0004  ${SID}`;
const MRI4_OBJECT = `0000 0005  ${MRI4}`;
const MRI6_OBJECT = `0000 000b  ${MRI6}`;
const NLI_OBJECT = "0002 0004  04 40 4000  00007530  aabbccdd  c0a81403";
const COOKIE_OBJECT = "0005 0001  11111111";
const PROPOSAL_OBJECT = "0003 0002  01 000000  02 02 01 00";
const FLOW4 = `${MRI4_OBJECT} ${SESSION_OBJECT}`;
const FLOW6 = `${MRI6_OBJECT} ${SESSION_OBJECT}`;
const QUERY = `${FLOW4} ${NLI_OBJECT} ${COOKIE_OBJECT}`;

/** A message, from the second half of its header on: NSLPID, flag C and type, flags; then the objects. */
function message(half: string, ...objects: string[]): Uint8Array {
  const body = hex(...objects);
  return hex("01 0a", word16(body.length / 4), half, Buffer.from(body).toString("hex"));
}

const query = (...objects: string[]): Uint8Array => message("7fc0 80 c0", ...objects);
const data = (...objects: string[]): Uint8Array => message("7fc0 03 80", ...objects);

/** Flags of the Error object. */
const S = 0x80;
const M = 0x40;
const D = 0x10;
const Q = 0x08;
const CAME = { connection: 0, datagram: D, query: D | Q } as const;

interface Case {
  /** Code and subcode, and what they mean. */
  readonly name: string;
  readonly original: Uint8Array;
  readonly encapsulation: ErrorObject["encapsulation"];
  /** What a node finds; undefined: the decoder finds it. */
  readonly found?: Pick<GistFault, "code" | "subcode" | "info">;
  /** Class, code and subcode. */
  readonly head: string;
  /** The value of the MRI that the Error names; undefined: none, and no Session-ID either. */
  readonly mri?: string;
  /** Whether the Session-ID is there without the MRI. */
  readonly sessionOnly?: true;
  readonly info?: readonly string[];
}

const typeInfo = (type: string): string => `0003 0001 ${type} 0000`;

/** Object Value Info: real length in words, byte at fault, the object with its header. */
function valueInfo(offset: string, object: string): string {
  const words = hex(object).length / 4;
  return `0004 ${word16(words + 1)} ${word16(words)} ${offset} ${object}`;
}

const objectType = (type: number): ErrorInfo => ({ type: "object-type", objectType: type });

function objectValue(object: string, offset: number): ErrorInfo {
  const bytes = hex(object);
  return { type: "object-value", realLength: bytes.length, offset, object: bytes };
}

const headerCases: Case[] = [
  {
    name: "1/0, unknown version",
    original: hex("02 0a 0000 7fc0 03 80"),
    encapsulation: "datagram",
    head: "02 0001 00",
  },
  {
    name: "1/1, unknown type",
    original: hex("01 0a 0000 7fc0 06 80"),
    encapsulation: "connection",
    head: "02 0001 01",
  },
  {
    name: "1/2, wrong flag R",
    original: message("7fc0 03 c0", FLOW4, "0008 0000"),
    encapsulation: "connection",
    head: "02 0001 02",
  },
  {
    name: "1/3, wrong length",
    original: hex("01 0a 0009 7fc0 80 c0", QUERY),
    encapsulation: "query",
    head: "02 0001 03",
    info: ["0001 0001  0012 0000"], // 6 + 5 + 5 + 2 words
  },
  {
    name: "1/4, wrong flag E",
    original: message("7fc0 80 e0", QUERY),
    encapsulation: "query",
    head: "02 0001 04",
  },
  {
    name: "1/5, wrong flag C",
    original: message("7fc0 82 80", FLOW4, NLI_OBJECT),
    encapsulation: "query",
    head: "02 0001 05",
  },
];

const DATA4 = data(FLOW4, "0008 0001 deadbeef");
const DATA6 = data(FLOW6, "0008 0001 deadbeef");

const nodeCases: Case[] = (
  [
    ["2/0, hop limit exceeded", query(QUERY), "query", "04 0002 00", []],
    ["3/0, incorrect encapsulation", query(QUERY), "connection", "02 0003 00", []],
    ["4/0, incorrectly delivered", DATA4, "connection", "02 0004 00", []],
    ["5/0, no routing state", DATA6, "connection", "02 0005 00", []],
    ["6/0, unknown NSLPID", DATA4, "datagram", "04 0006 00", []],
    ["7/0, endpoint found", query(QUERY), "query", "04 0007 00", []],
    [
      "8/0, too large",
      query(QUERY),
      "query",
      "04 0008 00",
      [{ type: "mtu", mtu: 1280 }],
      "0002 0001  0500 0000",
    ],
    ["9/4, untranslated object", query(QUERY), "query", "02 0009 04", [objectType(0)], typeInfo("0000")],
    [
      "10/4, invalid cookie",
      query(QUERY),
      "query",
      "02 000a 04",
      [objectValue(COOKIE_OBJECT, 4)],
      valueInfo("0004", COOKIE_OBJECT),
    ],
    ["11/0, IP TTL", query(QUERY), "query", "04 000b 00", []],
    [
      "12/0, too wild",
      query(QUERY),
      "query",
      "04 000c 00",
      [objectValue(MRI4_OBJECT, 16)],
      valueInfo("0010", MRI4_OBJECT),
    ],
    [
      "12/1, IP version",
      DATA6,
      "query",
      "04 000c 01",
      [objectValue(MRI6_OBJECT, 6)],
      valueInfo("0006", MRI6_OBJECT),
    ],
    [
      "12/2, ingress filter",
      query(QUERY),
      "query",
      "04 000c 02",
      [objectValue(MRI4_OBJECT, 8)],
      valueInfo("0008", MRI4_OBJECT),
    ],
  ] satisfies [string, Uint8Array, Case["encapsulation"], string, ErrorInfo[], string?][]
).map(([name, original, encapsulation, head, found, info]) => ({
  name,
  original,
  encapsulation,
  head,
  found: {
    code: Number.parseInt(head.slice(3, 7), 16),
    subcode: Number.parseInt(head.slice(8), 16),
    info: found,
  },
  mri: original === DATA6 ? MRI6 : MRI4,
  ...(info === undefined ? {} : { info: [info] }),
}));

const LONG_NLI = "0002 0005  04 40 4000  00007530  aabbccdd  c0a81403  00000000";
const NO_HOLD_TIME = "0004 0002  00 000000  00000000";
const OTHER_PROFILE = "0004 0003  01 000000  00007530  01 02 00 00";
const PORTS_WITHOUT_PROTOCOL = "0000 0005  00 00 40c0  c0a81401 c0a81504  20 20 06 00  0fa0 0050";

const objectCases: Case[] = [
  {
    name: "9/0, duplicate object",
    original: query(FLOW4, SESSION_OBJECT, NLI_OBJECT, COOKIE_OBJECT),
    encapsulation: "query",
    head: "02 0009 00",
    mri: MRI4,
    info: [typeInfo("0001")],
  },
  {
    name: "9/1, unrecognised object",
    original: data(FLOW6, "0008 0000", "07d0 0000"),
    encapsulation: "connection",
    head: "02 0009 01",
    mri: MRI6,
    info: [typeInfo("07d0")],
  },
  {
    name: "9/2, missing object",
    original: query(FLOW4, NLI_OBJECT),
    encapsulation: "query",
    head: "02 0009 02",
    mri: MRI4,
    info: [typeInfo("0005")],
  },
  {
    name: "9/3, invalid object",
    original: data(FLOW4, COOKIE_OBJECT, "0008 0000"),
    encapsulation: "connection",
    head: "02 0009 03",
    mri: MRI4,
    info: [typeInfo("0005")],
  },
  {
    name: "9/5, A/B = 11",
    original: data(FLOW4, "0008 0000", "c7d0 0000"),
    encapsulation: "connection",
    head: "02 0009 05",
    mri: MRI4,
    info: [typeInfo("07d0")],
  },
  {
    name: "10/0, wrong length",
    original: message("7fc0 02 80", FLOW6, LONG_NLI),
    encapsulation: "datagram",
    head: "02 000a 00",
    mri: MRI6,
    info: [valueInfo("0014", LONG_NLI)],
  },
  {
    name: "10/1, value not supported",
    original: query(QUERY, PROPOSAL_OBJECT, NO_HOLD_TIME),
    encapsulation: "query",
    head: "02 000a 01",
    mri: MRI4,
    info: [valueInfo("0008", NO_HOLD_TIME)],
  },
  {
    name: "10/2, flags and fields",
    original: data(PORTS_WITHOUT_PROTOCOL, SESSION_OBJECT, "0008 0000"),
    encapsulation: "connection",
    head: "02 000a 02",
    sessionOnly: true,
    info: [valueInfo("0006", PORTS_WITHOUT_PROTOCOL)],
  },
  {
    name: "10/3, empty list",
    original: query(QUERY, "0003 0001 00 000000", "0004 0002  00 000000  00007530"),
    encapsulation: "query",
    head: "02 000a 03",
    mri: MRI4,
    info: [valueInfo("0004", "0003 0001 00 000000")],
  },
  {
    name: "10/5, proposal and configuration",
    original: query(QUERY, PROPOSAL_OBJECT, OTHER_PROFILE),
    encapsulation: "query",
    head: "02 000a 05",
    mri: MRI4,
    info: [valueInfo("0000", PROPOSAL_OBJECT), valueInfo("0000", OTHER_PROFILE)],
  },
];

function found(original: Uint8Array): GistFault {
  try {
    decodeGist(original);
  } catch (error) {
    if (error instanceof GistWireError) return error;
  }
  throw new Error("the decoder finds nothing wrong");
}

/** The Error message by the layouts of appendices A.1, A.2 and A.4.1. */
function errorBytes({ original, encapsulation, head, mri, sessionOnly, info = [] }: Case): Uint8Array {
  const named = mri !== undefined;
  const session = named || sessionOnly === true;
  const flags = CAME[encapsulation] | (session ? S : 0) | (named ? M : 0);
  const value = hex(
    head,
    flags.toString(16).padStart(2, "0"),
    "00",
    (hex(mri ?? "").length / 4).toString(16).padStart(2, "0"),
    info.length.toString(16).padStart(2, "0"),
    Buffer.from(original.subarray(0, 8)).toString("hex"),
    session ? SID : "",
    mri ?? "",
    ...info,
  );
  const words = value.length / 4;
  return hex(
    "01 20",
    word16(words + 1),
    "0000 04 80  0009",
    word16(words),
    Buffer.from(value).toString("hex"),
  );
}

for (const wanted of [...headerCases, ...nodeCases, ...objectCases]) {
  test(`the Error for ${wanted.name}`, (t) => {
    const { code, subcode, info } = wanted.found ?? found(wanted.original);
    const error = errorFor({ code, subcode, info, message: "" }, wanted.original, wanted.encapsulation);
    if (error === undefined) return t.fail("no Error answers it");
    const message = { type: "error", hops: 32, nslpId: 0, signallingSource: true, error } as const;
    t.deepEqual(encodeGist(message), errorBytes(wanted));
    t.deepEqual(decodeGist(errorBytes(wanted)), message);
  });
}
