/** Routing state towards the peer that this node asked for: Querying-SM of RFC 5971 section 6.2. */
import type { IpAddress } from "../base/address.js";
import { step } from "../base/machine.js";
import { between } from "../base/random.js";
import type { Timer } from "../base/time.js";
import { type Milliseconds, ms } from "../base/units.js";
import type { Association, AssociationUser, Loss } from "./association.js";
import type { Associations } from "./associations.js";
import { type GistContext, countSent, hex, ownNli, peerTime, sendDatagram, stateKey } from "./context.js";
import { newQueryCookie, sameBytes } from "./cookies.js";
import { originalMri } from "./nat.js";
import { T2_FACTOR } from "./options.js";
import { longestInQueryMode, needsAssociation, Outlet } from "./outlet.js";
import {
  QUERYING_MACHINE,
  type QueryingAction,
  type QueryingEvent,
  type QueryingGuard,
  type QueryingStateName,
} from "./querying-rules.js";
import type { MessageError, NetworkNotification, SendMessage } from "./service.js";
import { atLeast, type Carrier, choose, offered, ownConfiguration, queryStack } from "./stack.js";
import type { Datagram, Route } from "./transport/transport.js";
import { encodeGist, flipMri } from "./wire/codec.js";
import type { GistConfirm, GistQuery, GistResponse, Mri, Mutable, SessionId } from "./wire/messages.js";

/** How a Response can be followed up. */
type Way =
  | { readonly kind: "association"; readonly association: Association }
  | { readonly kind: "connect"; readonly carrier: Carrier; readonly port: number }
  | { readonly kind: "datagram"; readonly port: number }
  | { readonly kind: "again" }
  | { readonly kind: "none" };

export interface Peer {
  readonly identity: string;
  readonly address: IpAddress;
}

export interface QueryingOwner {
  removed(state: QueryingState): void;
  /** A handshake began, or ended. */
  handshake(change: 1 | -1): void;
  /** Behind a NAT the peer knows the flow by another MRI: from now on by this one, as this node would send it. */
  knownAs(state: QueryingState, mri: Mri): void;
}

/** All that there is to a state which is established and waits for its refresh, or its end. */
export interface QueryingRest {
  readonly kind: "querying";
  readonly nslpId: number;
  readonly sessionId: SessionId;
  readonly mri: Mri;
  readonly association: Association;
  readonly peer: Peer;
  readonly route: Route;
  readonly proposed: readonly Carrier[];
  readonly validUntil: Milliseconds;
  readonly wantedUntil: number;
  readonly usedAt: number;
  readonly stale: boolean;
  /** What comes next, and when. */
  readonly next: "refresh-due" | "expired";
  readonly due: Milliseconds;
}

interface Failure {
  readonly error: MessageError;
  readonly detail: string;
  readonly notification: NetworkNotification["type"];
}

function failure(error: MessageError, detail: string): Failure {
  return { error, detail, notification: "communication-failure" };
}

const NO_RESPONSE = failure("no-response", "the next node did not answer");
const NO_STACK = failure("transport-failed", "the next node offers no stack that is safe enough");
const NO_WAY: Way = { kind: "none" };

/** S = 0 first, as the data travels; every third try shows the own address, for paths that stop foreign ones. */
const OWN_SOURCE_EVERY = 3;

