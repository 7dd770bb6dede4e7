/** Each way in which a message can be wrong, with the error that RFC 5971 appendix A.4.4 has for it. */
import test from "ava";
import { IpAddress } from "../../base/address.js";
import { ms } from "../../base/units.js";
import { WireError } from "../../base/wire.js";
import { decodeGist, encodeGist, ERROR_CODE, errorClass, errorFor, GistWireError } from "./codec.js";
import type { ErrorInfo, GistMessage, GistQuery, GistResponse, SessionId } from "./messages.js";

function hex(...parts: string[]): Uint8Array {
  return new Uint8Array(Buffer.from(parts.join("").replace(/\s+/g, ""), "hex"));
}

const MRI = "0000 0005  00 00 48c0  c0a81401 c0a81504  20 20 06 00  0fa0 0050";
const SESSION = "0001 0004  00010203 04050607 08090a0b 0c0d0e0f";
const NLI = "0002 0004  04 40 4000  00007530  aabbccdd  c0a81403";
const PROPOSAL = "0003 0002  01 000000  02 02 01 00";
const CONFIGURATION = "0004 0002  00 000000  00007530";
const QUERY_COOKIE = "0005 0001  11111111";
const RESPONDER_COOKIE = "0006 0001  33333333";
const PAYLOAD = "0008 0001  deadbeef";

type Head = { version?: number; type: number; c?: number; flags?: number; length?: number };

/** A message of these objects; the header is right unless told otherwise. */
function message(head: Head, ...objects: string[]): Uint8Array {
  const body = hex(...objects);
  const words = head.length ?? body.length / 4;
  const flags = head.flags ?? (head.type === 0 ? 0xc0 : 0x80);
  const c = head.c ?? (head.type === 0 ? 1 : 0);
  return Uint8Array.from([
    head.version ?? 1,
    10,
    words >>> 8,
    words & 0xff,
    0x7f,
    0xc0,
    (c << 7) | head.type,
    flags,
    ...body,
  ]);
}

const query = (...objects: string[]): Uint8Array => message({ type: 0 }, ...objects);
const response = (...objects: string[]): Uint8Array => message({ type: 1, flags: 0xc0 }, ...objects);
const confirm = (...objects: string[]): Uint8Array => message({ type: 2 }, ...objects);
const data = (...objects: string[]): Uint8Array => message({ type: 3 }, ...objects);
const errorMessage = (...objects: string[]): Uint8Array => message({ type: 4 }, ...objects);

/** A Query whose objects are right but for the one given, which stands at its place. */
function queryWith(changed: string): Uint8Array {
  const type = Number.parseInt(changed.slice(0, 4), 16) & 0xfff;
  const objects = [MRI, SESSION, NLI, QUERY_COOKIE, PROPOSAL, CONFIGURATION];
  return query(
    ...objects.map((object) => (Number.parseInt(object.slice(0, 4), 16) === type ? changed : object)),
  );
}

const objectType = (type: number): ErrorInfo[] => [{ type: "object-type", objectType: type }];
const words = (length: number): ErrorInfo[] => [{ type: "message-length", length }];

function value(object: string, offset: number): ErrorInfo {
  const bytes = hex(object);
  return { type: "object-value", realLength: bytes.length, offset, object: bytes };
}

interface Case {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly code: number;
  readonly subcode: number;
  readonly info: readonly ErrorInfo[];
}

const flow = [MRI, SESSION];
const peer = [...flow, NLI];

/** An object whose value is wrong, in a Query: subcode of code 10, and the byte of the object at fault. */
const wrongValue = (name: string, object: string, subcode: number, offset: number): Case => ({
  name,
  bytes: queryWith(object),
  code: 10,
  subcode,
  info: [value(object, offset)],
});

