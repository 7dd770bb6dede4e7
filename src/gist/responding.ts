/** Routing state towards a peer that asked for it: Responding-SM of RFC 5971 section 6.3. */
import type { IpAddress } from "../base/address.js";
import { step, type Table } from "../base/machine.js";
import type { Timer } from "../base/time.js";
import type { Milliseconds } from "../base/units.js";
import type { Association, AssociationUser } from "./association.js";
import {
  type GistContext,
  hex,
  ownNli,
  STACK_PROPOSAL,
  sendDatagram,
  stackConfiguration,
  stateKey,
  towardsPeer,
} from "./context.js";
import type { CookieSubject } from "./cookies.js";
import { sendData } from "./data-path.js";
import type { SendMessage } from "./service.js";
import { portOption } from "./stack.js";
import type { Datagram } from "./transport/transport.js";
import { flipMri } from "./wire/codec.js";
import type {
  GistConfirm,
  GistQuery,
  GistResponse,
  Mri,
  NetworkLayerInformation,
  SessionId,
} from "./wire/messages.js";

export type RespondingStateName = "none" | "awaiting-confirm" | "established" | "awaiting-refresh" | "gone";
type Event =
  | "query"
  | "confirm"
  | "no-confirm"
  | "message"
  | "data"
  | "expired"
  | "association-lost"
  | "no-routing-state"
  | "bad"
  | "shut-down";
type Guard = "peer-unchanged";
type Action =
  | "respond"
  | "respond-with-cookie"
  | "await-confirm"
  | "stop-awaiting"
  | "adopt-peer"
  | "restart-expiry"
  | "send"
  | "refuse-message"
  | "deliver"
  | "refuse-data"
  | "tell-expired"
  | "tell-failure"
  | "remove";

const HELD = ["established", "awaiting-refresh"] as const;
const ANY = ["awaiting-confirm", ...HELD] as const;

export const RESPONDING_MACHINE: Table<RespondingStateName, Event, Guard, Action> = [
  {
    from: "none",
    on: "query",
    do: ["respond-with-cookie", "await-confirm"],
    to: "awaiting-confirm",
    note: "only where state is kept before the Confirm",
  },
  {
    from: "none",
    on: "confirm",
    do: ["adopt-peer", "restart-expiry"],
    to: "established",
    note: "delayed state installation: the Confirm alone rebuilds everything",
  },
  { from: "awaiting-confirm", on: "query", do: ["respond-with-cookie"], to: "awaiting-confirm" },
  {
    from: "awaiting-confirm",
    on: "confirm",
    do: ["stop-awaiting", "adopt-peer", "restart-expiry"],
    to: "established",
  },
  { from: "awaiting-confirm", on: "no-confirm", do: ["remove"], to: "gone" },
  { from: "awaiting-confirm", on: "data", do: ["refuse-data"], to: "awaiting-confirm" },
  { from: "awaiting-confirm", on: "message", do: ["refuse-message"], to: "awaiting-confirm" },
  { from: HELD, on: "query", when: "peer-unchanged", do: ["respond", "restart-expiry"], to: "established" },
  {
    from: "established",
    on: "query",
    do: ["respond-with-cookie", "await-confirm"],
    to: "awaiting-refresh",
    note: "another peer, or no association with it: nothing changes before it has confirmed",
  },
  { from: "awaiting-refresh", on: "query", do: ["respond-with-cookie"], to: "awaiting-refresh" },
  {
    from: "awaiting-refresh",
    on: "confirm",
    do: ["stop-awaiting", "adopt-peer", "restart-expiry"],
    to: "established",
  },
  {
    from: "awaiting-refresh",
    on: "no-confirm",
    do: [],
    to: "established",
    note: "a forged Query must not end the state; its own expiry does",
  },
  {
    from: "established",
    on: "confirm",
    do: ["adopt-peer", "restart-expiry"],
    to: "established",
    note: "of an earlier Response, or of a peer that lost its state",
  },
  { from: "established", on: "message", do: ["send"], to: "established" },
  { from: "awaiting-refresh", on: "message", do: ["send"], to: "awaiting-refresh" },
  { from: "established", on: "data", do: ["deliver"], to: "established" },
  { from: "awaiting-refresh", on: "data", do: ["deliver"], to: "awaiting-refresh" },
  { from: HELD, on: "expired", do: ["tell-expired", "remove"], to: "gone", note: "Expire_RNode" },
  { from: HELD, on: "association-lost", do: ["tell-failure", "remove"], to: "gone" },
  {
    from: HELD,
    on: "no-routing-state",
    do: ["tell-failure", "remove"],
    to: "gone",
    note: "a responding node cannot refresh; the peer has to ask again",
  },
  { from: HELD, on: "bad", do: ["remove"], to: "gone" },
  { from: ANY, on: "shut-down", do: ["remove"], to: "gone" },
];

