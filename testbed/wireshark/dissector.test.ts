/** The Wireshark dissector against the project's own encoders, and against bytes that nobody meant. */
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { ms } from "../../src/base/units.js";
import { errorClass } from "../../src/gist/wire/codec.js";
import { GIST_PORT } from "../../src/gist/wire/messages.js";
import { issue, makeAuthority } from "../../src/gist/transport/test-certificates.js";
import { AUTH_ALGORITHM, INFO_CODE, type Info, SOLUTION } from "../../src/nslp/wire/messages.js";
import {
  addresses,
  encode,
  type Family,
  gistConfirm,
  gistData,
  gistError,
  gistHello,
  gistQuery,
  gistQueryModeData,
  gistResponse,
  hex,
  pbsBusy,
  pbsListing,
  pbsNotify,
  pbsPermission,
  pbsQuery,
  pbsSummaryPermission,
  pbsSummaryQuery,
  SESSION_SHOWN,
} from "./messages.js";
import { type Chunk, ends, gistDatagram, tcpConnection, udpPacket, writePcap } from "./packets.js";
import { tlsConversation } from "./tls.js";
import { dissect, type Dissected, DISSECTOR, printed } from "./tshark.js";

/** Key identity in the samples. */
const NODE_SHOWN = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff";

const FAMILIES: readonly Family[] = [4, 6];
const ASSOCIATION_PORT = 30_000;
const onPort = ["-o", `gist.tcp_ports:${ASSOCIATION_PORT}`] as const;

/** Fields by name; several values in the order of the message. */
type Expected = Readonly<Record<string, string | readonly string[]>>;

function holds(t: ExecutionContext, packet: Dissected | undefined, expected: Expected): void {
  for (const [name, value] of Object.entries(expected))
    t.deepEqual(packet?.fields.get(name), typeof value === "string" ? [value] : value, name);
}

/** What a test of one message is: how it travels, and what has to be seen. */
interface Case {
  readonly name: string;
  readonly bytes: (family: Family) => Uint8Array;
  readonly over: "udp" | "tcp";
  readonly fields: (family: Family) => Expected;
  readonly complaints?: readonly string[];
}

const identity = issue(makeAuthority("authority"), "host.example");
const der = new X509Certificate(identity.certificate).raw;
const refusal: Info = {
  class: 4,
  code: INFO_CODE.refusedByPolicy,
  objectType: 0,
  retryAfter: ms(0),
  text: "no",
};

const flowFields = (family: Family): Expected => ({
  [`gist.mri.source.ipv${family}`]: addresses(family).source,
  [`gist.mri.destination.ipv${family}`]: addresses(family).destination,
});

const nliFields = (family: Family): Expected => ({
  "gist.nli.identity_length": "5",
  "gist.nli.ip_ttl": "64",
  "gist.nli.ip_version": String(family),
  "gist.nli.validity": "30000",
  "gist.nli.identity": "aa:bb:cc:dd:ee",
  [`gist.nli.address.ipv${family}`]: addresses(family).interface,
});

const proposalFields: Expected = {
  "gist.sp.count": "2",
  "gist.sp.profile.length": ["2", "1"],
  "gist.sp.profile.protocol": ["2", "1", "1"],
};

const configurationFields: Expected = {
  "gist.scd.count": "3",
  "gist.scd.hold_time": "45000",
  "gist.scd.option.protocol": ["1", "2", "3"],
  "gist.scd.option.profile": ["0", "1", "1"],
  "gist.scd.option.length": ["2", "0", "5"],
  "gist.scd.option.d": ["0", "1", "0"],
  "gist.scd.option.port": "5270",
  "gist.scd.option.data": "01:02:03:04:05",
};

const fidFields = (family: Family): Expected => ({
  "pbs.fid.ip_version": String(family),
  "pbs.fid.protocol": "6",
  "pbs.fid.source_port": "4000",
  "pbs.fid.destination_port": "80",
  [`pbs.fid.source.ipv${family}`]: addresses(family).source,
  [`pbs.fid.destination.ipv${family}`]: addresses(family).destination,
});