const headerCases: Case[] = [
  { name: "version", bytes: message({ version: 2, type: 0 }, ...peer), code: 1, subcode: 0, info: [] },
  { name: "message type", bytes: message({ type: 6 }, ...peer), code: 1, subcode: 1, info: [] },
  {
    name: "no R in Query",
    bytes: message({ type: 0, flags: 0 }, ...peer, QUERY_COOKIE),
    code: 1,
    subcode: 2,
    info: [],
  },
  { name: "R in Confirm", bytes: message({ type: 2, flags: 0x40 }, ...peer), code: 1, subcode: 2, info: [] },
  {
    name: "R in Data",
    bytes: message({ type: 3, flags: 0x40 }, ...flow, PAYLOAD),
    code: 1,
    subcode: 2,
    info: [],
  },
  { name: "R in Error", bytes: message({ type: 4, flags: 0x40 }), code: 1, subcode: 2, info: [] },
  {
    name: "no R in Response with Responder-Cookie",
    bytes: message({ type: 1 }, ...peer, QUERY_COOKIE, RESPONDER_COOKIE),
    code: 1,
    subcode: 2,
    info: [],
  },
  { name: "nothing", bytes: new Uint8Array(0), code: 1, subcode: 3, info: words(0) },
  { name: "half a header", bytes: hex("01 0a 0000"), code: 1, subcode: 3, info: words(0) },
  {
    name: "length too long",
    bytes: message({ type: 5, length: 3 }, "000a 0001 00000001"),
    code: 1,
    subcode: 3,
    info: words(2),
  },
  {
    name: "length too short",
    bytes: message({ type: 5, length: 1 }, "000a 0001 00000001"),
    code: 1,
    subcode: 3,
    info: words(2),
  },
  {
    name: "no whole words",
    bytes: message({ type: 5, length: 2 }, "000a 0001 00000001 00"),
    code: 1,
    subcode: 3,
    info: words(2),
  },
  {
    name: "length too long, and an object too",
    bytes: message({ type: 5, length: 9 }, "000a 0006 00000001"),
    code: 1,
    subcode: 3,
    info: words(7),
  },
  {
    name: "object beyond the end",
    bytes: query(...flow, "0002 0004 04404000"),
    code: 1,
    subcode: 3,
    info: words(16),
  },
  { name: "longest object beyond the end", bytes: data("0008 0fff"), code: 1, subcode: 3, info: words(4096) },
  {
    name: "E in Query",
    bytes: message({ type: 0, flags: 0x60 }, ...peer, QUERY_COOKIE),
    code: 1,
    subcode: 4,
    info: [],
  },
  {
    name: "E in MA-Hello",
    bytes: message({ type: 5, flags: 0x20 }, "000a 0001 00000001"),
    code: 1,
    subcode: 4,
    info: [],
  },
  {
    name: "no C in Query",
    bytes: message({ type: 0, c: 0 }, ...peer, QUERY_COOKIE),
    code: 1,
    subcode: 5,
    info: [],
  },
  {
    name: "C in Response",
    bytes: message({ type: 1, c: 1 }, ...peer, QUERY_COOKIE),
    code: 1,
    subcode: 5,
    info: [],
  },
  { name: "C in Confirm", bytes: message({ type: 2, c: 1 }, ...peer), code: 1, subcode: 5, info: [] },
  { name: "C in Error", bytes: message({ type: 4, c: 1 }), code: 1, subcode: 5, info: [] },
  {
    name: "C in MA-Hello",
    bytes: message({ type: 5, c: 1 }, "000a 0001 00000001"),
    code: 1,
    subcode: 5,
    info: [],
  },
];

const many = Array.from({ length: 23 }, (_, i) => `4${(0x100 + i).toString(16)} 0000`);

