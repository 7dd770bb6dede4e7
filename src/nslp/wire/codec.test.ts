import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../../base/address.js";
import { type Flow, hasPorts, PROTOCOL } from "../../base/flow.js";
import { type Bytes, bytes, MAX_BYTES, ms, seconds } from "../../base/units.js";
import { WireError } from "../../base/wire.js";
import type { SessionId } from "../../gist/wire/messages.js";
import { sessionIdFromBytes } from "../../gist/wire/session-id.js";
import {
  decodePbs,
  encodeNotify,
  encodeUnsigned,
  MAX_MESSAGE,
  MAX_REPORTS,
  PbsWireError,
  reportInput,
  signatureInput,
  withReport,
  withSignature,
} from "./codec.js";
import {
  AUTH_ALGORITHM,
  type Defense,
  type Epoch,
  type HopReport,
  INFO_CODE,
  type Info,
  type Mark,
  OBJECT_TYPE,
  type PbsNotify,
  type PbsPermission,
  type PbsQuery,
  type Ticket,
  SOLUTION,
} from "./messages.js";

const flow4: Flow = {
  protocol: PROTOCOL.tcp,
  source: IpAddress.parse("192.168.20.1"),
  destination: IpAddress.parse("192.168.21.4"),
  sourcePort: 4000,
  destinationPort: 80,
};

const flow6: Flow = {
  protocol: PROTOCOL.icmpv6,
  source: IpAddress.parse("2001:db8::1"),
  destination: IpAddress.parse("2001:db8::2"),
  sourcePort: 0,
  destinationPort: 0,
};

const query: PbsQuery = {
  type: "query",
  flow: flow4,
  sequence: 0x01020304,
  requestedVolume: bytes(10_000_000),
  sentVolume: bytes(256),
  certificate: Uint8Array.of(0x30, 0x03, 0x02, 0x01, 0x05),
  signature: Uint8Array.of(0xaa, 0xbb, 0xcc),
};

const permission: PbsPermission = {
  type: "permission",
  flow: flow6,
  sequence: 0xffffffff,
  allowedVolume: bytes(0x1_0000_0005),
  ttl: seconds(600),
  refresh: seconds(60),
  certificate: Uint8Array.of(1, 2, 3, 4),
  defense: {
    solution: SOLUTION.symmetricAh,
    algorithm: AUTH_ALGORITHM.hmacSha256,
    spi: 0x1234,
    key: Uint8Array.of(7, 8),
  },
  info: { class: 4, code: INFO_CODE.revoked, objectType: 0, retryAfter: ms(1000), text: "no" },
  signature: Uint8Array.of(0xdd),
};

/** A Query over IPv4 with the list of what its sender can do. */
const listing: PbsQuery = {
  ...query,
  algorithms: [AUTH_ALGORITHM.hmacSha256, AUTH_ALGORITHM.ecdsaP256, AUTH_ALGORITHM.treeEcdsaP256],
};

/** Down to the receiver: a node cannot do what its Permission asks for. */
const refused: PbsNotify = {
  type: "notify",
  flow: flow4,
  info: {
    class: 4,
    code: INFO_CODE.unsupportedAlgorithm,
    objectType: OBJECT_TYPE.defense,
    retryAfter: ms(0),
    text: "no",
  },
  defense: {
    solution: SOLUTION.publicKeyAh,
    algorithm: AUTH_ALGORITHM.treeEd25519,
    spi: 0x89abcdef,
    key: new Uint8Array(),
  },
};

const notify: PbsNotify = {
  type: "notify",
  flow: flow4,
  info: { class: 0, code: INFO_CODE.pending, objectType: 8, retryAfter: ms(30_000), text: "" },
};

const QUERY_HEX = `
  01 000000
  0010 0010  40600000 0fa00050 c0a81401 c0a81504
  0020 0004  01020304
  0030 0004  00989680
  0040 0004  00000100
  0080 0005  3003020105 000000
  00a0 0003  aabbcc 00`;

const LISTING_HEX = QUERY_HEX.replace("00a0 0003", "8820 0003  02 82 85 00\n  00a0 0003");

const REFUSED_HEX = `
  03 000000
  0010 0010  40600000 0fa00050 c0a81401 c0a81504
  8810 000a  04 0f 09 00 00000000 6e6f 0000
  0090 0008  03 86 8000 89abcdef`;

const PERMISSION_HEX = `
  02 000000
  0010 0028  63a00000 00000000 20010db8000000000000000000000001 20010db8000000000000000000000002
  0020 0004  ffffffff
  0050 0004  00000005
  0060 0004  000927c0
  0070 0004  0000ea60
  0080 0004  01020304
  0090 000a  02 02 8000 00001234 0708 0000
  8800 000c  00000000 00000000 00000001
  8810 000a  04 0b 00 00 000003e8 6e6f 0000
  00a0 0001  dd 000000`;

