/** Routing state towards the peer that this node asked for: Querying-SM of RFC 5971 section 6.2. */
import type { IpAddress } from "../base/address.js";
import { step, type Table } from "../base/machine.js";
import { between } from "../base/random.js";
import type { Timer } from "../base/time.js";
import { type Milliseconds, ms } from "../base/units.js";
import type { Association, AssociationUser } from "./association.js";
import type { Associations } from "./associations.js";
import {
  type GistContext,
  hex,
  ownNli,
  peerTime,
  STACK_PROPOSAL,
  sendDatagram,
  stackConfiguration,
} from "./context.js";
import { newQueryCookie, sameBytes } from "./cookies.js";
import { needsAssociation, sendData } from "./data-path.js";
import { T2_FACTOR } from "./options.js";
import { MessageQueue } from "./queue.js";
import type { MessageError, SendMessage } from "./service.js";
import { tlsPort } from "./stack.js";
import type { Datagram, Route } from "./transport/transport.js";
import { encodeGist } from "./wire/codec.js";
import type { GistConfirm, GistQuery, GistResponse, Mri, SessionId } from "./wire/messages.js";

export type QueryingStateName =
  "none" | "awaiting-response" | "awaiting-association" | "established" | "awaiting-refresh" | "gone";
type Event =
  | "message"
  | "response"
  | "no-response"
  | "no-route"
  | "refresh-due"
  | "expired"
  | "association-connected"
  | "association-lost"
  | "no-routing-state"
  | "failed"
  | "unwanted"
  | "bad"
  | "bad-urgent"
  | "tentative"
  | "shut-down";
type Guard =
  | "usable"
  | "to-be-connected"
  | "stack-too-weak"
  | "confirm-requested"
  | "tries-left"
  | "wanted"
  | "stale"
  | "needs-association";
type Action =
  | "queue"
  | "send"
  | "begin"
  | "send-query"
  | "adopt-peer"
  | "connect"
  | "confirm"
  | "release-queue"
  | "schedule-refresh"
  | "let-expire"
  | "recall"
  | "mark-stale"
  | "fail-queue"
  | "tell-failure"
  | "remove";

const GIVE_UP: readonly Action[] = ["fail-queue", "tell-failure", "remove"];