const typeCases: Case[] = [
  {
    name: "two MRIs",
    bytes: query(MRI, MRI, SESSION, NLI, QUERY_COOKIE),
    code: 9,
    subcode: 0,
    info: objectType(0),
  },
  {
    name: "two of an ignored type",
    bytes: data(...flow, PAYLOAD, "4100 0000", "4100 0000"),
    code: 9,
    subcode: 0,
    info: objectType(0x100),
  },
  {
    name: "unknown, A/B = 00",
    bytes: query(...peer, QUERY_COOKIE, "0100 0000"),
    code: 9,
    subcode: 1,
    info: objectType(0x100),
  },
  {
    name: "more objects than are looked at",
    bytes: data(...many),
    code: 9,
    subcode: 1,
    info: objectType(0x116),
  },
  { name: "empty Query", bytes: query(), code: 9, subcode: 2, info: objectType(0) },
  { name: "no Session-ID", bytes: query(MRI, NLI, QUERY_COOKIE), code: 9, subcode: 2, info: objectType(1) },
  { name: "no NLI in Query", bytes: query(...flow, QUERY_COOKIE), code: 9, subcode: 2, info: objectType(2) },
  { name: "no Query-Cookie", bytes: query(...peer), code: 9, subcode: 2, info: objectType(5) },
  { name: "no Query-Cookie in Response", bytes: response(...peer), code: 9, subcode: 2, info: objectType(5) },
  { name: "no NLI in Confirm", bytes: confirm(...flow), code: 9, subcode: 2, info: objectType(2) },
  { name: "no NSLP-Data in Data", bytes: data(...peer), code: 9, subcode: 2, info: objectType(8) },
  {
    name: "no NLI in Query-mode Data",
    bytes: message({ type: 3, c: 1 }, ...flow, PAYLOAD),
    code: 9,
    subcode: 2,
    info: objectType(2),
  },
  { name: "no Error object", bytes: errorMessage(NLI), code: 9, subcode: 2, info: objectType(9) },
  { name: "no Hello-ID", bytes: message({ type: 5 }), code: 9, subcode: 2, info: objectType(10) },
  {
    name: "proposal without configuration",
    bytes: query(...peer, QUERY_COOKIE, PROPOSAL),
    code: 9,
    subcode: 2,
    info: objectType(4),
  },
  {
    name: "configuration without proposal",
    bytes: query(...peer, QUERY_COOKIE, CONFIGURATION),
    code: 9,
    subcode: 2,
    info: objectType(3),
  },
  {
    name: "stack without Responder-Cookie",
    bytes: response(...peer, QUERY_COOKIE, PROPOSAL, CONFIGURATION),
    code: 9,
    subcode: 2,
    info: objectType(6),
  },
  {
    name: "proposal without cookie in Confirm",
    bytes: confirm(...peer, PROPOSAL),
    code: 9,
    subcode: 2,
    info: objectType(6),
  },
  {
    name: "configuration without proposal in Confirm",
    bytes: confirm(...peer, RESPONDER_COOKIE, CONFIGURATION),
    code: 9,
    subcode: 2,
    info: objectType(3),
  },
  {
    name: "Hello-ID in Query",
    bytes: query(...peer, QUERY_COOKIE, "000a 0001 00000001"),
    code: 9,
    subcode: 3,
    info: objectType(10),
  },
  {
    name: "Query-Cookie in Data",
    bytes: data(...flow, QUERY_COOKIE, PAYLOAD),
    code: 9,
    subcode: 3,
    info: objectType(5),
  },
  {
    name: "NAT-Traversal in Confirm",
    bytes: confirm("0007 0001 00000000", ...peer),
    code: 9,
    subcode: 3,
    info: objectType(7),
  },
  {
    name: "wrong order",
    bytes: query(SESSION, MRI, NLI, QUERY_COOKIE),
    code: 9,
    subcode: 3,
    info: objectType(0),
  },
  {
    name: "NAT-Traversal not first",
    bytes: query(...peer, QUERY_COOKIE, "0007 0001 00000000"),
    code: 9,
    subcode: 3,
    info: objectType(7),
  },
  {
    name: "unknown, A/B = 11",
    bytes: data(...flow, PAYLOAD, "c100 0000"),
    code: 9,
    subcode: 5,
    info: objectType(0x100),
  },
  {
    name: "known, A/B = 11",
    bytes: data(`c${MRI.slice(1)}`, SESSION, PAYLOAD),
    code: 9,
    subcode: 5,
    info: objectType(0),
  },
];

