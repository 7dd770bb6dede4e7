/**
 * GIST in another process, as an NSLP sees it: the same service as a GistNode's. When the other process ends, the NSLPs are
 * told what was lost, and registered again as soon as it is back.
 */
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { Counters } from "../../base/counters.js";
import type { Logger } from "../../base/log.js";
import { between, type Random } from "../../base/random.js";
import type { Time, Timer } from "../../base/time.js";
import { type Milliseconds, ms } from "../../base/units.js";
import type {
  GistService,
  GistView,
  MessageError,
  MessageStatus,
  Nslp,
  ReceivedMessage,
  SendMessage,
} from "../service.js";
import type { Mri, SessionId } from "../wire/messages.js";
import { decodeServerFrame, encodeClientFrame } from "./codec.js";
import { type ClientFrame, MAX_DATA, PROTOCOL_VERSION, type ServerFrame } from "./frames.js";
import { InFlight, KnownSessions, type Sent } from "./memory.js";
import { type ClientOptions, DEFAULT_CLIENT_OPTIONS } from "./options.js";
import { FrameStream } from "./stream.js";
import type { Target } from "./values.js";

export interface GistClientParts {
  /** The service socket. */
  readonly path: string;
  /** Who this is, for the service's log. */
  readonly name: string;
  readonly time: Time;
  readonly random: Random;
  readonly log: Logger;
  readonly options?: Partial<ClientOptions>;
  /** How to reach the socket; tests have other ways. */
  readonly connect?: (path: string) => Duplex;
}

/** Sessions told at a time of what was lost, and the pause after them: their NSLP sends for each. */
const TOLD_AT_ONCE = 500;
const PAUSE = ms(10);

interface Connection {
  readonly stream: FrameStream;
  readonly deadline: Timer;
  welcomed: boolean;
  readonly unconfirmed: Set<number>;
}

export class GistClient implements GistService {
  readonly path: string;
  readonly #parts: GistClientParts;
  readonly #options: ClientOptions;
  readonly #counters = new Counters();
  readonly #nslps = new Map<number, Nslp>();
  readonly #inFlight: InFlight;
  readonly #sessions: KnownSessions;
  #connection: Connection | undefined;
  #retry: Timer | undefined;
  #wait: Milliseconds;
  #identity = "";
  /** Sessions have lost the state that an earlier service kept for them. */
  #lost = false;
  #complained = false;
  #closed = false;
  #awaiting: (() => void)[] = [];

  constructor(parts: GistClientParts) {
    this.path = parts.path;
    this.#parts = parts;
    this.#options = { ...DEFAULT_CLIENT_OPTIONS, ...parts.options };
    const { maxInFlight, maxSessions, memory } = this.#options;
    this.#inFlight = new InFlight(parts.time, maxInFlight, memory);
    this.#sessions = new KnownSessions(parts.time, maxSessions, memory);
    this.#wait = this.#options.shortestWait;
  }

  /** Begins to connect, and goes on until {@link close}. A service that is not there yet is no error. */
  start(): void {
    this.#connect();
  }

  /** Whether the service answers and hosts every NSLP of this process. */
  get ready(): boolean {
    const connection = this.#connection;
    return connection?.welcomed === true && connection.unconfirmed.size === 0;
  }

