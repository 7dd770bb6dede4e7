/** Properties of the codec over arbitrary messages and arbitrary bytes. */
import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../../base/address.js";
import { seededRandom } from "../../base/random.js";
import { ms } from "../../base/units.js";
import {
  decodeGist,
  encodeGist,
  errorFor,
  flipMri,
  GistWireError,
  mriKey,
  newSessionId,
  sessionIdBytes,
  sessionIdFromBytes,
} from "./codec.js";
import type {
  ErrorInfo,
  ErrorObject,
  GistMessage,
  LooseEndMri,
  Mri,
  NetworkLayerInformation,
  PathCoupledMri,
  SessionId,
  StackConfiguration,
  StackProfile,
} from "./messages.js";

const u8 = fc.nat(0xff);
const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffffffff);
const time = fc.integer({ min: 1, max: 0xffffffff }).map(ms);
const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength });
const words = (min: number, max: number) =>
  fc.integer({ min, max }).chain((count) => bytes(4 * count, 4 * count));

const addresses = (length: 4 | 16) => bytes(length, length).map((value) => IpAddress.fromBytes(value));
const anyAddress = fc.oneof(addresses(4), addresses(16));
const direction = fc.constantFrom("downstream" as const, "upstream" as const);

const pathCoupled = (length: 4 | 16): fc.Arbitrary<PathCoupledMri> => {
  const fields = {
    method: fc.constant("path-coupled" as const),
    direction,
    source: addresses(length),
    destination: addresses(length),
    sourcePrefix: fc.nat(8 * length),
    destinationPrefix: fc.nat(8 * length),
    dscp: fc.nat(0x3f),
    flowLabel: fc.nat(0xfffff),
  };
  const required = [
    "method",
    "direction",
    "source",
    "destination",
    "sourcePrefix",
    "destinationPrefix",
  ] as const;
  return fc
    .oneof(
      fc.record(fields, { requiredKeys: [...required] }),
      fc.record(
        { ...fields, protocol: u8, spi: u32, sourcePort: u16, destinationPort: u16 },
        { requiredKeys: [...required, "protocol"] },
      ),
    )
    .filter((mri) => length === 16 || mri.flowLabel === undefined);
};

const looseEnd = (length: 4 | 16): fc.Arbitrary<LooseEndMri> =>
  fc.record({
    method: fc.constant("loose-end" as const),
    direction,
    source: addresses(length),
    destination: addresses(length),
  });

const anyMri: fc.Arbitrary<Mri> = fc.oneof(pathCoupled(4), pathCoupled(16), looseEnd(4), looseEnd(16));

const anySession: fc.Arbitrary<SessionId> = bytes(16, 16).map(sessionIdFromBytes);

const anyNli: fc.Arbitrary<NetworkLayerInformation> = fc.record({
  ipTtl: u8,
  validity: time,
  peerIdentity: bytes(1, 255),
  interfaceAddress: anyAddress.filter(({ bytes: [first = 0] }) => first > 0 && first < 224),
});

const anyProposal: fc.Arbitrary<StackProfile[]> = fc.array(fc.array(u8, { minLength: 1, maxLength: 6 }), {
  minLength: 1,
  maxLength: 5,
});

const configurationFor = (proposal: readonly StackProfile[]): fc.Arbitrary<StackConfiguration> =>
  fc.record({
    holdTime: time,
    options: fc.array(
      fc.record({
        protocol: u8,
        profile: fc.nat(proposal.length),
        doNotUse: fc.boolean(),
        data: bytes(0, 20),
      }),
      { maxLength: 4 },
    ),
  });

const anyStack = anyProposal.chain((proposal) =>
  fc.record({ proposal: fc.constant(proposal), configuration: configurationFor(proposal) }),
);

const cookie = words(1, 8);
const payload = words(0, 60);

