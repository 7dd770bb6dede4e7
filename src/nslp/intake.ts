/**
 * Checks of what arrives, cheap ones first: transfer, length and form, flow against MRI, direction, sequence, rate,
 * certificate, and last the signature. Only what passed them all reaches a session.
 */
import { BusyError } from "../authorization/signing.js";
import { TreeVerifier } from "../authorization/tree-verifier.js";
import type { TrustedCertificate } from "../authorization/trust.js";
import type { IpAddress } from "../base/address.js";
import { type Flow, sameFlow } from "../base/flow.js";
import { SourceBuckets, TokenBucket } from "../base/rate-limit.js";
import { ms } from "../base/units.js";
import type { ReceivedMessage } from "../gist/service.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { Job, Refusal, Urgency } from "./admission/admission.js";
import { BoundedMemory } from "./bounded.js";
import type { PbsContext } from "./context.js";
import { flowOf } from "./mri.js";
import { BUSY_TEXT, type NotifyReason, sendBusy, sendNotify } from "./notify.js";
import { isNewer, sequenceAge } from "./sequence.js";
import type { Session } from "./session.js";
import { decodePbs, PbsWireError, signatureInput } from "./wire/codec.js";
import {
  INFO_CLASS,
  INFO_CODE,
  type InfoCode,
  MESSAGE_TYPE,
  OBJECT_TYPE,
  PBS_NSLP_ID,
  SUPPORT,
  type PbsMessage,
  type PbsNotify,
  type PbsPermission,
  type PbsQuery,
} from "./wire/messages.js";

/** A message that passed all checks, and what GIST said about it. */
export interface Checked<M> {
  readonly message: M;
  readonly received: ReceivedMessage;
  readonly certificate: TrustedCertificate;
}

export interface IntakeHandler {
  query(checked: Checked<PbsQuery>): void;
  permission(checked: Checked<PbsPermission>): void;
  notify(message: PbsNotify, received: ReceivedMessage): void;
  session(id: SessionId): Session | undefined;
}

interface Rejection extends NotifyReason {
  readonly counter: string;
  readonly text: string;
}

export class Intake {
  readonly #context: PbsContext;
  readonly #handler: IntakeHandler;
  /** Last accepted sequences of sessions that are over, or that never came to be (G18); the others know theirs. */
  readonly #sequences: BoundedMemory<number>;
  readonly #buckets: Readonly<Record<PbsMessage["type"], SourceBuckets>>;
  readonly #trees = new TreeVerifier();
  /** What a crowd is told is not worth an event each. */
  readonly #busyEvents: TokenBucket;
  /** By peer and by the source that a message says it is of. */
  readonly #sources: SourceBuckets;