  /** Resolves as soon as it is {@link ready}. */
  whenReady(): Promise<void> {
    if (this.ready) return Promise.resolve();
    return new Promise((resolve) => this.#awaiting.push(resolve));
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    this.#connection?.stream.end();
  }

  /** As far as it is known here; the service itself knows more. */
  view(): GistView {
    return {
      identity: this.#identity,
      associations: [],
      routingStates: { querying: 0, responding: 0 },
      counters: { ...this.#counters.snapshot(), "client.connected": this.ready ? 1 : 0 },
    };
  }

  register(nslpId: number, nslp: Nslp): void {
    if (this.#nslps.has(nslpId)) throw new Error(`an NSLP is already registered for NSLPID ${nslpId}`);
    this.#nslps.set(nslpId, nslp);
    if (this.#connection?.welcomed === true) this.#sendRegister(this.#connection, nslpId);
  }

  sendMessage(message: SendMessage): void {
    const connection = this.#usable(message.nslpId);
    if (connection === undefined)
      return this.#refuse(message, "transport-failed", `GIST does not answer on ${this.path}`);
    if (this.#inFlight.full || !connection.stream.hasRoom(message.data.length))
      return this.#refuse(
        message,
        "overloaded",
        "the GIST service takes messages more slowly than they come",
      );
    if (message.data.length > MAX_DATA)
      return this.#refuse(
        message,
        "too-large",
        `${message.data.length} bytes are more than a message may hold`,
      );
    const { data: _data, ...sent } = message;
    const handle = this.#inFlight.add(sent);
    try {
      connection.stream.send(encodeClientFrame({ type: "send", message: { ...message, handle } }));
      this.#sessions.used(message);
      this.#counters.count("client.sent.send");
    } catch (error) {
      // Fields that have no place on the wire.
      if (!(error instanceof RangeError)) throw error;
      this.#inFlight.take(handle);
      this.#refuse(message, "transport-failed", error.message);
    }
  }

  setStateLifetime(nslpId: number, sessionId: SessionId, mri: Mri, lifetime: Milliseconds): void {
    const state = { nslpId, sessionId, mri, lifetime };
    if (lifetime > 0) this.#sessions.used(state);
    else this.#sessions.over(state);
    this.#call(nslpId, { type: "lifetime", state });
  }

  invalidateRoutingState(
    nslpId: number,
    sessionId: SessionId,
    mri: Mri,
    status: "bad" | "tentative",
    urgent: boolean,
    payload?: Uint8Array,
  ): void {
    const invalidation = { nslpId, sessionId, mri, status, urgent, ...(payload && { payload }) };
    this.#call(nslpId, { type: "invalidate", invalidation });
  }

  /** Calls without an answer: without a service there is no state that they could change. */
  #call(nslpId: number, frame: ClientFrame): void {
    const connection = this.#usable(nslpId);
    const bytes = encodeClientFrame(frame);
    if (connection?.stream.hasRoom(bytes.length) !== true)
      return this.#counters.count(`client.dropped.${frame.type}`);
    connection.stream.send(bytes);
    this.#counters.count(`client.sent.${frame.type}`);
  }

  #usable(nslpId: number): Connection | undefined {
    const connection = this.#connection;
    if (connection?.welcomed !== true || connection.unconfirmed.has(nslpId)) return undefined;
    return this.#nslps.has(nslpId) ? connection : undefined;
  }

  #connect(): void {
    const { time } = this.#parts;
    const socket = (this.#parts.connect ?? connect)(this.path);
    socket.once("error", (error) => this.#complain(error.message));
    const stream = new FrameStream(socket, this.#options.queueBytes, time, {
      frame: (bytes) => this.#take(connection, decodeServerFrame(bytes)),
      malformed: (error) => {
        this.#counters.count("client.malformed");
        this.#complain(error.message);
        stream.destroy();
      },
      closed: () => this.#lostService(connection),
    });
    const connection: Connection = {
      stream,
      deadline: time.after(this.#options.welcomeTimeout, () => stream.destroy()),
      welcomed: false,
      unconfirmed: new Set(),
    };
    this.#connection = connection;
    stream.send(encodeClientFrame({ type: "hello", version: PROTOCOL_VERSION, name: this.#parts.name }));
  }

  #take(connection: Connection, frame: ServerFrame): void {
    this.#counters.count(`client.received.${frame.type}`);
    switch (frame.type) {
      case "welcome":
        return this.#welcome(connection, frame.version, frame.identity);
      case "registered":
        connection.unconfirmed.delete(frame.nslpId);
        return this.#maybeReady();
      case "received":
        return void this.#received(connection, frame.request, frame.message);
      case "status":
        return this.#status(frame.status);
      case "notification":
        return this.#tell(frame.notification.nslpId, (nslp) => nslp.networkNotification(frame.notification));
      case "error":
        return this.#complain(`the service says: ${frame.text}`);
    }
  }

  #welcome(connection: Connection, version: number, identity: string): void {
    connection.deadline.cancel();
    if (connection.welcomed || version !== PROTOCOL_VERSION) {
      this.#complain(`the service speaks version ${version}, this program ${PROTOCOL_VERSION}`);
      return connection.stream.destroy();
    }
    connection.welcomed = true;
    this.#identity = identity;
    for (const nslpId of this.#nslps.keys()) this.#sendRegister(connection, nslpId);
    this.#maybeReady();
  }

  #sendRegister(connection: Connection, nslpId: number): void {
    connection.unconfirmed.add(nslpId);
    connection.stream.send(encodeClientFrame({ type: "register", nslpId }));
  }

  #maybeReady(): void {
    if (!this.ready) return;
    this.#wait = this.#options.shortestWait;
    this.#complained = false;
    this.#parts.log.info({ service: this.path, identity: this.#identity }, "the GIST service answers");
    for (const resolve of this.#awaiting.splice(0)) resolve();
    if (!this.#lost) return;
    this.#lost = false;
    this.#tellOfLoss(this.#sessions.all());
  }

  /** RFC 5971 B.4: the NSLPs bring back what they need; all at once would be a storm. */
  #tellOfLoss(sessions: readonly Target[]): void {
    if (this.#closed) return;
    for (const target of sessions.slice(0, TOLD_AT_ONCE)) {
      const detail = "the GIST service was started again";
      this.#tell(target.nslpId, (nslp) =>
        nslp.networkNotification({ ...plain(target), type: "communication-failure", detail }),
      );
    }
    if (sessions.length > TOLD_AT_ONCE)
      this.#parts.time.after(PAUSE, () => this.#tellOfLoss(sessions.slice(TOLD_AT_ONCE)));
  }

  async #received(connection: Connection, request: number, message: ReceivedMessage): Promise<void> {
    const decision = await this.#ask(message);
    if (request === 0) return;
    try {
      connection.stream.send(encodeClientFrame({ type: "decision", request, decision }));
    } catch (error) {
      this.#counters.count("client.unfit");
      this.#parts.log.error({ error: String(error) }, "an NSLP's answer does not fit");
    }
  }

  async #ask(message: ReceivedMessage): Promise<{ readonly peer: boolean }> {
    const nslp = this.#nslps.get(message.nslpId);
    if (nslp === undefined) return { peer: false };
    try {
      return await nslp.recvMessage(message);
    } catch (error) {
      this.#threw(message.nslpId, error);
      return { peer: false };
    }
  }

  /** Every message has a handle on the wire, so success is told of each; the NSLP hears of it only where it gave one. */
  #status(status: MessageStatus): void {
    const sent = this.#inFlight.take(status.handle);
    if (sent === undefined) return this.#counters.count("client.unknown-handle");
    if (status.error === "no-error" && sent.handle === undefined) return;
    this.#tell(status.nslpId, (nslp) => nslp.messageStatus({ ...status, handle: sent.handle }));
  }

