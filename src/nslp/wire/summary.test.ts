/** Objects that save signatures: their bytes, what is refused of them, and any bytes at all. */
import test from "ava";
import fc from "fast-check";
import { HASH_LENGTH, MAX_LEAVES, pathLength, type TreePath } from "../../authorization/tree.js";
import { IpAddress } from "../../base/address.js";
import { type Flow, PROTOCOL } from "../../base/flow.js";
import { bytes, MAX_BYTES, ms, seconds } from "../../base/units.js";
import { WireError } from "../../base/wire.js";
import type { SessionId } from "../../gist/wire/messages.js";
import {
  decodePbs,
  encodeNotify,
  encodeUnsigned,
  MAX_MESSAGE,
  PbsWireError,
  withSignature,
} from "./codec.js";
import {
  INFO_CODE,
  OBJECT_TYPE,
  type PbsNotify,
  type PbsPermission,
  type PbsQuery,
  SOLUTION,
  SUPPORT,
} from "./messages.js";
import { encodeTreePath, MAX_LISTED, MAX_NAMED } from "./summary.js";

const flow: Flow = {
  protocol: PROTOCOL.tcp,
  source: IpAddress.parse("192.168.20.1"),
  destination: IpAddress.parse("192.168.21.4"),
  sourcePort: 4000,
  destinationPort: 80,
};
const id = "00112233445566778899aabbccddeeff" as SessionId;
const tree: TreePath = { leaves: 3, index: 2, siblings: new Uint8Array(HASH_LENGTH).fill(0x5a) };

const query: PbsQuery = {
  type: "query",
  flow,
  sequence: 1,
  requestedVolume: bytes(2),
  sentVolume: bytes(3),
  certificate: Uint8Array.of(0x30, 0x00),
  support: SUPPORT.tree | SUPPORT.summary,
  summary: [{ id, sequence: 0x01020304, sentVolume: bytes(0x1_0000_0002), epoch: 5, heard: 6 }],
  tree,
  signature: Uint8Array.of(0xaa),
};

const permission: PbsPermission = {
  type: "permission",
  flow,
  sequence: 1,
  allowedVolume: bytes(2),
  ttl: ms(3),
  refresh: ms(4),
  certificate: Uint8Array.of(0x30, 0x00),
  defense: { solution: SOLUTION.noAction, algorithm: 0, key: new Uint8Array() },
  summary: [{ id, sequence: 7, allowedVolume: bytes(0x1_0000_0008), ttl: ms(9), refresh: ms(10), epoch: 11 }],
  tree: { leaves: 2, index: 0, siblings: new Uint8Array(HASH_LENGTH).fill(0x5a) },
  signature: Uint8Array.of(0xaa),
};

const notify: PbsNotify = {
  type: "notify",
  flow,
  info: { class: 3, code: INFO_CODE.refreshSingly, objectType: 135, retryAfter: ms(0), text: "" },
  listed: [id],
};

const FID = "0010 0010 40600000 0fa00050 c0a81401 c0a81504";
const SIGNED = (place: string) =>
  `0880 0028 01000000 ${place} ${"5a".repeat(HASH_LENGTH)} 00a0 0001 aa000000`;
const QUERY_HEX = `01000000 ${FID} 0020 0004 00000001 0030 0004 00000002 0040 0004 00000003 0080 0002 30000000
  0860 0004 00000003
  0870 0024 00112233445566778899aabbccddeeff 01020304 00000001 00000002 00000005 00000006
  ${SIGNED("0003 0002")}`;
const PERMISSION_HEX = `02000000 ${FID} 0020 0004 00000001 0050 0004 00000002 0060 0004 00000003 0070 0004 00000004
  0080 0002 30000000 0090 0004 01000000
  0870 0028 00112233445566778899aabbccddeeff 00000007 00000001 00000008 00000009 0000000a 0000000b
  ${SIGNED("0002 0000")}`;