  constructor(context: PbsContext, handler: IntakeHandler) {
    const { time, options } = context;
    this.#context = context;
    this.#handler = handler;
    this.#sequences = new BoundedMemory(time, options.maxSessions + options.maxRemembered, options.remember);
    this.#buckets = {
      query: new SourceBuckets(time, options.queryRate, options.queryBurst),
      permission: new SourceBuckets(time, options.queryRate, options.queryBurst),
      notify: new SourceBuckets(time, options.notifyRate, options.notifyBurst),
    };
    const { sourceRate } = options.admission;
    this.#sources = new SourceBuckets(time, sourceRate, sourceRate);
    this.#busyEvents = new TokenBucket(time, BUSY_EVENTS, BUSY_EVENTS);
  }

  /** Takes a message. Never throws; what fails a check is counted, and reported to the asking host where it can be. */
  take(received: ReceivedMessage): void {
    const { counters } = this.#context;
    if (!received.transfer.secure) return counters.count("rejected.not-over-tls");
    // PBS sends along the path only. Any peer could send explicitly; GIST vouches for the path's own.
    if (received.transfer.explicitlyRouted) return counters.count("rejected.explicitly-routed");
    const flow = flowOf(received.mri);
    if (flow === undefined) return counters.count("rejected.flow-mismatch");
    try {
      this.#dispatch(received, flow);
    } catch (error) {
      if (!(error instanceof PbsWireError)) throw error;
      this.#reject(received, flow, malformed(error));
    }
  }

  /** A session is over; its messages must not open it anew. */
  remember({ id, heard }: Session): void {
    if (heard.query !== undefined) this.#sequences.set(sequenceKey(id, "query"), heard.query);
    if (heard.permission !== undefined) this.#sequences.set(sequenceKey(id, "permission"), heard.permission);
  }

  #dispatch(received: ReceivedMessage, flow: Flow): void {
    const { counters } = this.#context;
    const { message, signedPart } = decodePbs(received.data);
    if (!sameFlow(message.flow, flow)) return this.#reject(received, flow, FLOW_MISMATCH);
    counters.count(RECEIVED[message.type]);
    if (goesDownstream(message) !== (received.mri.direction === "downstream"))
      return counters.count("rejected.wrong-direction");
    const session = this.#handler.session(received.sessionId);
    if (session !== undefined && !sameFlow(session.flow, flow))
      return this.#reject(received, flow, SESSION_OF_ANOTHER);
    if (message.type === "notify") return this.#notify(message, received);
    if (message.type === "permission" && (session === undefined || session.role === "receiver"))
      return counters.count("rejected.permission-not-asked-for");
    const rejection = this.#checkCheaply(received, message);
    if (rejection !== undefined) return this.#reject(received, flow, rejection);
    this.#context.admission.submit(this.#job(received, message, signedPart, session));
  }

  #job(
    received: ReceivedMessage,
    message: PbsQuery | PbsPermission,
    signedPart: Uint8Array,
    session: Session | undefined,
  ): Job {
    const { siiHandle: peer, sessionId: id } = received;
    const { flow } = message;
    return {
      peer,
      // Answers are work for who asked, too. A session has proven whose it is.
      sender: nameOf(flow.source),
      cost: costOf(message),
      about: { id, flow },
      urgency: this.#urgencyOf(received, message, session),
      run: () =>
        this.#verify(received, message, signedPart).catch((error: unknown) => {
          this.#context.logger.error({ error, id }, "checking a PBS message failed");
        }),
      refuse: (refusal) => this.#refuse(received, message, refusal),
    };
  }

  /**
   * A refresh comes from the peer that brought the last Query, and not many times within a refresh time. What comes more
   * often is a request like others.
   */
  #urgencyOf(
    { siiHandle, sessionId: id }: ReceivedMessage,
    message: PbsQuery | PbsPermission,
    session: Session | undefined,
  ): Urgency {
    const { admission } = this.#context;
    if (message.type === "permission") return "kept";
    const { flow, tickets } = message;
    const isRefresh = session?.holds === true && session.previousPeer === siiHandle;
    return isRefresh && this.#isTimely(session) ? "kept" : admission.urgencyOf(tickets, { id, flow });
  }

  #isTimely({ heard, refreshTime }: Session): boolean {
    const now = this.#context.time.now();
    if (now - heard.favoured < refreshTime * LEAST_PERIOD) return false;
    heard.favoured = now;
    return true;
  }

  #refuse(
    { sessionId: id, siiHandle }: ReceivedMessage,
    message: PbsQuery | PbsPermission,
    why: Refusal,
  ): void {
    const { counters, events } = this.#context;
    const { flow, type } = message;
    const session = this.#handler.session(id);
    // It has had nothing of it.
    if (why.ticket === undefined && session !== undefined) session.heard.favoured = Number.NEGATIVE_INFINITY;
    counters.count("rejected.busy");
    if (this.#busyEvents.take()) {
      const text = `${BUSY_TEXT}: ${REFUSALS[why.reason]} (from ${siiHandle})`;
      events.report("rejected", { id, flow, role: undefined }, text);
    }
    if (type === "query") sendBusy(this.#context, { id, flow }, siiHandle, why);
  }

  #notify(message: PbsNotify, received: ReceivedMessage): void {
    if (!this.#buckets.notify.take(received.siiHandle))
      return this.#context.counters.count("rejected.rate-limited");
    this.#handler.notify(message, received);
  }

  async #verify(
    received: ReceivedMessage,
    message: PbsQuery | PbsPermission,
    signedPart: Uint8Array,
  ): Promise<void> {
    // The same one, or a newer one, may have been accepted while it waited.
    if (this.#isOld(received.sessionId, message)) return this.#overtaken(received, message);
    const { trust, time } = this.#context;
    const certificate = trust.check(message.certificate, signerOf(message), time.wall());
    if (certificate.type === "refused")
      return this.#reject(received, message.flow, certificateRefused(certificate.reason, certificate.detail));
    try {
      const input = signatureInput(received.sessionId, PBS_NSLP_ID, signedPart);
      if (!(await this.#isSigned(message, input, certificate)))
        return this.#reject(received, message.flow, BAD_SIGNATURE);
    } catch (error) {
      if (error instanceof BusyError) return this.#reject(received, message.flow, BUSY);
      this.#context.logger.error({ error }, "verifying a signature failed");
      return;
    }
    this.#accept(received, message, certificate);
  }

  #isSigned(
    { tree, signature }: PbsQuery | PbsPermission,
    input: Uint8Array,
    certificate: TrustedCertificate,
  ): boolean | Promise<boolean> {
    if (tree === undefined) {
      this.#context.counters.count("signature.checked");
      return this.#context.verify(certificate, input, signature);
    }
    const checked = this.#trees.checked;
    const good = this.#trees.verify(certificate, input, tree, signature);
    this.#context.counters.count(
      this.#trees.checked === checked ? "signature.known-by-tree" : "signature.checked",
    );
    return good;
  }

  #checkCheaply(received: ReceivedMessage, message: PbsQuery | PbsPermission): Rejection | undefined {
    const unknown = this.#unknownHere(message);
    if (unknown !== undefined) return unknown;
    if (this.#isOld(received.sessionId, message)) return REPLAYED;
    const count = 1 + listedCost(message);
    if (!this.#buckets[message.type].take(received.siiHandle, count)) return RATE_LIMITED;
    const source = `${received.siiHandle} ${nameOf(signerOf(message))}`;
    if (!this.#sources.take(source, count)) return RATE_LIMITED;
    return this.#checkTime(received.sessionId, message);
  }

  /** What is switched off here is refused as by a node that has never heard of it. */
  #unknownHere(message: PbsQuery | PbsPermission): Rejection | undefined {
    const { tree, summary } = this.#context.options;
    const own = (tree ? SUPPORT.tree : 0) | (summary ? SUPPORT.summary : 0);
    const asked = message.type === "query" ? (message.support ?? 0) : own;
    if ((asked & ~(own | SUPPORT.patient)) !== 0) return notKnown(OBJECT_TYPE.pathSupport);
    if (message.tree !== undefined && !tree) return notKnown(OBJECT_TYPE.treePath);
    // Where not all of the path has been asked, a node on it may extend its own flow only.
    if (message.summary !== undefined && (asked & SUPPORT.summary) === 0)
      return notKnown(OBJECT_TYPE.summary);
    return undefined;
  }

  /**
   * A Query that opens a session has to be of now: a node that has restarted knows no sequences, and would take one that
   * somebody kept for weeks. The others are newer than the last one of their session.
   */
  #checkTime(id: SessionId, message: PbsQuery | PbsPermission): Rejection | undefined {
    if (message.type !== "query" || this.#handler.session(id) !== undefined) return undefined;
    const { time, options } = this.#context;
    const age = sequenceAge(message.sequence, time.wall());
    return Math.abs(age) > options.queryAge ? untimely(age) : undefined;
  }

  #accept(
    received: ReceivedMessage,
    message: PbsQuery | PbsPermission,
    certificate: TrustedCertificate,
  ): void {
    // A newer one may have been verified meanwhile.
    if (this.#isOld(received.sessionId, message)) return this.#overtaken(received, message);
    const session = this.#handler.session(received.sessionId);
    const unfit = session === undefined ? undefined : unfitFor(session, message, certificate);
    if (unfit !== undefined) return this.#reject(received, message.flow, unfit);
    if (session !== undefined) {
      session.heard[message.type] = message.sequence;
      session.heard.signers[message.type] ??= certificate.keyId;
    }
    try {
      if (message.type === "query") this.#handler.query({ message, received, certificate });
      else this.#handler.permission({ message, received, certificate });
    } catch (error) {
      this.#context.logger.error({ error, id: received.sessionId }, "handling a PBS message failed");
    }
    // Where it has opened no session, nobody else remembers it.
    const now = this.#handler.session(received.sessionId);
    if (now === undefined)
      this.#sequences.set(sequenceKey(received.sessionId, message.type), message.sequence);
  }

  /**
   * It was newer than all before it when it came. A sender that asked again with a ticket goes before its own first Query, and
   * threads that verify end in any order: that is no replay, unless it is the very message that was accepted.
   */
  #overtaken(received: ReceivedMessage, message: PbsQuery | PbsPermission): void {
    if (this.#lastOf(received.sessionId, message.type) === message.sequence)
      return this.#reject(received, message.flow, REPLAYED);
    this.#context.counters.count("dropped.overtaken");
  }

  #isOld(id: SessionId, { type, sequence }: PbsQuery | PbsPermission): boolean {
    const last = this.#lastOf(id, type);
    return last !== undefined && !isNewer(sequence, last);
  }

  /** Message-Seq of the last one that was accepted. */
  #lastOf(id: SessionId, type: "query" | "permission"): number | undefined {
    return this.#handler.session(id)?.heard[type] ?? this.#sequences.get(sequenceKey(id, type));
  }

  #reject(received: ReceivedMessage, flow: Flow, rejection: Rejection): void {
    this.#context.counters.count(`rejected.${rejection.counter}`);
    const about = { id: received.sessionId, flow, role: undefined };
    this.#context.events.report("rejected", about, `${rejection.text} (from ${received.siiHandle})`);
    // Only what came from upstream has an asking host behind it, a replay is no asking, and no Notify answers a Notify.
    const isNotify = received.data[0] === MESSAGE_TYPE.notify;
    if (received.mri.direction === "downstream" && rejection !== REPLAYED && !isNotify)
      sendNotify(this.#context, about, rejection, rejection.text);
  }
}

