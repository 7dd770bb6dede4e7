/** One client of the service: its NSLPs stand in the node as if they were in this process. */
import type { Duplex } from "node:stream";
import type { Counters } from "../../base/counters.js";
import type { Logger } from "../../base/log.js";
import type { Time, Timer } from "../../base/time.js";
import type {
  GistService,
  MessageStatus,
  NetworkNotification,
  Nslp,
  PeerDecision,
  ReceivedMessage,
} from "../service.js";
import { WireError } from "../../base/wire.js";
import { decodeClientFrame, encodeServerFrame } from "./codec.js";
import { type ClientFrame, type ErrorCode, PROTOCOL_VERSION, type ServerFrame } from "./frames.js";
import type { ServerOptions } from "./options.js";
import { FrameStream } from "./stream.js";

/** What the service needs of a GIST node. */
export interface ServiceHost extends GistService {
  /** Ends the hosting of an NSLP; its routing state is no longer kept up. */
  unregister(nslpId: number): void;
}

export interface ServedContext {
  readonly host: ServiceHost;
  /** Peer-Identity of the node, for people. */
  readonly identity: string;
  readonly time: Time;
  readonly log: Logger;
  readonly counters: Counters;
  readonly options: ServerOptions;
  /** Takes an NSLPID for a client; false when it has an owner already. */
  claim(nslpId: number): boolean;
  /** Gives back what the client had. Once. */
  gone(client: ServedClient): void;
}

const NOT_A_PEER: PeerDecision = { peer: false };

interface Question {
  readonly resolve: (decision: PeerDecision) => void;
  readonly timer: Timer;
}

export class ServedClient implements Nslp {
  name = "";
  readonly nslpIds = new Set<number>();
  readonly #context: ServedContext;
  readonly #stream: FrameStream;
  readonly #questions = new Map<number, Question>();
  readonly #greeting: Timer;
  #lastQuestion = 0;
  #greeted = false;

