/** Messages that are addressed to this node: on associations, and as datagrams in answer to its own. */
import { step } from "../base/machine.js";
import {
  type Arrival,
  answerTo,
  type FlowMessage,
  isFromPeer,
  mayComplain,
  nliComplaint,
  receivedMessage,
} from "./arrival.js";
import type { Association } from "./association.js";
import type { Associations } from "./associations.js";
import type { Complaints } from "./complaints.js";
import { type GistContext, hex, peerTime } from "./context.js";
import { type Complaint, meaningOf, NO_ROUTING_STATE, OBJECT, objectComplaint } from "./errors.js";
import { NODE_MACHINE } from "./node-rules.js";
import { QueryingState } from "./querying.js";
import { cookieSubject, type RespondingState } from "./responding.js";
import type { RoutingState, Sessions } from "./sessions.js";
import { isOwnProposal } from "./stack.js";
import { ERROR_CODE, OBJECT_VALUE_ERROR } from "./wire/codec.js";
import type { GistConfirm, GistData, GistError, GistHello, GistResponse } from "./wire/messages.js";

const ENCAPSULATION: Complaint = { code: ERROR_CODE.incorrectEncapsulation };

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
    if (!this.#context.nslps.has(message.nslpId)) {
      this.#complaints.about({ code: ERROR_CODE.unknownNslpId }, message, arrival);
      return;
    }
    if (message.type === "response") this.#response(message, arrival);
    else if (message.type === "confirm") this.#confirm(message, arrival);
    else this.#data(message, arrival);
  }

  #response(response: GistResponse, arrival: Arrival): void {
    const { association, datagram } = arrival;
    const state = this.#sessions.querying(answerTo(response));
    const fromWhoItNames =
      association === undefined || association.identity === hex(response.nli.peerIdentity);
    const known = fromWhoItNames && state?.knows(response.queryCookie) === true;
    const arc = step(NODE_MACHINE, "node", "response", () => known);
    if (arc?.do[0] !== "to-session" || state === undefined) {
      this.#context.counters.count("dropped.response");
      return;
    }
    if (association !== undefined) this.#associations.learn(association, response.nli.interfaceAddress);
    state.response(response, association, datagram);
    if (response.data !== undefined) this.#deliver(response, arrival, "");
  }

  #confirm(confirm: GistConfirm, arrival: Arrival): void {
    const state = this.#sessions.responding(answerTo(confirm));
    const cameIn = this.#checkCookie(confirm, arrival.association);
    const arc = step(NODE_MACHINE, "node", "confirm", (guard) => {
      switch (guard) {
        case "weaker-than-state":
          return arrival.association === undefined && state?.hasAssociation === true;
        case "tables-full":
          return state === undefined && this.#sessions.full;
        case "cookie-good":
          return cameIn !== undefined;
        case "state-exists":
          return state !== undefined;
        default:
          return arrival.association !== undefined;
      }
    });
    switch (arc?.do[0]) {
      case "to-session":
        this.#install(confirm, arrival, state, cameIn ?? "");
        break;
      case "refuse-state":
        this.#complaints.about(NO_ROUTING_STATE, confirm, arrival);
        break;
      default:
        this.#context.counters.count("dropped.confirm");
    }
  }

  /** The interface on which the Query came in, when the Confirm belongs to a Response of this node. */
  #checkCookie(confirm: GistConfirm, association: Association | undefined): string | undefined {
    if (confirm.responderCookie === undefined) return undefined;
    if (association !== undefined && association.identity !== hex(confirm.nli.peerIdentity)) return undefined;
    return this.#context.cookies.check(confirm.responderCookie, cookieSubject(confirm));
  }

  #install(
    confirm: GistConfirm,
    arrival: Arrival,
    state: RespondingState | undefined,
    inboundInterface: string,
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
      localAddress: datagram?.destination ?? interfaceAddress,
      inboundInterface,
    });
    if (confirm.data !== undefined) this.#deliver(confirm, arrival, inboundInterface);
  }

  /**
   * Checks the echo of the stack proposal, which must come with the first Confirm on an association that the peer
   * opened (RFC 5971 section 5.7.1); an association that fails is closed.
   */
  #bindStack(confirm: GistConfirm, arrival: Arrival): boolean {
    const { association } = arrival;
    const complaint = stackComplaint(confirm, association !== undefined && !association.confirmed);
    if (complaint !== undefined) {
      this.#complaints.about(complaint, confirm, arrival);
      association?.shutDown("the peer's Confirm does not agree with the stack proposal");
      return false;
    }
    if (association === undefined) return true;
    association.confirmed = true;
    if (confirm.configuration !== undefined)
      association.peerHoldTime = peerTime(this.#context, confirm.configuration.holdTime);
    this.#associations.learn(association, confirm.nli.interfaceAddress);
    return true;
  }

  #data(data: GistData, arrival: Arrival): void {
    const complaint = nliComplaint(data, arrival);
    if (complaint !== undefined) {
      this.#complaints.about(complaint, data, arrival);
      return;
    }
    const state = this.#sessions.find(answerTo(data));
    const arc = step(NODE_MACHINE, "node", "data", (guard) => {
      switch (guard) {
        case "state-exists":
          return state !== undefined && isFromPeer(state, data, arrival);
        case "explicitly-routed":
          return data.explicitlyRouted && arrival.association !== undefined;
        default:
          return state?.hasAssociation === true && arrival.association !== undefined;
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
        this.#complaints.about({ code: ERROR_CODE.incorrectlyDelivered }, data, arrival);
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
    else if (message.replyRequested) arrival.association.hello(message.helloId);
  }

  #error({ error }: GistError, arrival: Arrival): void {
    const { code, sessionId, mri, originalHeader, comment } = error;
    const meaning = meaningOf(code);
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
    const [kind, detail] = meaning ?? ["transport-failed", `the next node refused with code ${code}`];
    state.failed(kind, comment === undefined || comment === "" ? detail : `${detail}: ${comment}`);
  }

  #deliver(message: FlowMessage, arrival: Arrival, inboundInterface: string): void {
    const about = { routingStateCheck: false, ipDistance: undefined, inboundInterface };
    this.#context.nslps.recv(receivedMessage(message, arrival, about));
  }
}

function stackComplaint(confirm: GistConfirm, first: boolean): Complaint | undefined {
  const { proposal, configuration } = confirm;
  if (first && proposal === undefined)
    return objectComplaint("missing", OBJECT.stackProposal, "the first Confirm echoes the Stack-Proposal");
  if (first && configuration === undefined)
    return objectComplaint("missing", OBJECT.stackConfiguration, "the first Confirm has an MA-Hold-Time");
  if (proposal === undefined || isOwnProposal(proposal)) return undefined;
  return {
    code: ERROR_CODE.objectValue,
    subcode: OBJECT_VALUE_ERROR.stackMismatch,
    message: "the Stack-Proposal is not the one that was sent",
  };
}