/** The signature binds a message to its session, so the session and the signer's side name the sequence. */
function sequenceKey(id: SessionId, type: "query" | "permission"): string {
  return type === "query" ? `q${id}` : `p${id}`;
}

/**
 * Why a message has no part in a session that came to be while it was verified, or that has been there. The
 * receiver's policy said yes to one signer, and one signer said yes; another may hold a certificate for the same address.
 */
function unfitFor(
  session: Session,
  message: PbsQuery | PbsPermission,
  certificate: TrustedCertificate,
): Rejection | undefined {
  if (!sameFlow(session.flow, message.flow)) return SESSION_OF_ANOTHER;
  const signer = session.heard.signers[message.type];
  return signer === undefined || signer === certificate.keyId ? undefined : SESSION_OF_ANOTHER;
}

/** Queries do, and what a node has to say to the receiver about its Permission. */
function goesDownstream(message: PbsMessage): boolean {
  return message.type === "query" || (message.type === "notify" && message.defense !== undefined);
}

function permanent(code: InfoCode, counter: string, text: string, objectType = 0): Rejection {
  return { class: INFO_CLASS.protocolError, code, objectType, counter, text };
}

const FLOW_MISMATCH = permanent(
  INFO_CODE.flowMismatch,
  "flow-mismatch",
  "the message is about another flow than its path",
  OBJECT_TYPE.flow,
);
const SESSION_OF_ANOTHER = permanent(
  INFO_CODE.flowMismatch,
  "session-of-another",
  "the Session-ID belongs to another flow or signer",
  OBJECT_TYPE.flow,
);
const REPLAYED = permanent(
  INFO_CODE.replayed,
  "replayed",
  "sequence number not newer than the last",
  OBJECT_TYPE.messageSequence,
);
const BAD_SIGNATURE = permanent(
  INFO_CODE.badSignature,
  "bad-signature",
  "the signature is not the signer's",
  OBJECT_TYPE.authentication,
);
const RATE_LIMITED: Rejection = {
  class: INFO_CLASS.transientFailure,
  code: INFO_CODE.rateLimited,
  retryAfter: ms(5000),
  counter: "rate-limited",
  text: "too many Queries",
};
const BUSY: Rejection = { ...RATE_LIMITED, code: INFO_CODE.busy, counter: "busy", text: BUSY_TEXT };