const CASES: readonly Case[] = [
  {
    name: "Query with all objects",
    over: "udp",
    complaints: ["Objects of this type are not known"],
    bytes: (family) => encode(gistQuery(family)),
    fields: (family) => ({
      "gist.magic": "0x4e04bda5",
      "gist.version": "1",
      "gist.hops": "10",
      "gist.nslpid": "33",
      "gist.type": "0",
      "gist.flags.c": "1",
      "gist.flags.s": "1",
      "gist.flags.r": "1",
      "gist.flags.e": "0",
      "gist.object.type": ["7", "0", "1", "2", "5", "3", "4", "8", "2000"],
      "gist.object.ab": ["0", "0", "0", "0", "0", "0", "0", "0", "2"],
      "gist.nat.mri_length": family === 4 ? "3" : "9",
      "gist.nat.type_count": "2",
      "gist.nat.nat_count": "1",
      "gist.nat.type": ["0", "2"],
      "gist.nat.entry.length": "3",
      "gist.nat.entry.data": "aa:bb:cc",
      "gist.mri.method": ["1", "0"],
      "gist.mri.ip_version": [String(family), String(family)],
      "gist.mri.p": "1",
      "gist.mri.t": "0",
      "gist.mri.a": "1",
      "gist.mri.b": "1",
      "gist.mri.d": "0",
      "gist.mri.source_prefix": family === 4 ? "32" : "128",
      "gist.mri.destination_prefix": family === 4 ? "24" : "64",
      "gist.mri.protocol": "6",
      "gist.mri.source_port": "4000",
      "gist.mri.destination_port": "80",
      "gist.sid": SESSION_SHOWN,
      ...nliFields(family),
      "gist.query_cookie": "11:11:11:11:22:22:22:22",
      ...proposalFields,
      ...configurationFields,
      "gist.data": "de:ad:be:ef:00:00:00:01",
      "gist.object.value": "01:02:03:04",
    }),
  },
  {
    name: "Response, with an MRI that has all flags",
    over: "udp",
    bytes: (family) => encode(gistResponse(family)),
    fields: (family) => ({
      "gist.type": "1",
      "gist.flags.c": "0",
      "gist.object.type": ["0", "1", "2", "5", "6", "3", "4"],
      ...flowFields(family),
      "gist.mri.t": "1",
      "gist.mri.f": family === 6 ? "1" : "0",
      "gist.mri.s": "1",
      "gist.mri.d": "1",
      "gist.mri.dscp": "0x2e",
      "gist.mri.spi": "0x80000001",
      ...(family === 6 ? { "gist.mri.flow_label": "0x000abcde" } : {}),
      "gist.mri.source_port": "4000",
      "gist.responder_cookie": "33:33:33:33",
      ...proposalFields,
      ...configurationFields,
    }),
  },
  {
    name: "Confirm, with a loose-end MRI",
    over: "tcp",
    bytes: (family) => encode(gistConfirm(family)),
    fields: (family) => ({
      "gist.type": "2",
      "gist.flags.s": "0",
      "gist.object.type": ["0", "1", "2", "6", "3", "4"],
      "gist.mri.method": "1",
      "gist.mri.loose_end.d": "1",
      ...flowFields(family),
      ...nliFields(family),
      ...proposalFields,
      "gist.scd.count": "0",
      "gist.scd.hold_time": "1",
    }),
  },
  {
    name: "Data in Query mode, explicitly routed, of an unknown NSLP",
    over: "udp",
    bytes: (family) => encode(gistQueryModeData(family)),
    fields: () => ({
      "gist.type": "3",
      "gist.nslpid": "40",
      "gist.flags.c": "1",
      "gist.flags.e": "1",
      "gist.object.type": ["0", "1", "2", "8"],
      "gist.data": "de:ad:be:ef:00:00:00:01",
    }),
  },
  {
    name: "Error with all fields",
    over: "udp",
    bytes: (family) => encode(gistError(family)),
    fields: (family) => ({
      "gist.type": ["4", "0"],
      "gist.object.type": ["2", "9"],
      "gist.error.class": "2",
      "gist.error.code": "10",
      "gist.error.subcode": "5",
      "gist.error.name": "Object Value Error: Stack-Proposal - Stack-Configuration-Data Mismatch",
      "gist.error.s": "1",
      "gist.error.m": "1",
      "gist.error.c": "1",
      "gist.error.d": "1",
      "gist.error.q": "1",
      "gist.error.mri_length": family === 4 ? "6" : "13",
      "gist.error.info_count": "4",
      "gist.nslpid": ["0", "32704"],
      "gist.length": [family === 4 ? "33" : "43", "20"],
      "gist.error.sid": SESSION_SHOWN,
      ...flowFields(family),
      "gist.error.info.type": ["1", "2", "3", "4"],
      "gist.error.info.length": ["1", "1", "1", "3"],
      "gist.error.info.message_length": "20",
      "gist.error.info.mtu": "1500",
      "gist.error.info.object_type": "5",
      "gist.error.info.real_length": "2",
      "gist.error.info.offset": "4",
      "gist.error.info.object": "00:05:00:01:11:11:11:11",
      "gist.error.comment": "Grüße",
    }),
  },
  {
    name: "MA-Hello",
    over: "tcp",
    bytes: () => encode(gistHello(true, 0x01020304)),
    fields: () => ({ "gist.type": "5", "gist.flags.r": "1", "gist.hello_id": "0x01020304" }),
  },
  {
    name: "PBS Query",
    over: "tcp",
    bytes: (family) => encode(gistData(family, pbsQuery(family, der))),
    fields: (family) => ({
      "gist.type": "3",
      "gist.nslpid": "32704",
      "pbs.type": "1",
      "pbs.object.type": ["1", "2", "3", "4", "8", "128", "130", "131", "10", "133", "133"],
      "pbs.object.ab": ["0", "0", "0", "0", "0", "2", "2", "2", "0", "1", "1"],
      "pbs.object.length": [
        family === 4 ? 16 : 40,
        4,
        4,
        4,
        der.length,
        12,
        2,
        28,
        3,
        38 + der.length,
        38,
      ].map(String),
      "pbs.algorithm": ["2", "133"],
      ...fidFields(family),
      "pbs.sequence": "4294967294",
      "pbs.requested.low": "7",
      "pbs.sent.low": "256",
      "pbs.requested.high": "3",
      "pbs.requested": String(0x3_0000_0007),
      "pbs.sent": "256",
      "pbs.certificate": colons(der),
      "pbs.authentication": "aa:bb:cc",
      "pbs.mark.has_heard": "1",
      "pbs.mark.has_association": "1",
      "pbs.mark.has_bytes": "1",
      "pbs.mark.epoch": "3",
      "pbs.mark.heard": "6",
      "pbs.mark.spi": "0x00001234",
      "pbs.mark.sequence": "1024",
      "pbs.mark.bytes": String(0x2_0000_0001),
      "pbs.report.node": [NODE_SHOWN, NODE_SHOWN],
      "pbs.report.epoch": ["3", "3"],
      "pbs.report.counted": [0x1_0000_0002, 0x1_0000_0002].map(String),
      "pbs.report.sequence": ["5", "5"],
      "pbs.report.certificate_length": [der.length, 0].map(String),
      "pbs.report.certificate": colons(der),
      "pbs.report.signature": ["ee:ff", "ee:ff"],
    }),
  },
  {
    name: "PBS Permission",
    over: "tcp",
    bytes: (family) => encode(gistData(family, pbsPermission(family, { certificate: der }))),
    fields: (family) => ({
      "pbs.type": "2",
      "pbs.object.type": ["1", "2", "5", "6", "7", "8", "9", "128", "132", "10"],
      ...fidFields(family),
      "pbs.sequence": "7",
      "pbs.allowed": String(0x1_0000_0005),
      "pbs.ttl": "600000",
      "pbs.refresh": "60000",
      "pbs.defense.solution": "2",
      "pbs.defense.algorithm": "2",
      "pbs.defense.spi_present": "1",
      "pbs.defense.spi": "0x00001234",
      "pbs.defense.key_length": "6",
      "pbs.epoch.ask": "1",
      "pbs.epoch.number": "4",
      "pbs.epoch.start": String(0x1_0000_0003),
      "pbs.epoch.overlap.duration": "500",
      "pbs.epoch.overlap.bytes": "1000",
      "pbs.epoch.mover": NODE_SHOWN,
    }),
  },
  {
    name: "PBS Permission that refuses",
    over: "tcp",
    bytes: (family) =>
      encode(
        gistData(
          family,
          pbsPermission(family, {
            certificate: der,
            defense: { solution: SOLUTION.noAction, algorithm: AUTH_ALGORITHM.none, key: hex("") },
            info: refusal,
          }),
        ),
      ),
    fields: () => ({
      "pbs.object.type": ["1", "2", "5", "6", "7", "8", "9", "128", "129", "132", "10"],
      "pbs.defense.solution": "1",
      "pbs.defense.algorithm": "0",
      "pbs.defense.spi_present": "0",
      "pbs.defense.key_length": "0",
      "pbs.info.class": "4",
      "pbs.info.code": "8",
      "pbs.info.text": "no",
    }),
  },
  {
    name: "PBS Query that lists a flow, of a hash tree",
    over: "tcp",
    bytes: (family) => encode(gistData(family, pbsSummaryQuery(family, der))),
    fields: () => ({
      "pbs.object.type": ["1", "2", "3", "4", "8", "134", "135", "138", "136", "10"],
      "pbs.object.ab": ["0", "0", "0", "0", "0", "0", "0", "2", "0", "0"],
      "pbs.support.tree": "1",
      "pbs.support.summary": "1",
      "pbs.support.patient": "0",
      "pbs.listed.sid": SESSION_SHOWN,
      "pbs.listed.sequence": "9",
      "pbs.listed.sent": String(0x1_0000_0002),
      "pbs.listed.epoch": "3",
      "pbs.listed.heard": "4",
      "pbs.ticket.nonce": Array(8).fill("0e").join(":"),
      "pbs.tree.algorithm": "1",
      "pbs.tree.leaves": "3",
      "pbs.tree.index": "2",
      "pbs.tree.sibling": Array(32).fill("5a").join(":"),
    }),
  },
  {
    name: "PBS Permission that lists a flow",
    over: "tcp",
    bytes: (family) => encode(gistData(family, pbsSummaryPermission(family, der))),
    fields: () => ({
      "pbs.object.type": ["1", "2", "5", "6", "7", "8", "9", "128", "132", "135", "10"],
      "pbs.listed.sid": SESSION_SHOWN,
      "pbs.listed.sequence": "9",
      "pbs.listed.allowed": String(0x1_0000_0005),
      "pbs.listed.ttl": "600000",
      "pbs.listed.refresh": "60000",
      "pbs.listed.epoch": "3",
    }),
  },
  {
    name: "PBS Notify that names a flow",
    over: "tcp",
    bytes: (family) => encode(gistData(family, pbsListing(family))),
    fields: () => ({
      "pbs.object.type": ["1", "129", "137"],
      "pbs.info.code": "17",
      "pbs.listed.sid": SESSION_SHOWN,
    }),
  },
  {
    name: "PBS Notify with a ticket",
    over: "tcp",
    bytes: (family) => encode(gistData(family, pbsBusy(family))),
    fields: () => ({
      "pbs.object.type": ["1", "129", "138"],
      "pbs.info.code": "18",
      "pbs.ticket.node": "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff",
      "pbs.ticket.due": String(0x0001_0002),
      "pbs.ticket.bits": "9",
      "pbs.ticket.reserved": "0x000000",
      "pbs.ticket.seal": Array(20).fill("5e").join(":"),
      "pbs.ticket.nonce": Array(8).fill("00").join(":"),
    }),
  },
  {
    name: "PBS Notify",
    over: "tcp",
    bytes: (family) => encode(gistData(family, pbsNotify(family))),
    fields: (family) => ({
      "pbs.type": "3",
      ...fidFields(family),
      "pbs.info.class": "3",
      "pbs.info.code": "12",
      "pbs.info.object_type": "8",
      "pbs.info.retry_after": "30000",
      "pbs.info.text": "später",
    }),
  },
];

