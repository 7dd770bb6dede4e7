/** Routing state towards a peer that asked for it: Responding-SM of RFC 5971 section 6.3. */
import type { IpAddress } from "../base/address.js";
import { step } from "../base/machine.js";
import type { Timer } from "../base/time.js";
import { type Milliseconds, ms } from "../base/units.js";
import type { Association, AssociationUser, Loss } from "./association.js";
import { answerWithDatagram, type GistContext, hex, ownNli, stateKey } from "./context.js";
import type { CookieSubject } from "./cookies.js";
import { Outlet } from "./outlet.js";
import {
  RESPONDING_MACHINE,
  type RespondingAction,
  type RespondingEvent,
  type RespondingStateName,
} from "./responding-rules.js";
import type { NetworkNotification, SendMessage } from "./service.js";
import { ownStack } from "./stack.js";
import type { Datagram } from "./transport/transport.js";
import { flipMri } from "./wire/codec.js";
import type { GistConfirm, GistQuery, GistResponse, Mri, Mutable, SessionId } from "./wire/messages.js";

/** A Query together with how it came. */
export interface QueryArrival {
  readonly query: GistQuery;
  readonly datagram: Datagram;
  /** The live association with the node that the Query names, which then carries the Response. */
  readonly association: Association | undefined;
  /** What the NSLP sends back with the Response. */
  readonly payload?: Uint8Array | undefined;
}

/** All that there is to a state which is established and waits for the peer's refresh, or its end. */
export interface RespondingRest {
  readonly kind: "responding";
  readonly nslpId: number;
  readonly sessionId: SessionId;
  readonly mri: Mri;
  readonly association: Association;
  readonly peer: { readonly identity: string; readonly address: IpAddress };
  readonly inboundInterface: string;
  readonly wantedUntil: number;
  /** As the peer was told. */
  readonly validity: Milliseconds;
  /** When it expires. */
  readonly due: Milliseconds;
}

export interface RespondingOwner {
  removed(state: RespondingState): void;
}

/** What to do with Data for this state. */
export interface DataHandler {
  deliver(): void;
  refuse(): void;
}