const LOOSE_END = "0000 0003  01 00 4000  0a000001 0a000002";

const valueCases: Case[] = [
  wrongValue("MRI too short", "0000 0004  00 00 48c0  c0a81401 c0a81504  20 20 06 00", 0, 20),
  wrongValue("MRI too long", `${MRI.replace("0005", "0006")} 00000000`, 0, 24),
  wrongValue("empty MRI", "0000 0000", 0, 4),
  wrongValue("loose-end MRI too long", `${LOOSE_END.replace("0003", "0004")} 00000000`, 0, 16),
  wrongValue("Session-ID too short", "0001 0003  00010203 04050607 08090a0b", 0, 4),
  wrongValue("Session-ID too long", "0001 0005  00010203 04050607 08090a0b 0c0d0e0f 10111213", 0, 20),
  wrongValue("NLI too short", "0002 0003  04 40 4000  00007530  aabbccdd", 0, 16),
  wrongValue("PI-Length beyond the NLI", "0002 0004  ff 40 4000  00007530  aabbccdd  c0a81403", 0, 12),
  wrongValue("empty Query-Cookie", "0005 0000", 0, 4),
  wrongValue("proposal too short", "0003 0002  02 000000  02 02 01 00", 0, 12),
  wrongValue("proposal too long", "0003 0003  01 000000  02 02 01 00  01 01 0000", 0, 12),
  wrongValue("configuration too short", "0004 0003  01 000000  00007530  01 00 05 00", 0, 16),
  wrongValue("configuration too long", "0004 0003  00 000000  00007530  01 00 00 00", 0, 12),
  {
    name: "empty Responder-Cookie",
    bytes: response(...peer, QUERY_COOKIE, "0006 0000"),
    code: 10,
    subcode: 0,
    info: [value("0006 0000", 4)],
  },
  {
    name: "NAT-Traversal too short",
    bytes: query("0007 0001 01000000", ...peer, QUERY_COOKIE),
    code: 10,
    subcode: 0,
    info: [value("0007 0001 01000000", 7)],
  },
  {
    name: "NAT-Traversal too long",
    bytes: data("0007 0002 00000000 00000000", ...flow, PAYLOAD),
    code: 10,
    subcode: 0,
    info: [value("0007 0002 00000000 00000000", 8)],
  },
  {
    name: "Hello-ID too long",
    bytes: message({ type: 5 }, "000a 0002 00000001 00000002"),
    code: 10,
    subcode: 0,
    info: [value("000a 0002 00000001 00000002", 8)],
  },
  wrongValue("routing method", "0000 0001  02 00 0000", 1, 4),
  wrongValue("IP version of the MRI", MRI.replace("48c0", "58c0"), 1, 6),
  wrongValue("IP version of a loose-end MRI", LOOSE_END.replace("4000", "0000"), 1, 6),
  wrongValue("IPv4 prefix of 33 bits", MRI.replace("20 20", "20 21"), 1, 17),
  wrongValue("IP version of the NLI", NLI.replace("4000", "7000"), 1, 6),
  wrongValue("empty Peer-Identity", "0002 0003  00 40 4000  00007530  c0a81403", 1, 4),
  wrongValue("unspecified Interface-Address", NLI.replace("c0a81403", "00000000"), 1, 16),
  wrongValue("multicast Interface-Address", NLI.replace("c0a81403", "e0000001"), 1, 16),
  wrongValue("broadcast Interface-Address", NLI.replace("c0a81403", "ffffffff"), 1, 16),
  wrongValue(
    "multicast IPv6 Interface-Address",
    "0002 0007  04 40 6000  00007530  aabbccdd  ff020000 00000000 00000000 00000001",
    1,
    16,
  ),
  wrongValue("validity 0", NLI.replace("00007530", "00000000"), 1, 8),
  wrongValue("hold time 0", CONFIGURATION.replace("00007530", "00000000"), 1, 8),
  wrongValue("proposal without a value", "0003 0000", 1, 4),
  {
    name: "Hello-ID 0 in a request",
    bytes: message({ type: 5, flags: 0xc0 }, "000a 0001 00000000"),
    code: 10,
    subcode: 1,
    info: [value("000a 0001 00000000", 4)],
  },
  wrongValue("flow label with IPv4", `${MRI.replace("0005", "0006").replace("48c0", "4ac0")} 00000000`, 2, 6),
  wrongValue("ports without protocol", MRI.replace("48c0", "40c0"), 2, 6),
  wrongValue("SPI without protocol", MRI.replace("48c0", "4100"), 2, 6),
  wrongValue("no profiles", "0003 0001  00 000000", 3, 4),
  wrongValue("profile without protocols", "0003 0002  01 000000  00 000000", 3, 8),
  {
    name: "option for a profile that is not proposed",
    bytes: queryWith("0004 0003  01 000000  00007530  01 02 00 00"),
    code: 10,
    subcode: 5,
    info: [value(PROPOSAL, 0), value("0004 0003  01 000000  00007530  01 02 00 00", 0)],
  },
];

