/** Bytes put together by hand from the layouts of RFC 5971 appendix A, against the codec in both directions. */
import test from "ava";
import { IpAddress } from "../../base/address.js";
import { ms } from "../../base/units.js";
import { decodeGist, encodeGist } from "./codec.js";
import type {
  GistMessage,
  LooseEndMri,
  NetworkLayerInformation,
  PathCoupledMri,
  SessionId,
} from "./messages.js";

/** Bytes of hexadecimal lines; what follows "#" is a remark. */
function hex(lines: string): Uint8Array {
  return new Uint8Array(Buffer.from(lines.replace(/#.*$/gm, "").replace(/\s+/g, ""), "hex"));
}

const ip = (text: string): IpAddress => IpAddress.parse(text);

const sessionId = "000102030405060708090a0b0c0d0e0f" as SessionId;

const SESSION = `
  0001 0004                  # Session-ID, 4 words
  00010203 04050607 08090a0b 0c0d0e0f
`;

const tcp4: PathCoupledMri = {
  method: "path-coupled",
  direction: "downstream",
  source: ip("192.168.20.1"),
  destination: ip("192.168.21.4"),
  sourcePrefix: 32,
  destinationPrefix: 32,
  protocol: 6,
  sourcePort: 4000,
  destinationPort: 80,
};

const TCP4 = `
  0000 0005                  # MRI, 5 words
  00 00 48c0                 # MRM 0; IPv4, P A B
  c0a81401 c0a81504
  20 20 06 00                # prefixes, protocol, DS field
  0fa0 0050
`;

const tcp6: PathCoupledMri = {
  ...tcp4,
  direction: "upstream",
  source: ip("2001:db8::1"),
  destination: ip("2001:db8::2"),
  sourcePrefix: 128,
  destinationPrefix: 128,
};

const TCP6 = `
  0000 000b                  # MRI, 11 words
  00 00 68e0                 # MRM 0; IPv6, P A B D
  20010db8 00000000 00000000 00000001
  20010db8 00000000 00000000 00000002
  80 80 06 00
  0fa0 0050
`;

const nli4: NetworkLayerInformation = {
  ipTtl: 64,
  validity: ms(30_000),
  peerIdentity: Uint8Array.of(0xaa, 0xbb, 0xcc, 0xdd, 0xee),
  interfaceAddress: ip("192.168.20.3"),
};

const NLI4 = `
  0002 0005                  # NLI, 5 words
  05 40 4000                 # PI-Length, IP-TTL, IP-Ver
  00007530
  aabbccdd ee000000          # padded to a word
  c0a81403
`;

const nli6: NetworkLayerInformation = {
  ipTtl: 255,
  validity: ms(0xffffffff),
  peerIdentity: Uint8Array.of(1, 2, 3, 4),
  interfaceAddress: ip("2001:db8::3"),
};

const NLI6 = `
  0002 0007                  # NLI, 7 words
  04 ff 6000
  ffffffff
  01020304
  20010db8 00000000 00000000 00000003
`;

const proposal = [[2, 1], [1]];

const PROPOSAL = `
  0003 0003                  # Stack-Proposal, 3 words
  02 000000
  02 02 01 00                # TLS over TCP
  01 01 0000                 # TCP
`;

const configuration = {
  holdTime: ms(30_000),
  options: [
    { protocol: 1, profile: 0, doNotUse: false, data: Uint8Array.of(0x14, 0x96) },
    { protocol: 2, profile: 1, doNotUse: true, data: new Uint8Array(0) },
  ],
};

const CONFIGURATION = `
  0004 0005                  # Stack-Configuration-Data, 5 words
  02 000000
  00007530
  01 00 02 00  1496 0000     # TCP, all profiles, 2 bytes
  02 01 00 80                # TLS, profile 1, not to be used
`;

const queryCookie = hex("11111111 22222222");
const QUERY_COOKIE = "0005 0002  11111111 22222222";
const responderCookie = hex("33333333");
const RESPONDER_COOKIE = "0006 0001  33333333";
const payload = hex("deadbeef 00000001");
const PAYLOAD = "0008 0002  deadbeef 00000001";

const flow = { hops: 10, nslpId: 0x7fc0, signallingSource: true, sessionId };

const cases: { name: string; message: GistMessage; bytes: Uint8Array }[] = [
  {
    name: "Query, smallest, IPv4",
    message: {
      type: "query",
      ...flow,
      hops: 255,
      signallingSource: false,
      mri: tcp4,
      nli: nli4,
      queryCookie,
    },
    bytes: hex(`01 ff 0014  7fc0 80 40  ${TCP4} ${SESSION} ${NLI4} ${QUERY_COOKIE}`),
  },
  {
    name: "Query, all objects, IPv6",
    message: {
      type: "query",
      ...flow,
      natTraversal: { value: hex("01 01 01 00  00004000  0002 0000  0003 aabbcc 000000") },
      mri: { ...tcp6, direction: "downstream" },
      nli: nli6,
      queryCookie,
      stack: { proposal, configuration },
      data: payload,
      opaque: [{ type: 2000, value: hex("01020304") }],
    },
    bytes: hex(`01 0a 0031  7fc0 80 c0
      0007 0005  01 01 01 00  00004000  0002 0000  0003 aabbcc 000000
      ${TCP6.replace("68e0", "68c0")} ${SESSION} ${NLI6} ${QUERY_COOKIE} ${PROPOSAL} ${CONFIGURATION} ${PAYLOAD}
      87d0 0001 01020304`),
  },
  {
    name: "Response with a stack",
    message: {
      type: "response",
      ...flow,
      confirmRequested: true,
      mri: tcp6,
      nli: nli6,
      queryCookie,
      responderCookie,
      stack: { proposal, configuration },
    },
    bytes: hex(`01 0a 0028  7fc0 01 c0
      ${TCP6} ${SESSION} ${NLI6} ${QUERY_COOKIE} ${RESPONDER_COOKIE} ${PROPOSAL} ${CONFIGURATION}`),
  },
  {
    name: "Response that asks for nothing",
    message: {
      type: "response",
      ...flow,
      confirmRequested: false,
      mri: { ...tcp4, direction: "upstream" },
      nli: nli4,
      queryCookie,
    },
    bytes: hex(`01 0a 0014  7fc0 01 80  ${TCP4.replace("48c0", "48e0")} ${SESSION} ${NLI4} ${QUERY_COOKIE}`),
  },
  {
    name: "Confirm that echoes the stack",
    message: {
      type: "confirm",
      ...flow,
      mri: tcp4,
      nli: nli4,
      responderCookie,
      proposal,
      configuration: { holdTime: ms(1), options: [] },
      data: payload,
    },
    bytes: hex(`01 0a 001d  7fc0 02 80  ${TCP4} ${SESSION} ${NLI4} ${RESPONDER_COOKIE} ${PROPOSAL}
      0004 0002  00 000000  00000001  ${PAYLOAD}`),
  },
  {
    name: "Confirm on an association that is reused",
    message: { type: "confirm", ...flow, mri: tcp4, nli: nli4 },
    bytes: hex(`01 0a 0011  7fc0 02 80  ${TCP4} ${SESSION} ${NLI4}`),
  },
  {
    name: "Confirm, IPv6",
    message: {
      type: "confirm",
      ...flow,
      mri: { ...tcp6, direction: "downstream" },
      nli: nli6,
      responderCookie,
    },
    bytes: hex(
      `01 0a 001b  7fc0 02 80  ${TCP6.replace("68e0", "68c0")} ${SESSION} ${NLI6} ${RESPONDER_COOKIE}`,
    ),
  },
  {
    name: "Data in datagram mode, IPv6",
    message: {
      type: "data",
      ...flow,
      mri: tcp6,
      queryMode: false,
      explicitlyRouted: false,
      nli: nli6,
      data: payload,
    },
    bytes: hex(`01 0a 001c  7fc0 03 80  ${TCP6} ${SESSION} ${NLI6} ${PAYLOAD}`),
  },
  {
    name: "Data in connection mode",
    message: { type: "data", ...flow, mri: tcp4, queryMode: false, explicitlyRouted: false, data: payload },
    bytes: hex(`01 0a 000e  7fc0 03 80  ${TCP4} ${SESSION} ${PAYLOAD}`),
  },
  {
    name: "Data in Query mode",
    message: {
      type: "data",
      ...flow,
      mri: tcp4,
      queryMode: true,
      explicitlyRouted: false,
      nli: nli4,
      data: payload,
    },
    bytes: hex(`01 0a 0014  7fc0 83 80  ${TCP4} ${SESSION} ${NLI4} ${PAYLOAD}`),
  },
  {
    name: "Data that is explicitly routed and empty",
    message: {
      type: "data",
      ...flow,
      mri: tcp4,
      queryMode: false,
      explicitlyRouted: true,
      data: new Uint8Array(0),
    },
    bytes: hex(`01 0a 000c  7fc0 03 a0  ${TCP4} ${SESSION} 0008 0000`),
  },
  {
    name: "Error with all fields",
    message: {
      type: "error",
      hops: 1,
      nslpId: 0,
      signallingSource: true,
      nli: nli4,
      error: {
        class: 2,
        code: 10,
        subcode: 5,
        encapsulation: "query",
        originalHeader: hex("01ff0014 7fc08040"),
        sessionId,
        mri: tcp4,
        info: [
          { type: "message-length", length: 20 },
          { type: "mtu", mtu: 1500 },
          { type: "object-type", objectType: 5 },
          { type: "object-value", realLength: 8, offset: 4, object: hex("0005 0001 11111111") },
        ],
        comment: "Grüße",
      },
    },
    bytes: hex(`01 01 0020  0000 04 80  ${NLI4}
      0009 0019                  # Error, 25 words
      02 000a 05                 # class, code, subcode
      f8 00 05 04                # S M C D Q; MRI of 5 words; 4 info fields
      01ff0014 7fc08040
      00010203 04050607 08090a0b 0c0d0e0f
      00 00 48c0 c0a81401 c0a81504 20 20 06 00 0fa0 0050
      0001 0001  0014 0000       # Message Length Info
      0002 0001  05dc 0000       # MTU Info
      0003 0001  0005 0000       # Object Type Info
      0004 0003  0002 0004  0005 0001 11111111
      4772c3bc c39f6500          # comment, padded
    `),
  },
  {
    name: "Error in datagram mode, IPv6",
    message: {
      type: "error",
      hops: 1,
      nslpId: 0,
      signallingSource: true,
      nli: nli6,
      error: {
        class: 4,
        code: 8,
        subcode: 0,
        encapsulation: "datagram",
        originalHeader: hex("010a001c 7fc00380"),
        sessionId,
        mri: tcp6,
        info: [{ type: "mtu", mtu: 1280 }],
      },
    },
    bytes: hex(`01 01 001e  0000 04 80  ${NLI6}
      0009 0015                  # Error, 21 words
      04 0008 00                 # class, code, subcode
      d0 00 0b 01                # S M D; MRI of 11 words; 1 info field
      010a001c 7fc00380
      00010203 04050607 08090a0b 0c0d0e0f
      00 00 68e0
      20010db8 00000000 00000000 00000001
      20010db8 00000000 00000000 00000002
      80 80 06 00  0fa0 0050
      0002 0001  0500 0000       # MTU Info
    `),
  },
  {
    name: "Error on an association, bare",
    message: {
      type: "error",
      hops: 1,
      nslpId: 0,
      signallingSource: true,
      error: {
        class: 4,
        code: 6,
        subcode: 0,
        encapsulation: "connection",
        originalHeader: hex("010a000e 7fc00380"),
        info: [],
      },
    },
    bytes: hex("01 01 0005  0000 04 80  0009 0004  04 0006 00  00000000  010a000e 7fc00380"),
  },
  {
    name: "MA-Hello, asked for",
    message: {
      type: "hello",
      hops: 1,
      nslpId: 0,
      signallingSource: true,
      replyRequested: true,
      helloId: 0x01020304,
    },
    bytes: hex("01 01 0002  0000 05 c0  000a 0001 01020304"),
  },
  {
    name: "MA-Hello, unasked",
    message: { type: "hello", hops: 1, nslpId: 0, signallingSource: true, replyRequested: false, helloId: 0 },
    bytes: hex("01 01 0002  0000 05 80  000a 0001 00000000"),
  },
];

for (const { name, message, bytes } of cases) {
  test(`${name}: bytes`, (t) => {
    t.is(Buffer.from(encodeGist(message)).toString("hex"), Buffer.from(bytes).toString("hex"));
  });
  test(`${name}: value`, (t) => {
    t.deepEqual(decodeGist(bytes), message);
  });
}

const looseEnd: LooseEndMri = {
  method: "loose-end",
  direction: "downstream",
  source: ip("10.0.0.1"),
  destination: ip("10.0.0.2"),
};

const mris: { name: string; mri: PathCoupledMri | LooseEndMri; object: string }[] = [
  { name: "IPv4 with ports has 24 bytes", mri: tcp4, object: TCP4 },
  { name: "IPv6 with ports has 48 bytes", mri: tcp6, object: TCP6 },
  {
    name: "ICMP has no ports",
    mri: {
      method: "path-coupled",
      direction: "downstream",
      source: ip("192.168.20.1"),
      destination: ip("192.168.21.4"),
      sourcePrefix: 32,
      destinationPrefix: 24,
      protocol: 1,
    },
    object: "0000 0004  00 00 4800  c0a81401 c0a81504  20 18 01 00",
  },
  {
    name: "one port that is known and one that is not flagged",
    mri: {
      method: "path-coupled",
      direction: "upstream",
      source: ip("192.168.20.1"),
      destination: ip("192.168.21.4"),
      sourcePrefix: 32,
      destinationPrefix: 32,
      protocol: 17,
      destinationPort: 53,
    },
    object: "0000 0005  00 00 4860  c0a81401 c0a81504  20 20 11 00  0000 0035",
  },
  {
    name: "all fields of IPv6",
    mri: { ...tcp6, protocol: 51, dscp: 0x2e, flowLabel: 0xabcde, spi: 0x80000001, sourcePort: 0 },
    object: `0000 000d  00 00 6fe0
      20010db8 00000000 00000000 00000001  20010db8 00000000 00000000 00000002
      80 80 33 b8  000abcde  80000001  0000 0050`,
  },
  { name: "loose end", mri: looseEnd, object: "0000 0003  01 00 4000  0a000001 0a000002" },
  {
    name: "loose end, upstream",
    mri: { ...looseEnd, direction: "upstream" },
    object: "0000 0003  01 00 4800  0a000001 0a000002",
  },
  {
    name: "loose end, IPv6",
    mri: { ...looseEnd, source: ip("2001:db8::1"), destination: ip("2001:db8::2") },
    object: `0000 0009  01 00 6000
      20010db8 00000000 00000000 00000001  20010db8 00000000 00000000 00000002`,
  },
];

for (const { name, mri, object } of mris) {
  test(`MRI: ${name}`, (t) => {
    const message: GistMessage = {
      type: "data",
      ...flow,
      mri,
      queryMode: false,
      explicitlyRouted: false,
      data: new Uint8Array(0),
    };
    const objects = hex(`${object} ${SESSION} 0008 0000`);
    const bytes = Uint8Array.of(1, 10, 0, objects.length / 4, 0x7f, 0xc0, 3, 0x80, ...objects);
    t.deepEqual(encodeGist(message), bytes);
    t.deepEqual(decodeGist(bytes), message);
  });
}

test("the MRI object with ports takes 24 bytes with IPv4 and 48 with IPv6", (t) => {
  t.is(hex(TCP4).length, 24);
  t.is(hex(TCP6).length, 48);
});

test("reserved bits and fields that no flag makes count are ignored", (t) => {
  const clean = hex(`01 0a 0014  7fc0 83 80  ${TCP4} ${SESSION} ${NLI4} ${PAYLOAD}`);
  const dirty = hex(`01 0a 0014  7fc0 83 9f
    3000 f005  00 ff 48df  c0a81401 c0a81504  20 20 06 ff  0fa0 0050
    3001 f004  00010203 04050607 08090a0b 0c0d0e0f
    3002 f005  05 40 4fff  00007530  aabbccdd eeffffff  c0a81403
    3008 f002  deadbeef 00000001`);
  t.deepEqual(decodeGist(dirty), decodeGist(clean));
});

test("the NSLPID of Error and MA-Hello is ignored", (t) => {
  const hello = decodeGist(hex("01 01 0002  7fc0 05 80  000a 0001 00000000"));
  const error = decodeGist(hex("01 01 0005  7fc0 04 80  0009 0004  04 0006 00  00000000  010a000e 7fc00380"));
  t.deepEqual([hello.nslpId, error.nslpId], [0, 0]);
});

test("NAT-Traversal stands first in Response, Data and Error", (t) => {
  const value = "00 00 01 00  0001 aa 00";
  const natTraversal = { value: hex(value) };
  const object = `0007 0002 ${value}`;
  const response: GistMessage = {
    type: "response",
    ...flow,
    confirmRequested: false,
    natTraversal,
    mri: tcp4,
    nli: nli4,
    queryCookie,
  };
  const data: GistMessage = {
    type: "data",
    ...flow,
    natTraversal,
    mri: tcp4,
    queryMode: true,
    explicitlyRouted: false,
    nli: nli4,
    data: payload,
  };
  const error: GistMessage = {
    type: "error",
    hops: 1,
    nslpId: 0,
    signallingSource: true,
    natTraversal,
    error: {
      class: 2,
      code: 5,
      subcode: 0,
      encapsulation: "datagram",
      originalHeader: hex("010a001c 7fc00380"),
      info: [],
    },
  };
  const wanted: [GistMessage, Uint8Array][] = [
    [response, hex(`01 0a 0017  7fc0 01 80  ${object} ${TCP4} ${SESSION} ${NLI4} ${QUERY_COOKIE}`)],
    [data, hex(`01 0a 0017  7fc0 83 80  ${object} ${TCP4} ${SESSION} ${NLI4} ${PAYLOAD}`)],
    [error, hex(`01 01 0008  0000 04 80  ${object} 0009 0004  02 0005 00  10000000  010a001c 7fc00380`)],
  ];
  for (const [message, bytes] of wanted) {
    t.deepEqual(encodeGist(message), bytes);
    t.deepEqual(decodeGist(bytes), message);
  }
});

test("a Buffer decodes to plain bytes", (t) => {
  const message = decodeGist(Buffer.from(cases[0]?.bytes ?? []));
  t.is(message.type === "query" && Object.getPrototypeOf(message.queryCookie), Uint8Array.prototype);
});