function colons(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString("hex")
    .replaceAll(/..(?=.)/g, "$&:");
}

/** A message as the packets that carry it; the last one is the message's. */
function packetsOf(message: Uint8Array, family: Family, over: Case["over"], sourcePort = 40_000): Buffer[] {
  if (over === "udp") return [gistDatagram(family, message)];
  return tcpConnection(ends(family, ASSOCIATION_PORT, sourcePort), [{ fromClient: true, bytes: message }]);
}

/** What the last packet of each list was dissected into; tshark runs once. */
async function dissectEach(
  captures: readonly (readonly Buffer[])[],
  ...options: string[]
): Promise<Dissected[]> {
  const seen = await dissect(writePcap(captures.flat()), ...options);
  let end = 0;
  return captures.map(({ length }) => {
    end += length;
    const packet = seen[end - 1];
    if (packet === undefined) throw new Error(`tshark shows ${seen.length} packets`);
    return packet;
  });
}

const runs = CASES.flatMap((one) => FAMILIES.map((family) => ({ ...one, family })));
const whole = dissectEach(
  runs.map(({ bytes, family, over }, i) => packetsOf(bytes(family), family, over, 40_000 + i)),
  "-o",
  "pbs.show_keys:false",
);

for (const [i, { name, family, fields, complaints = [] }] of runs.entries()) {
  test(`${name}, IPv${family}`, async (t) => {
    const packet = (await whole)[i];
    holds(t, packet, fields(family));
    t.false(packet?.fields.has("gist.trailing"));
    t.false(packet?.fields.has("pbs.trailing"));
    t.deepEqual(packet?.complaints, complaints);
  });
}

