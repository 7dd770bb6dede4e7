/** One of each: GIST and PBS messages for the dissector, made by the project's own encoders. */
import { IpAddress } from "../../src/base/address.js";
import { type Flow, PROTOCOL } from "../../src/base/flow.js";
import { bytes, ms, seconds } from "../../src/base/units.js";
import { encodeGist } from "../../src/gist/wire/codec.js";
import type {
  ErrorObject,
  GistMessage,
  LooseEndMri,
  Mri,
  NetworkLayerInformation,
  PathCoupledMri,
  SessionId,
  StackConfiguration,
  StackProfile,
} from "../../src/gist/wire/messages.js";
import { encodeNotify, encodeUnsigned, withReport, withSignature } from "../../src/nslp/wire/codec.js";
import {
  AUTH_ALGORITHM,
  type HopReport,
  INFO_CODE,
  PBS_NSLP_ID,
  type PbsNotify,
  type PbsPermission,
  type PbsQuery,
  SOLUTION,
  SUPPORT,
} from "../../src/nslp/wire/messages.js";

export type Family = 4 | 6;

export const SESSION = "000102030405060708090a0b0c0d0e0f" as SessionId;
export const SESSION_SHOWN = SESSION.replaceAll(/..(?=.)/g, "$&:");

const SOURCE: Readonly<Record<Family, string>> = { 4: "192.168.20.1", 6: "fd20::1" };
const DESTINATION: Readonly<Record<Family, string>> = { 4: "192.168.21.4", 6: "fd21::4" };
const INTERFACE: Readonly<Record<Family, string>> = { 4: "192.168.20.3", 6: "fd20::3" };

export const addresses = (family: Family): { source: string; destination: string; interface: string } => ({
  source: SOURCE[family],
  destination: DESTINATION[family],
  interface: INTERFACE[family],
});

export function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ""), "hex"));
}

/** MRI of a TCP flow with ports. */
export function tcpMri(family: Family): PathCoupledMri {
  return {
    method: "path-coupled",
    direction: "downstream",
    source: IpAddress.parse(SOURCE[family]),
    destination: IpAddress.parse(DESTINATION[family]),
    sourcePrefix: family === 4 ? 32 : 128,
    destinationPrefix: family === 4 ? 24 : 64,
    protocol: PROTOCOL.tcp,
    sourcePort: 4000,
    destinationPort: 80,
  };
}

/** MRI with every flag that the family can have, upstream. */
export function fullMri(family: Family): PathCoupledMri {
  const label = family === 6 ? { flowLabel: 0xabcde } : {};
  return { ...tcpMri(family), direction: "upstream", protocol: 51, dscp: 0x2e, spi: 0x80000001, ...label };
}

export function looseEndMri(family: Family): LooseEndMri {
  const { source, destination } = tcpMri(family);
  return { method: "loose-end", direction: "upstream", source, destination };
}

export function nli(family: Family): NetworkLayerInformation {
  return {
    ipTtl: 64,
    validity: ms(30_000),
    peerIdentity: hex("aabbccddee"),
    interfaceAddress: IpAddress.parse(INTERFACE[family]),
  };
}

const proposal: readonly StackProfile[] = [[2, 1], [1]];

const configuration: StackConfiguration = {
  holdTime: ms(45_000),
  options: [
    { protocol: 1, profile: 0, doNotUse: false, data: hex("1496") },
    { protocol: 2, profile: 1, doNotUse: true, data: hex("") },
    { protocol: 3, profile: 1, doNotUse: false, data: hex("01020304 05") },
  ],
};

const header = { hops: 10, nslpId: 33, signallingSource: true, sessionId: SESSION };
const queryCookie = hex("11111111 22222222");
const responderCookie = hex("33333333");
const payload = hex("deadbeef 00000001");

/** Original MRI, two translated types, and what one NAT left. */
function natTraversal(family: Family): { value: Uint8Array } {
  const words = family === 4 ? "03 02 01 00  01004000 0a000001 0a000002" : "09 02 01 00  01006000";
  const rest = family === 4 ? "" : "fd20000000000000 0000000000000001 fd21000000000000 0000000000000004";
  return { value: hex(`${words} ${rest}  0000 0002  0003 aabbcc 000000`) };
}

export function gistQuery(family: Family): GistMessage {
  return {
    type: "query",
    ...header,
    natTraversal: natTraversal(family),
    mri: tcpMri(family),
    nli: nli(family),
    queryCookie,
    stack: { proposal, configuration },
    data: payload,
    opaque: [{ type: 2000, value: hex("01020304") }],
  };
}

export function gistResponse(family: Family): GistMessage {
  return {
    type: "response",
    ...header,
    confirmRequested: true,
    mri: fullMri(family),
    nli: nli(family),
    queryCookie,
    responderCookie,
    stack: { proposal, configuration },
  };
}

export function gistConfirm(family: Family): GistMessage {
  return {
    type: "confirm",
    ...header,
    signallingSource: false,
    mri: looseEndMri(family),
    nli: nli(family),
    responderCookie,
    proposal,
    configuration: { holdTime: ms(1), options: [] },
  };
}

export function gistData(family: Family, data: Uint8Array, nslpId = PBS_NSLP_ID, mri?: Mri): GistMessage {
  return {
    type: "data",
    ...header,
    nslpId,
    mri: mri ?? tcpMri(family),
    queryMode: false,
    explicitlyRouted: false,
    data,
  };
}

/** Data in Query mode, explicitly routed, for an NSLP that nobody knows. */
export function gistQueryModeData(family: Family): GistMessage {
  return {
    type: "data",
    ...header,
    nslpId: 40,
    mri: tcpMri(family),
    queryMode: true,
    explicitlyRouted: true,
    nli: nli(family),
    data: payload,
  };
}