export class RespondingState implements AssociationUser {
  static readonly #actions: Readonly<Record<RespondingAction, (self: RespondingState) => void>> = {
    respond: (self) => self.#respond(false),
    "respond-with-cookie": (self) => self.#respond(true),
    "repeat-response": (self) => self.#scheduleResponse(),
    "respond-again": (self) => self.#respondAgain(),
    "await-confirm": (self) => self.#awaitConfirm(),
    "stop-awaiting": (self) => self.#stopAwaiting(),
    "adopt-peer": (self) => self.#adoptPeer(),
    "restart-expiry": (self) => self.#restartExpiry(),
    send: (self) => self.#withSend((send) => self.#outlet.send(send)),
    "release-queue": (self) => self.#outlet.release(),
    "refuse-message": (self) => self.#refuseMessage(),
    deliver: (self) => self.#data?.deliver(),
    "refuse-data": (self) => self.#data?.refuse(),
    "tell-expired": (self) => self.#tellExpired(),
    "tell-failure": (self) => self.#notify(self.#lost.notification, self.#lost.detail),
    "fail-queue": (self) => self.#outlet.fail("transport-failed", self.#lost.detail),
    remove: (self) => self.#remove(),
  };

  /** When it was last asked for; set by the table that it stands in. */
  touched = 0;
  readonly nslpId: number;
  readonly sessionId: SessionId;
  /** As this node sends it. */
  readonly mri: Mri;
  readonly #context: GistContext;
  readonly #owner: RespondingOwner;
  #state: RespondingStateName = "none";
  #identity = "";
  #address: IpAddress;
  readonly #outlet: Outlet;
  #inboundInterface = "";
  #expiry: Timer | undefined;
  #confirmTimer: Timer | undefined;
  #responseTimer: Timer | undefined;
  #wantedUntil = Number.NEGATIVE_INFINITY;
  #expiresAt: Milliseconds | undefined;
  /** What the peer was told last: it refreshes by that. */
  #validity: Milliseconds | undefined;
  #lost: Lost = { notification: "communication-failure", detail: "the routing state is gone" };
  /** The Query to which Responses are repeated, and how long the wait for its Confirm was so far. */
  #unanswered: { readonly arrival: QueryArrival; wait: Milliseconds; left: Milliseconds } | undefined;
  // What the event being handled is about.
  #arrival: QueryArrival | undefined;
  #peer: ConfirmedPeer | undefined;
  #send: SendMessage | undefined;
  #data: DataHandler | undefined;

  constructor(
    context: GistContext,
    owner: RespondingOwner,
    flow: { nslpId: number; sessionId: SessionId; mri: Mri; interfaceAddress: IpAddress },
  ) {
    this.#context = context;
    this.#owner = owner;
    this.nslpId = flow.nslpId;
    this.sessionId = flow.sessionId;
    this.mri = flow.mri;
    this.#address = flow.interfaceAddress;
    this.#outlet = new Outlet(context, this);
  }

  /** Of the MRI as this node sends it, which is upstream. */
  get key(): string {
    return stateKey(this.mri, this.sessionId, this.nslpId);
  }

  get state(): RespondingStateName {
    return this.#state;
  }

  /** What it is worth keeping of, if all that can be done without it is waiting. */
  get atRest(): RespondingRest | undefined {
    const { nslpId, sessionId, mri } = this;
    const { association, waiting, path, peerMri } = this.#outlet;
    const [validity, due] = [this.#validity, this.#expiresAt];
    if (this.#state !== "established" || association?.live !== true || waiting > 0) return undefined;
    if (path === undefined || peerMri !== undefined || validity === undefined || due === undefined)
      return undefined;
    return {
      kind: "responding",
      nslpId,
      sessionId,
      mri,
      association,
      peer: { identity: this.#identity, address: this.#address },
      inboundInterface: this.#inboundInterface,
      wantedUntil: this.#wantedUntil,
      validity,
      due,
    };
  }

  /** Goes to rest: the object must not be used any more. */
  rest(): void {
    this.#expiry?.cancel();
    this.#stopAwaiting();
    this.#outlet.rest();
  }

  /** Is as it was when it went to rest. */
  wake(rest: RespondingRest): void {
    const { time } = this.#context;
    this.#state = "established";
    this.#identity = rest.peer.identity;
    this.#inboundInterface = rest.inboundInterface;
    this.#wantedUntil = rest.wantedUntil;
    this.#validity = rest.validity;
    this.#expiresAt = rest.due;
    // Over an association the port is not needed.
    this.#outlet.path = { address: rest.peer.address, port: 0 };
    this.#outlet.wake(rest.association);
    this.#expiry = time.after(ms(Math.max(0, rest.due - time.now())), () => this.#raise("expired"));
  }

  /** Peer-Identity of the peer, in hexadecimal; "" before it has confirmed. */
  get peerIdentity(): string {
    return this.#identity;
  }

  get association(): Association | undefined {
    return this.#outlet.association;
  }

  /** Undefined before it is set up. */
  get expiresAt(): Milliseconds | undefined {
    return this.#expiresAt;
  }

  get peerAddress(): IpAddress {
    return this.#address;
  }

  get inboundInterface(): string {
    return this.#inboundInterface;
  }

  query(arrival: QueryArrival): void {
    this.#arrival = arrival;
    this.#raise("query");
    this.#arrival = undefined;
  }

  /** A Confirm whose cookie, association and echo were found good. */
  confirm(peer: ConfirmedPeer): void {
    this.#peer = peer;
    this.#raise("confirm");
    this.#peer = undefined;
  }

  message(send: SendMessage): void {
    this.#send = send;
    this.#raise("message");
    this.#send = undefined;
  }

  data(handler: DataHandler): void {
    this.#data = handler;
    this.#raise("data");
    this.#data = undefined;
  }

  noRoutingState(): void {
    this.#loseTo("the previous node has no routing state for this session", "no-routing-state");
  }

  setLifetime(lifetime: Milliseconds): void {
    this.#wantedUntil = lifetime > 0 ? this.#context.time.now() + lifetime : Number.NEGATIVE_INFINITY;
  }

  invalidate(status: "bad" | "tentative"): void {
    // Only the peer can ask anew, so "tentative" can but wait for its next refresh.
    if (status === "bad") this.#raise("bad");
  }

  shutDown(reason: string): void {
    this.#loseTo(reason, "shut-down");
  }

  associationConnected(): void {}

  associationHasRoom(): void {
    this.#raise("room");
  }

  associationLost({ reason, cause }: Loss): void {
    this.#outlet.lost();
    const notification = cause === "unauthorised" ? "node-authorisation-change" : "communication-failure";
    this.#loseTo(reason, "association-lost", notification);
  }

  associationReplaced(by: Association): void {
    this.#outlet.attach(by);
  }

  #loseTo(
    detail: string,
    event: RespondingEvent,
    notification: NetworkNotification["type"] = "communication-failure",
  ): void {
    this.#lost = { notification, detail };
    this.#raise(event);
  }

  #raise(event: RespondingEvent): void {
    const arc = step(RESPONDING_MACHINE, this.#state, event, () => this.#peerUnchanged());
    if (arc === undefined) return;
    this.#state = arc.to;
    for (const action of arc.do) RespondingState.#actions[action](this);
  }

  #peerUnchanged(): boolean {
    if (this.#arrival === undefined) return false;
    const { query, association } = this.#arrival;
    return (
      association === this.#outlet.association &&
      (association !== undefined || query.stack === undefined) &&
      hex(query.nli.peerIdentity) === this.#identity &&
      query.nli.interfaceAddress.equals(this.#address)
    );
  }

  #respond(withCookie: boolean): void {
    if (this.#arrival === undefined) return;
    const validity = respond(this.#context, this.#arrival, withCookie);
    // With a cookie it counts from the Confirm, which brings it back.
    if (!withCookie) this.#validity = validity;
  }

  #scheduleResponse(): void {
    const { options, time } = this.#context;
    if (this.#arrival !== undefined)
      this.#unanswered = { arrival: kept(this.#arrival), wait: options.t1, left: options.confirmWait };
    const unanswered = this.#unanswered;
    if (unanswered === undefined || unanswered.wait > unanswered.left) return;
    unanswered.left = ms(unanswered.left - unanswered.wait);
    this.#responseTimer = time.after(unanswered.wait, () => this.#raise("response-due"));
    unanswered.wait = ms(unanswered.wait * 2);
  }

  #respondAgain(): void {
    if (this.#unanswered === undefined) return;
    this.#context.counters.count("sent.response-again");
    respond(this.#context, this.#unanswered.arrival, true);
  }

  #stopAwaiting(): void {
    this.#confirmTimer?.cancel();
    this.#responseTimer?.cancel();
    this.#unanswered = undefined;
  }

  #awaitConfirm(): void {
    const { time, options } = this.#context;
    this.#confirmTimer = time.after(options.confirmWait, () => this.#raise("no-confirm"));
  }

  #restartExpiry(): void {
    this.#expiry?.cancel();
    const validity = this.#validity ?? this.#context.validity();
    this.#expiresAt = ms(this.#context.time.now() + validity);
    this.#expiry = this.#context.time.after(validity, () => this.#raise("expired"));
  }

  #refuseMessage(): void {
    if (this.#send !== undefined)
      this.#context.nslps.status(this.#send, "no-response", "the previous node has not confirmed yet");
  }

  #tellExpired(): void {
    this.#lost = { ...this.#lost, detail: "the previous node stopped refreshing" };
    if (this.#wantedUntil > this.#context.time.now()) this.#notify("route-deletion", this.#lost.detail);
  }

  #remove(): void {
    this.#expiry?.cancel();
    this.#stopAwaiting();
    this.#outlet.attach(undefined);
    this.#owner.removed(this);
  }

  #adoptPeer(): void {
    const peer = this.#peer;
    if (peer === undefined) return;
    const before = this.#identity;
    const changed = before !== "" && (before !== peer.identity || !this.#address.equals(peer.address));
    const was = this.#address;
    this.#identity = peer.identity;
    this.#address = peer.address;
    this.#outlet.path = { address: peer.address, port: peer.port };
    this.#inboundInterface = peer.inboundInterface;
    this.#validity = peer.validity;
    this.#outlet.attach(peer.association);
    if (changed)
      this.#notify("routing-status-change", `the previous node is now ${peer.address}, it was ${was}`);
  }

  #withSend(use: (send: SendMessage) => void): void {
    if (this.#send !== undefined) use(this.#send);
  }

  #notify(type: NetworkNotification["type"], detail: string): void {
    const { nslpId, sessionId, mri } = this;
    this.#context.nslps.notify({ nslpId, sessionId, mri, type, detail });
  }
}