const NOTIFY_HEX = `
  03 000000
  0010 0010  40600000 0fa00050 c0a81401 c0a81504
  8810 0008  00 01 08 00 00007530`;

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ""), "hex"));
}

function toHex(value: Uint8Array): string {
  return Buffer.from(value).toString("hex");
}

function encode(message: PbsQuery | PbsPermission): Uint8Array {
  return withSignature(encodeUnsigned(message), message.signature);
}

/** What the decoder says to these bytes. */
function refusal(input: Uint8Array): PbsWireError {
  try {
    decodePbs(input);
  } catch (error) {
    if (error instanceof PbsWireError) return error;
    throw error;
  }
  throw new Error(`accepted: ${toHex(input)}`);
}

/** The Query's bytes with one piece of hexadecimal text in place of another. */
function changed(hex: string, from: string, to: string): Uint8Array {
  const plain = hex.replaceAll(/\s/g, "");
  const search = from.replaceAll(" ", "");
  const parts = plain.split(search);
  if (parts.length !== 2) throw new Error(`"${from}" is there ${parts.length - 1} times`);
  return fromHex(parts.join(to.replaceAll(" ", "")));
}

test("a Query has these bytes", (t) => {
  t.is(toHex(encode(query)), toHex(fromHex(QUERY_HEX)));
  const { message, signedPart } = decodePbs(fromHex(QUERY_HEX));
  t.deepEqual(message, query);
  t.deepEqual(signedPart, encodeUnsigned(query));
});

test("a Permission over IPv6 with AH, a high word and a reason has these bytes", (t) => {
  t.is(toHex(encode(permission)), toHex(fromHex(PERMISSION_HEX)));
  const { message, signedPart } = decodePbs(fromHex(PERMISSION_HEX));
  t.deepEqual(message, permission);
  t.deepEqual(signedPart, encodeUnsigned(permission));
});

test("a Notify has these bytes and no signed part", (t) => {
  t.is(toHex(encodeNotify(notify)), toHex(fromHex(NOTIFY_HEX)));
  t.deepEqual(decodePbs(fromHex(NOTIFY_HEX)), { message: notify, signedPart: new Uint8Array() });
});

test("a list of algorithms has these bytes, and is signed", (t) => {
  t.is(toHex(encode(listing)), toHex(fromHex(LISTING_HEX)));
  const { message, signedPart } = decodePbs(fromHex(LISTING_HEX));
  t.deepEqual(message, listing);
  t.deepEqual(signedPart, encodeUnsigned(listing));
});

const report: HopReport = {
  node: Uint8Array.from({ length: 16 }, (_, i) => i),
  epoch: 2,
  counted: bytes(0x3_0000_0009),
  sequence: 0x01020304,
  certificate: Uint8Array.of(0x30, 0x00),
  signature: Uint8Array.of(0xee, 0xff, 0x11),
};
const REPORT_HEX =
  "4850 0029 000102030405060708090a0b0c0d0e0f 00000002 00000003 00000009 01020304 00000002 3000 eeff11 000000";

test("what a sender knew has these bytes, and is signed", (t) => {
  const association = { spi: 0x1234, sequence: 77, bytes: bytes(0x2_0000_0001) };
  const marked: PbsQuery = { ...query, mark: { epoch: 3, heard: 0xfffffff0, association } };
  const hex = "8830 001c 00000007 00000003 fffffff0 00001234 0000004d 00000002 00000001";
  const expected = changed(QUERY_HEX, "00a0 0003", `${hex} 00a0 0003`);
  t.is(toHex(encode(marked)), toHex(expected));
  t.deepEqual(decodePbs(expected), { message: marked, signedPart: encodeUnsigned(marked) });
});

const ticket: Ticket = {
  node: Uint8Array.from({ length: 16 }, (_, i) => i),
  due: 0x01020304,
  bits: 12,
  seal: new Uint8Array(20).fill(0xaa),
  nonce: Uint8Array.of(0, 0, 0, 0, 0, 0, 1, 2),
};
const TICKET_HEX = `88a0 0034 000102030405060708090a0b0c0d0e0f 01020304 0c000000 ${"aa".repeat(20)} 0000000000000102`;