const ORIGINAL = "010a000e 7fc00380";

/** What is wrong inside an Error object is told too, though no Error answers it. */
const errorObjectCases: Case[] = [
  ["cut short", `0009 0003  02 000500 00000000 01 0a 000e`, 12],
  ["bytes behind, without flag C", `0009 0005  02 000500 00000000 ${ORIGINAL} 41424344`, 20],
  ["MRI beyond the end", `0009 0004  02 000500 40000500 ${ORIGINAL}`, 20],
  [
    "MRI shorter than its length",
    `0009 0009  02 000500 40000500 ${ORIGINAL} 01004000 0a000001 0a000002 00000000 00000000`,
    32,
  ],
  ["info beyond the end", `0009 0005  02 000500 00000001 ${ORIGINAL} 00010001`, 24],
  ["info longer than it is", `0009 0007  02 000500 00000001 ${ORIGINAL} 00020002 05dc0000 00000000`, 28],
  ["info count too high", `0009 0004  02 000500 000000ff ${ORIGINAL}`, 20],
].map(([name, object, offset]) => ({
  name: `Error object: ${name}`,
  bytes: errorMessage(String(object)),
  code: 10,
  subcode: 0,
  info: [value(String(object), Number(offset))],
}));

for (const { name, bytes, code, subcode, info } of [
  ...headerCases,
  ...typeCases,
  ...valueCases,
  ...errorObjectCases,
]) {
  test(`${code}/${subcode}: ${name}`, (t) => {
    const error = t.throws(() => decodeGist(bytes), { instanceOf: GistWireError });
    t.true(error instanceof WireError);
    t.deepEqual([error.code, error.subcode], [code, subcode], error.message);
    t.is(error.class, 2);
    t.deepEqual(error.info, info);
  });
}

test("objects that may be ignored are dropped, those to be forwarded are kept in their order", (t) => {
  const ignored = "4100 0001 01020304";
  const [first, second] = ["8fff 0001 05060708", "8064 0000"];
  const decoded = decodeGist(query(first, MRI, ignored, SESSION, second, NLI, QUERY_COOKIE));
  if (decoded.type !== "query") return t.fail();
  t.deepEqual(decoded.opaque, [
    { type: 0xfff, value: hex("05060708") },
    { type: 0x64, value: new Uint8Array(0) },
  ]);
  t.deepEqual(encodeGist(decoded), query(MRI, SESSION, NLI, QUERY_COOKIE, first, second));
});

test("known objects may be marked as ones to ignore or to forward", (t) => {
  const plain = decodeGist(data(MRI, SESSION, PAYLOAD));
  t.deepEqual(decodeGist(data(`4${MRI.slice(1)}`, `8${SESSION.slice(1)}`, PAYLOAD)), plain);
});

test("an Error or MA-Hello takes unknown objects but forwards none", (t) => {
  const hello = decodeGist(message({ type: 5 }, "000a 0001 00000001", "8100 0000"));
  t.false("opaque" in hello);
  const error = decodeGist(errorMessage(`0009 0004  02 000500 00000000 ${ORIGINAL}`, "8100 0000"));
  t.false("opaque" in error);
});

