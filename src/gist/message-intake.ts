/** Messages that are addressed to this node: on associations, and as datagrams in answer to its own. */
import { step } from "../base/machine.js";
import {
  type Arrival,
  answerTo,
  type FlowMessage,
  isFromPeer,
  mayComplain,
  nliFault,
  receivedMessage,
} from "./arrival.js";
import type { Association } from "./association.js";
import type { Associations } from "./associations.js";
import type { Complaints } from "./complaints.js";
import { type GistContext, hex, peerTime } from "./context.js";
import type { Kept } from "./cookies.js";
import { ENCAPSULATION, fault, meaningOf, NO_ROUTING_STATE, objectFault, stackFault } from "./errors.js";
import { originalMri } from "./nat.js";
import { NODE_MACHINE } from "./node-rules.js";
import { mayBePeer } from "./peer-address.js";
import { QueryingState } from "./querying.js";
import { cookieSubject, type RespondingState } from "./responding.js";
import type { FlowSession, RoutingState, Sessions } from "./sessions.js";
import { isOwnProposal } from "./stack.js";
import { ERROR_CODE, type GistFault } from "./wire/codec.js";
import type {
  GistConfirm,
  GistData,
  GistError,
  GistHello,
  GistResponse,
  NetworkLayerInformation,
} from "./wire/messages.js";

export class MessageIntake {
  readonly #context: GistContext;
  readonly #sessions: Sessions;
  readonly #associations: Associations;
  readonly #complaints: Complaints;

  constructor(
    context: GistContext,
    parts: { sessions: Sessions; associations: Associations; complaints: Complaints },
  ) {
    this.#context = context;
    this.#sessions = parts.sessions;
    this.#associations = parts.associations;
    this.#complaints = parts.complaints;
  }

  take(arrival: Arrival): void {
    const message = this.#complaints.decode(arrival);
    if (message === undefined) return;
    switch (message.type) {
      case "error":
        this.#error(message, arrival);
        break;
      case "hello":
        this.#hello(message, arrival);
        break;
      case "query":
        this.#complaints.about(ENCAPSULATION, message, arrival);
        break;
      default:
        this.#flowMessage(message, arrival);
    }
  }

  #flowMessage(message: GistResponse | GistConfirm | GistData, arrival: Arrival): void {
    if (!this.#complaints.hopsLeft(message, arrival)) return;
    if (message.nli !== undefined && !this.#isOfPeer(message.nli, arrival)) {
      this.#context.counters.count("refused.nli-address");
      return;
    }
    if (!this.#context.nslps.has(message.nslpId)) {
      this.#complaints.about(fault(ERROR_CODE.unknownNslpId), message, arrival);
      return;
    }
    if (message.type === "response") this.#response(message, arrival);
    else if (message.type === "confirm") this.#confirm(message, arrival);
    else this.#data(message, arrival);
  }

  #isOfPeer({ interfaceAddress }: NetworkLayerInformation, { association, datagram }: Arrival): boolean {
    const from = datagram ?? { source: association.address, inboundInterface: "" };
    return mayBePeer(this.#context, interfaceAddress, from);
  }