  constructor(socket: Duplex, context: ServedContext) {
    const { options, time } = context;
    this.#context = context;
    this.#stream = new FrameStream(socket, options.queueBytes, time, {
      frame: (bytes) => this.#take(decodeClientFrame(bytes)),
      malformed: (error) => this.#malformed(error),
      closed: () => this.#closed(),
    });
    this.#greeting = time.after(options.helloTimeout, () =>
      this.end("malformed", "the client does not greet"),
    );
  }

  /** Tells the client why, and closes. */
  end(code: ErrorCode, text: string): void {
    this.#context.counters.count(`service.closed.${code}`);
    this.#context.log.warn({ client: this.name, code, reason: text }, "a client of the service is closed");
    this.#stream.end(encodeServerFrame({ type: "error", code, text }));
  }

  // --- the node speaks

  recvMessage(message: ReceivedMessage): PeerDecision | Promise<PeerDecision> {
    if (message.routingStateCheck) return this.#ask(message);
    this.#send({ type: "received", request: 0, message });
    return NOT_A_PEER;
  }

  messageStatus(status: MessageStatus): void {
    this.#send({ type: "status", status });
  }

  networkNotification(notification: NetworkNotification): void {
    this.#send({ type: "notification", notification });
  }

  #ask(message: ReceivedMessage): PeerDecision | Promise<PeerDecision> {
    const { options, counters, time } = this.#context;
    if (this.#questions.size >= options.maxQuestions) {
      counters.count("service.limited.questions");
      return NOT_A_PEER;
    }
    const request = this.#nextQuestion();
    if (!this.#send({ type: "received", request, message })) return NOT_A_PEER;
    return new Promise((resolve) => {
      const timer = time.after(options.decisionTimeout, () => {
        counters.count("service.question-timeout");
        this.#answer(request, NOT_A_PEER);
      });
      this.#questions.set(request, { resolve, timer });
    });
  }

  #nextQuestion(): number {
    // 0 stands for no question; by the time of a second round the first is long over.
    this.#lastQuestion = this.#lastQuestion >= 0xffffffff ? 1 : this.#lastQuestion + 1;
    return this.#lastQuestion;
  }

  #answer(request: number, decision: PeerDecision): void {
    const question = this.#questions.get(request);
    if (question === undefined) return this.#context.counters.count("service.late-answer");
    this.#questions.delete(request);
    question.timer.cancel();
    question.resolve(decision);
  }

  /** false: it cannot be told, or the client reads too slowly and is cut off. */
  #send(frame: ServerFrame): boolean {
    if (!this.#stream.open) return false;
    const { counters, log } = this.#context;
    let bytes: Uint8Array;
    try {
      bytes = encodeServerFrame(frame);
    } catch (error) {
      counters.count("service.unfit");
      log.error({ error: String(error) }, "a client of the service cannot be told what happened");
      return false;
    }
    if (!this.#stream.hasRoom(bytes.length)) {
      counters.count("service.slow-client");
      log.warn({ client: this.name }, "a client of the service does not read; it is cut off");
      this.#stream.destroy();
      return false;
    }
    counters.count(`service.sent.${frame.type}`);
    this.#stream.send(bytes);
    return true;
  }

  // --- the client speaks

  #take(frame: ClientFrame): void {
    this.#context.counters.count(`service.received.${frame.type}`);
    if (frame.type === "hello") return this.#hello(frame.version, frame.name);
    if (!this.#greeted) return this.end("malformed", "the greeting comes first");
    if (frame.type === "register") return this.#register(frame.nslpId);
    if (frame.type === "decision") return this.#answer(frame.request, frame.decision);
    this.#call(frame);
  }

  #hello(version: number, name: string): void {
    if (this.#greeted) return this.end("malformed", "a second greeting");
    this.name = name;
    if (version !== PROTOCOL_VERSION)
      return this.end("version", `this service speaks version ${PROTOCOL_VERSION}, not ${version}`);
    this.#greeted = true;
    this.#greeting.cancel();
    this.#send({ type: "welcome", version: PROTOCOL_VERSION, identity: this.#context.identity });
  }

  #register(nslpId: number): void {
    const { options, host, log } = this.#context;
    if (this.nslpIds.size >= options.maxNslpsPerClient)
      return this.end("too-many", `a client may register ${options.maxNslpsPerClient} NSLPs`);
    if (!this.#context.claim(nslpId)) return this.end("nslpid-taken", `NSLPID ${nslpId} has an owner`);
    host.register(nslpId, this);
    this.nslpIds.add(nslpId);
    log.info({ client: this.name, nslpId }, "an NSLP is registered through the service");
    this.#send({ type: "registered", nslpId });
  }

  #call(frame: Extract<ClientFrame, { type: "send" | "lifetime" | "invalidate" }>): void {
    const { host } = this.#context;
    const { nslpId } = targetOf(frame);
    if (!this.nslpIds.has(nslpId)) return this.end("not-registered", `NSLPID ${nslpId} is not this client's`);
    if (frame.type === "send") return host.sendMessage(frame.message);
    if (frame.type === "lifetime") {
      const { sessionId, mri, lifetime } = frame.state;
      return host.setStateLifetime(nslpId, sessionId, mri, lifetime);
    }
    const { sessionId, mri, status, urgent, payload } = frame.invalidation;
    host.invalidateRoutingState(nslpId, sessionId, mri, status, urgent, payload);
  }

  #malformed(error: Error): void {
    if (!(error instanceof WireError)) {
      this.#context.counters.count("service.internal-error");
      this.#context.log.error({ error: error.stack }, "a call of a client could not be carried out");
    }
    this.end("malformed", error.message);
  }

  #closed(): void {
    this.#greeting.cancel();
    for (const request of [...this.#questions.keys()]) this.#answer(request, NOT_A_PEER);
    this.#context.gone(this);
  }
}

function targetOf(frame: Extract<ClientFrame, { type: "send" | "lifetime" | "invalidate" }>): {
  readonly nslpId: number;
} {
  if (frame.type === "send") return frame.message;
  return frame.type === "lifetime" ? frame.state : frame.invalidation;
}