  /** Later, so that no NSLP is entered while it is sending. */
  #refuse(message: Sent, error: MessageError, detail: string): void {
    const { handle, nslpId, sessionId, mri, transfer } = message;
    const { reliable, secure } = transfer;
    const status = { handle, nslpId, sessionId, mri, transfer: { reliable, secure }, error, detail };
    this.#counters.count(`client.refused.${error}`);
    this.#parts.time.after(ms(0), () => this.#tell(nslpId, (nslp) => nslp.messageStatus(status)));
  }

  #lostService(connection: Connection): void {
    if (this.#connection !== connection) return;
    connection.deadline.cancel();
    this.#connection = undefined;
    if (connection.welcomed) {
      this.#counters.count("client.lost");
      this.#lost = true;
      this.#complain("it has closed the connection");
    }
    for (const sent of this.#inFlight.takeAll())
      this.#refuse(sent, "transport-failed", "the GIST service was lost before it reported");
    if (this.#closed) return;
    const { random, time } = this.#parts;
    this.#retry = time.after(ms(between(random, 0.5, 1) * this.#wait), () => this.#connect());
    this.#wait = ms(Math.min(2 * this.#wait, this.#options.longestWait));
  }

  #tell(nslpId: number, call: (nslp: Nslp) => void): void {
    const nslp = this.#nslps.get(nslpId);
    if (nslp === undefined) return;
    try {
      call(nslp);
    } catch (error) {
      this.#threw(nslpId, error);
    }
  }

  #threw(nslpId: number, error: unknown): void {
    this.#counters.count("client.nslp-threw");
    const text = error instanceof Error ? error.stack : error;
    this.#parts.log.error({ nslpId, error: text }, "an NSLP failed");
  }

  /** Once for each time that the service is away. */
  #complain(reason: string): void {
    if (this.#complained || this.#closed) return;
    this.#complained = true;
    const message = "the GIST service does not answer; trying again until it does";
    this.#parts.log.warn({ service: this.path, reason }, message);
  }
}

function plain({ nslpId, sessionId, mri }: Target): Target {
  return { nslpId, sessionId, mri };
}