const NOTIFY_HEX = `03000000 ${FID} 8810 0008 03118700 00000000 8890 0010 00112233445566778899aabbccddeeff`;

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ""), "hex"));
}

function encode(message: PbsQuery | PbsPermission): Uint8Array {
  return withSignature(encodeUnsigned(message), message.signature, message.tree);
}

function refusal(input: Uint8Array): PbsWireError | undefined {
  try {
    decodePbs(input);
    return undefined;
  } catch (error) {
    if (error instanceof PbsWireError) return error;
    throw error;
  }
}

for (const [name, message, hex] of [
  ["Query", query, QUERY_HEX],
  ["Permission", permission, PERMISSION_HEX],
] as const)
  test(`a ${name} that lists another flow, of a tree, has these bytes; the way to the root is not in its leaf`, (t) => {
    t.is(Buffer.from(encode(message)).toString("hex"), Buffer.from(fromHex(hex)).toString("hex"));
    t.deepEqual(decodePbs(fromHex(hex)), { message, signedPart: encodeUnsigned(message) });
  });

test("a Notify that names flows has these bytes", (t) => {
  t.is(Buffer.from(encodeNotify(notify)).toString("hex"), Buffer.from(fromHex(NOTIFY_HEX)).toString("hex"));
  t.deepEqual(decodePbs(fromHex(NOTIFY_HEX)).message, notify);
});

const QUERY_LIST = "0870002400112233445566778899aabbccddeeff0102030400000001000000020000000500000006";

const broken: readonly (readonly [what: string, hex: string, from: string, to: string, object: number])[] = [
  ["Path-support that asks for nothing", QUERY_HEX, "0860000400000003", "0860000400000000", 134],
  ["Path-support that may be ignored", QUERY_HEX, "08600004", "88600004", 134],
  ["summary of no flow", QUERY_HEX, QUERY_LIST, "08700000", 135],
  ["summary with part of a flow", QUERY_HEX, "08700024", "08700020", 135],
  ["summary that grants nothing", PERMISSION_HEX, "0000000100000008", "0000000000000000", 135],
  ["summary without a lifetime", PERMISSION_HEX, "000000090000000a", "000000000000000a", 135],
  ["tree of one leaf", QUERY_HEX, "00030002", "00010000", 136],
  ["tree of too many leaves", QUERY_HEX, "00030002", "10010002", 136],
  ["leaf behind the last one", QUERY_HEX, "00030002", "00030003", 136],
  ["way to the root that is too short", QUERY_HEX, "00030002", "00030000", 136],
  ["tree of another algorithm", QUERY_HEX, "0880002801", "0880002802", 136],
  ["tree that may be ignored", QUERY_HEX, "08800028", "88800028", 136],
  ["Notify that names no flow", NOTIFY_HEX, "8890001000112233445566778899aabbccddeeff", "88900000", 137],
];

for (const [what, hex, from, to, object] of broken)
  test(`refused: ${what}`, (t) => {
    const plain = hex.replaceAll(/\s/g, "");
    t.is(plain.split(from).length, 2, "the piece is there once");
    const error = refusal(fromHex(plain.replace(from, to)));
    t.is(error?.objectType, object);
  });