test("the certificate goes to the dissector of X.509", async (t) => {
  const index = runs.findIndex(({ name }) => name === "PBS Query");
  const [packet] = (await whole).slice(index);
  t.deepEqual(packet?.protocols.slice(3, 6), ["gist", "pbs", "x509af"]);
});

test("keys are shown to those only who ask for them", async (t) => {
  const message = packetsOf(encode(gistData(4, pbsPermission(4, { certificate: der }))), 4, "tcp");
  const hidden = await printed(writePcap(message), "-T", "json", "-J", "gist pbs", ...onPort);
  t.regex(hidden, /pbs\.defense\.key_length/);
  t.notRegex(hidden, /5e:?c2:?e7/);
  const [shown] = await dissectEach([message], "-o", "pbs.show_keys:true");
  holds(t, shown, { "pbs.defense.key": "5e:c2:e7:5e:c2:e7" });
  t.deepEqual(shown?.complaints, ["A secret key is shown"]);
});

const ERRORS: readonly (readonly [code: number, subcode: number, text: string])[] = [
  [1, 0, "Common Header Parse Error: Unknown Version"],
  [1, 1, "Common Header Parse Error: Unknown Type"],
  [1, 2, "Common Header Parse Error: Invalid R-flag"],
  [1, 3, "Common Header Parse Error: Incorrect Message Length"],
  [1, 4, "Common Header Parse Error: Invalid E-flag"],
  [1, 5, "Common Header Parse Error: Invalid C-flag"],
  [2, 0, "Hop Limit Exceeded"],
  [3, 0, "Incorrect Encapsulation"],
  [4, 0, "Incorrectly Delivered Message"],
  [5, 0, "No Routing State"],
  [6, 0, "Unknown NSLPID"],
  [7, 0, "Endpoint Found"],
  [8, 0, "Message Too Large"],
  [9, 0, "Object Type Error: Duplicate Object"],
  [9, 1, "Object Type Error: Unrecognised Object"],
  [9, 2, "Object Type Error: Missing Object"],
  [9, 3, "Object Type Error: Invalid Object Type"],
  [9, 4, "Object Type Error: Untranslated Object"],
  [9, 5, "Object Type Error: Invalid Extensibility Flags"],
  [10, 0, "Object Value Error: Incorrect Length"],
  [10, 1, "Object Value Error: Value Not Supported"],
  [10, 2, "Object Value Error: Invalid Flag-Field Combination"],
  [10, 3, "Object Value Error: Empty List"],
  [10, 4, "Object Value Error: Invalid Cookie"],
  [10, 5, "Object Value Error: Stack-Proposal - Stack-Configuration-Data Mismatch"],
  [11, 0, "Invalid IP TTL"],
  [12, 0, "MRI Validation Failure: MRI Too Wild"],
  [12, 1, "MRI Validation Failure: IP Version Mismatch"],
  [12, 2, "MRI Validation Failure: Ingress Filter Failure"],
];