test("a Query that takes another session's place names it", (t) => {
  const id = "0102030405060708090a0b0c0d0e0f10";
  const bearing = { ...query, predecessor: sessionIdFromBytes(Buffer.from(id, "hex")) };
  const bytes = changed(QUERY_HEX, "00a0 0003", `88c0 0010 ${id} 00a0 0003`);
  t.is(toHex(encode(bearing)), toHex(bytes));
  t.deepEqual(decodePbs(bytes).message, bearing);
  refusal(changed(QUERY_HEX, "00a0 0003", `88c0 000c ${id.slice(8)} 00a0 0003`));
  refusal(changed(QUERY_HEX, "00a0 0003", `88c0 0010 ${id} 88c0 0010 ${id} 00a0 0003`));
});

test("tickets of busy nodes have these bytes; in a Query they are signed, and four at most", (t) => {
  const bearing = (count: number): PbsQuery => ({ ...query, tickets: new Array<Ticket>(count).fill(ticket) });
  const hex = (count: number) =>
    changed(QUERY_HEX, "00a0 0003", `${`${TICKET_HEX} `.repeat(count)} 00a0 0003`);
  t.is(toHex(encode(bearing(2))), toHex(hex(2)));
  t.deepEqual(decodePbs(hex(4)).message, bearing(4));
  refusal(hex(5));
  const notify = { ...refused, ticket };
  t.is(toHex(encodeNotify(notify)), toHex(fromHex(`${REFUSED_HEX} ${TICKET_HEX}`)));
  t.deepEqual(decodePbs(encodeNotify(notify)).message, notify);
  refusal(fromHex(`${REFUSED_HEX} ${TICKET_HEX} ${TICKET_HEX}`));
});

test("where counting begins has these bytes, and is signed", (t) => {
  const epoch: Epoch = {
    epoch: 1,
    start: bytes(0x1_0000_0000),
    overlap: { duration: ms(2000), bytes: bytes(65536) },
    ask: true,
  };
  const begun: PbsPermission = { ...permission, epoch };
  const hex = "8840 0018 00000001 00000001 00000001 00000000 000007d0 00010000";
  const expected = changed(PERMISSION_HEX, "00a0 0001", `${hex} 00a0 0001`);
  t.is(toHex(encode(begun)), toHex(expected));
  t.deepEqual(decodePbs(expected), { message: begun, signedPart: encodeUnsigned(begun) });
});

test("a router's report has these bytes, stands after Auth-data, and changes nothing that was signed", (t) => {
  const whole = withReport(encode(query), report);
  if (whole === undefined) return t.fail();
  t.is(toHex(whole), toHex(fromHex(QUERY_HEX + REPORT_HEX)));
  t.deepEqual(decodePbs(whole), {
    message: { ...query, reports: [report] },
    signedPart: encodeUnsigned(query),
  });
  const { certificate: _certificate, ...short } = report;
  const two = withReport(whole, short);
  t.deepEqual(two && decodePbs(two).message, { ...query, reports: [report, short] });
  const input = reportInput("000102030405060708090a0b0c0d0e0f" as SessionId, 32704, report);
  const said = REPORT_HEX.replaceAll(" ", "").slice(8, 8 + 64);
  t.is(toHex(input), `${toHex(Buffer.from("PBS-HOP-1\0"))}000102030405060708090a0b0c0d0e0f7fc0${said}`);
});

test("a report that cannot be read costs nobody the Query", (t) => {
  const whole = withReport(encode(query), report);
  if (whole === undefined) return t.fail();
  const start = encode(query).length;
  const length = (value: number) => Uint8Array.of(0x48, 0x50, value >> 8, value);
  // The certificate reaches past the end; no signature; a certificate that is too long.
  for (const [at, value] of [
    [start + 4 + 35, 5],
    [start + 4 + 32, 1],
  ] as const) {
    const bad = Uint8Array.from(whole);
    bad[at] = value;
    t.deepEqual(decodePbs(bad).message, query);
  }
  const none = Uint8Array.from([...encode(query), ...length(0)]);
  t.deepEqual(decodePbs(none).message, query);
});

test("reports have a limit, and so has a Query with them", (t) => {
  const { certificate: _certificate, ...short } = report;
  let many = encode(query);
  for (let i = 0; i < MAX_REPORTS + 3; i++) many = withReport(many, short) ?? many;
  const { message } = decodePbs(many);
  t.is(message.type === "query" ? message.reports?.length : 0, MAX_REPORTS);
  let full: Uint8Array | undefined = encode(query);
  let last = full;
  while (full !== undefined) {
    last = full;
    full = withReport(full, { ...report, certificate: new Uint8Array(1200) });
  }
  t.true(last.length <= MAX_MESSAGE && last.length > MAX_MESSAGE - 1300);
});

