/** Query-mode packets taken out of the forwarding path, or addressed to this host (RFC 5971 section 4.3). */
import type { IpAddress } from "../base/address.js";
import { step } from "../base/machine.js";
import { answerTo, type DatagramArrival, receivedMessage } from "./arrival.js";
import type { Associations } from "./associations.js";
import type { Complaints } from "./complaints.js";
import { type GistContext, hex } from "./context.js";
import { ENDPOINT_FOUND } from "./errors.js";
import { NODE_MACHINE } from "./node-rules.js";
import { ipDistance, objectionTo } from "./query-check.js";
import { SourceBuckets, TokenBucket } from "../base/rate-limit.js";
import { type QueryArrival, respond } from "./responding.js";
import type { PeerDecision } from "./service.js";
import type { Sessions } from "./sessions.js";
import type { Datagram, Interception } from "./transport/transport.js";
import { ERROR_CODE, encodeGist } from "./wire/codec.js";
import type { GistData, GistQuery } from "./wire/messages.js";

const HEADER_BYTES = 8;
const VERSION = 1;

export class QueryIntake {
  readonly #context: GistContext;
  readonly #sessions: Sessions;
  readonly #associations: Associations;
  readonly #complaints: Complaints;
  readonly #isLocal: (address: IpAddress) => boolean;
  readonly #all: TokenBucket;
  readonly #sources: SourceBuckets;

  constructor(
    context: GistContext,
    parts: { sessions: Sessions; associations: Associations; complaints: Complaints },
    isLocal: (address: IpAddress) => boolean,
  ) {
    const { time, options } = context;
    this.#context = context;
    this.#sessions = parts.sessions;
    this.#associations = parts.associations;
    this.#complaints = parts.complaints;
    this.#isLocal = isLocal;
    this.#all = new TokenBucket(time, options.interceptRate, options.interceptBurst);
    this.#sources = new SourceBuckets(time, options.sourceRate, options.sourceBurst);
  }

  take(datagram: Datagram): Interception {
    if (!this.#sources.take(datagram.source.toString()) || !this.#all.take()) {
      this.#context.counters.count("limited.intercepted");
      return "drop";
    }
    const arrival = { bytes: datagram.message, datagram };
    if (this.#isForeign(datagram.message)) return this.#foreign(arrival);
    const message = this.#complaints.decode(arrival);
    if (message === undefined) return "drop";
    if (message.type === "query") return this.#query(message, arrival);
    if (message.type === "data" && message.queryMode) return this.#data(message, arrival);
    this.#complaints.about({ code: ERROR_CODE.incorrectEncapsulation }, message, arrival);
    return "drop";
  }

  /** For an NSLP that is not here, as far as the header alone tells: the objects are not this node's business. */
  #isForeign(message: Uint8Array): boolean {
    if (message.length < HEADER_BYTES || message[0] !== VERSION || message[1] === 0) return false;
    return !this.#context.nslps.has(((message[4] ?? 0) << 8) | (message[5] ?? 0));
  }

  #foreign(arrival: DatagramArrival): Interception {
    if (!this.#isLocal(arrival.datagram.destination)) {
      this.#context.counters.count("passed-on.other-nslp");
      return "decrement-hops";
    }
    const message = this.#complaints.decode(arrival);
    if (message?.type === "query") this.#complaints.about(ENDPOINT_FOUND, message, arrival);
    return "drop";
  }

  #data(data: GistData, arrival: DatagramArrival): Interception {
    if (!this.#complaints.hopsLeft(data, arrival)) return "drop";
    const { inboundInterface } = arrival.datagram;
    const about = { routingStateCheck: false, ipDistance: undefined, inboundInterface };
    this.#context.nslps.recv(receivedMessage(data, arrival, about));
    return "taken";
  }

  #query(query: GistQuery, arrival: DatagramArrival): Interception {
    if (!this.#complaints.hopsLeft(query, arrival)) return "drop";
    const objection = objectionTo(query, arrival.datagram);
    if (objection === undefined) return this.#follow(query, arrival);
    this.#context.counters.count(objection.counter);
    if (objection.complaint !== undefined) this.#complaints.about(objection.complaint, query, arrival);
    return "drop";
  }

  #follow(query: GistQuery, arrival: DatagramArrival): Interception {
    const { datagram } = arrival;
    const session = answerTo(query);
    const state = this.#sessions.responding(session);
    let decision: PeerDecision | undefined;
    const peers = (): boolean => {
      decision ??= this.#ask(query, arrival);
      return decision.peer;
    };
    const arc = step(NODE_MACHINE, "node", "query", (guard) => {
      switch (guard) {
        case "own-query":
          return hex(query.nli.peerIdentity) === this.#context.identityText;
        case "state-exists":
          return state !== undefined;
        case "tables-full":
          return this.#sessions.full;
        case "kept-before-confirm":
          return this.#context.options.install === "on-query" && peers();
        case "nslp-peers":
          return peers();
        default:
          return this.#isLocal(datagram.destination);
      }
    });
    switch (arc?.do[0]) {
      case "to-session":
        state?.query(this.#arrival(query, datagram));
        return "taken";
      case "create-session":
        this.#sessions.addResponding(session, query.nli).query(this.#arrival(query, datagram));
        return "taken";
      case "respond-stateless":
        respond(this.#context, this.#arrival(query, datagram), true, decision?.payload);
        return "taken";
      case "refuse-endpoint":
        this.#complaints.about(ENDPOINT_FOUND, query, arrival);
        return "drop";
      case "pass-on":
        return this.#passOn(query, decision?.payload);
      default:
        this.#context.counters.count("limited.routing-states");
        return "drop";
    }
  }

  #ask(query: GistQuery, arrival: DatagramArrival): PeerDecision {
    const { datagram } = arrival;
    return this.#context.nslps.recv(
      receivedMessage(query, arrival, {
        routingStateCheck: true,
        ipDistance: ipDistance(query, datagram),
        inboundInterface: datagram.inboundInterface,
      }),
    );
  }

  #arrival(query: GistQuery, datagram: Datagram): QueryArrival {
    const { peerIdentity, interfaceAddress } = query.nli;
    return { query, datagram, association: this.#associations.find(hex(peerIdentity), interfaceAddress) };
  }

  /** With a payload of the NSLP the Query leaves from here anew; it is as it came but for that and the hop count. */
  #passOn(query: GistQuery, payload: Uint8Array | undefined): Interception {
    this.#context.counters.count("passed-on.query");
    if (payload === undefined) return "decrement-hops";
    if (!this.#context.datagrams.take()) return "drop";
    const changed = encodeGist({ ...query, hops: query.hops - 1, data: payload });
    this.#context.transport.sendQueryMode(query.mri, changed, {
      spoofSource: !query.signallingSource,
      ttl: this.#context.options.ipTtl,
    });
    return "taken";
  }
}