test("every error has its name", async (t) => {
  const packets = ERRORS.map(([code, subcode]) => [
    gistDatagram(4, encode(gistError(4, { code, subcode, class: errorClass(code) }))),
  ]);
  const seen = await dissectEach(packets);
  for (const [i, [, , text]] of ERRORS.entries()) {
    holds(t, seen[i], { "gist.error.name": text });
    t.deepEqual(seen[i]?.complaints, []);
  }
});

/** What is wrong with a message, and what the dissector says to it. */
const WRONG: readonly (readonly [name: string, over: Case["over"], bytes: Uint8Array, says: RegExp])[] = [
  ["a Message Length beyond the datagram", "udp", changed(gistQuery(4), 3, 0xff), /longer than the datagram/],
  ["a Message Length that leaves bytes", "udp", changed(gistHello(false, 0), 3, 1), /4 bytes more than/],
  ["a flag that does not go with the message", "udp", changed(gistResponse(4), 7, 0xe0), /Flag E is wrong/],
  ["an unknown version", "udp", changed(gistQuery(4), 0, 2), /Version 2 is not known/],
  ["an unknown type", "udp", changed(gistQuery(4), 6, 0x89), /Message type 9 is not known/],
  ["reserved A/B bits", "tcp", changed(gistData(4, hex(""), 33), 8, 0xc0), /A\/B = 11/],
  ["an object beyond the message", "tcp", changed(gistHello(false, 0), 11, 2), /reaches beyond the message/],
  ["a routing method that nobody knows", "udp", changed(gistResponse(4), 12, 9), /method 9 is not known/],
  ["an IP version that nobody knows", "udp", changed(gistResponse(4), 14, 0x58), /IP version 5/],
  ["an object that is missing", "udp", changed(gistResponse(4), 37, 0x0b), /Session-ID is missing/],
  ["PBS of an unknown type", "tcp", changedPbs(pbsNotify(4), 0, 9), /Message type 9/],
  ["a PBS object beyond the message", "tcp", changedPbs(pbsNotify(4), 7, 0xff), /reaches beyond/],
  ["an unknown PBS object", "tcp", changedPbs(pbsNotify(4), 25, 0xf0), /type are not known/],
  ["PBS padding that is not zero", "tcp", changedPbs(pbsNotify(4), -1, 1), /padding is not zero/],
];