  #response(response: GistResponse, arrival: Arrival): void {
    const { association, datagram } = arrival;
    const { natTraversal, nli } = response;
    const state = this.#sessions.querying(queriedBy(response));
    const named = hex(nli.peerIdentity);
    const fromWhoItNames = association?.standsFor(named) !== false && named !== this.#context.identityText;
    const known =
      fromWhoItNames &&
      state?.knows(response.queryCookie) === true &&
      (association === undefined || state.proposes(association.carrier));
    const arc = step(NODE_MACHINE, "node", "response", () => known);
    if (arc?.do[0] !== "to-session" || state === undefined) {
      this.#context.counters.count("dropped.response");
      return;
    }
    if (
      datagram !== undefined &&
      natTraversal === undefined &&
      !datagram.source.equals(nli.interfaceAddress)
    ) {
      this.#refuseNat(state, response, arrival);
      return;
    }
    if (association !== undefined) this.#associations.learn(association, nli.interfaceAddress);
    state.response(response, association, datagram);
    if (response.data !== undefined) this.#deliver(response, arrival, "");
  }

  /** A NAT that knows no GIST, with this node on its outer side (RFC 5971 section 7.2.1). */
  #refuseNat(state: QueryingState, response: GistResponse, arrival: Arrival): void {
    this.#context.counters.count("refused.nat");
    const detail = "the Response's source address is not its Interface-Address: there is a NAT on the path";
    this.#complaints.about(objectFault("untranslated", "mri", detail), response, arrival);
    state.failed("transport-failed", detail);
  }

  #confirm(confirm: GistConfirm, arrival: Arrival): void {
    const state = this.#sessions.responding(answerTo(confirm));
    const kept = this.#checkCookie(confirm, arrival);
    const arc = step(NODE_MACHINE, "node", "confirm", (guard) => {
      switch (guard) {
        case "weaker-than-state":
          return state !== undefined && weaker(arrival.association, state.association);
        case "tables-full":
          return state === undefined && this.#sessions.full;
        case "cookie-good":
          return kept !== undefined;
        case "source-limited":
          return kept !== undefined && state === undefined && !this.#mayMakeState(confirm, arrival);
        default:
          return state !== undefined;
      }
    });
    switch (arc?.do[0]) {
      case "to-session":
        if (kept !== undefined) this.#install(confirm, arrival, state, kept);
        break;
      case "refuse-state":
        this.#complaints.about(NO_ROUTING_STATE, confirm, arrival);
        break;
      default:
        this.#context.counters.count("dropped.confirm");
    }
  }

  /** What its Response kept in the cookie, when the Confirm belongs to a Response of this node. */
  #checkCookie(confirm: GistConfirm, arrival: Arrival): Kept | undefined {
    if (confirm.responderCookie === undefined) return undefined;
    if (arrival.association?.standsFor(hex(confirm.nli.peerIdentity)) === false) return undefined;
    return this.#context.cookies.check(confirm.responderCookie, cookieSubject(confirm));
  }

  /** A peer is known by its certificate, or else by the address to which its cookie was sent: it can have many names. */
  #mayMakeState({ nli }: GistConfirm, { association }: Arrival): boolean {
    const known = association?.carrier === "tls" ? association.identity : nli.interfaceAddress.toString();
    if (this.#context.newStates.take(known)) return true;
    this.#context.counters.count("limited.new-states");
    return false;
  }

  #install(
    confirm: GistConfirm,
    arrival: Arrival,
    state: RespondingState | undefined,
    { inboundInterface, validity }: Kept,
  ): void {
    if (!this.#bindStack(confirm, arrival)) return;
    const { association, datagram } = arrival;
    const { peerIdentity, interfaceAddress } = confirm.nli;
    const session = state ?? this.#sessions.addResponding(answerTo(confirm), confirm.nli);
    session.confirm({
      identity: hex(peerIdentity),
      address: interfaceAddress,
      association,
      port: datagram?.sourcePort ?? 0,
      inboundInterface,
      validity,
    });
    if (confirm.data !== undefined) this.#deliver(confirm, arrival, inboundInterface);
  }

  /**
   * Checks the echo of the stack proposal, which must come with the first Confirm on an association that the peer
   * opened (RFC 5971 section 5.7.1); an association that fails is closed. A Confirm that is to set up an association does
   * not come as a datagram (appendix A.4.4.3).
   */
  #bindStack(confirm: GistConfirm, arrival: Arrival): boolean {
    const { association } = arrival;
    const wrong = objectionTo(this.#context, confirm, arrival);
    if (wrong !== undefined) {
      this.#complaints.about(wrong, confirm, arrival);
      association?.shutDown("the peer's Confirm does not agree with the stack proposal");
      return false;
    }
    if (association === undefined) return true;
    association.confirmed = true;
    association.identify(hex(confirm.nli.peerIdentity));
    if (confirm.configuration !== undefined)
      association.peerHoldTime = peerTime(this.#context, confirm.configuration.holdTime);
    this.#associations.learn(association, confirm.nli.interfaceAddress);
    return true;
  }

  #data(data: GistData, arrival: Arrival): void {
    const wrong = data.queryMode ? ENCAPSULATION : nliFault(data, arrival);
    if (wrong !== undefined) {
      this.#complaints.about(wrong, data, arrival);
      return;
    }
    const session = answerTo(data);
    const way = arrival.association && this.#sessions.wayAtRest(session);
    if (way !== undefined && way.peer.identity === arrival.association?.identity) {
      this.#deliver(data, arrival, way.kind === "responding" ? way.inboundInterface : "");
      return;
    }
    const state = this.#sessions.find(session);
    const arc = step(NODE_MACHINE, "node", "data", (guard) => {
      switch (guard) {
        case "state-exists":
          return state !== undefined && isFromPeer(state, data, arrival);
        case "explicitly-routed":
          return data.explicitlyRouted && arrival.association !== undefined;
        default:
          return state?.association !== undefined && arrival.association !== undefined;
      }
    });
    switch (arc?.do[0]) {
      case "to-session":
        this.#dataFor(state, data, arrival);
        break;
      case "deliver":
        this.#deliver(data, arrival, "");
        break;
      case "refuse-association":
        this.#complaints.about(fault(ERROR_CODE.incorrectlyDelivered), data, arrival);
        break;
      default:
        this.#complaints.about(NO_ROUTING_STATE, data, arrival);
    }
  }

  #dataFor(state: RoutingState | undefined, data: GistData, arrival: Arrival): void {
    if (state === undefined || state instanceof QueryingState) {
      this.#deliver(data, arrival, "");
      return;
    }
    state.data({
      deliver: () => this.#deliver(data, arrival, state.inboundInterface),
      refuse: () => this.#complaints.about(NO_ROUTING_STATE, data, arrival),
    });
  }

  #hello(message: GistHello, arrival: Arrival): void {
    if (arrival.association === undefined) this.#complaints.about(ENCAPSULATION, message, arrival);
    else if (message.replyRequested) arrival.association.answerHello(message.helloId);
    else arrival.association.helloAnswered(message.helloId);
  }

  #error({ error }: GistError, arrival: Arrival): void {
    const { code, sessionId, mri, originalHeader } = error;
    const meaning = meaningOf(error);
    this.#context.counters.count(`received.error-${meaning === undefined ? "other" : code}`);
    if (sessionId === undefined || mri === undefined) return;
    const nslpId = ((originalHeader[4] ?? 0) << 8) | (originalHeader[5] ?? 0);
    const state = this.#sessions.find({ nslpId, sessionId, mri });
    if (state === undefined || !mayComplain(state, arrival)) return;
    if (code === ERROR_CODE.noRoutingState || code === ERROR_CODE.incorrectlyDelivered) {
      state.noRoutingState();
      return;
    }
    if (!(state instanceof QueryingState)) return;
    if (meaning === undefined) state.failed("transport-failed", `the next node refused with code ${code}`);
    else state.failed(meaning.error, meaning.detail);
  }

  #deliver(message: FlowMessage, arrival: Arrival, inboundInterface: string): void {
    const about = { routingStateCheck: false, confirmed: true, ipDistance: undefined, inboundInterface };
    void this.#context.nslps.recv(receivedMessage(this.#context, message, arrival, about));
  }
}

/** The session of a Response: by the MRI that the Query had before a NAT changed it. */
function queriedBy(response: GistResponse): FlowSession {
  const { natTraversal } = response;
  const mri = natTraversal === undefined ? undefined : originalMri(natTraversal);
  return mri === undefined ? answerTo(response) : { ...answerTo(response), mri };
}

/** Whether what comes so is less safe than what the state has. */
function weaker(by: Association | undefined, state: Association | undefined): boolean {
  if (state === undefined) return false;
  return by === undefined || (state.carrier === "tls" && by.carrier === "tcp");
}

function objectionTo(
  context: GistContext,
  { proposal, configuration }: GistConfirm,
  { association, bytes }: Arrival,
): GistFault | undefined {
  if (association === undefined) return proposal === undefined ? undefined : ENCAPSULATION;
  const first = !association.confirmed;
  if (first && proposal === undefined)
    return objectFault("missing", "stackProposal", "the first Confirm echoes the Stack-Proposal");
  if (first && configuration === undefined)
    return objectFault("missing", "stackConfiguration", "the first Confirm has an MA-Hold-Time");
  if (proposal === undefined || isOwnProposal(context, proposal)) return undefined;
  return stackFault("the Stack-Proposal is not the one that was sent", bytes);
}
