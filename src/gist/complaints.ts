/** Reads what comes, and tells its sender what is wrong with it where that is safe. */
import type { IpAddress } from "../base/address.js";
import { type Arrival, encapsulationOf, type FlowMessage } from "./arrival.js";
import { answerWithDatagram, type GistContext, ownNli } from "./context.js";
import { errorMessage, HOP_LIMIT } from "./errors.js";
import { mayBePeer } from "./peer-address.js";
import { decodeGist, type GistFault, GistWireError } from "./wire/codec.js";
import type { GistMessage } from "./wire/messages.js";

const FLAG_S = 0x80;

const RECEIVED = {
  query: "received.query",
  response: "received.response",
  confirm: "received.confirm",
  data: "received.data",
  error: "received.error",
  hello: "received.hello",
} as const;

export class Complaints {
  readonly #context: GistContext;

  constructor(context: GistContext) {
    this.#context = context;
  }

  /** undefined when the bytes are no GIST message; that is counted and answered here. */
  decode(arrival: Arrival): GistMessage | undefined {
    try {
      const message = decodeGist(arrival.bytes);
      this.#context.counters.count(RECEIVED[message.type]);
      return message;
    } catch (error) {
      if (!(error instanceof GistWireError)) throw error;
      this.#context.counters.count("received.malformed");
      this.#context.log.debug({ error: error.message }, "a GIST message is malformed");
      this.#aboutMalformed(error, arrival);
      return undefined;
    }
  }

  /** Answers a message with an Error. */
  about(about: GistFault, message: GistMessage, arrival: Arrival): void {
    // With S = 0 the source address is the flow's own: who asks is told by the NLI.
    const queryMode = message.type === "query" || (message.type === "data" && message.queryMode);
    this.#send(about, arrival, queryMode ? message.nli?.interfaceAddress : arrival.datagram?.source);
  }

  /** The same to where the message came from, whatever it says of itself: there is a NAT between. */
  throughNat(about: GistFault, arrival: Arrival): void {
    this.#send(about, arrival, arrival.datagram?.source);
  }

  /** Whether a message may be handled; one that came with hop count 0 may not, and is answered here. */
  hopsLeft(message: FlowMessage, arrival: Arrival): boolean {
    if (message.hops > 0) return true;
    this.about(HOP_LIMIT, message, arrival);
    return false;
  }

  #aboutMalformed(error: GistWireError, arrival: Arrival): void {
    // With S = 0 the source address is somebody else's, who is not to be bothered.
    const signallingSource = ((arrival.bytes[7] ?? 0) & FLAG_S) !== 0;
    this.#send(error, arrival, signallingSource ? arrival.datagram?.source : undefined);
  }

  #send(about: GistFault, arrival: Arrival, replyTo: IpAddress | undefined): void {
    this.#context.counters.count(`refused.error-${about.code}`);
    const { bytes, association, datagram } = arrival;
    const message = errorMessage(this.#context, about, bytes, encapsulationOf(arrival));
    if (message === undefined) return;
    if (association !== undefined) {
      association.send(message);
      return;
    }
    if (replyTo === undefined || !mayBePeer(this.#context, replyTo, datagram)) return;
    answerWithDatagram(this.#context, replyTo, datagram.sourcePort, (own) => ({
      ...message,
      nli: ownNli(this.#context, own, 0, this.#context.validity()),
    }));
  }
}