const anyNatTraversal = fc
  .record({ mri: words(0, 13), types: words(0, 2), nats: fc.array(bytes(0, 9), { maxLength: 3 }) })
  .map(({ mri, types, nats }) => ({
    value: Uint8Array.from([
      mri.length / 4,
      types.length / 2,
      nats.length,
      0,
      ...mri,
      ...types,
      ...nats.flatMap((data) => [
        0,
        data.length,
        ...data,
        ...new Array<number>((6 - (data.length % 4)) % 4).fill(0),
      ]),
    ]),
  }));

const anyOpaque = fc.uniqueArray(
  fc.record({ type: fc.integer({ min: 11, max: 0xfff }), value: words(0, 4) }),
  { minLength: 1, maxLength: 4, selector: (object) => object.type },
);

const header = { hops: u8, nslpId: u16, signallingSource: fc.boolean() };
const flow = { ...header, mri: anyMri, sessionId: anySession };

const anyQuery = fc.record(
  {
    type: fc.constant("query" as const),
    ...flow,
    natTraversal: anyNatTraversal,
    nli: anyNli,
    queryCookie: cookie,
    stack: anyStack,
    data: payload,
    opaque: anyOpaque,
  },
  { requiredKeys: ["type", "hops", "nslpId", "signallingSource", "mri", "sessionId", "nli", "queryCookie"] },
);

const responseFields = {
  type: fc.constant("response" as const),
  ...flow,
  natTraversal: anyNatTraversal,
  nli: anyNli,
  queryCookie: cookie,
  data: payload,
  opaque: anyOpaque,
};

const responseKeys = [
  "type",
  "hops",
  "nslpId",
  "signallingSource",
  "mri",
  "sessionId",
  "nli",
  "queryCookie",
  "confirmRequested",
] as const;

const anyResponse = fc.oneof(
  fc.record({ ...responseFields, confirmRequested: fc.boolean() }, { requiredKeys: [...responseKeys] }),
  fc.record(
    { ...responseFields, confirmRequested: fc.constant(true), responderCookie: cookie, stack: anyStack },
    { requiredKeys: [...responseKeys, "responderCookie"] },
  ),
);

const confirmFields = {
  type: fc.constant("confirm" as const),
  ...flow,
  nli: anyNli,
  data: payload,
  opaque: anyOpaque,
};
const confirmKeys = ["type", "hops", "nslpId", "signallingSource", "mri", "sessionId", "nli"] as const;

const anyConfirm = fc.oneof(
  fc.record({ ...confirmFields, responderCookie: cookie }, { requiredKeys: [...confirmKeys] }),
  anyProposal.chain((proposal) =>
    fc.record(
      {
        ...confirmFields,
        responderCookie: cookie,
        proposal: fc.constant(proposal),
        configuration: configurationFor(proposal),
      },
      { requiredKeys: [...confirmKeys, "responderCookie", "proposal"] },
    ),
  ),
);

const dataFields = {
  type: fc.constant("data" as const),
  ...flow,
  natTraversal: anyNatTraversal,
  nli: anyNli,
  explicitlyRouted: fc.boolean(),
  data: payload,
  opaque: anyOpaque,
};

const dataKeys = [
  "type",
  "hops",
  "nslpId",
  "signallingSource",
  "mri",
  "sessionId",
  "explicitlyRouted",
  "data",
  "queryMode",
] as const;

const anyData = fc.oneof(
  fc.record({ ...dataFields, queryMode: fc.constant(false) }, { requiredKeys: [...dataKeys] }),
  fc.record({ ...dataFields, queryMode: fc.constant(true) }, { requiredKeys: [...dataKeys, "nli"] }),
);

const anyInfo: fc.Arbitrary<ErrorInfo> = fc.oneof(
  fc.record({ type: fc.constant("message-length" as const), length: u16 }),
  fc.record({ type: fc.constant("mtu" as const), mtu: u16 }),
  fc.record({ type: fc.constant("object-type" as const), objectType: fc.nat(0xfff) }),
  fc.record({
    type: fc.constant("object-value" as const),
    realLength: fc.nat(0xfff).map((count) => 4 * count),
    offset: u16,
    object: words(0, 20),
  }),
);