test("a report before Auth-data, and a mark after it, are refused", (t) => {
  refusal(changed(QUERY_HEX, "00a0 0003", `${REPORT_HEX} 00a0 0003`));
  refusal(fromHex(`${QUERY_HEX} 8830 001c ${"00".repeat(28)}`));
  t.pass();
});

test("a Notify about a Defense has these bytes", (t) => {
  t.is(toHex(encodeNotify(refused)), toHex(fromHex(REFUSED_HEX)));
  t.deepEqual(decodePbs(fromHex(REFUSED_HEX)).message, refused);
});

test("a Permission without AH, and one with the sender's own key, have these Defenses", (t) => {
  const hex = (defense: Defense) => toHex(encodeUnsigned({ ...permission, defense }));
  const key = new Uint8Array();
  const none = hex({ solution: SOLUTION.noAction, algorithm: AUTH_ALGORITHM.none, key });
  t.true(none.includes("00900004" + "01000000"));
  const own = { solution: SOLUTION.publicKeyAh, algorithm: AUTH_ALGORITHM.certificateKey, spi: 256, key };
  t.true(hex(own).includes("00900008" + "030a8000" + "00000100"));
});

test("the signature covers context, session, NSLP and message", (t) => {
  const session = "000102030405060708090a0b0c0d0e0f" as SessionId;
  const input = signatureInput(session, 32704, Uint8Array.of(1, 0, 0, 0));
  t.is(toHex(input), `${Buffer.from("PBS-NSLP-1").toString("hex")}00${session}7fc001000000`);
});

test("what is decoded does not change with the buffer it came from", (t) => {
  const input = fromHex(QUERY_HEX);
  const { message, signedPart } = decodePbs(input);
  input.fill(0xff);
  t.deepEqual(message, query);
  t.deepEqual(signedPart, encodeUnsigned(query));
});

test("reserved bits are not looked at", (t) => {
  const message = changed(QUERY_HEX, "01 000000 0010 0010 40600000", "01 ffffff 301f 0010 406fffff");
  t.deepEqual(decodePbs(message).message, query);
});

test("volumes of 64 bits go over the wire and saturate", (t) => {
  const large = { ...query, requestedVolume: MAX_BYTES, sentVolume: bytes(2 ** 32) };
  t.deepEqual(decodePbs(encode(large)).message, large);
  const message = changed(
    PERMISSION_HEX,
    "000c 00000000 00000000 00000001",
    "000c 00000000 00000000 ffffffff",
  );
  const decoded = decodePbs(message).message;
  t.is(decoded.type === "permission" ? decoded.allowedVolume : undefined, MAX_BYTES);
});

test("a grant has a lifetime and a refresh time, a refusal needs none", (t) => {
  const ttl = refusal(changed(PERMISSION_HEX, "0060 0004 000927c0", "0060 0004 00000000"));
  t.deepEqual([ttl.infoCode, ttl.objectType], [INFO_CODE.malformed, OBJECT_TYPE.ttl]);
  const refresh = refusal(changed(PERMISSION_HEX, "0070 0004 0000ea60", "0070 0004 00000000"));
  t.deepEqual([refresh.infoCode, refresh.objectType], [INFO_CODE.malformed, OBJECT_TYPE.refresh]);
  const refused = { ...permission, allowedVolume: bytes(0), ttl: ms(0), refresh: ms(0) };
  t.deepEqual(decodePbs(encode(refused)).message, refused);
});

test("an unknown object is treated as its A/B bits say", (t) => {
  const before = (header: string) => changed(QUERY_HEX, "00a0 0003", `${header} 0002 abcd 0000 00a0 0003`);
  const rejected = refusal(before("0c80"));
  t.deepEqual([rejected.infoCode, rejected.objectType], [INFO_CODE.unknownObject, 0xc8]);
  t.deepEqual(rejected.flow, flow4);
  t.is(refusal(before("cc80")).infoCode, INFO_CODE.malformed);
  for (const header of ["4c80", "8c80"]) {
    const input = before(header);
    const { message, signedPart } = decodePbs(input);
    t.deepEqual(message, query);
    t.deepEqual(signedPart, input.subarray(0, input.length - 8), "it is signed like the rest");
  }
});

test("after Auth-data only what may be deleted can follow", (t) => {
  const after = (object: string) => fromHex(`${QUERY_HEX}${object}`);
  t.deepEqual(decodePbs(after("4c80 0000")).message, query);
  for (const object of ["8c80 0000", "0c80 0000", "cc80 0000", "00a0 0001 dd000000", "00"])
    t.true(refusal(after(object)) instanceof WireError, object);
});