export class QueryingState implements AssociationUser {
  static readonly #actions: Readonly<Record<QueryingAction, (self: QueryingState) => void>> = {
    queue: (self) => self.#withSend((send) => self.#outlet.enqueue(send)),
    send: (self) => self.#withSend((send) => self.#outlet.send(send)),
    begin: (self) => self.#begin(),
    "send-query": (self) => self.#sendQuery(),
    "adopt-peer": (self) => self.#adoptPeer(),
    connect: (self) => self.#connect(),
    confirm: (self) => self.#confirm(),
    "release-queue": (self) => self.#outlet.release(self.#carried),
    "schedule-refresh": (self) => self.#scheduleRefresh(),
    "let-expire": (self) => self.#letExpire(),
    recall: (self) => self.#outlet.recall(),
    "mark-stale": (self) => {
      self.#stale = true;
    },
    "fail-queue": (self) => self.#outlet.fail(self.#failure.error, self.#failure.detail),
    "tell-failure": (self) => self.#tellFailure(),
    "tell-route-gone": (self) =>
      self.#notify("routing-status-change", "there is no route to the destination"),
    "refuse-stack": (self) => {
      self.#failure = NO_STACK;
    },
    remove: (self) => self.#remove(),
  };

  /** When it was last asked for; set by the table that it stands in. */
  touched = 0;
  readonly nslpId: number;
  readonly sessionId: SessionId;
  /** Downstream, as the Query has it. */
  readonly mri: Mri;
  readonly #context: GistContext;
  readonly #associations: Associations;
  readonly #owner: QueryingOwner;
  readonly #outlet: Outlet;
  #state: QueryingStateName = "none";
  #peer: Peer | undefined;
  /** The one that the last Query took. */
  #route: Route | undefined;
  /** Of every Query of this handshake: an answer to any of them counts. */
  #cookies: Uint8Array[] = [];
  /** The stacks that the Queries of this handshake propose; none: datagrams do. */
  #proposed: readonly Carrier[] = [];
  /** A message that travels within the Queries of this handshake, and waits too until one is answered. */
  #carried: SendMessage | undefined;
  /** What the NSLP gave along for the Queries of this handshake. */
  #payload: Uint8Array | undefined;
  #timer: Timer | undefined;
  /** What the timer raises, and when. */
  #next: QueryingEvent = "no-response";
  #due: Milliseconds = ms(0);
  #validUntil: Milliseconds;
  #wantedUntil = Number.NEGATIVE_INFINITY;
  #usedAt: number;
  #stale = false;
  #wasEstablished = false;
  #failure: Failure = NO_RESPONSE;
  // What the event being handled is about.
  #send: SendMessage | undefined;
  #response: GistResponse | undefined;
  #way: Way = NO_WAY;

  constructor(
    context: GistContext,
    associations: Associations,
    owner: QueryingOwner,
    flow: { nslpId: number; sessionId: SessionId; mri: Mri },
  ) {
    this.#context = context;
    this.#associations = associations;
    this.#owner = owner;
    this.nslpId = flow.nslpId;
    this.sessionId = flow.sessionId;
    this.mri = flow.mri;
    this.#usedAt = context.time.now();
    this.#validUntil = context.time.now();
    this.#outlet = new Outlet(context, this);
  }

  get key(): string {
    return stateKey(this.mri, this.sessionId, this.nslpId);
  }

  get state(): QueryingStateName {
    return this.#state;
  }

  /** What it is worth keeping of, if all that can be done without it is waiting. */
  get atRest(): QueryingRest | undefined {
    const { nslpId, sessionId, mri } = this;
    const { association, waiting, peerMri } = this.#outlet;
    const [peer, route, next] = [this.#peer, this.#route, this.#next];
    if (this.#state !== "established" || association?.live !== true || waiting > 0) return undefined;
    if (peerMri !== undefined || peer === undefined || route === undefined) return undefined;
    if (next !== "refresh-due" && next !== "expired") return undefined;
    return {
      kind: "querying",
      nslpId,
      sessionId,
      mri,
      association,
      peer,
      route,
      proposed: this.#proposed,
      validUntil: this.#validUntil,
      wantedUntil: this.#wantedUntil,
      usedAt: this.#usedAt,
      stale: this.#stale,
      next,
      due: this.#due,
    };
  }

  /** Goes to rest: the object must not be used any more. */
  rest(): void {
    this.#timer?.cancel();
    this.#outlet.rest();
  }

  /** Is as it was when it went to rest. */
  wake(rest: QueryingRest): void {
    this.#state = "established";
    this.#wasEstablished = true;
    this.#peer = rest.peer;
    this.#route = rest.route;
    this.#proposed = rest.proposed;
    this.#validUntil = rest.validUntil;
    this.#wantedUntil = rest.wantedUntil;
    this.#usedAt = rest.usedAt;
    this.#stale = rest.stale;
    this.#outlet.path = { address: rest.peer.address, port: 0, localAddress: rest.route.interfaceAddress };
    this.#outlet.wake(rest.association);
    this.#setTimer(ms(Math.max(0, rest.due - this.#context.time.now())), rest.next);
  }

  /** Peer-Identity of the peer, in hexadecimal; undefined before the first Response. */
  get peerIdentity(): string | undefined {
    return this.#peer?.identity;
  }

  /** A Query is under way. */
  get asking(): boolean {
    return this.#state === "awaiting-response" || this.#state === "awaiting-refresh";
  }

  get association(): Association | undefined {
    return this.#outlet.association;
  }

  get peerAddress(): IpAddress | undefined {
    return this.#peer?.address;
  }

  /** The flow as the peer knows it, where a NAT makes that differ. */
  get peerMri(): Mri | undefined {
    return this.#outlet.peerMri;
  }

  /** Undefined while it is being set up. */
  get expiresAt(): Milliseconds | undefined {
    return this.#wasEstablished ? this.#validUntil : undefined;
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

  /**
   * Whether a Response may come over such an association. It is on one of the stacks that the Query proposed, if it
   * proposed any: else who is on the path could move a session from TLS to an association that anybody may open.
   */
  proposes(carrier: Carrier): boolean {
    return this.#proposed.length === 0 || this.#proposed.includes(carrier);
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
    this.#failure = failure(error, detail);
    this.#raise("failed");
  }

  /** What the route of the flow is now; asks for the peer anew where that is another one than before. */
  routeIs(route: Route | undefined): void {
    if (this.#route === undefined) return;
    if (route === undefined) this.#raise("route-gone");
    else if (!sameWay(route, this.#route)) this.#raise("route-changed");
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

  invalidate(status: "bad" | "tentative", urgent: boolean, payload: Uint8Array | undefined): void {
    this.#payload = payload;
    this.#raise(status === "tentative" ? "tentative" : urgent ? "bad-urgent" : "bad");
  }

  shutDown(reason: string): void {
    this.#failure = failure("transport-failed", reason);
    this.#raise("shut-down");
  }

  associationConnected(): void {
    this.#raise("association-connected");
  }

  associationHasRoom(): void {
    this.#raise("room");
  }

  associationLost({ reason, cause }: Loss): void {
    this.#outlet.lost();
    this.#failure = {
      error: cause === "closed" ? "transport-failed" : "not-authorised",
      detail: reason,
      notification: cause === "unauthorised" ? "node-authorisation-change" : "communication-failure",
    };
    this.#raise("association-lost");
  }

  associationReplaced(by: Association): void {
    this.#outlet.attach(by);
    if (by.live) this.#raise("association-connected");
  }

  #raise(event: QueryingEvent): void {
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

  #holds(guard: QueryingGuard): boolean {
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
        return this.#send !== undefined && !this.#outlet.suits(this.#send);
    }
  }

  #withSend(use: (send: SendMessage) => void): void {
    if (this.#send !== undefined) use(this.#send);
  }

  #letExpire(): void {
    this.#setTimer(ms(Math.max(0, this.#validUntil - this.#context.time.now())), "expired");
  }

  #remove(): void {
    this.#timer?.cancel();
    this.#outlet.attach(undefined);
    this.#owner.removed(this);
  }

  #begin(): void {
    this.#cookies = [];
    this.#stale = false;
    this.#failure = NO_RESPONSE;
    this.#proposed = this.#needed();
    this.#carried = this.#fitForQuery();
  }

  /** The stacks for what waits and for what the state had so far; a Query that needs security offers only TLS. */
  #needed(): readonly Carrier[] {
    const outlet = this.#outlet;
    const before = this.#proposed.length > 0 || outlet.association !== undefined;
    if (!before && !outlet.anyWaiting(needsAssociation)) return [];
    const all = offered(this.#context);
    const secure = outlet.association?.transfer.secure === true;
    return secure || outlet.anyWaiting((send) => send.transfer.secure)
      ? all.filter((carrier) => carrier === "tls")
      : all;
  }

  #fitForQuery(): SendMessage | undefined {
    const send = this.#send;
    const fit =
      this.#context.options.payloadInQuery &&
      send !== undefined &&
      this.#payload === undefined &&
      this.#outlet.waiting === 1 &&
      !needsAssociation(send);
    return fit ? send : undefined;
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
      this.#failure = failure("no-response", "there is no route to the flow's destination");
      this.#raise("no-route");
      return;
    }
    this.#route = route;
    if (!this.#context.datagrams.take()) {
      this.#context.counters.count("limited.datagram");
      return;
    }
    const spoofSource = tries % OWN_SOURCE_EVERY !== 0;
    const ttl = this.#stillCarried()?.ipTtl ?? this.#context.options.ipTtl;
    const bare = this.#query(cookie, route.interfaceAddress, { signallingSource: !spoofSource, ttl });
    if (tries > 1) this.#context.counters.count("sent.query-again");
    countSent(this.#context, bare);
    const bytes = this.#withPayload(bare, route);
    this.#context.transport.sendQueryMode(this.mri, bytes, { spoofSource, ttl });
  }

  /** A payload that makes the Query too long stays here; a message that was to travel so goes after the handshake. */
  #withPayload(query: GistQuery, route: Route): Uint8Array {
    const data = this.#stillCarried()?.data ?? this.#payload;
    if (data === undefined) return encodeGist(query);
    const bytes = encodeGist({ ...query, data });
    if (bytes.length <= longestInQueryMode(route.mtu)) return bytes;
    this.#context.counters.count("refused.query-payload");
    this.#carried = undefined;
    this.#payload = undefined;
    return encodeGist(query);
  }

  #query(
    queryCookie: Uint8Array,
    interfaceAddress: IpAddress,
    { signallingSource, ttl }: { signallingSource: boolean; ttl: number },
  ): GistQuery {
    const query: Mutable<GistQuery> = {
      type: "query",
      hops: this.#stillCarried()?.hopCount ?? this.#context.options.hops,
      nslpId: this.nslpId,
      signallingSource,
      mri: this.mri,
      sessionId: this.sessionId,
      nli: ownNli(this.#context, interfaceAddress, ttl, this.#context.validity()),
      queryCookie,
    };
    if (this.#proposed.length > 0) query.stack = queryStack(this.#context, this.#proposed);
    return query;
  }

  /** Not once its time is over and it was reported. */
  #stillCarried(): SendMessage | undefined {
    return this.#outlet.anyWaiting((send) => send === this.#carried) ? this.#carried : undefined;
  }

  #wayFor(response: GistResponse, via: Association | undefined, datagram: Datagram | undefined): Way {
    const waiting = this.#outlet;
    if (via !== undefined) {
      const tooWeak = via.carrier === "tcp" && waiting.anyWaiting((send) => send.transfer.secure);
      return tooWeak ? this.#again() : { kind: "association", association: via };
    }
    if (this.#proposed.length === 0) {
      if (waiting.anyWaiting(needsAssociation)) return this.#again();
      return { kind: "datagram", port: datagram?.sourcePort ?? 0 };
    }
    const { stack, nli } = response;
    const chosen = stack === undefined ? undefined : choose(this.#proposed, stack);
    if (chosen?.carrier === "tcp" && waiting.anyWaiting((send) => send.transfer.secure)) return this.#again();
    const carriers = chosen === undefined ? this.#proposed : atLeast(chosen.carrier);
    const association = this.#associations.find(hex(nli.peerIdentity), nli.interfaceAddress, carriers);
    if (association !== undefined && (chosen !== undefined || stack === undefined))
      return { kind: "association", association };
    return chosen === undefined ? NO_WAY : { kind: "connect", ...chosen };
  }

  /** Another Query, with a proposal that serves what has come to wait meanwhile: where there can be one. */
  #again(): Way {
    const needed = this.#needed();
    const same = needed.length === this.#proposed.length && this.#proposed.every((c, i) => c === needed[i]);
    return needed.length === 0 || same ? NO_WAY : { kind: "again" };
  }

  #adoptPeer(): void {
    const response = this.#response;
    if (response === undefined || this.#route === undefined) return;
    const { interfaceAddress, peerIdentity, validity } = response.nli;
    const before = this.#peer;
    const way = this.#way;
    this.#peer = { identity: hex(peerIdentity), address: interfaceAddress };
    this.#outlet.path = {
      address: interfaceAddress,
      port: way.kind === "datagram" ? way.port : 0,
      localAddress: this.#route.interfaceAddress,
    };
    this.#validUntil = ms(this.#context.time.now() + peerTime(this.#context, validity));
    this.#adoptMri(response);
    this.#outlet.attach(way.kind === "association" ? way.association : undefined);
    if (before === undefined || samePeer(before, this.#peer)) return;
    this.#notify(
      "routing-status-change",
      `the next node is now ${interfaceAddress}, it was ${before.address}`,
    );
  }

  /** Behind a NAT that knows GIST the state keeps its own MRI, and the peer is told its own (RFC 5971 section 7.2). */
  #adoptMri({ natTraversal, mri }: GistResponse): void {
    if (natTraversal === undefined || originalMri(natTraversal) === undefined) return;
    const now = flipMri(mri);
    this.#owner.knownAs(this, now);
    this.#outlet.peerMri = now;
  }

  #connect(): void {
    if (this.#peer === undefined || this.#way.kind !== "connect") return;
    this.#timer?.cancel();
    const { identity, address } = this.#peer;
    const association = this.#associations.open(identity, address, this.#way.port, this.#way.carrier);
    if (association === undefined) {
      this.#context.counters.count("limited.associations");
      this.failed("overloaded", "there are too many messaging associations");
      return;
    }
    const holdTime = this.#response?.stack?.configuration.holdTime;
    if (holdTime !== undefined) association.peerHoldTime = peerTime(this.#context, holdTime);
    this.#outlet.attach(association);
  }

  #confirm(): void {
    const response = this.#response;
    const { association, path } = this.#outlet;
    if (response?.confirmRequested !== true || path?.localAddress === undefined) return;
    const { responderCookie, stack } = response;
    const confirm: Mutable<GistConfirm> = {
      type: "confirm",
      hops: this.#context.options.hops,
      nslpId: this.nslpId,
      signallingSource: true,
      mri: this.#outlet.peerMri ?? this.mri,
      sessionId: this.sessionId,
      nli: ownNli(this.#context, path.localAddress, 0, this.#context.validity()),
    };
    if (responderCookie !== undefined) confirm.responderCookie = responderCookie;
    if (stack !== undefined) {
      confirm.proposal = stack.proposal;
      confirm.configuration = ownConfiguration(this.#context);
    }
    if (association !== undefined) association.send(confirm);
    else sendDatagram(this.#context, path.address, path.port, confirm);
  }

  #scheduleRefresh(): void {
    this.#wasEstablished = true;
    this.#response = undefined;
    this.#carried = undefined;
    this.#payload = undefined;
    const validity = this.#validUntil - this.#context.time.now();
    this.#setTimer(ms(between(this.#context.random, validity / 2, (validity * 3) / 4)), "refresh-due");
  }

  #tellFailure(): void {
    const { error, detail, notification } = this.#failure;
    if (error === "endpoint-found") this.#notify("last-node", detail);
    else if (this.#wasEstablished) this.#notify(notification, detail);
  }

  #notify(type: NetworkNotification["type"], detail: string): void {
    const { nslpId, sessionId, mri } = this;
    this.#context.nslps.notify({ nslpId, sessionId, mri, type, detail });
  }

  /** Whether somebody waits for the end of the handshake. */
  #awaited(): boolean {
    return this.#outlet.waiting > 0 || this.#wasEstablished || this.#wantedUntil > this.#context.time.now();
  }

  #wanted(): boolean {
    const now = this.#context.time.now();
    return (
      this.#outlet.waiting > 0 ||
      this.#wantedUntil > now ||
      this.#usedAt + this.#context.options.inactivity > now
    );
  }

  #setTimer(delay: Milliseconds, event: QueryingEvent): void {
    const { time } = this.#context;
    this.#timer?.cancel();
    this.#next = event;
    this.#due = ms(time.now() + delay);
    this.#timer = time.after(delay, () => this.#raise(event));
  }
}

function samePeer(a: Peer, b: Peer): boolean {
  return a.identity === b.identity && a.address.equals(b.address);
}

export function sameWay(a: Route, b: Route): boolean {
  const sameNextHop =
    a.nextHop === undefined ? b.nextHop === undefined : b.nextHop?.equals(a.nextHop) === true;
  return sameNextHop && a.interfaceName === b.interfaceName && a.interfaceAddress.equals(b.interfaceAddress);
}

function isHandshake(state: QueryingStateName): boolean {
  return state === "awaiting-response" || state === "awaiting-association";
}