const anyErrorObject: fc.Arbitrary<ErrorObject> = fc.record(
  {
    class: u8,
    code: u16,
    subcode: u8,
    encapsulation: fc.constantFrom("connection" as const, "datagram" as const, "query" as const),
    originalHeader: bytes(8, 8),
    sessionId: anySession,
    mri: anyMri,
    info: fc.array(anyInfo, { maxLength: 5 }),
    comment: fc.string({ unit: "grapheme", minLength: 1 }).filter((text) => !text.endsWith("\0")),
  },
  { requiredKeys: ["class", "code", "subcode", "encapsulation", "originalHeader", "info"] },
);

const linkHeader = { hops: u8, nslpId: fc.constant(0), signallingSource: fc.boolean() };

const anyError = fc.record(
  {
    type: fc.constant("error" as const),
    ...linkHeader,
    natTraversal: anyNatTraversal,
    nli: anyNli,
    error: anyErrorObject,
  },
  { requiredKeys: ["type", "hops", "nslpId", "signallingSource", "error"] },
);

const anyHello = fc.oneof(
  fc.record({
    type: fc.constant("hello" as const),
    ...linkHeader,
    replyRequested: fc.constant(false),
    helloId: u32,
  }),
  fc.record({
    type: fc.constant("hello" as const),
    ...linkHeader,
    replyRequested: fc.constant(true),
    helloId: fc.integer({ min: 1, max: 0xffffffff }),
  }),
);

const messages: Record<GistMessage["type"], fc.Arbitrary<GistMessage>> = {
  query: anyQuery,
  response: anyResponse,
  confirm: anyConfirm,
  data: anyData,
  error: anyError,
  hello: anyHello,
};

const anyMessage = fc.oneof(...Object.values(messages));

for (const [name, arbitrary] of Object.entries(messages)) {
  test(`${name}: what is encoded decodes to the same value`, (t) => {
    fc.assert(
      fc.property(arbitrary, (message) => {
        const encoded = encodeGist(message);
        t.is(encoded.length % 4, 0);
        t.deepEqual(decodeGist(encoded), message);
      }),
      { numRuns: 150 },
    );
  });
}

/** The decoder gives a value that can be written again, or a GistWireError that can be answered. */
function valueOrWireError(input: Uint8Array): GistMessage | GistWireError {
  try {
    return decodeGist(input);
  } catch (error) {
    if (error instanceof GistWireError) return error;
    throw error;
  }
}

function check(input: Uint8Array): void {
  const result = valueOrWireError(input);
  if (!(result instanceof GistWireError)) {
    const encoded = encodeGist(result);
    if (!Buffer.from(encodeGist(decodeGist(encoded))).equals(encoded))
      throw new Error("it changes on the way");
    return;
  }
  const error = errorFor(result, input, "datagram");
  if (error !== undefined) encodeGist({ type: "error", hops: 1, nslpId: 0, signallingSource: true, error });
}

test("random bytes are a value or a GistWireError", (t) => {
  fc.assert(fc.property(bytes(0, 300), check), { numRuns: 500 });
  t.pass();
});

test("random objects behind a good header are a value or a GistWireError", (t) => {
  const object = fc
    .record({
      flags: fc.constantFrom(0, 0, 0, 1, 2, 3),
      type: fc.nat(13),
      value: words(0, 12),
      lie: fc.nat(20),
    })
    .map(({ flags, type, value, lie }) => {
      const length = value.length / 4 + (lie === 0 ? 1 : 0);
      return [flags << 6, type, 0, length, ...value];
    });
  fc.assert(
    fc.property(fc.nat(5), u8, fc.array(object, { maxLength: 8 }), (type, flags, objects) => {
      const body = objects.flat();
      const c = type === 0 ? 0x80 : 0;
      const r = type === 0 ? 0x40 : 0;
      const head = [1, 1, 0, body.length / 4, 0, 33, type | c, (flags & 0x80) | r];
      check(Uint8Array.from([...head, ...body]));
    }),
    { numRuns: 1000 },
  );
  t.pass();
});