const broken: readonly (readonly [what: string, hex: string, from: string, to: string, object: number])[] = [
  ["message type 0", QUERY_HEX, "01 000000 0010", "00 000000 0010", 0],
  ["message type 4", QUERY_HEX, "01 000000 0010", "04 000000 0010", 0],
  ["FID of no length", QUERY_HEX, "0010 0010 40600000 0fa00050 c0a81401 c0a81504", "0010 0000", 1],
  [
    "FID of 12 bytes",
    QUERY_HEX,
    "0010 0010 40600000 0fa00050 c0a81401 c0a81504",
    "0010 000c 40600000 0fa00050 c0a81401",
    1,
  ],
  ["FID of version 6 with IPv4 addresses", QUERY_HEX, "40600000", "60600000", 1],
  ["FID of version 5", QUERY_HEX, "40600000", "50600000", 1],
  ["ports for ICMPv6", PERMISSION_HEX, "63a00000 00000000", "63a00000 00000001", 1],
  ["FID missing", QUERY_HEX, "0010 0010 40600000 0fa00050 c0a81401 c0a81504", "", 2],
  [
    "FID twice",
    QUERY_HEX,
    "0020 0004 01020304",
    "0010 0010 40600000 0fa00050 c0a81401 c0a81504 0020 0004 01020304",
    1,
  ],
  ["Message-Seq of 5 bytes", QUERY_HEX, "0020 0004 01020304", "0020 0005 0102030405 000000", 2],
  ["Message-Seq missing", QUERY_HEX, "0020 0004 01020304", "", 3],
  ["Req-vol of 8 bytes", QUERY_HEX, "0030 0004 00989680", "0030 0008 00989680 00000000", 3],
  [
    "Send-vol before Req-vol",
    QUERY_HEX,
    "0030 0004 00989680 0040 0004 00000100",
    "0040 0004 00000100 0030 0004 00989680",
    4,
  ],
  ["Send-vol of no length", QUERY_HEX, "0040 0004 00000100", "0040 0000", 4],
  ["certificate of no length", QUERY_HEX, "0080 0005 3003020105 000000", "0080 0000", 8],
  ["certificate padded with other than 0", QUERY_HEX, "3003020105 000000", "3003020105 000001", 8],
  ["certificate past the end", QUERY_HEX, "0080 0005 3003020105", "0080 ffff 3003020105", 8],
  ["signature of no length", QUERY_HEX, "00a0 0003 aabbcc 00", "00a0 0000", 10],
  ["signature padded with other than 0", QUERY_HEX, "aabbcc 00", "aabbcc 01", 10],
  ["signature cut short", QUERY_HEX, "aabbcc 00", "aabbcc", 10],
  ["Auth-data missing", QUERY_HEX, "00a0 0003 aabbcc 00", "", 10],
  ["Auth-data that may be ignored", QUERY_HEX, "00a0 0003", "40a0 0003", 10],
  ["FID with A/B 11", QUERY_HEX, "0010 0010 4060", "c010 0010 4060", 1],
  ["Allow-vol in a Query", QUERY_HEX, "0030 0004 00989680", "0050 0004 00989680", 5],
  ["a reason in a Query", QUERY_HEX, "00a0 0003", "8810 0008 0000000000000000 00a0 0003", 129],
  [
    "Allow-vol's high word in a Query",
    QUERY_HEX,
    "00a0 0003",
    "8800 000c 00000000 00000000 00000001 00a0 0003",
    128,
  ],
  ["Req-vol's high word in a Permission", PERMISSION_HEX, "8800 000c 00000000", "8800 000c 00000001", 128],
  ["high words of 8 bytes", PERMISSION_HEX, "8800 000c 00000000", "8800 0008", 128],
  ["high words that must not be ignored", PERMISSION_HEX, "8800 000c", "0800 000c", 128],
  ["high words twice", PERMISSION_HEX, "8810 000a", "8800 000c 000000000000000000000000 8810 000a", 128],
  ["TTL of 2 bytes", PERMISSION_HEX, "0060 0004 000927c0", "0060 0002 0009 0000", 6],
  ["Refresh missing", PERMISSION_HEX, "0070 0004 0000ea60", "", 8],
  ["Defense of 3 bytes", PERMISSION_HEX, "0090 000a 02 02 8000 00001234 0708 0000", "0090 0003 020280 00", 9],
  [
    "Defense without its SPI",
    PERMISSION_HEX,
    "0090 000a 02 02 8000 00001234 0708 0000",
    "0090 0006 02028000 0000 0000",
    9,
  ],
  ["Defense with SPI 255", PERMISSION_HEX, "8000 00001234", "8000 000000ff", 9],
  ["AH with no SPI", PERMISSION_HEX, "02 02 8000 00001234", "02 02 0000 00001234", 9],
  ["AH with no algorithm", PERMISSION_HEX, "02 02 8000", "02 00 8000", 9],
  [
    "INFO of 7 bytes",
    PERMISSION_HEX,
    "8810 000a 04 0b 00 00 000003e8 6e6f 0000",
    "8810 0007 040b0000 0003e8 00",
    129,
  ],
  ["INFO with text that is not UTF-8", PERMISSION_HEX, "6e6f 0000", "ff6f 0000", 129],
  [
    "INFO before the high words",
    PERMISSION_HEX,
    "8800 000c 00000000 00000000 00000001 8810 000a 04 0b 00 00 000003e8 6e6f 0000",
    "8810 0008 040b0000000003e8 8800 000c 00000000 00000000 00000001",
    128,
  ],
  ["Notify without INFO", NOTIFY_HEX, "8810 0008 00 01 08 00 00007530", "", 129],
  ["list of no algorithms", LISTING_HEX, "8820 0003 02 82 85 00", "8820 0000", 130],
  ["list of 33 algorithms", LISTING_HEX, "8820 0003 02 82 85 00", `8820 0021 ${"02".repeat(33)} 000000`, 130],
  [
    "algorithms before the high words",
    LISTING_HEX,
    "00a0 0003",
    `8800 000c ${"00".repeat(12)} 00a0 0003`,
    128,
  ],
  ["a list of algorithms in a Permission", PERMISSION_HEX, "8810 000a", "8820 0001 02 000000 8810 000a", 130],
  [
    "Notify with a key",
    REFUSED_HEX,
    "0090 0008 03 86 8000 89abcdef",
    "0090 0009 02 02 8000 89abcdef 01000000",
    9,
  ],
  ["Notify with two Defenses", REFUSED_HEX, "0090 0008", "0090 0004 01000000 0090 0008", 9],
  ["Notify with a signature", NOTIFY_HEX, "00007530", "00007530 00a0 0001 dd000000", 10],
];