/** A Query together with how it came. */
export interface QueryArrival {
  readonly query: GistQuery;
  readonly datagram: Datagram;
  /** The live association with the node that the Query names, which then carries the Response. */
  readonly association: Association | undefined;
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
  static readonly #actions: Readonly<Record<Action, (self: RespondingState) => void>> = {
    respond: (self) => self.#respond(false),
    "respond-with-cookie": (self) => self.#respond(true),
    "await-confirm": (self) => self.#awaitConfirm(),
    "stop-awaiting": (self) => self.#confirmTimer?.cancel(),
    "adopt-peer": (self) => self.#adoptPeer(),
    "restart-expiry": (self) => self.#restartExpiry(),
    send: (self) => self.#transmit(),
    "refuse-message": (self) => self.#refuseMessage(),
    deliver: (self) => self.#data?.deliver(),
    "refuse-data": (self) => self.#data?.refuse(),
    "tell-expired": (self) => self.#tellExpired(),
    "tell-failure": (self) => self.#notify("communication-failure", self.#lost),
    remove: (self) => self.#remove(),
  };

  /** Of the MRI as this node sends it, which is upstream. */
  readonly key: string;
  readonly nslpId: number;
  readonly sessionId: SessionId;
  /** As this node sends it. */
  readonly mri: Mri;
  readonly #context: GistContext;
  readonly #owner: RespondingOwner;
  #state: RespondingStateName = "none";
  #identity = "";
  #address: IpAddress;
  #port = 0;
  #localAddress: IpAddress;
  #association: Association | undefined;
  #inboundInterface = "";
  #expiry: Timer | undefined;
  #confirmTimer: Timer | undefined;
  #wantedUntil = Number.NEGATIVE_INFINITY;
  #lost = "";
  // What the event being handled is about.
  #arrival: QueryArrival | undefined;
  #peer: ConfirmedPeer | undefined;
  #send: SendMessage | undefined;
  #data: DataHandler | undefined;

  constructor(
    context: GistContext,
    owner: RespondingOwner,
    key: string,
    flow: { nslpId: number; sessionId: SessionId; mri: Mri; nli: NetworkLayerInformation },
  ) {
    this.#context = context;
    this.#owner = owner;
    this.key = key;
    this.nslpId = flow.nslpId;
    this.sessionId = flow.sessionId;
    this.mri = flow.mri;
    this.#address = flow.nli.interfaceAddress;
    this.#localAddress = flow.nli.interfaceAddress;
  }

  get state(): RespondingStateName {
    return this.#state;
  }

  /** Peer-Identity of the peer, in hexadecimal; "" before it has confirmed. */
  get peerIdentity(): string {
    return this.#identity;
  }

  get hasAssociation(): boolean {
    return this.#association !== undefined;
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
    this.#lost = "the previous node has no routing state for this session";
    this.#raise("no-routing-state");
  }

  setLifetime(lifetime: Milliseconds): void {
    this.#wantedUntil = lifetime > 0 ? this.#context.time.now() + lifetime : Number.NEGATIVE_INFINITY;
  }

  invalidate(status: "bad" | "tentative"): void {
    // Only the peer can ask anew, so "tentative" can but wait for its next refresh.
    if (status === "bad") this.#raise("bad");
  }

  shutDown(): void {
    this.#raise("shut-down");
  }

  associationConnected(): void {}

  associationLost(reason: string): void {
    this.#association = undefined;
    this.#lost = reason;
    this.#raise("association-lost");
  }

  associationReplaced(by: Association): void {
    this.#attach(by);
  }

  #raise(event: Event): void {
    const arc = step(RESPONDING_MACHINE, this.#state, event, () => this.#peerUnchanged());
    if (arc === undefined) return;
    this.#state = arc.to;
    for (const action of arc.do) RespondingState.#actions[action](this);
  }

  #peerUnchanged(): boolean {
    if (this.#arrival === undefined) return false;
    const { query, association } = this.#arrival;
    return (
      association === this.#association &&
      (association !== undefined || query.stack === undefined) &&
      hex(query.nli.peerIdentity) === this.#identity &&
      query.nli.interfaceAddress.equals(this.#address)
    );
  }

  #respond(withCookie: boolean): void {
    if (this.#arrival !== undefined) respond(this.#context, this.#arrival, withCookie, undefined);
  }

  #awaitConfirm(): void {
    const { time, options } = this.#context;
    this.#confirmTimer = time.after(options.confirmWait, () => this.#raise("no-confirm"));
  }

  #restartExpiry(): void {
    this.#expiry?.cancel();
    this.#expiry = this.#context.time.after(this.#context.validity(), () => this.#raise("expired"));
  }

  #refuseMessage(): void {
    if (this.#send !== undefined)
      this.#context.nslps.status(this.#send, "no-response", "the previous node has not confirmed yet");
  }

  #tellExpired(): void {
    if (this.#wantedUntil > this.#context.time.now())
      this.#notify("route-deletion", "the previous node stopped refreshing");
  }

  #remove(): void {
    this.#expiry?.cancel();
    this.#confirmTimer?.cancel();
    this.#association?.detach(this);
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
    this.#port = peer.port;
    this.#localAddress = peer.localAddress;
    this.#inboundInterface = peer.inboundInterface;
    this.#attach(peer.association);
    if (changed)
      this.#notify("routing-status-change", `the previous node is now ${peer.address}, it was ${was}`);
  }

  #attach(association: Association | undefined): void {
    if (association === this.#association) return;
    this.#association?.detach(this);
    this.#association = association;
    association?.attach(this);
  }

  #transmit(): void {
    if (this.#send === undefined) return;
    const path = {
      association: this.#association,
      address: this.#address,
      port: this.#port,
      localAddress: this.#localAddress,
    };
    sendData(this.#context, path, this, this.#send);
  }

  #notify(type: "communication-failure" | "routing-status-change" | "route-deletion", detail: string): void {
    const { nslpId, sessionId, mri } = this;
    this.#context.nslps.notify({ nslpId, sessionId, mri, type, detail });
  }
}

