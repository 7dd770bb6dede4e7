/** Query-mode packets taken out of the forwarding path, or addressed to this host (RFC 5971 section 4.3). */
import { SourceBuckets, TokenBucket } from "../base/rate-limit.js";
import { step } from "../base/machine.js";
import { answerTo, type DatagramArrival, receivedMessage } from "./arrival.js";
import type { Associations } from "./associations.js";
import type { Complaints } from "./complaints.js";
import { countSent, type GistContext, hex, towardsPeer } from "./context.js";
import { Decisions } from "./decisions.js";
import { ENCAPSULATION, ENDPOINT_FOUND, fault, HOP_LIMIT, mriFault } from "./errors.js";
import { NODE_MACHINE } from "./node-rules.js";
import { unfitData } from "./outlet.js";
import { mayBePeer } from "./peer-address.js";
import { ipDistance, objectionTo, type QueryModeMessage } from "./query-check.js";
import { type QueryArrival, respond } from "./responding.js";
import type { PeerDecision } from "./service.js";
import type { Sessions } from "./sessions.js";
import { reusableFor } from "./stack.js";
import type { Datagram, Interception, Route } from "./transport/transport.js";
import { ERROR_CODE, encodeGist } from "./wire/codec.js";
import type { GistMessage, GistQuery } from "./wire/messages.js";

const HEADER_BYTES = 8;
const VERSION = 1;
/** A message does not leave with hop count 0. */
const LEAST_HOPS_TO_PASS_ON = 2;
/** IP header with Router Alert, UDP header and magic number. */
const AROUND_MESSAGE = { 4: 24 + 8 + 4, 6: 48 + 8 + 4 } as const;

type Verdict = Interception | Promise<Interception>;

export class QueryIntake {
  readonly #context: GistContext;
  readonly #sessions: Sessions;
  readonly #associations: Associations;
  readonly #complaints: Complaints;
  readonly #decisions: Decisions;
  readonly #all: TokenBucket;
  readonly #sources: SourceBuckets;
  #stopped = false;

  constructor(
    context: GistContext,
    parts: { sessions: Sessions; associations: Associations; complaints: Complaints },
  ) {
    const { time, options } = context;
    this.#context = context;
    this.#sessions = parts.sessions;
    this.#associations = parts.associations;
    this.#complaints = parts.complaints;
    this.#decisions = new Decisions(context);
    this.#all = new TokenBucket(time, options.interceptRate, options.interceptBurst);
    this.#sources = new SourceBuckets(time, options.sourceRate, options.sourceBurst);
  }

  /** Who still waits for an NSLP or for a route gets nothing any more. */
  stop(): void {
    this.#stopped = true;
    this.#decisions.stop();
  }

  /** Never rejects for what the message holds; a promise where the NSLP or a route has to be waited for. */
  take(datagram: Datagram): Verdict {
    if (!this.#sources.take(datagram.source.toString()) || !this.#all.take()) {
      this.#context.counters.count("limited.intercepted");
      return "drop";
    }
    const arrival = { bytes: datagram.message, datagram };
    if (this.#isForeign(datagram.message)) return this.#foreign(arrival);
    const message = this.#complaints.decode(arrival);
    if (message === undefined) return "drop";
    if (!isQueryMode(message)) {
      this.#complaints.about(ENCAPSULATION, message, arrival);
      return "drop";
    }
    if (!this.#complaints.hopsLeft(message, arrival) || !this.#agrees(message, arrival)) return "drop";
    return this.#routedBack(message, arrival, () =>
      message.type === "query" ? this.#follow(message, arrival) : this.#data(message, arrival),
    );
  }

  /** For an NSLP that is not here, as far as the header alone tells: the objects are not this node's business. */
  #isForeign(message: Uint8Array): boolean {
    if (message.length < HEADER_BYTES || message[0] !== VERSION || message[1] === 0) return false;
    return !this.#context.nslps.has(nslpIdOf(message));
  }