for (const [what, hex, from, to, object] of broken)
  test(`refused: ${what}`, (t) => {
    const error = refusal(changed(hex, from, to));
    t.is(error.infoCode, INFO_CODE.malformed);
    t.is(error.objectType, object);
  });

test("a Defense that nobody knows is for the sessions to refuse", (t) => {
  for (const [hex, solution, algorithm] of [
    ["05 02 8000", 5, 2],
    ["00 02 8000", 0, 2],
    ["02 0b 8000", 2, 11],
    ["02 ff 8000", 2, 255],
  ] as const) {
    const { message } = decodePbs(changed(PERMISSION_HEX, "02 02 8000", hex));
    t.like(message, { defense: { solution, algorithm, spi: 0x1234 } });
  }
});

test("sizes have limits", (t) => {
  const object = (header: string, length: number) =>
    `${header}${length.toString(16).padStart(4, "0")}${"11".repeat(length)}`;
  const sized = (certificate: number, signature: number): Uint8Array =>
    fromHex(
      QUERY_HEX.replace("0080 0005  3003020105 000000", object("0080", certificate)).replace(
        "00a0 0003  aabbcc 00",
        object("00a0", signature),
      ),
    );
  t.notThrows(() => decodePbs(sized(4096, 512)));
  t.is(refusal(sized(4100, 512)).objectType, OBJECT_TYPE.certificate);
  t.is(refusal(sized(4096, 516)).objectType, OBJECT_TYPE.authentication);
  const key = (length: number) =>
    changed(
      PERMISSION_HEX,
      "0090 000a 02 02 8000 00001234 0708 0000",
      `0090${(8 + length).toString(16).padStart(4, "0")}0202800000001234${"33".repeat(length)}`,
    );
  t.notThrows(() => decodePbs(key(256)));
  t.is(refusal(key(260)).objectType, OBJECT_TYPE.defense);
  t.throws(() => decodePbs(new Uint8Array(MAX_MESSAGE + 4)), { instanceOf: PbsWireError });
  const filler = Buffer.concat([fromHex(QUERY_HEX), fromHex("4c80 2000"), Buffer.alloc(0x2000)]);
  t.notThrows(() => decodePbs(filler));
});