const RECEIVED = {
  query: "query.received",
  permission: "permission.received",
  notify: "notify.received",
} as const;

/** Events a second. */
const BUSY_EVENTS = 10;

/** Share of the refresh time: a sender whose Queries come closer together gets no precedence for it. */
const LEAST_PERIOD = 0.4;

const REFUSALS: Readonly<Record<Refusal["reason"], string>> = {
  "source-queue": "too much of this source waits already",
  "peer-queue": "too much of this peer waits already",
  "long-wait": "new requests would wait too long",
  "too-late": "it has waited too long",
};

function signerOf({ type, flow }: PbsQuery | PbsPermission): IpAddress {
  return type === "query" ? flow.source : flow.destination;
}

/** One IPv6 host has all addresses of its /64. */
function nameOf(address: IpAddress): string {
  return address.family === 4
    ? address.toString()
    : Buffer.from(address.bytes.subarray(0, 8)).toString("hex");
}

const ELLIPTIC_SIGNATURE = 64;
const RSA_2048_SIGNATURE = 256;

/** Verification by kind of signature, as measured: an elliptic curve takes five times as long as RSA-2048. */
function costOf(message: PbsQuery | PbsPermission): number {
  const { length } = message.signature;
  const signature = length === ELLIPTIC_SIGNATURE ? 5 : length <= RSA_2048_SIGNATURE ? 1 : 3;
  return signature + listedCost(message);
}

/** Flows in a list that are as much work as one message. */
const LISTED_FOR_ONE = 16;

function listedCost({ summary }: PbsQuery | PbsPermission): number {
  return Math.ceil((summary?.length ?? 0) / LISTED_FOR_ONE);
}

function notKnown(objectType: number): Rejection {
  return permanent(
    INFO_CODE.unknownObject,
    "not-supported",
    `object ${objectType} asks for what this node does not do`,
    objectType,
  );
}

function untimely(age: number): Rejection {
  const off = `${Math.round(Math.abs(age) / 1000)} s ${age > 0 ? "behind" : "ahead of"}`;
  return permanent(
    INFO_CODE.replayed,
    "untimely",
    `the Query's time is ${off} this node's: it is an old one, or the clocks differ`,
    OBJECT_TYPE.messageSequence,
  );
}

function certificateRefused(reason: string, detail: string): Rejection {
  return permanent(
    INFO_CODE.certificateRefused,
    `certificate.${reason}`,
    `certificate refused: ${detail}`,
    OBJECT_TYPE.certificate,
  );
}

function malformed(error: PbsWireError): Rejection {
  return permanent(error.infoCode, "malformed", error.message, error.objectType);
}
