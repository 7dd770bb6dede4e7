/** Frames: what is written is read, and any other bytes are refused in so many words. */
import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../../base/address.js";
import { ms } from "../../base/units.js";
import { WireError } from "../../base/wire.js";
import type { Mri, SessionId } from "../wire/messages.js";
import { decodeClientFrame, decodeServerFrame, encodeClientFrame, encodeServerFrame } from "./codec.js";
import { type ClientFrame, MAX_FRAME, type ServerFrame } from "./frames.js";
import { framed, FrameReader } from "./framing.js";

const u8 = fc.nat(0xff);
const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffffffff);
const time = u32.map(ms);
const text = fc.string({ unit: "grapheme", maxLength: 200 });
const data = fc.uint8Array({ maxLength: 600 });

const address = (length: 4 | 16) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((value) => IpAddress.fromBytes(value));
const ends = (length: 4 | 16) => ({
  direction: fc.constantFrom("downstream" as const, "upstream" as const),
  source: address(length),
  destination: address(length),
});
const mri: fc.Arbitrary<Mri> = fc.constantFrom(4 as const, 16 as const).chain((length) =>
  fc.oneof(
    fc.record({ method: fc.constant("loose-end" as const), ...ends(length) }),
    fc.record(
      {
        method: fc.constant("path-coupled" as const),
        ...ends(length),
        sourcePrefix: fc.nat(8 * length),
        destinationPrefix: fc.nat(8 * length),
        protocol: u8,
        dscp: fc.nat(0x3f),
        sourcePort: u16,
        destinationPort: u16,
      },
      {
        requiredKeys: [
          "method",
          "direction",
          "source",
          "destination",
          "sourcePrefix",
          "destinationPrefix",
          "protocol",
        ],
      },
    ),
  ),
);
const target = {
  nslpId: u16,
  sessionId: fc
    .uint8Array({ minLength: 16, maxLength: 16 })
    .map((bytes) => Buffer.from(bytes).toString("hex") as SessionId),
  mri,
};
const transfer = { reliable: fc.boolean(), secure: fc.boolean() };

const sendMessage = fc.record(
  {
    ...target,
    data,
    transfer: fc.record(
      { ...transfer, establishState: fc.constant(false) },
      { requiredKeys: ["reliable", "secure"] },
    ),
    handle: u32,
    siiHandle: text,
    timeout: time,
    ipTtl: u8,
    hopCount: u8,
  },
  { requiredKeys: ["nslpId", "sessionId", "mri", "data", "transfer"] },
);

const clientFrame: fc.Arbitrary<ClientFrame> = fc.oneof(
  fc.record({ type: fc.constant("hello" as const), version: u16, name: text }),
  fc.record({ type: fc.constant("register" as const), nslpId: u16 }),
  fc.record({ type: fc.constant("send" as const), message: sendMessage }),
  fc.record({ type: fc.constant("lifetime" as const), state: fc.record({ ...target, lifetime: time }) }),
  fc.record({
    type: fc.constant("invalidate" as const),
    invalidation: fc.record(
      {
        ...target,
        status: fc.constantFrom("bad" as const, "tentative" as const),
        urgent: fc.boolean(),
        payload: data,
      },
      { requiredKeys: ["nslpId", "sessionId", "mri", "status", "urgent"] },
    ),
  }),
  fc.record({
    type: fc.constant("decision" as const),
    request: u32,
    decision: fc.record({ peer: fc.boolean(), payload: data }, { requiredKeys: ["peer"] }),
  }),
);

const serverFrame: fc.Arbitrary<ServerFrame> = fc.oneof(
  fc.record({ type: fc.constant("welcome" as const), version: u16, identity: text }),
  fc.record({ type: fc.constant("registered" as const), nslpId: u16 }),
  fc.record({
    type: fc.constant("received" as const),
    request: u32,
    message: fc.record({
      ...target,
      data,
      transfer: fc.record({
        ...transfer,
        explicitlyRouted: fc.boolean(),
        returnRoutable: fc.boolean(),
        lastNode: fc.boolean(),
      }),
      routingStateCheck: fc.boolean(),
      siiHandle: text,
      ipTtl: u8,
      hopCount: u8,
      ipDistance: fc.option(u8, { nil: undefined }),
      inboundInterface: text,
    }),
  }),
  fc.record({
    type: fc.constant("status" as const),
    status: fc.record({
      ...target,
      transfer: fc.record(transfer),
      handle: fc.option(u32, { nil: undefined }),
      error: fc.constantFrom(
        "no-error" as const,
        "no-response" as const,
        "endpoint-found" as const,
        "unknown-nslp" as const,
        "transport-failed" as const,
        "not-authorised" as const,
        "too-large" as const,
        "overloaded" as const,
      ),
      detail: text,
    }),
  }),
  fc.record({
    type: fc.constant("notification" as const),
    notification: fc.record({
      ...target,
      type: fc.constantFrom(
        "last-node" as const,
        "routing-status-change" as const,
        "route-deletion" as const,
        "node-authorisation-change" as const,
        "communication-failure" as const,
      ),
      detail: text,
    }),
  }),
  fc.record({
    type: fc.constant("error" as const),
    code: fc.constantFrom(
      "version" as const,
      "malformed" as const,
      "nslpid-taken" as const,
      "not-registered" as const,
      "too-many" as const,
      "stopping" as const,
      "not-allowed" as const,
    ),
    text,
  }),
);