test("what cannot stand on the wire is not written", (t) => {
  const range = { instanceOf: RangeError };
  t.throws(() => encodeUnsigned({ ...query, certificate: new Uint8Array(4097) }), range);
  t.throws(() => encodeUnsigned({ ...query, certificate: new Uint8Array() }), range);
  t.throws(() => encodeUnsigned({ ...query, sequence: -1 }), range);
  t.throws(() => encodeUnsigned({ ...query, flow: { ...flow4, destination: flow6.destination } }), range);
  t.throws(() => encodeUnsigned({ ...permission, ttl: ms(0) }), range);
  t.throws(() => encodeUnsigned({ ...permission, refresh: ms(0.2) }), range);
  const defense = (change: Partial<Defense>) => ({
    ...permission,
    defense: { ...permission.defense, ...change },
  });
  t.throws(() => encodeUnsigned(defense({ spi: 255 })), range);
  t.throws(() => encodeUnsigned(defense({ key: new Uint8Array(257) })), range);
  const { spi: _, ...withoutSpi } = permission.defense;
  t.throws(() => encodeUnsigned({ ...permission, defense: withoutSpi }), range);
  t.throws(() => encodeUnsigned({ ...query, algorithms: [] }), range);
  t.throws(() => withSignature(encodeUnsigned(query), new Uint8Array()), range);
  t.throws(() => withSignature(encodeUnsigned(query), new Uint8Array(513)), range);
});

test("a lifetime beyond 49 days is sent as the longest that 32 bits can say", (t) => {
  const { message } = decodePbs(encode({ ...permission, ttl: seconds(1e9) }));
  t.is(message.type === "permission" ? message.ttl : undefined, ms(2 ** 32 - 1));
});

test("the text of INFO is cut between characters and shown without control characters", (t) => {
  const text = (value: string): string => {
    const { message } = decodePbs(encodeNotify({ ...notify, info: { ...notify.info, text: value } }));
    return message.type === "notify" ? message.info.text : "";
  };
  t.is(text("é".repeat(200)), "é".repeat(127));
  t.is(text("a\u001b[31mb\nc"), "a\ufffd[31mb\ufffdc");
});

// Properties over all messages and over all bytes.

const port = fc.integer({ min: 0, max: 65535 });
const volume: fc.Arbitrary<Bytes> = fc
  .oneof(fc.integer({ min: 0, max: 2 ** 33 }), fc.maxSafeInteger())
  .map((value) => bytes(Math.abs(value)));
const duration = fc.integer({ min: 1, max: 2 ** 32 - 1 }).map(ms);
const opaque = (max: number) => fc.uint8Array({ minLength: 1, maxLength: max });
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const anyFlow: fc.Arbitrary<Flow> = fc
  .record({
    protocol: fc.oneof(fc.constantFrom(1, 6, 17, 58), fc.integer({ min: 0, max: 255 })),
    size: fc.constantFrom(4, 16),
    addresses: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    sourcePort: port,
    destinationPort: port,
  })
  .map(({ protocol, size, addresses, sourcePort, destinationPort }) => ({
    protocol,
    source: IpAddress.fromBytes(addresses.subarray(0, size)),
    destination: IpAddress.fromBytes(addresses.subarray(16, 16 + size)),
    sourcePort: hasPorts(protocol) ? sourcePort : 0,
    destinationPort: hasPorts(protocol) ? destinationPort : 0,
  }));

const anyDefense: fc.Arbitrary<Defense> = fc
  .record({
    solution: fc.integer({ min: 0, max: 255 }),
    algorithm: fc.integer({ min: 1, max: 255 }),
    spi: fc.option(fc.integer({ min: 256, max: 2 ** 32 - 1 }), { nil: undefined }),
    key: fc.uint8Array({ maxLength: 256 }),
  })
  .map(({ solution, algorithm, spi, key }) => {
    const needed = solution === SOLUTION.symmetricAh || solution === SOLUTION.publicKeyAh;
    const chosen = spi ?? (needed ? 256 : undefined);
    return { solution, algorithm, ...(chosen === undefined ? {} : { spi: chosen }), key };
  });

const byte = fc.integer({ min: 0, max: 255 });
const anyInfo: fc.Arbitrary<Info> = fc.record({
  class: byte,
  code: byte,
  objectType: byte,
  retryAfter: u32.map(ms),
  text: fc.string({ maxLength: 60 }).filter((text) => !/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u.test(text)),
});

const anyMark: fc.Arbitrary<Mark> = fc
  .record({
    epoch: u32,
    heard: fc.option(u32, { nil: undefined }),
    spi: u32,
    sequence: u32,
    counted: fc.option(volume, { nil: undefined }),
    sent: fc.boolean(),
  })
  .map(({ epoch, heard, spi, sequence, counted, sent }) => ({
    epoch,
    ...(heard !== undefined && { heard }),
    ...(sent && { association: { spi, sequence, ...(counted !== undefined && { bytes: counted }) } }),
  }));

const anyTicket: fc.Arbitrary<Ticket> = fc.record({
  node: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  due: u32,
  bits: byte,
  seal: fc.uint8Array({ minLength: 20, maxLength: 20 }),
  nonce: fc.uint8Array({ minLength: 8, maxLength: 8 }),
});