export function gistHello(replyRequested: boolean, helloId: number): GistMessage {
  return { type: "hello", hops: 1, nslpId: 0, signallingSource: true, replyRequested, helloId };
}

export function gistError(family: Family, error: Partial<ErrorObject> = {}): GistMessage {
  return {
    type: "error",
    hops: 1,
    nslpId: 0,
    signallingSource: true,
    nli: nli(family),
    error: {
      class: 2,
      code: 10,
      subcode: 5,
      encapsulation: "query",
      originalHeader: hex("01ff0014 7fc08040"),
      sessionId: SESSION,
      mri: fullMri(family),
      info: [
        { type: "message-length", length: 20 },
        { type: "mtu", mtu: 1500 },
        { type: "object-type", objectType: 5 },
        { type: "object-value", realLength: 8, offset: 4, object: hex("0005 0001 11111111") },
      ],
      comment: "Grüße",
      ...error,
    },
  };
}

export const encode = (message: GistMessage): Uint8Array => encodeGist(message);

/** Key identity of a router. */
const NODE = hex("00112233445566778899aabbccddeeff");

function flowOf(family: Family): Flow {
  const { source, destination } = tcpMri(family);
  return { protocol: PROTOCOL.tcp, source, destination, sourcePort: 4000, destinationPort: 80 };
}

/** Of two routers, the first with its certificate. */
function reports(certificate: Uint8Array): HopReport[] {
  const report = { node: NODE, epoch: 3, counted: bytes(0x1_0000_0002), sequence: 5, signature: hex("eeff") };
  return [{ ...report, certificate }, report];
}

export function pbsQuery(family: Family, certificate: Uint8Array): Uint8Array {
  const message: Omit<PbsQuery, "signature"> = {
    type: "query",
    flow: flowOf(family),
    sequence: 0xfffffffe,
    requestedVolume: bytes(0x3_0000_0007),
    sentVolume: bytes(256),
    certificate,
    algorithms: [AUTH_ALGORITHM.hmacSha256, 133],
    mark: { epoch: 3, heard: 6, association: { spi: 0x1234, sequence: 1024, bytes: bytes(0x2_0000_0001) } },
  };
  const signed = withSignature(encodeUnsigned(message), hex("aabbcc"));
  return reports(certificate).reduce((query, report) => withReport(query, report) ?? query, signed);
}

export function pbsPermission(family: Family, changes: Partial<PbsPermission> = {}): Uint8Array {
  const message: Omit<PbsPermission, "signature"> = {
    type: "permission",
    flow: flowOf(family),
    sequence: 7,
    allowedVolume: bytes(0x1_0000_0005),
    ttl: seconds(600),
    refresh: seconds(60),
    certificate: hex("3003020105"),
    defense: {
      solution: SOLUTION.symmetricAh,
      algorithm: AUTH_ALGORITHM.hmacSha256,
      spi: 0x1234,
      key: hex("5ec2e75ec2e7"),
    },
    epoch: {
      epoch: 4,
      start: bytes(0x1_0000_0003),
      overlap: { duration: ms(500), bytes: bytes(1_000) },
      ask: true,
      mover: NODE,
    },
    ...changes,
  };
  return withSignature(encodeUnsigned(message), hex("dd"));
}

const TICKET = {
  node: NODE,
  due: 0x0001_0002,
  bits: 9,
  seal: new Uint8Array(20).fill(0x5e),
  nonce: new Uint8Array(8),
};

const TREE = { leaves: 3, index: 2, siblings: new Uint8Array(32).fill(0x5a) };

/** Refreshes another flow too, and is one of three messages that were signed together. */
export function pbsSummaryQuery(family: Family, certificate: Uint8Array): Uint8Array {
  const message: Omit<PbsQuery, "signature"> = {
    type: "query",
    flow: flowOf(family),
    sequence: 7,
    requestedVolume: bytes(1000),
    sentVolume: bytes(256),
    certificate,
    support: SUPPORT.tree | SUPPORT.summary,
    summary: [{ id: SESSION, sequence: 9, sentVolume: bytes(0x1_0000_0002), epoch: 3, heard: 4 }],
    tickets: [{ ...TICKET, nonce: new Uint8Array(8).fill(0x0e) }],
  };
  return withSignature(encodeUnsigned(message), hex("aabbcc"), TREE);
}

export function pbsSummaryPermission(family: Family, certificate: Uint8Array): Uint8Array {
  const said = { allowedVolume: bytes(0x1_0000_0005), ttl: seconds(600), refresh: seconds(60), epoch: 3 };
  return pbsPermission(family, { certificate, summary: [{ id: SESSION, sequence: 9, ...said }] });
}

/** A node cannot take a summary of this flow. */
export function pbsListing(family: Family): Uint8Array {
  const info = { class: 3, code: INFO_CODE.refreshSingly, objectType: 135, retryAfter: ms(0), text: "" };
  return encodeNotify({ type: "notify", flow: flowOf(family), info, listed: [SESSION] });
}

/** A node is busy, and gives a ticket. */
export function pbsBusy(family: Family): Uint8Array {
  const info = { class: 3, code: INFO_CODE.busy, objectType: 0, retryAfter: ms(700), text: "" };
  return encodeNotify({ type: "notify", flow: flowOf(family), info, ticket: TICKET });
}

export function pbsNotify(family: Family, changes: Partial<PbsNotify["info"]> = {}): Uint8Array {
  const info = {
    class: 3,
    code: INFO_CODE.rateLimited,
    objectType: 8,
    retryAfter: ms(30_000),
    text: "später",
  };
  return encodeNotify({ type: "notify", flow: flowOf(family), info: { ...info, ...changes } });
}