test("an Error object is read with what is not known in it", (t) => {
  const object = `0009 0008  02 000500 28000001 ${ORIGINAL} 00630001 01020304 ff410000 00000000`;
  const decoded = decodeGist(errorMessage(object));
  if (decoded.type !== "error") return t.fail();
  t.deepEqual(decoded.error, {
    class: 2,
    code: 5,
    subcode: 0,
    encapsulation: "query",
    originalHeader: hex(ORIGINAL),
    info: [],
    comment: "\u{fffd}A",
  });
});

test("errors have the classes of the catalogue", (t) => {
  const permanent = [2, 6, 7, 8, 11, 12];
  for (const code of Object.values(ERROR_CODE))
    t.is(errorClass(code), permanent.includes(code) ? 4 : 2, `${code}`);
});

function refusal(bytes: Uint8Array): GistWireError {
  try {
    decodeGist(bytes);
  } catch (error) {
    if (error instanceof GistWireError) return error;
  }
  throw new Error("it was to be refused");
}

test("the Error about a bad value names session and MRI as far as they are good", (t) => {
  const bytes = queryWith(NLI.replace("00007530", "00000000"));
  const error = errorFor(refusal(bytes), bytes, "query");
  t.is(error?.sessionId, "000102030405060708090a0b0c0d0e0f" as SessionId);
  t.is(error?.mri?.source.toString(), "192.168.20.1");
  t.deepEqual([error?.class, error?.code, error?.subcode, error?.encapsulation], [2, 10, 1, "query"]);
  t.deepEqual(error?.originalHeader, bytes.subarray(0, 8));
  t.regex(error?.comment ?? "", /validity is 0/);

  const badMri = queryWith(MRI.replace("48c0", "40c0"));
  const withoutMri = errorFor(refusal(badMri), badMri, "datagram");
  t.is(withoutMri?.mri, undefined);
  t.is(withoutMri?.sessionId, "000102030405060708090a0b0c0d0e0f" as SessionId);
});

test("the Error about a bad header names neither", (t) => {
  const bytes = message({ type: 2, flags: 0x40 }, ...peer);
  const error = errorFor(refusal(bytes), bytes, "datagram");
  t.is(error?.code, 1);
  t.false(error !== undefined && ("mri" in error || "sessionId" in error));
});

test("what the node finds wrong is answered in the same way", (t) => {
  const bytes = data(MRI, SESSION, PAYLOAD);
  const fault = { code: ERROR_CODE.unknownNslpId, subcode: 0, info: [], message: "" };
  const error = errorFor(fault, bytes, "connection");
  t.is(error?.class, 4);
  t.is(error?.mri?.destination.toString(), "192.168.21.4");
  t.is(error?.comment, undefined);
});

test("no Error answers an Error or what has no header", (t) => {
  const fault = { code: ERROR_CODE.noRoutingState, subcode: 0, info: [], message: "" };
  t.is(errorFor(fault, errorMessage(NLI), "datagram"), undefined);
  t.is(errorFor(fault, message({ type: 4, c: 1 }), "datagram"), undefined);
  t.is(errorFor(fault, new Uint8Array(7), "datagram"), undefined);
});

const address = IpAddress.parse("10.0.0.1");
const goodQuery: GistQuery = {
  type: "query",
  hops: 10,
  nslpId: 33,
  signallingSource: true,
  mri: {
    method: "path-coupled",
    direction: "downstream",
    source: address,
    destination: address,
    sourcePrefix: 32,
    destinationPrefix: 32,
  },
  sessionId: "00".repeat(16) as SessionId,
  nli: { ipTtl: 1, validity: ms(1), peerIdentity: Uint8Array.of(1), interfaceAddress: address },
  queryCookie: new Uint8Array(4),
};

const goodResponse: GistResponse = { ...goodQuery, type: "response", confirmRequested: true };
const configuration = { holdTime: ms(1), options: [] };