/** To be kept beyond the handling of the packet: what an answer repeats is copied out of it. */
function kept(arrival: QueryArrival): QueryArrival {
  const { natTraversal, queryCookie } = arrival.query;
  const query = {
    ...arrival.query,
    queryCookie: queryCookie.slice(),
    ...(natTraversal === undefined ? {} : { natTraversal: { value: natTraversal.value.slice() } }),
  };
  return { ...arrival, query };
}

/** Why the state ends. */
interface Lost {
  readonly notification: NetworkNotification["type"];
  readonly detail: string;
}

/** Who confirmed, as checked. */
export interface ConfirmedPeer {
  readonly identity: string;
  readonly address: IpAddress;
  readonly association: Association | undefined;
  /** Without association: the peer's UDP port. */
  readonly port: number;
  /** Where its Query came in. */
  readonly inboundInterface: string;
  /** As the Response to it told. */
  readonly validity: Milliseconds;
}

/** What a Responder-Cookie for this Query, or of this Confirm, stands for. */
export function cookieSubject(message: GistQuery | GistConfirm): CookieSubject {
  return {
    identity: hex(message.nli.peerIdentity),
    interfaceAddress: message.nli.interfaceAddress,
    flow: stateKey(message.mri, message.sessionId, message.nslpId),
  };
}

