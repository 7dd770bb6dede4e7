/**
 * PBS messages as values (draft-hong-nsis-pbs-nslp-02..-04 section 9). Numbers that the drafts leave open, and the
 * Notify message, are this project's own: docs/protocol.md.
 */
import type { Flow } from "../../base/flow.js";
import type { Bytes, Milliseconds } from "../../base/units.js";
import type { TreePath } from "../../authorization/tree.js";
import type { SessionId } from "../../gist/wire/messages.js";

/** NSLPID of PBS: the first of the private range (IANA gist-parameters). */
export const PBS_NSLP_ID = 32704;

export const MESSAGE_TYPE = { query: 1, permission: 2, notify: 3 } as const;

export const OBJECT_TYPE = {
  flow: 1,
  messageSequence: 2,
  requestedVolume: 3,
  sentVolume: 4,
  allowedVolume: 5,
  ttl: 6,
  refresh: 7,
  certificate: 8,
  defense: 9,
  authentication: 10,
  /** Extension, A/B = 10: high words of the volumes. */
  volumeHigh: 128,
  /** Extension, A/B = 10: why a Permission refuses, or what a Notify reports. */
  info: 129,
  /** Extension, A/B = 10: Auth Algorithm codes that the sender of a Query can do. */
  algorithms: 130,
  /** Extension, A/B = 10: what the sender of a Query had sent and heard when it signed. */
  mark: 131,
  /** Extension, A/B = 10: where counting begins, in a Permission. */
  epoch: 132,
  /** Extension, A/B = 01, after Auth-data: what a router had counted when a Query passed it; signed by that router. */
  hopReport: 133,
  /** Extension, A/B = 00, in a Query: what every node on the path has to take part in. */
  pathSupport: 134,
  /** Extension, A/B = 00: the other flows that a Query or a Permission refreshes. */
  summary: 135,
  /** Extension, A/B = 00, before Auth-data: the way to the root that Auth-data signs. */
  treePath: 136,
  /** Extension, A/B = 10, in a Notify: flows of a summary that have to be refreshed one by one. */
  listed: 137,
  /** Extension, A/B = 10: what a busy node gives to whom it turns away in a Notify, and gets back in a Query. */
  ticket: 138,
  /** Extension, A/B = 10, in a Query: the session whose place this one takes. */
  predecessor: 140,
} as const;

/** Bits of Path-support. "patient" asks for nothing: the answer may wait for others that are signed with it. */
export const SUPPORT = { tree: 1, summary: 2, patient: 4 } as const;

/** Algorithm of a Tree-path: SHA-256, leaves and nodes told apart by their first byte. */
export const TREE_ALGORITHM = 1;

/** Defense, Solution field. */
export const SOLUTION = { noAction: 1, symmetricAh: 2, publicKeyAh: 3, changePath: 4 } as const;

/** Defense, Auth Algorithm field; 0 where the Solution needs none. */
export const AUTH_ALGORITHM = {
  none: 0,
  hmacSha1: 1,
  hmacSha256: 2,
  hmacMd5: 3,
  rsa1024: 4,
  rsa2048: 5,
  ecc160: 6,
  ecc224: 7,
  dsa1024: 8,
  dsa2048: 9,
  certificateKey: 10,
  /** From here on: of this project. */
  hmacSha384: 128,
  aesCmac: 129,
  ecdsaP256: 130,
  ed25519: 131,
  treeRsa2048: 132,
  treeEcdsaP256: 133,
  treeEd25519: 134,
} as const;

export interface Defense {
  readonly solution: number;
  readonly algorithm: number;
  /** Present for the AH solutions; 256 or more. */
  readonly spi?: number;
  /** IPsec key; empty where none is carried. */
  readonly key: Uint8Array;
}

/** Classes of INFO, as in the error classes of NATFW. */
export const INFO_CLASS = {
  informational: 0,
  protocolError: 2,
  transientFailure: 3,
  permanentFailure: 4,
} as const;

/** Codes of INFO; docs/protocol.md lists what each asks of the asking host. */
export const INFO_CODE = {
  pending: 1,
  malformed: 2,
  unknownObject: 3,
  flowMismatch: 4,
  badSignature: 5,
  certificateRefused: 6,
  replayed: 7,
  refusedByPolicy: 8,
  volumeExhausted: 9,
  lifetimeOver: 10,
  revoked: 11,
  rateLimited: 12,
  tableFull: 13,
  noAnswer: 14,
  unsupportedAlgorithm: 15,
  notPermissionNode: 16,
  /** Extension: a node cannot take the summary of these flows. */
  refreshSingly: 17,
  /** Extension: this node has too much to do. */
  busy: 18,
  /** To the sender, from the router that a Permission with Solution 4 names: it has no other way. */
  noOtherPath: 20,
} as const;

export type InfoCode = (typeof INFO_CODE)[keyof typeof INFO_CODE];

export interface Info {
  readonly class: number;
  readonly code: number;
  /** The PBS object type that the report is about; 0 for none. */
  readonly objectType: number;
  /** How long to wait before asking again (pending: how long an answer may take); 0 for no advice. */
  readonly retryAfter: Milliseconds;
  /** For a person; at most 255 bytes of UTF-8. */
  readonly text: string;
}