const unwritable: [string, GistMessage][] = [
  ["hop count", { ...goodQuery, hops: 256 }],
  ["NSLPID", { ...goodQuery, nslpId: 65536 }],
  [
    "NSLPID of a Hello",
    { type: "hello", hops: 1, nslpId: 33, signallingSource: true, replyRequested: false, helloId: 1 },
  ],
  [
    "Hello-ID of a request",
    { type: "hello", hops: 1, nslpId: 0, signallingSource: true, replyRequested: true, helloId: 0 },
  ],
  ["session identifier", { ...goodQuery, sessionId: "0" as SessionId }],
  [
    "port",
    { ...goodQuery, mri: { ...goodQuery.mri, method: "path-coupled", protocol: 6, sourcePort: -1 } as never },
  ],
  ["ports without protocol", { ...goodQuery, mri: { ...goodQuery.mri, sourcePort: 1 } as never }],
  ["flow label with IPv4", { ...goodQuery, mri: { ...goodQuery.mri, flowLabel: 1 } as never }],
  ["prefix", { ...goodQuery, mri: { ...goodQuery.mri, sourcePrefix: 33 } as never }],
  ["two IP versions", { ...goodQuery, mri: { ...goodQuery.mri, source: IpAddress.parse("::1") } }],
  ["IP TTL", { ...goodQuery, nli: { ...goodQuery.nli, ipTtl: 1.5 } }],
  ["validity", { ...goodQuery, nli: { ...goodQuery.nli, validity: ms(0) } }],
  ["no number", { ...goodQuery, nli: { ...goodQuery.nli, validity: ms(Number.NaN) } }],
  [
    "unspecified address",
    { ...goodQuery, nli: { ...goodQuery.nli, interfaceAddress: IpAddress.parse("::") } },
  ],
  ["empty identity", { ...goodQuery, nli: { ...goodQuery.nli, peerIdentity: new Uint8Array(0) } }],
  ["long identity", { ...goodQuery, nli: { ...goodQuery.nli, peerIdentity: new Uint8Array(256) } }],
  ["empty cookie", { ...goodQuery, queryCookie: new Uint8Array(0) }],
  ["odd cookie", { ...goodQuery, queryCookie: new Uint8Array(5) }],
  ["long payload", { ...goodQuery, data: new Uint8Array(16384) }],
  ["odd payload", { ...goodQuery, data: new Uint8Array(3) }],
  ["known type as opaque", { ...goodQuery, opaque: [{ type: 10, value: new Uint8Array(0) }] }],
  ["no profiles", { ...goodQuery, stack: { proposal: [], configuration } }],
  ["empty profile", { ...goodQuery, stack: { proposal: [[]], configuration } }],
  [
    "hold time",
    { ...goodQuery, stack: { proposal: [[1]], configuration: { holdTime: ms(0), options: [] } } },
  ],
  [
    "option of no profile",
    {
      ...goodQuery,
      stack: {
        proposal: [[1]],
        configuration: {
          holdTime: ms(1),
          options: [{ protocol: 1, profile: 2, doNotUse: false, data: new Uint8Array(0) }],
        },
      },
    },
  ],
  [
    "Responder-Cookie without R",
    { ...goodResponse, confirmRequested: false, responderCookie: new Uint8Array(4) },
  ],
  ["stack without Responder-Cookie", { ...goodResponse, stack: { proposal: [[1]], configuration } }],
  [
    "too many words",
    {
      ...goodQuery,
      opaque: Array.from({ length: 17 }, (_, i) => ({ type: 20 + i, value: new Uint8Array(16380) })),
    },
  ],
];

for (const [name, bad] of unwritable) {
  test(`not written: ${name}`, (t) => {
    t.throws(() => encodeGist(bad), { instanceOf: RangeError });
  });
}

test("the message that those are made from is written", (t) => {
  t.notThrows(() => encodeGist(goodQuery));
  t.notThrows(() => encodeGist(goodResponse));
});