/** Who confirmed, as checked. */
export interface ConfirmedPeer {
  readonly identity: string;
  readonly address: IpAddress;
  readonly association: Association | undefined;
  /** Without association: the peer's UDP port, and the own address it sent to. */
  readonly port: number;
  readonly localAddress: IpAddress;
  /** Where its Query came in. */
  readonly inboundInterface: string;
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
 * Interface-Address and UDP source port. Keeps nothing. `payload` is the NSLP's, for the querying NSLP.
 */
export function respond(
  context: GistContext,
  arrival: QueryArrival,
  withCookie: boolean,
  payload: Uint8Array | undefined,
): void {
  const { query, datagram, association } = arrival;
  const local = association?.connection?.localAddress;
  if (association !== undefined && local !== undefined) {
    association.send(response(context, arrival, local, withCookie, payload));
    return;
  }
  const to = query.nli.interfaceAddress;
  const asked = context.routes.lookup(towardsPeer(query.mri.destination, to), (route) => {
    if (route === undefined) {
      context.counters.count("dropped.no-route-back");
      return;
    }
    const message = response(context, arrival, route.interfaceAddress, withCookie, payload);
    sendDatagram(context, to, datagram.sourcePort, message);
  });
  if (!asked) context.counters.count("limited.routes");
}

function response(
  context: GistContext,
  { query, datagram, association }: QueryArrival,
  interfaceAddress: IpAddress,
  withCookie: boolean,
  payload: Uint8Array | undefined,
): GistResponse {
  return {
    type: "response",
    hops: context.options.hops,
    nslpId: query.nslpId,
    signallingSource: true,
    confirmRequested: withCookie,
    ...(query.natTraversal === undefined ? {} : { natTraversal: query.natTraversal }),
    mri: flipMri(query.mri),
    sessionId: query.sessionId,
    nli: ownNli(context, interfaceAddress, 0, context.validity()),
    queryCookie: query.queryCookie,
    ...(withCookie
      ? { responderCookie: context.cookies.make(cookieSubject(query), datagram.inboundInterface) }
      : {}),
    // The proposal is the same whatever the Query proposed (RFC 5971 section 5.7.1); an association that is
    // reused needs none.
    ...(withCookie && query.stack !== undefined && association === undefined
      ? {
          stack: {
            proposal: STACK_PROPOSAL,
            configuration: stackConfiguration(context, [portOption(context.transport.tlsPort)]),
          },
        }
      : {}),
    ...(payload === undefined ? {} : { data: payload }),
  };
}