/** What the sender knew when it signed a Query. */
export interface Mark {
  /** Of the last Permission that it took. */
  readonly epoch: number;
  /** Message-Seq of that Permission; absent before the first one. */
  readonly heard?: number;
  /** Of the association that packets leave with. */
  readonly association?: {
    readonly spi: number;
    /** Last sequence number given, or the last multiple of 1024. */
    readonly sequence: number;
    /** Bytes of packets 1 to `sequence`; absent where they are not counted apart. */
    readonly bytes?: Bytes;
  };
}

/** Where every node's count of the flow goes on once it takes this Permission; the same epoch again changes nothing. */
export interface Epoch {
  readonly epoch: number;
  /** Honest volume up to here: Send-vol as the receiver last had it. */
  readonly start: Bytes;
  /** How long, and for how many bytes, packets of the association before still pass. */
  readonly overlap: { readonly duration: Milliseconds; readonly bytes: Bytes };
  /** The receiver wants a Query at once, to compare. */
  readonly ask: boolean;
  /** With Solution 4: key identity of the router that is to change the path instead of the sender. */
  readonly mover?: Uint8Array;
}

/** What a router says of a flow as a Query passes it. */
export interface HopReport {
  /** First 16 bytes of the SHA-256 of the router's SubjectPublicKeyInfo. */
  readonly node: Uint8Array;
  readonly epoch: number;
  readonly counted: Bytes;
  /** Message-Seq of the Query. */
  readonly sequence: number;
  /** DER; in the first reports of a session, and again from time to time. */
  readonly certificate?: Uint8Array;
  readonly signature: Uint8Array;
}

/** What a Query says of one of the other flows that it refreshes. */
export interface SummaryClaim {
  readonly id: SessionId;
  readonly sequence: number;
  readonly sentVolume: Bytes;
  /** Of the last Permission that the sender took, and its Message-Seq. */
  readonly epoch: number;
  readonly heard: number;
}

/** What a Permission says of one of them. */
export interface SummaryGrant {
  readonly id: SessionId;
  readonly sequence: number;
  /** More than 0. */
  readonly allowedVolume: Bytes;
  readonly ttl: Milliseconds;
  readonly refresh: Milliseconds;
  readonly epoch: number;
}

/** A node that was busy knows by it who was there before, and when it told him to come back. */
export interface Ticket {
  /** Key identity of that node, 16 bytes. */
  readonly node: Uint8Array;
  /** When it is good from; the node's own clock, 32 bits. */
  readonly due: number;
  /** Leading zero bits that the hash of seal and nonce has to have. */
  readonly bits: number;
  /** The node's own word, 20 bytes. */
  readonly seal: Uint8Array;
  /** 8 bytes; zeros in a Notify, and where there is no puzzle. */
  readonly nonce: Uint8Array;
}

interface Signed {
  readonly flow: Flow;
  /** Message-Seq: 32 bits, RFC 1982 comparison, one sequence for each signer and session. */
  readonly sequence: number;
  /** X.509, DER. */
  readonly certificate: Uint8Array;
  /** Auth-data value: the signature, without padding. */
  readonly signature: Uint8Array;
  /** Present: the signature is that of the root of a hash tree, and this leads from the message to it. */
  readonly tree?: TreePath;
}

export interface PbsQuery extends Signed {
  readonly type: "query";
  readonly requestedVolume: Bytes;
  readonly sentVolume: Bytes;
  /** Auth Algorithm codes that the sender can do; absent: those of the draft. */
  readonly algorithms?: readonly number[];
  readonly mark?: Mark;
  /** Bits of {@link SUPPORT}: a node that cannot do one of them refuses the Query. */
  readonly support?: number;
  /** Other flows of the same sender, receiver and path. */
  readonly summary?: readonly SummaryClaim[];
  /** A session of the same sender from another address that this one takes the place of. */
  readonly predecessor?: SessionId;
  /** Of nodes that were too busy for this session; one each. */
  readonly tickets?: readonly Ticket[];
  /** In the order of the path. Nobody but their routers has signed them. */
  readonly reports?: readonly HopReport[];
}

export interface PbsPermission extends Signed {
  readonly type: "permission";
  /** 0 refuses or revokes. */
  readonly allowedVolume: Bytes;
  readonly ttl: Milliseconds;
  readonly refresh: Milliseconds;
  readonly defense: Defense;
  readonly info?: Info;
  readonly epoch?: Epoch;
  readonly summary?: readonly SummaryGrant[];
}

/** Hop by hop, unsigned, inside TLS; never an answer to a Notify. */
export interface PbsNotify {
  readonly type: "notify";
  readonly flow: Flow;
  readonly info: Info;
  /** What a node cannot do, without its key. Such a Notify travels downstream, to the receiver. */
  readonly defense?: Defense;
  /** Sessions of a summary that have to be refreshed one by one. */
  readonly listed?: readonly SessionId[];
  /** For the asking host, when a node is busy. */
  readonly ticket?: Ticket;
}

export type PbsMessage = PbsQuery | PbsPermission | PbsNotify;

/** A signed message before it is signed. */
export type Unsigned<M extends PbsQuery | PbsPermission> = Omit<M, "signature" | "reports" | "tree">;