test("a message with some bytes changed is a value or a GistWireError", (t) => {
  const change = fc.record({ at: fc.nat(400), value: u8 });
  fc.assert(
    fc.property(anyMessage, fc.array(change, { minLength: 1, maxLength: 4 }), (message, changes) => {
      const encoded = encodeGist(message);
      for (const { at, value } of changes) encoded[at % encoded.length] = value;
      check(encoded);
    }),
    { numRuns: 1000 },
  );
  t.pass();
});

/** A message's objects with their headers. */
function objectsOf(message: Uint8Array): Uint8Array[] {
  const objects: Uint8Array[] = [];
  for (let at = 8; at < message.length;) {
    const next = at + 4 + 4 * ((((message[at + 2] ?? 0) & 0xf) << 8) | (message[at + 3] ?? 0));
    objects.push(message.subarray(at, next));
    at = next;
  }
  return objects;
}

function withObjects(message: Uint8Array, objects: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(Buffer.concat([message.subarray(0, 8), ...objects]));
  const length = (bytes.length - 8) / 4;
  bytes[2] = length >>> 8;
  bytes[3] = length & 0xff;
  return bytes;
}

test("objects twice or in another order are refused; left out they are missing, or were optional", (t) => {
  fc.assert(
    fc.property(anyMessage, fc.nat(20), fc.nat(20), (message, one, two) => {
      const encoded = encodeGist(message);
      const objects = objectsOf(encoded);
      const [i, j] = [one % objects.length, two % objects.length];
      const [a, b] = [objects[i] ?? encoded, objects[j] ?? encoded];
      const twice = valueOrWireError(withObjects(encoded, objects.toSpliced(j, 0, a)));
      t.true(twice instanceof GistWireError && twice.code === 9, "twice");
      const known = (object: Uint8Array): boolean => object[0] === 0 && (object[1] ?? 0) < 11;
      const swapped = valueOrWireError(withObjects(encoded, objects.with(i, b).with(j, a)));
      if (i !== j && known(a) && known(b))
        t.true(swapped instanceof GistWireError && swapped.code === 9 && swapped.subcode === 3, "swapped");
      check(withObjects(encoded, objects.toSpliced(i, 1)));
    }),
    { numRuns: 500 },
  );
});

test("a message that was cut or has something behind it is refused", (t) => {
  fc.assert(
    fc.property(anyMessage, fc.nat(1000), bytes(1, 9), (message, at, more) => {
      const encoded = encodeGist(message);
      const cut = valueOrWireError(encoded.subarray(0, at % encoded.length));
      t.true(cut instanceof GistWireError && cut.code === 1 && cut.subcode === 3);
      const longer = valueOrWireError(Uint8Array.from([...encoded, ...more]));
      t.true(longer instanceof GistWireError && longer.code === 1 && longer.subcode === 3);
    }),
    { numRuns: 150 },
  );
});

test("a cut message whose length was made to fit is a value or a GistWireError", (t) => {
  fc.assert(
    fc.property(anyMessage, fc.nat(100), (message, count) => {
      const encoded = encodeGist(message);
      const words = count % (encoded.length / 4 - 1);
      const cut = encoded.slice(0, 8 + 4 * words);
      cut[2] = words >>> 8;
      cut[3] = words & 0xff;
      check(cut);
    }),
    { numRuns: 500 },
  );
  t.pass();
});

test("the longest messages of the smallest objects are dealt with at once", (t) => {
  for (const flags of [0x00, 0x40, 0x80, 0xc0]) {
    const message = new Uint8Array(8 + 4 * 0xffff);
    message.set([1, 1, 0xff, 0xff, 0, 33, 0x80, 0x40]);
    for (let i = 0, at = 8; at < message.length; i++, at += 4) {
      message[at] = flags | (((20 + i) >>> 8) % 16);
      message[at + 1] = (20 + i) & 0xff;
    }
    const result = valueOrWireError(message);
    if (!(result instanceof GistWireError)) return t.fail();
    t.is(result.code, 9);
    const error = errorFor(result, message, "connection");
    t.is(error?.mri, undefined);
  }
});