const anyEpoch: fc.Arbitrary<Epoch> = fc
  .record({
    epoch: u32,
    start: volume,
    overlap: fc.record({ duration: u32.map(ms), bytes: u32.map(bytes) }),
    ask: fc.boolean(),
    mover: fc.option(fc.uint8Array({ minLength: 16, maxLength: 16 }), { nil: undefined }),
  })
  .map(({ mover, ...rest }) => ({ ...rest, ...(mover && { mover }) }));

const anyQuery: fc.Arbitrary<PbsQuery> = fc
  .record({
    type: fc.constant("query" as const),
    flow: anyFlow,
    sequence: u32,
    requestedVolume: volume,
    sentVolume: volume,
    certificate: opaque(1200),
    algorithms: fc.option(fc.array(byte, { minLength: 1, maxLength: 32 }), { nil: undefined }),
    mark: fc.option(anyMark, { nil: undefined }),
    tickets: fc.array(anyTicket, { maxLength: 4 }),
    predecessor: fc.option(fc.uint8Array({ minLength: 16, maxLength: 16 }), { nil: undefined }),
    signature: opaque(512),
  })
  .map(({ algorithms, mark, tickets, predecessor, ...rest }) => ({
    ...rest,
    ...(predecessor && { predecessor: sessionIdFromBytes(predecessor) }),
    ...(tickets.length > 0 && { tickets }),
    ...(algorithms && { algorithms }),
    ...(mark && { mark }),
  }));

const anyPermission: fc.Arbitrary<PbsPermission> = fc
  .record({
    type: fc.constant("permission" as const),
    flow: anyFlow,
    sequence: u32,
    allowedVolume: volume,
    ttl: duration,
    refresh: duration,
    certificate: opaque(1200),
    defense: anyDefense,
    info: fc.option(anyInfo, { nil: undefined }),
    epoch: fc.option(anyEpoch, { nil: undefined }),
    signature: opaque(512),
  })
  .map(({ info, epoch, ...rest }) => ({ ...rest, ...(info && { info }), ...(epoch && { epoch }) }));

const anyNotify: fc.Arbitrary<PbsNotify> = fc
  .record({
    type: fc.constant("notify" as const),
    flow: anyFlow,
    info: anyInfo,
    defense: fc.option(anyDefense, { nil: undefined }),
    ticket: fc.option(anyTicket, { nil: undefined }),
  })
  .map(({ defense, ticket, ...rest }) => ({
    ...rest,
    ...(defense && { defense: { ...defense, key: new Uint8Array() } }),
    ...(ticket && { ticket }),
  }));

const anyMessage = fc.oneof(anyQuery, anyPermission, anyNotify);

function encodeAny(message: PbsQuery | PbsPermission | PbsNotify): Uint8Array {
  return message.type === "notify" ? encodeNotify(message) : encode(message);
}

/** Decodes; a refusal is fine, any other exception is not. */
function tryDecode(input: Uint8Array): ReturnType<typeof decodePbs> | undefined {
  try {
    return decodePbs(input);
  } catch (error) {
    if (error instanceof PbsWireError) return undefined;
    throw error;
  }
}

test("every message survives the wire", (t) => {
  fc.assert(
    fc.property(anyMessage, (message) => {
      const encoded = encodeAny(message);
      const decoded = decodePbs(encoded);
      t.is(encoded.length % 4, 0);
      t.deepEqual(decoded.message, message);
      if (message.type !== "notify") t.deepEqual(decoded.signedPart, encodeUnsigned(message));
    }),
    { numRuns: 200 },
  );
});

test("any bytes are decoded or refused, never more", (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4 }), fc.uint8Array({ maxLength: 300 }), (type, rest) => {
      tryDecode(Uint8Array.of(type, ...rest));
      return true;
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

test("a message with some bytes changed is decoded or refused, and what is decoded can be encoded", (t) => {
  const edit = fc.record({ at: fc.nat(), value: byte });
  fc.assert(
    fc.property(anyMessage, fc.array(edit, { minLength: 1, maxLength: 4 }), (message, edits) => {
      const input = encodeAny(message);
      for (const { at, value } of edits) input[at % input.length] = value;
      const decoded = tryDecode(input);
      if (decoded !== undefined) encodeAny(decoded.message);
      return true;
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

test("no part of a message is a message", (t) => {
  for (const whole of [fromHex(QUERY_HEX), fromHex(PERMISSION_HEX), fromHex(NOTIFY_HEX)])
    for (let length = 0; length < whole.length; length++)
      t.true(refusal(whole.subarray(0, length)) instanceof PbsWireError);
});