function changed(message: Parameters<typeof encode>[0], at: number, byte: number): Uint8Array {
  const bytes = encode(message);
  bytes[at] = byte;
  return bytes;
}

function changedPbs(message: Uint8Array, at: number, byte: number): Uint8Array {
  message[at < 0 ? message.length + at : at] = byte;
  return encode(gistData(4, message));
}

test("what is wrong is said", async (t) => {
  const seen = await dissectEach(
    WRONG.map(([, over, bytes], i) => packetsOf(bytes, 4, over, 41_000 + i)),
    ...onPort,
  );
  for (const [i, [name, , , says]] of WRONG.entries())
    t.true(
      seen[i]?.complaints.some((text) => says.test(text)),
      `${name}: ${seen[i]?.complaints.join("; ")}`,
    );
});

test("messages on an association are told apart however TCP cuts them", async (t) => {
  const messages = [
    gistHello(true, 7),
    gistData(6, pbsNotify(6)),
    gistHello(false, 0),
    gistData(6, pbsQuery(6, der)),
  ];
  const stream = Buffer.concat(messages.map(encode));
  for (const size of [1, 7, 100, stream.length]) {
    const seen = await dissect(
      writePcap(tcpConnection(ends(6, ASSOCIATION_PORT), cut(stream, size))),
      ...onPort,
    );
    const values = (name: string) => seen.flatMap(({ fields }) => fields.get(name) ?? []);
    t.deepEqual(values("gist.type"), ["5", "3", "5", "3"], `segments of ${size}`);
    t.deepEqual(values("pbs.type"), ["3", "1"], `segments of ${size}`);
    t.deepEqual(
      seen.flatMap(({ complaints }) => complaints),
      [],
    );
  }
});

function cut(bytes: Uint8Array, size: number): Chunk[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => ({
    fromClient: true,
    bytes: bytes.subarray(i * size, (i + 1) * size),
  }));
}