test("an Error fits a small datagram, however long the offending objects", (t) => {
  const query = {
    type: "query",
    hops: 1,
    nslpId: 33,
    signallingSource: true,
    mri: {
      method: "path-coupled",
      direction: "downstream",
      source: IpAddress.parse("::1"),
      destination: IpAddress.parse("::2"),
      sourcePrefix: 128,
      destinationPrefix: 128,
    },
    sessionId: newSessionId(seededRandom(1)),
    nli: {
      ipTtl: 1,
      validity: ms(1),
      peerIdentity: Uint8Array.of(1),
      interfaceAddress: IpAddress.parse("::1"),
    },
    queryCookie: new Uint8Array(4 * 4000),
  } as const;
  const options = Array.from({ length: 50 }, () => ({
    protocol: 1,
    profile: 50,
    doNotUse: false,
    data: new Uint8Array(20),
  }));
  const proposal = Array.from({ length: 50 }, () => [1, 2, 3, 4, 5]);
  const stack = { proposal, configuration: { holdTime: ms(1), options } };
  for (const long of [
    encodeGist({ ...query, natTraversal: { value: new Uint8Array(4 + 4 * 4000) } }),
    withForeignProfile(encodeGist({ ...query, stack })),
  ]) {
    const error = valueOrWireError(long);
    if (!(error instanceof GistWireError)) return t.fail();
    const object = errorFor(error, long, "query");
    t.truthy(object?.mri);
    if (object === undefined) return;
    const { length } = encodeGist({
      type: "error",
      hops: 1,
      nslpId: 0,
      signallingSource: true,
      nli: { ...query.nli, peerIdentity: new Uint8Array(16) },
      error: object,
    });
    t.true(length + 64 <= 576, `${error.code}/${error.subcode}: ${length}`);
  }
});

/** The message with its last option, of 20 bytes, for a profile that there is not. */
function withForeignProfile(message: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(message);
  bytes[bytes.length - 23] = 200;
  return bytes;
}

test("keys of MRIs are equal exactly for equal MRIs", (t) => {
  fc.assert(
    fc.property(anyMri, anyMri, (a, b) => {
      t.is(mriKey({ ...a }), mriKey(a));
      t.not(mriKey(flipMri(a)), mriKey(a));
      t.deepEqual(flipMri(flipMri(a)), a);
      if (mriKey(a) === mriKey(b)) t.deepEqual(a, b);
    }),
  );
  const mri: Mri = {
    method: "path-coupled",
    direction: "downstream",
    source: IpAddress.parse("10.0.0.1"),
    destination: IpAddress.parse("10.0.0.2"),
    sourcePrefix: 32,
    destinationPrefix: 32,
    protocol: 6,
  };
  const variants: Mri[] = [
    mri,
    { ...mri, sourcePort: 0 },
    { ...mri, destinationPort: 0 },
    { ...mri, sourcePort: 0, destinationPort: 0 },
    { ...mri, dscp: 0 },
    { ...mri, spi: 0 },
    { ...mri, sourcePrefix: 31 },
    { ...mri, direction: "upstream" },
  ];
  t.is(new Set(variants.map(mriKey)).size, variants.length);
});

test("session identifiers are 16 bytes and 32 digits", (t) => {
  fc.assert(
    fc.property(bytes(16, 16), (value) =>
      t.deepEqual(new Uint8Array(sessionIdBytes(sessionIdFromBytes(value))), value),
    ),
  );
  const random = seededRandom(3);
  const [a, b] = [newSessionId(random), newSessionId(random)];
  t.regex(a, /^[0-9a-f]{32}$/);
  t.not(a, b);
  t.throws(() => sessionIdFromBytes(new Uint8Array(15)), { instanceOf: RangeError });
  for (const text of ["", "0".repeat(31), "0".repeat(33), "G".repeat(32), "A".repeat(32)])
    t.throws(() => sessionIdBytes(text as SessionId), { instanceOf: RangeError });
});