/** Addresses keep a text that they made once they were asked for it; equal ones may differ in that. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_, field: unknown) => (field === undefined ? null : field)));
}

test("a client's frame is read as it was written", (t) => {
  fc.assert(
    fc.property(clientFrame, (frame) => {
      t.deepEqual(plain(decodeClientFrame(encodeClientFrame(frame))), plain(frame));
    }),
  );
});

test("a server's frame is read as it was written", (t) => {
  fc.assert(
    fc.property(serverFrame, (frame) => {
      t.deepEqual(plain(decodeServerFrame(encodeServerFrame(frame))), plain(frame));
    }),
  );
});

for (const [side, decode, encode] of [
  ["client", decodeClientFrame, encodeClientFrame],
  ["server", decodeServerFrame, encodeServerFrame],
] as const)
  test(`any bytes as a ${side}'s frame: a frame that is written the same again, or a WireError`, (t) => {
    const good = side === "client" ? clientFrame.map(encodeClientFrame) : serverFrame.map(encodeServerFrame);
    const damaged = fc
      .tuple(good, fc.nat(), u8, fc.nat(40))
      .map(([bytes, at, value, cut]) =>
        Uint8Array.from(bytes, (old, i) => (i === at % bytes.length ? value : old)).subarray(
          0,
          Math.max(1, bytes.length - (cut > 20 ? 0 : cut)),
        ),
      );
    const any = fc.oneof(fc.uint8Array({ maxLength: 200 }), damaged);
    fc.assert(
      fc.property(any, (bytes) => {
        const frame = readOrRefuse(() => decode(bytes));
        // The MRI has reserved bits that are not kept, so it is the value that has to be stable.
        if (frame === undefined) return;
        const again = encode(frame as never);
        t.deepEqual(plain(decode(again)), plain(frame));
      }),
      { numRuns: 2000 },
    );
    t.pass();
  });

function readOrRefuse<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return undefined;
  }
}

test("what does not fit is refused by a RangeError", (t) => {
  const base = { nslpId: 1, sessionId: "0".repeat(32) as SessionId, mri: fc.sample(mri, 1)[0] as Mri };
  const send = (more: object) =>
    encodeClientFrame({
      type: "send",
      message: { ...base, data: new Uint8Array(), transfer: { reliable: true, secure: true }, ...more },
    });
  t.notThrows(() => send({}));
  for (const more of [
    { data: new Uint8Array(MAX_FRAME) },
    { hopCount: 256 },
    { ipTtl: -1 },
    { handle: 0.5 },
    { nslpId: 65536 },
    { sessionId: "x" },
  ])
    t.throws(() => send(more), { instanceOf: RangeError });
});

test("a text for people is cut, not refused", (t) => {
  const bytes = encodeServerFrame({ type: "error", code: "malformed", text: "ä".repeat(5000) });
  const frame = decodeServerFrame(bytes);
  t.true(frame.type === "error" && frame.text.length === 1024);
});

test("frames come whole out of any chunks", (t) => {
  const frames = fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 8 });
  const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(frames, cuts, (sent, sizes) => {
      const stream = Buffer.concat(sent.map(framed));
      const reader = new FrameReader();
      const read: Uint8Array[] = [];
      for (let at = 0, i = 0; at < stream.length; i++) {
        const size = sizes[i % sizes.length] ?? 1;
        for (const frame of reader.push(stream.subarray(at, at + size))) read.push(Uint8Array.from(frame));
        at += size;
      }
      t.deepEqual(
        read,
        sent.map((frame) => Uint8Array.from(frame)),
      );
    }),
  );
});

for (const length of [0, MAX_FRAME + 1, 0xffffffff])
  test(`a length of ${length} ends the stream, in one chunk or byte by byte`, (t) => {
    const bytes = Buffer.alloc(5);
    bytes.writeUInt32BE(length, 0);
    t.throws(() => [...new FrameReader().push(bytes)], { instanceOf: WireError });
    const reader = new FrameReader();
    t.throws(() => [...bytes].map((byte) => [...reader.push(Uint8Array.of(byte))]), {
      instanceOf: WireError,
    });
  });