test("lists and trees have limits, and with the longest certificate still fit a message", (t) => {
  const summary = Array.from({ length: MAX_LISTED }, () => query.summary?.[0]).filter(
    (one) => one !== undefined,
  );
  const certificate = new Uint8Array(4096);
  const siblings = new Uint8Array(12 * HASH_LENGTH);
  const full = encode({
    ...query,
    summary,
    certificate,
    tree: { leaves: MAX_LEAVES, index: 7, siblings },
    signature: new Uint8Array(512),
  });
  t.true(full.length <= MAX_MESSAGE);
  t.is(refusal(full), undefined);
  const grants = Array.from({ length: MAX_LISTED }, () => permission.summary?.[0]).filter(
    (one) => one !== undefined,
  );
  t.true(encode({ ...permission, certificate, summary: grants }).length <= MAX_MESSAGE);
  t.throws(() => encode({ ...query, summary: [...summary, ...summary] }), { instanceOf: RangeError });
  t.throws(() => encode({ ...query, summary: [] }), { instanceOf: RangeError });
  t.throws(() => encodeNotify({ ...notify, listed: Array<SessionId>(MAX_NAMED + 1).fill(id) }), {
    instanceOf: RangeError,
  });
  t.throws(() => encodeTreePath({ leaves: 4, index: 0, siblings: new Uint8Array(HASH_LENGTH) }), {
    instanceOf: RangeError,
  });
  const longer = { ...permission, summary: [{ ...grants[0], ttl: ms(0) }] } as PbsPermission;
  t.throws(() => encode(longer), { instanceOf: RangeError });
});

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const anyId = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .map((value) => Buffer.from(value).toString("hex") as SessionId);
const anyVolume = fc.integer({ min: 1, max: MAX_BYTES }).map(bytes);
const anyDuration = fc.integer({ min: 1, max: seconds(100_000) }).map(ms);
const anyTree: fc.Arbitrary<TreePath> = fc
  .integer({ min: 2, max: MAX_LEAVES })
  .chain((leaves) => fc.record({ leaves: fc.constant(leaves), index: fc.nat(leaves - 1) }))
  .chain(({ leaves, index }) => {
    const length = pathLength(index, leaves) * HASH_LENGTH;
    return fc
      .uint8Array({ minLength: length, maxLength: length })
      .map((siblings) => ({ leaves, index, siblings }));
  });
const anyQuery = fc
  .record({
    support: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
    summary: fc.array(
      fc.record({ id: anyId, sequence: u32, sentVolume: anyVolume, epoch: u32, heard: u32 }),
      { minLength: 1, maxLength: 20 },
    ),
    tree: anyTree,
  })
  .map((content): PbsQuery => ({ ...query, ...content }));
const anyPermission = fc
  .record({
    summary: fc.array(
      fc.record({
        id: anyId,
        sequence: u32,
        allowedVolume: anyVolume,
        ttl: anyDuration,
        refresh: anyDuration,
        epoch: u32,
      }),
      { minLength: 1, maxLength: 20 },
    ),
    tree: anyTree,
  })
  .map((content): PbsPermission => ({ ...permission, ...content }));
const anyMessage = fc.oneof(anyQuery, anyPermission);

test("every list and every path survives the wire", (t) => {
  fc.assert(
    fc.property(anyMessage, (message) => {
      t.deepEqual(decodePbs(encode(message)), { message, signedPart: encodeUnsigned(message) });
    }),
  );
});

test("with some bytes changed, or cut short, a message is decoded or refused, never more", (t) => {
  const edit = fc.record({ at: fc.nat(), value: fc.integer({ min: 0, max: 255 }) });
  fc.assert(
    fc.property(anyMessage, fc.array(edit, { maxLength: 4 }), fc.nat(), (message, edits, cut) => {
      const input = encode(message);
      for (const { at, value } of edits) input[at % input.length] = value;
      for (const one of [input, input.subarray(0, cut % input.length)]) {
        try {
          decodePbs(one);
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
        }
      }
    }),
    { numRuns: 1000 },
  );
  t.pass();
});

test("a node that knows none of this refuses the Query and says which object it does not know", (t) => {
  // As an unknown type with the same bits is refused by every node.
  const unknown = Buffer.from(fromHex(QUERY_HEX)).toString("hex").replace("08600004", "0bb00004");
  const error = refusal(fromHex(unknown));
  t.is(error?.infoCode, INFO_CODE.unknownObject);
  t.is(error?.objectType, 0xbb);
  t.is(OBJECT_TYPE.pathSupport, 134);
});