export const QUERYING_MACHINE: Table<QueryingStateName, Event, Guard, Action> = [
  { from: "none", on: "message", do: ["queue", "begin", "send-query"], to: "awaiting-response" },

  { from: "awaiting-response", on: "message", do: ["queue"], to: "awaiting-response" },
  {
    from: ["awaiting-response", "awaiting-refresh"],
    on: "response",
    when: "stack-too-weak",
    do: ["begin", "send-query"],
    to: "awaiting-response",
    note: "a message that needs an association came after the Query had gone without a stack proposal",
  },
  {
    from: ["awaiting-response", "awaiting-refresh"],
    on: "response",
    when: "usable",
    do: ["adopt-peer", "confirm", "release-queue", "schedule-refresh"],
    to: "established",
  },
  {
    from: ["awaiting-response", "awaiting-refresh"],
    on: "response",
    when: "to-be-connected",
    do: ["adopt-peer", "connect"],
    to: "awaiting-association",
    note: "RFC 5971 counts this wait as Established with the messages queued in the MA-SM",
  },
  {
    from: ["awaiting-response", "awaiting-refresh"],
    on: "response",
    do: GIVE_UP,
    to: "gone",
    note: "the peer offers no stack that is safe enough",
  },
  {
    from: "awaiting-response",
    on: "no-response",
    when: "tries-left",
    do: ["send-query"],
    to: "awaiting-response",
  },
  { from: "awaiting-response", on: "no-response", do: GIVE_UP, to: "gone" },
  { from: "awaiting-response", on: "no-route", do: GIVE_UP, to: "gone" },
  {
    from: ["awaiting-response", "awaiting-association", "awaiting-refresh"],
    on: "failed",
    do: GIVE_UP,
    to: "gone",
  },
  {
    from: "awaiting-response",
    on: "no-routing-state",
    do: ["recall"],
    to: "awaiting-response",
    note: "each Error is about one more message sent before",
  },

  { from: "awaiting-association", on: "message", do: ["queue"], to: "awaiting-association" },
  {
    from: "awaiting-association",
    on: "association-connected",
    do: ["confirm", "release-queue", "schedule-refresh"],
    to: "established",
  },
  { from: "awaiting-association", on: "association-lost", do: GIVE_UP, to: "gone" },

  {
    from: "established",
    on: "message",
    when: "stale",
    do: ["queue", "begin", "send-query"],
    to: "awaiting-response",
  },
  {
    from: ["established", "awaiting-refresh"],
    on: "message",
    when: "needs-association",
    do: ["queue", "begin", "send-query"],
    to: "awaiting-response",
    note: "the state so far is for datagrams only",
  },
  { from: "established", on: "message", do: ["send"], to: "established" },
  { from: "awaiting-refresh", on: "message", do: ["send"], to: "awaiting-refresh" },
  {
    from: "established",
    on: "response",
    when: "confirm-requested",
    do: ["confirm"],
    to: "established",
    note: "the answer to another of the Queries sent; the first Confirm may be lost",
  },
  {
    from: "established",
    on: "refresh-due",
    when: "wanted",
    do: ["begin", "send-query"],
    to: "awaiting-refresh",
  },
  {
    from: "established",
    on: "refresh-due",
    do: ["let-expire"],
    to: "established",
    note: "Inactive_QNode: nobody needs it any more",
  },
  { from: "established", on: "expired", when: "wanted", do: ["begin", "send-query"], to: "awaiting-refresh" },
  { from: "established", on: "expired", do: ["remove"], to: "gone" },
  {
    from: ["established", "awaiting-refresh"],
    on: "unwanted",
    do: ["let-expire"],
    to: "established",
    note: "SetStateLifetime 0; there is no teardown message",
  },
  {
    from: "awaiting-refresh",
    on: "no-response",
    when: "tries-left",
    do: ["send-query"],
    to: "awaiting-refresh",
  },
  { from: "awaiting-refresh", on: "no-response", do: GIVE_UP, to: "gone" },
  {
    from: ["established", "awaiting-refresh"],
    on: "no-routing-state",
    do: ["recall", "begin", "send-query"],
    to: "awaiting-response",
  },
  { from: ["established", "awaiting-refresh"], on: "association-lost", do: GIVE_UP, to: "gone" },
  { from: "established", on: "bad", do: ["mark-stale"], to: "established" },
  {
    from: ["established", "awaiting-refresh"],
    on: "bad-urgent",
    do: ["begin", "send-query"],
    to: "awaiting-response",
  },
  { from: "established", on: "tentative", do: ["begin", "send-query"], to: "awaiting-refresh" },
  {
    from: ["awaiting-response", "awaiting-association", "established", "awaiting-refresh"],
    on: "shut-down",
    do: ["fail-queue", "remove"],
    to: "gone",
  },
];

/** How a Response can be followed up. */
type Way =
  | { readonly kind: "association"; readonly association: Association }
  | { readonly kind: "connect"; readonly port: number }
  | { readonly kind: "datagram"; readonly port: number }
  | { readonly kind: "again" }
  | { readonly kind: "none" };

interface Peer {
  readonly identity: string;
  readonly address: IpAddress;
  /** For datagrams. */
  readonly port: number;
}

export interface QueryingOwner {
  removed(state: QueryingState): void;
  /** A handshake began, or ended. */
  handshake(change: 1 | -1): void;
}

const NO_RESPONSE = { error: "no-response", detail: "the next node did not answer" } as const;
const NO_WAY: Way = { kind: "none" };

/** S = 0 first, as the data travels; every third try shows the own address, for paths that stop foreign ones. */
const OWN_SOURCE_EVERY = 3;