  #foreign(arrival: DatagramArrival): Interception {
    if (this.#context.nslps.expects(nslpIdOf(arrival.bytes))) {
      this.#context.counters.count("dropped.nslp-expected");
      return "drop";
    }
    const atEnd = this.#context.isLocal(arrival.datagram.destination);
    if (!atEnd && (arrival.bytes[1] ?? 0) >= LEAST_HOPS_TO_PASS_ON) {
      this.#context.counters.count("passed-on.other-nslp");
      return "decrement-hops";
    }
    const message = this.#complaints.decode(arrival);
    if (message !== undefined && isQueryMode(message))
      this.#complaints.about(atEnd ? ENDPOINT_FOUND : HOP_LIMIT, message, arrival);
    return "drop";
  }

  /** Whether the message agrees with its packet; else it is counted, and answered where that is safe. */
  #agrees(message: QueryModeMessage, arrival: DatagramArrival): boolean {
    // A Query of this node that came back goes on, and is never answered.
    if (!this.#isOwn(message) && !mayBePeer(this.#context, message.nli.interfaceAddress, arrival.datagram)) {
      this.#context.counters.count("refused.nli-address");
      return false;
    }
    const objection = objectionTo(message, arrival.datagram);
    if (objection === undefined) return true;
    this.#context.counters.count(objection.counter);
    if (objection.fault === undefined) return false;
    if (objection.throughNat) this.#complaints.throughNat(objection.fault, arrival);
    else this.#complaints.about(objection.fault, message, arrival);
    return false;
  }

  /** MRI Validation Failure 12/2: what bears the flow's source has to come from where that source is. */
  #routedBack(message: QueryModeMessage, arrival: DatagramArrival, follow: () => Verdict): Verdict {
    const { options, routes, counters } = this.#context;
    const { ingressFilter } = options;
    if (ingressFilter === "off" || message.signallingSource) return follow();
    const { datagram } = arrival;
    const judge = (found: Route | undefined): Verdict => {
      if (isWayBack(found, datagram, ingressFilter)) return follow();
      counters.count("refused.ingress-filter");
      const detail = "the flow's source is not where the packet came from";
      const wrong = mriFault("ingressFilter", detail, message.mri, datagram.message);
      this.#complaints.about(wrong, message, arrival);
      return "drop";
    };
    // Mostly the route is known, and nothing has to wait.
    const answer: {
      known?: { readonly route: Route | undefined };
      later?: (route: Route | undefined) => void;
    } = {};
    const asked = routes.lookup(towardsPeer(datagram.source, datagram.destination), (route) => {
      answer.known = { route };
      answer.later?.(route);
    });
    if (answer.known !== undefined) return judge(answer.known.route);
    if (asked) return new Promise<Route | undefined>((resolve) => (answer.later = resolve)).then(judge);
    counters.count("limited.routes");
    return "drop";
  }

  #data(data: QueryModeMessage, arrival: DatagramArrival): Interception {
    if (this.#stopped) return "drop";
    void this.#context.nslps.recv(
      receivedMessage(this.#context, data, arrival, {
        routingStateCheck: false,
        confirmed: false,
        ipDistance: ipDistance(data, arrival.datagram),
        inboundInterface: arrival.datagram.inboundInterface,
      }),
    );
    return "taken";
  }

  #follow(query: GistQuery, arrival: DatagramArrival, decision?: PeerDecision): Verdict {
    if (this.#stopped) return "drop";
    const { datagram } = arrival;
    const session = answerTo(query);
    const state = this.#sessions.responding(session);
    const arc = step(NODE_MACHINE, "node", "query", (guard) => {
      switch (guard) {
        case "own-query":
          return this.#isOwn(query);
        case "state-exists":
          return state !== undefined;
        case "tables-full":
          return this.#sessions.full;
        case "undecided":
          return decision === undefined;
        case "kept-before-confirm":
          return decision?.peer === true && this.#keepsState(query);
        case "nslp-peers":
          return decision?.peer === true;
        default:
          return this.#context.isLocal(datagram.destination);
      }
    });
    switch (arc?.do[0]) {
      case "to-session":
        state?.query(this.#arrival(query, datagram));
        return "taken";
      case "ask-nslp":
        return this.#ask(query, arrival);
      case "create-session":
        this.#sessions
          .addResponding(session, query.nli)
          .query(this.#arrival(query, datagram, decision?.payload));
        return "taken";
      case "respond-stateless":
        respond(this.#context, this.#arrival(query, datagram, decision?.payload), true);
        return "taken";
      case "refuse-endpoint":
        this.#complaints.about(ENDPOINT_FOUND, query, arrival);
        return "drop";
      case "pass-on":
        return this.#passOn(query, arrival, decision?.payload);
      default:
        this.#context.counters.count("limited.routing-states");
        return "drop";
    }
  }

  #isOwn({ nli }: QueryModeMessage): boolean {
    return hex(nli.peerIdentity) === this.#context.identityText;
  }

  #keepsState({ nli }: GistQuery): boolean {
    const { options, newStates } = this.#context;
    return options.install === "on-query" && newStates.take(nli.interfaceAddress.toString());
  }

  #ask(query: GistQuery, arrival: DatagramArrival): Verdict {
    const { datagram } = arrival;
    const answer = this.#context.nslps.recv(
      receivedMessage(this.#context, query, arrival, {
        routingStateCheck: true,
        confirmed: false,
        ipDistance: ipDistance(query, datagram),
        inboundInterface: datagram.inboundInterface,
      }),
    );
    if (!(answer instanceof Promise)) return this.#follow(query, arrival, this.#fit(answer));
    return this.#decisions
      .wait(answer)
      .then((decision) =>
        decision === undefined ? "drop" : this.#follow(query, arrival, this.#fit(decision)),
      );
  }

  /** A payload that no message can hold does not go along. */
  #fit(decision: PeerDecision): PeerDecision {
    if (decision.payload === undefined || unfitData(decision.payload) === undefined) return decision;
    this.#context.counters.count("refused.query-payload");
    return { peer: decision.peer };
  }

  #arrival(query: GistQuery, datagram: Datagram, payload?: Uint8Array): QueryArrival {
    const { peerIdentity, interfaceAddress } = query.nli;
    const carriers = reusableFor(query.stack?.proposal);
    return {
      query,
      datagram,
      payload,
      association: this.#associations.find(hex(peerIdentity), interfaceAddress, carriers),
    };
  }

  /** With a payload of the NSLP the Query leaves from here anew; it is as it came but for that and the hop count. */
  #passOn(query: GistQuery, arrival: DatagramArrival, payload: Uint8Array | undefined): Interception {
    if (query.hops < LEAST_HOPS_TO_PASS_ON) {
      this.#complaints.about(HOP_LIMIT, query, arrival);
      return "drop";
    }
    const { transport, datagrams, options, counters } = this.#context;
    const { message, destination, ipTtl } = arrival.datagram;
    const changed = payload === undefined ? undefined : { ...query, hops: query.hops - 1, data: payload };
    const bytes = changed === undefined ? message : encodeGist(changed);
    const mtu = transport.cachedRoute?.(query.mri)?.mtu;
    if (mtu !== undefined && bytes.length + AROUND_MESSAGE[destination.family] > mtu) {
      const room = mtu - AROUND_MESSAGE[destination.family];
      const detail = `a message of ${bytes.length} bytes is above the ${room} that the next link takes`;
      const info = { type: "mtu", mtu: Math.min(mtu, 0xffff) } as const;
      this.#complaints.about(fault(ERROR_CODE.messageTooLarge, 0, detail, [info]), query, arrival);
      return "drop";
    }
    counters.count("passed-on.query");
    if (changed === undefined) return "decrement-hops";
    if (ipTtl === 1 || !datagrams.take()) return "drop";
    countSent(this.#context, changed);
    transport.sendQueryMode(query.mri, bytes, {
      spoofSource: !query.signallingSource,
      ttl: ipTtl === 0 ? options.ipTtl : ipTtl - 1,
    });
    return "taken";
  }
}

function isQueryMode(message: GistMessage): message is QueryModeMessage {
  return (
    message.type === "query" || (message.type === "data" && message.queryMode && message.nli !== undefined)
  );
}

function isWayBack(
  route: Route | undefined,
  { inboundInterface }: Datagram,
  filter: "loose" | "strict",
): boolean {
  if (route === undefined) return false;
  return filter === "loose" || inboundInterface === "" || route.interfaceName === inboundInterface;
}

/** @param message of at least a common header */
function nslpIdOf(message: Uint8Array): number {
  return ((message[4] ?? 0) << 8) | (message[5] ?? 0);
}