test("PBS inside TLS is shown to those who have the keys", async (t) => {
  const messages = [encode(gistHello(true, 7)), encode(gistData(6, pbsPermission(6, { certificate: der })))];
  const { chunks, keyLog } = await tlsConversation(identity, messages);
  const capture = writePcap(tcpConnection(ends(6, 5270), chunks));
  const locked = await dissect(capture);
  t.true(locked.some(({ protocols }) => protocols.includes("tls")));
  t.false(locked.some(({ protocols }) => protocols.includes("gist")));
  const seen = await withKeys(keyLog, (file) => dissect(capture, "-o", `tls.keylog_file:${file}`));
  const [permission] = seen.filter(({ protocols }) => protocols.includes("pbs"));
  holds(t, permission, { "pbs.type": "2", "pbs.ttl": "600000", "pbs.defense.spi": "0x00001234" });
  t.deepEqual(
    seen.flatMap(({ fields }) => fields.get("gist.type") ?? []),
    ["5", "3"],
  );
  t.deepEqual(
    seen.flatMap(({ complaints }) => complaints),
    [],
  );
});

async function withKeys<T>(keyLog: string, use: (file: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "pbs-wireshark-keys-"));
  try {
    const file = join(directory, "keys");
    writeFileSync(file, keyLog);
    return await use(file);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test("port 270 without the magic number is no GIST", async (t) => {
  const [packet] = await dissect(writePcap([udpPacket(ends(4, GIST_PORT), encode(gistQuery(4)))]));
  t.false(packet?.protocols.includes("gist"));
});

test("a capture with short packets is shown as far as it goes", async (t) => {
  const packet = gistDatagram(4, encode(gistResponse(4)));
  const lengths = Array.from({ length: packet.length - 40 }, (_, i) => 40 + i);
  const seen = await dissect(
    writePcap(
      lengths.map((length) => packet.subarray(0, length)),
      packet.length,
    ),
  );
  for (const { complaints } of seen) for (const text of complaints) t.regex(text, /only a part/);
});

test("every field that is declared is shown somewhere in these tests", async (t) => {
  const declared = [
    ...readFileSync(DISSECTOR, "utf8").matchAll(/declare(_pbs)?\("(?!none)\w+", "([\w.]+)"/g),
  ].map(([, pbs, name = ""]) => `${pbs === undefined ? "gist" : "pbs"}.${name}`);
  const seen = new Set((await whole).flatMap(({ fields }) => [...fields.keys()]));
  const elsewhere = [
    "gist.trailing",
    "gist.mri.data",
    "gist.error.info.data",
    "pbs.object.value",
    "pbs.trailing",
    "pbs.defense.key",
  ];
  t.deepEqual(
    declared.filter((name) => !seen.has(name)),
    elsewhere,
  );
});

const SEEDS = [1, 2, 3];
const MUTANTS = 400;

for (const seed of SEEDS) {
  test(`hostile bytes make no error in Lua (${seed})`, async (t) => {
    const random = generator(seed);
    const messages = runs.map(({ bytes, family, over }) => ({ message: bytes(family), family, over }));
    const packets = Array.from({ length: MUTANTS }, (_, i) => {
      const { message, family, over } = messages[i % messages.length] ?? {
        message: der,
        family: 4,
        over: "udp",
      };
      return packetsOf(mutated(message, random), family, over, 42_000 + i);
    });
    const text = await printed(writePcap(packets.flat()), "-V", ...onPort);
    const lines = text.split("\n");
    t.deepEqual(
      lines.filter((line) => /Lua Error|\.lua:\d+/.test(line)),
      [],
    );
    t.true(lines.some((line) => line.startsWith("General Internet Signalling Transport")));
  });
}

/** Numbers in [0, below), the same for the same seed. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** A few bytes replaced, and sometimes bytes cut out or put in. */
function mutated(message: Uint8Array, random: (below: number) => number): Uint8Array {
  const bytes = Uint8Array.from(message);
  for (let i = random(8); i >= 0; i--)
    bytes[random(bytes.length)] = random(2) === 0 ? random(256) : random(2) * 255;
  const at = random(bytes.length);
  switch (random(6)) {
    case 0:
      return bytes.slice(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random(16))]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), hex("ffffffff").subarray(random(4)), bytes.subarray(at)]);
    default:
      return bytes;
  }
}