export class QueryingState implements AssociationUser {
  static readonly #actions: Readonly<Record<Action, (self: QueryingState) => void>> = {
    queue: (self) => self.#enqueue(),
    send: (self) => self.#sendNow(),
    begin: (self) => self.#begin(),
    "send-query": (self) => self.#sendQuery(),
    "adopt-peer": (self) => self.#adoptPeer(),
    connect: (self) => self.#connect(),
    confirm: (self) => self.#confirm(),
    "release-queue": (self) => self.#releaseQueue(),
    "schedule-refresh": (self) => self.#scheduleRefresh(),
    "let-expire": (self) => self.#letExpire(),
    recall: (self) => self.#recall(),
    "mark-stale": (self) => {
      self.#stale = true;
    },
    "fail-queue": (self) => self.#failQueue(),
    "tell-failure": (self) => self.#tellFailure(),
    remove: (self) => self.#remove(),
  };

  readonly key: string;
  readonly nslpId: number;
  readonly sessionId: SessionId;
  /** Downstream, as the Query has it. */
  readonly mri: Mri;
  readonly #context: GistContext;
  readonly #associations: Associations;
  readonly #owner: QueryingOwner;
  readonly #queue: MessageQueue;
  #state: QueryingStateName = "none";
  #peer: Peer | undefined;
  #association: Association | undefined;
  #localAddress: IpAddress | undefined;
  /** Of every Query of this handshake: an answer to any of them counts. */
  #cookies: Uint8Array[] = [];
  /** Whether the Queries of this handshake propose a stack. */
  #proposing = false;
  #timer: Timer | undefined;
  #validUntil: Milliseconds;
  #wantedUntil = Number.NEGATIVE_INFINITY;
  #usedAt: number;
  #stale = false;
  #wasEstablished = false;
  #failure: { readonly error: MessageError; readonly detail: string } = NO_RESPONSE;
  // What the event being handled is about.
  #send: SendMessage | undefined;
  #response: GistResponse | undefined;
  #way: Way = NO_WAY;

  constructor(
    context: GistContext,
    associations: Associations,
    owner: QueryingOwner,
    key: string,
    flow: { nslpId: number; sessionId: SessionId; mri: Mri },
  ) {
    this.#context = context;
    this.#associations = associations;
    this.#owner = owner;
    this.key = key;
    this.nslpId = flow.nslpId;
    this.sessionId = flow.sessionId;
    this.mri = flow.mri;
    this.#usedAt = context.time.now();
    this.#validUntil = context.time.now();
    this.#queue = new MessageQueue(context.time, context.queues, (send) =>
      context.nslps.status(send, "no-response", "the next node did not answer in the time given"),
    );
  }

  get state(): QueryingStateName {
    return this.#state;
  }

  /** Peer-Identity of the peer, in hexadecimal; undefined before the first Response. */
  get peerIdentity(): string | undefined {
    return this.#peer?.identity;
  }

  /** A Query is under way. */
  get asking(): boolean {
    return this.#state === "awaiting-response" || this.#state === "awaiting-refresh";
  }

  get hasAssociation(): boolean {
    return this.#association !== undefined;
  }

  get peerAddress(): IpAddress | undefined {
    return this.#peer?.address;
  }

  message(send: SendMessage): void {
    this.#usedAt = this.#context.time.now();
    this.#send = send;
    this.#raise("message");
    this.#send = undefined;
  }

  /** Whether the cookie is of a Query of this node: only then is the Response believed. */
  knows(cookie: Uint8Array): boolean {
    return this.#cookies.some((own) => sameBytes(own, cookie));
  }

  /** A Response whose cookie is known. `association`: it came over this one, from the peer it names. */
  response(
    response: GistResponse,
    association: Association | undefined,
    datagram: Datagram | undefined,
  ): void {
    if (this.#state === "awaiting-association") return;
    this.#response = response;
    this.#way = this.#wayFor(response, association, datagram);
    this.#raise("response");
    if (!isHandshake(this.#state)) this.#response = undefined;
  }

  /** The peer, or a node that the Query met, refused: for good. */
  failed(error: MessageError, detail: string): void {
    this.#failure = { error, detail };
    this.#raise("failed");
  }

  noRoutingState(): void {
    this.#raise("no-routing-state");
  }

  setLifetime(lifetime: Milliseconds): void {
    if (lifetime > 0) {
      this.#wantedUntil = this.#context.time.now() + lifetime;
      return;
    }
    this.#wantedUntil = Number.NEGATIVE_INFINITY;
    this.#usedAt = Number.NEGATIVE_INFINITY;
    this.#raise("unwanted");
  }

  invalidate(status: "bad" | "tentative", urgent: boolean): void {
    this.#raise(status === "tentative" ? "tentative" : urgent ? "bad-urgent" : "bad");
  }

  shutDown(): void {
    this.#failure = { error: "transport-failed", detail: "this node is stopping" };
    this.#raise("shut-down");
  }

  associationConnected(): void {
    this.#raise("association-connected");
  }

  associationLost(reason: string, refused: boolean): void {
    this.#association = undefined;
    this.#failure = { error: refused ? "not-authorised" : "transport-failed", detail: reason };
    this.#raise("association-lost");
  }

  associationReplaced(by: Association): void {
    this.#attach(by);
    if (by.live) this.#raise("association-connected");
  }

  #raise(event: Event): void {
    const arc = step(QUERYING_MACHINE, this.#state, event, (guard) => this.#holds(guard));
    if (arc === undefined) return;
    this.#enter(arc.to);
    for (const action of arc.do) QueryingState.#actions[action](this);
  }

  #enter(state: QueryingStateName): void {
    const change = Number(isHandshake(state)) - Number(isHandshake(this.#state));
    this.#state = state;
    if (change === 1 || change === -1) this.#owner.handshake(change);
  }

  #holds(guard: Guard): boolean {
    switch (guard) {
      case "usable":
        return this.#way.kind === "association" || this.#way.kind === "datagram";
      case "to-be-connected":
        return this.#way.kind === "connect";
      case "stack-too-weak":
        return this.#way.kind === "again";
      case "confirm-requested":
        return this.#response?.confirmRequested === true && this.#way.kind !== "connect";
      case "tries-left":
        return this.#wait() < this.#context.options.t1 * T2_FACTOR && this.#awaited();
      case "wanted":
        return this.#wanted();
      case "stale":
        return this.#stale;
      case "needs-association":
        return this.#association === undefined && this.#send !== undefined && needsAssociation(this.#send);
    }
  }

  #sendNow(): void {
    if (this.#send !== undefined) this.#transmit(this.#send);
  }

  #releaseQueue(): void {
    for (const send of this.#queue.drain()) this.#transmit(send);
  }

  #letExpire(): void {
    this.#setTimer(ms(Math.max(0, this.#validUntil - this.#context.time.now())), "expired");
  }

  #remove(): void {
    this.#timer?.cancel();
    this.#association?.detach(this);
    this.#owner.removed(this);
  }

  #enqueue(): void {
    const send = this.#send;
    if (send === undefined || this.#queue.push(send)) return;
    this.#context.counters.count("limited.queue");
    this.#context.nslps.status(send, "overloaded", "too many messages wait for the next node");
  }

  #begin(): void {
    this.#cookies = [];
    this.#stale = false;
    this.#failure = NO_RESPONSE;
    this.#proposing = this.#proposing || this.#queue.some(needsAssociation);
  }

  #sendQuery(): void {
    const cookie = newQueryCookie(this.#context.random);
    this.#cookies.push(cookie);
    const tries = this.#cookies.length;
    this.#setTimer(this.#wait(), "no-response");
    const asked = this.#context.routes.lookup(this.mri, (route) => {
      if (this.#cookies.includes(cookie)) this.#emitQuery(cookie, tries, route);
    });
    if (!asked) this.#context.counters.count("limited.routes");
  }

  /** How long to wait after the last Query sent: T1, doubled each time. */
  #wait(): Milliseconds {
    return ms(this.#context.options.t1 * 2 ** (this.#cookies.length - 1));
  }

  #emitQuery(cookie: Uint8Array, tries: number, route: Route | undefined): void {
    if (this.#state !== "awaiting-response" && this.#state !== "awaiting-refresh") return;
    if (route === undefined) {
      this.#failure = { error: "no-response", detail: "there is no route to the flow's destination" };
      this.#raise("no-route");
      return;
    }
    this.#localAddress = route.interfaceAddress;
    if (!this.#context.datagrams.take()) {
      this.#context.counters.count("limited.datagram");
      return;
    }
    const spoofSource = tries % OWN_SOURCE_EVERY !== 0;
    const query = this.#query(cookie, route.interfaceAddress, !spoofSource);
    this.#context.counters.count(tries === 1 ? "sent.query" : "sent.query-again");
    const { ipTtl } = this.#context.options;
    this.#context.transport.sendQueryMode(this.mri, encodeGist(query), { spoofSource, ttl: ipTtl });
  }

  #query(queryCookie: Uint8Array, interfaceAddress: IpAddress, signallingSource: boolean): GistQuery {
    const { options } = this.#context;
    const query = {
      type: "query",
      hops: options.hops,
      nslpId: this.nslpId,
      signallingSource,
      mri: this.mri,
      sessionId: this.sessionId,
      nli: ownNli(this.#context, interfaceAddress, options.ipTtl, this.#context.validity()),
      queryCookie,
    } as const;
    if (!this.#proposing) return query;
    return {
      ...query,
      stack: { proposal: STACK_PROPOSAL, configuration: stackConfiguration(this.#context, []) },
    };
  }

  #wayFor(response: GistResponse, via: Association | undefined, datagram: Datagram | undefined): Way {
    if (via !== undefined) return { kind: "association", association: via };
    if (!this.#proposing) {
      if (this.#queue.some(needsAssociation)) return { kind: "again" };
      return { kind: "datagram", port: datagram?.sourcePort ?? 0 };
    }
    const { peerIdentity, interfaceAddress } = response.nli;
    const association = this.#associations.find(hex(peerIdentity), interfaceAddress);
    if (association !== undefined) return { kind: "association", association };
    const port = response.stack === undefined ? undefined : tlsPort(response.stack);
    return port === undefined ? NO_WAY : { kind: "connect", port };
  }

  #adoptPeer(): void {
    const nli = this.#response?.nli;
    if (nli === undefined) return;
    const { interfaceAddress } = nli;
    const identity = hex(nli.peerIdentity);
    const before = this.#peer;
    const validity = peerTime(this.#context, nli.validity);
    this.#peer = {
      identity,
      address: interfaceAddress,
      port: this.#way.kind === "datagram" ? this.#way.port : 0,
    };
    this.#validUntil = ms(this.#context.time.now() + validity);
    if (this.#way.kind === "association") this.#attach(this.#way.association);
    else this.#attach(undefined);
    if (before === undefined || (before.identity === identity && before.address.equals(interfaceAddress)))
      return;
    this.#notify(
      "routing-status-change",
      `the next node is now ${interfaceAddress}, it was ${before.address}`,
    );
  }

  #attach(association: Association | undefined): void {
    if (association === this.#association) return;
    this.#association?.detach(this);
    this.#association = association;
    association?.attach(this);
  }

  #connect(): void {
    if (this.#peer === undefined || this.#way.kind !== "connect") return;
    this.#timer?.cancel();
    const { identity, address } = this.#peer;
    const association = this.#associations.open(identity, address, this.#way.port);
    if (association === undefined) {
      this.#context.counters.count("limited.associations");
      this.failed("overloaded", "there are too many messaging associations");
      return;
    }
    const holdTime = this.#response?.stack?.configuration.holdTime;
    if (holdTime !== undefined) association.peerHoldTime = peerTime(this.#context, holdTime);
    this.#attach(association);
  }

  #confirm(): void {
    const response = this.#response;
    if (response?.confirmRequested !== true || this.#localAddress === undefined) return;
    const { options } = this.#context;
    const confirm: GistConfirm = {
      type: "confirm",
      hops: options.hops,
      nslpId: this.nslpId,
      signallingSource: true,
      mri: this.mri,
      sessionId: this.sessionId,
      nli: ownNli(this.#context, this.#localAddress, 0, this.#context.validity()),
      ...(response.responderCookie === undefined ? {} : { responderCookie: response.responderCookie }),
      ...(response.stack === undefined
        ? {}
        : {
            proposal: response.stack.proposal,
            configuration: stackConfiguration(this.#context, []),
          }),
    };
    if (this.#association !== undefined) this.#association.send(confirm);
    else if (this.#peer !== undefined)
      sendDatagram(this.#context, this.#peer.address, this.#peer.port, confirm);
  }

  #transmit(send: SendMessage): void {
    if (this.#peer === undefined || this.#localAddress === undefined) return;
    const { address, port } = this.#peer;
    const path = { association: this.#association, address, port, localAddress: this.#localAddress };
    sendData(this.#context, path, this, send);
  }

  #scheduleRefresh(): void {
    this.#wasEstablished = true;
    this.#response = undefined;
    const validity = this.#validUntil - this.#context.time.now();
    this.#setTimer(ms(between(this.#context.random, validity / 2, (validity * 3) / 4)), "refresh-due");
  }

  #recall(): void {
    const send = this.#association?.recall(this);
    if (send === undefined) return;
    this.#context.counters.count("data.sent-again");
    if (!this.#queue.pushFront(send))
      this.#context.nslps.status(send, "overloaded", "too many messages wait for the next node");
  }

  #failQueue(): void {
    const { error, detail } = this.#failure;
    for (const send of this.#queue.drain()) this.#context.nslps.status(send, error, detail);
  }

  #tellFailure(): void {
    if (this.#wasEstablished) this.#notify("communication-failure", this.#failure.detail);
  }

  #notify(type: "communication-failure" | "routing-status-change", detail: string): void {
    const { nslpId, sessionId, mri } = this;
    this.#context.nslps.notify({ nslpId, sessionId, mri, type, detail });
  }

  /** Whether somebody waits for the end of the handshake. */
  #awaited(): boolean {
    return this.#queue.length > 0 || this.#wasEstablished || this.#wantedUntil > this.#context.time.now();
  }

  #wanted(): boolean {
    const now = this.#context.time.now();
    return (
      this.#queue.length > 0 ||
      this.#wantedUntil > now ||
      this.#usedAt + this.#context.options.inactivity > now
    );
  }

  #setTimer(delay: Milliseconds, event: Event): void {
    this.#timer?.cancel();
    this.#timer = this.#context.time.after(delay, () => this.#raise(event));
  }
}

function isHandshake(state: QueryingStateName): boolean {
  return state === "awaiting-response" || state === "awaiting-association";
}