/**
 * Answers a Query, over the association with its sender where there is one, else as a datagram to its
 * Interface-Address and UDP source port. Keeps nothing; returns the validity that the answer tells.
 */
export function respond(context: GistContext, arrival: QueryArrival, withCookie: boolean): Milliseconds {
  const { query, datagram, association } = arrival;
  const validity = context.validity();
  const from = (own: IpAddress): GistResponse => response(context, arrival, { own, validity, withCookie });
  const local = association?.connection?.localAddress;
  if (association !== undefined && local !== undefined) association.send(from(local));
  else answerWithDatagram(context, query.nli.interfaceAddress, datagram.sourcePort, from);
  return validity;
}

function response(
  context: GistContext,
  { query, datagram, association, payload }: QueryArrival,
  { own, validity, withCookie }: { own: IpAddress; validity: Milliseconds; withCookie: boolean },
): GistResponse {
  const { inboundInterface, ipTtl } = datagram;
  const message: Mutable<GistResponse> = {
    type: "response",
    hops: context.options.hops,
    nslpId: query.nslpId,
    signallingSource: true,
    confirmRequested: withCookie,
    mri: flipMri(query.mri),
    sessionId: query.sessionId,
    // Reported as it was in the Query's IP header; 0 where that is not known.
    nli: ownNli(context, own, ipTtl, validity),
    queryCookie: query.queryCookie,
  };
  if (query.natTraversal !== undefined) message.natTraversal = query.natTraversal;
  if (withCookie) {
    const kept = { inboundInterface, validity };
    message.responderCookie = context.cookies.make(cookieSubject(query), kept);
    // The proposal is the same whatever the Query proposed (RFC 5971 section 5.7.1); an association that is
    // reused needs none.
    if (query.stack !== undefined && association === undefined) message.stack = ownStack(context);
  }
  if (payload !== undefined) message.data = payload;
  return message;
}
