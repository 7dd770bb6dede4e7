/**
 * A GIST node (RFC 5971): discovers the next node on a flow's path, sets up routing state and messaging associations,
 * and carries NSLP messages along them. It knows nothing of any NSLP, and reaches the network only through its
 * Transport.
 */
import type { IpAddress } from "../base/address.js";
import type { Logger } from "../base/log.js";
import { step } from "../base/machine.js";
import type { Random } from "../base/random.js";
import type { Time } from "../base/time.js";
import { type Milliseconds, ms } from "../base/units.js";
import { Associations } from "./associations.js";
import { Complaints } from "./complaints.js";
import { type AuthorisedPeer, AuthorisedPeers } from "./authorised-peers.js";
import { type GistContext, hex } from "./context.js";
import { ResponderCookies } from "./cookies.js";
import { Counters } from "../base/counters.js";
import { MessageIntake } from "./message-intake.js";
import { NODE_MACHINE, type NodeGuard } from "./node-rules.js";
import { NslpHost } from "./nslp-host.js";
import { dataMessage, unfitData } from "./outlet.js";
import { PathWatch } from "./path-watch.js";
import { DEFAULT_OPTIONS, type GistOptions } from "./options.js";
import { QueryIntake } from "./query-intake.js";
import { QueuePool } from "./queue.js";
import { SourceBuckets, TokenBucket } from "../base/rate-limit.js";
import { RouteCache } from "./routes.js";
import type { GistService, GistView, MessageError, Nslp, RoutingStateView, SendMessage } from "./service.js";
import { type RoutingState, Sessions } from "./sessions.js";
import { atLeast } from "./stack.js";
import { restView, stateView } from "./state-view.js";
import { sendStateless } from "./stateless.js";
import type {
  Connection,
  Datagram,
  Interception,
  Transport,
  TransportHandler,
} from "./transport/transport.js";
import { checkMri } from "./wire/codec.js";
import type { Mri, SessionId } from "./wire/messages.js";

export interface GistNodeConfig {
  /** Peer-Identity: names the node for good; the TLS certificate must stand for it. 1 to 255 bytes. */
  readonly identity: Uint8Array;
  readonly transport: Transport;
  readonly time: Time;
  readonly random: Random;
  readonly log: Logger;
  /** Whether an address is this host's own: then it is the end of the path. */
  readonly isLocal: (address: IpAddress) => boolean;
  readonly options?: Partial<GistOptions>;
  /** Who may be a peer; empty: everybody whom the trusted authority signed. */
  readonly authorisedPeers?: readonly AuthorisedPeer[];
}

export class GistNode implements GistService, TransportHandler {
  readonly #context: GistContext;
  readonly #associations: Associations;
  readonly #sessions: Sessions;
  readonly #queryIntake: QueryIntake;
  readonly #messageIntake: MessageIntake;
  readonly #pathWatch: PathWatch;
  #stopped = false;

  constructor(config: GistNodeConfig) {
    this.#context = contextOf(
      config,
      () => this.#validity(),
      (error) => this.#failed(error),
    );
    this.#associations = new Associations(this.#context);
    this.#sessions = new Sessions(this.#context, this.#associations);
    const complaints = new Complaints(this.#context);
    const parts = { sessions: this.#sessions, associations: this.#associations, complaints };
    this.#queryIntake = new QueryIntake(this.#context, parts);
    this.#messageIntake = new MessageIntake(this.#context, parts);
    this.#pathWatch = new PathWatch(this.#context, this.#sessions);
  }

  /** Starts the transport. Rejects with its error. */
  start(): Promise<void> {
    return this.#context.transport.start(this);
  }

  /** Forgets all state, closes all associations and stops the transport. NSLPs hear of messages still waiting. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#queryIntake.stop();
    this.#pathWatch.stop();
    this.#sessions.shutDown("this node is stopping");
    this.#associations.shutDown();
    return this.#context.transport.stop();
  }

  view(): GistView {
    return {
      identity: this.#context.identityText,
      associations: this.#associations.views(),
      routingStates: this.#sessions.counts,
      counters: this.#context.counters.snapshot(),
    };
  }

  /** Every routing state, as it is now; made while it is walked. */
  *routes(): Iterable<RoutingStateView> {
    const now = this.#context.time.now();
    for (const state of this.#sessions.awake()) yield stateView(state, now);
    for (const rest of this.#sessions.atRest()) yield restView(rest, now);
  }

  /**
   * Puts another list of authorised peers in place. Associations with peers that no longer pass are closed, and their
   * NSLPs hear of it. Throws RangeError on a name that is none.
   */
  setAuthorisedPeers(peers: readonly AuthorisedPeer[]): void {
    this.#context.peers.set(peers);
    this.#associations.recheck();
  }

  /** The NSLP is gone: its routing state is forgotten, and associations that nobody else uses close in their time. */
  unregister(nslpId: number): void {
    this.#context.nslps.unregister(nslpId);
    this.#sessions.forget(nslpId);
  }

  register(nslpId: number, nslp: Nslp): void {
    this.#context.nslps.register(nslpId, nslp);
  }

  sendMessage(send: SendMessage): void {
    try {
      checkHops("hop count", send.hopCount, 0);
      checkHops("IP TTL", send.ipTtl, 1);
      checkMri(send.mri);
      const unfit = unfitData(send.data);
      if (this.#stopped) this.#refuse(send, "transport-failed", "this node is stopping");
      else if (unfit !== undefined) this.#refuse(send, "too-large", unfit);
      else if (send.siiHandle !== undefined) this.#sendExplicitly(send);
      else this.#sendAlongPath(send);
    } catch (error) {
      // Fields that cannot stand on the wire, such as an MRI of two IP versions.
      if (!(error instanceof RangeError)) throw error;
      this.#refuse(send, "transport-failed", error.message);
    }
  }

  setStateLifetime(nslpId: number, sessionId: SessionId, mri: Mri, lifetime: Milliseconds): void {
    checkMri(mri);
    this.#sessions.setLifetime({ nslpId, sessionId, mri }, lifetime);
  }

  invalidateRoutingState(
    nslpId: number,
    sessionId: SessionId,
    mri: Mri,
    status: "bad" | "tentative",
    urgent: boolean,
    payload?: Uint8Array,
  ): void {
    checkMri(mri);
    this.#context.routes.forget();
    const unfit = payload === undefined ? undefined : unfitData(payload);
    if (unfit !== undefined) this.#context.counters.count("refused.query-payload");
    const fit = unfit === undefined ? payload : undefined;
    this.#sessions.find({ nslpId, sessionId, mri })?.invalidate(status, urgent, fit);
  }

  datagram(datagram: Datagram): Interception | Promise<Interception> {
    if (this.#stopped) return "drop";
    try {
      if (datagram.intercepted) return this.#intercepted(datagram);
      this.#messageIntake.take({ bytes: datagram.message, datagram });
      return "taken";
    } catch (error) {
      this.#failed(error);
      return "drop";
    }
  }

  accepted(connection: Connection): void {
    if (this.#stopped) connection.close();
    else this.#associations.accept(connection);
  }

  message(connection: Connection, bytes: Uint8Array): void {
    const association = this.#associations.of(connection);
    if (association === undefined) return;
    association.heard();
    try {
      this.#messageIntake.take({ bytes, association });
    } catch (error) {
      this.#failed(error);
    }
  }

  routesChanged(): void {
    if (!this.#stopped) this.#pathWatch.routesChanged();
  }

  drained(connection: Connection): void {
    this.#associations.of(connection)?.drained();
  }

  closed(connection: Connection, reason: string): void {
    this.#associations.of(connection)?.closed(reason);
  }

  #intercepted(datagram: Datagram): Interception | Promise<Interception> {
    const interception = this.#queryIntake.take(datagram);
    if (!(interception instanceof Promise)) return interception;
    return interception.catch((error: unknown) => {
      this.#failed(error);
      return "drop";
    });
  }

  #sendAlongPath(send: SendMessage): void {
    if (this.#sessions.sendAtRest(send)) return;
    const state = this.#sessions.find(send);
    const arc = step(NODE_MACHINE, "node", "send", (guard) => this.#holds(guard, send, state));
    switch (arc?.do[0]) {
      case "to-session":
        state?.message(send);
        break;
      case "create-session":
        this.#sessions.addQuerying(send).message(send);
        break;
      case "send-stateless":
        sendStateless(this.#context, send);
        break;
      case "refuse-last-node":
        this.#refuseAsLast(send);
        break;
      case "refuse-no-state":
        this.#refuse(send, "no-response", "there is no routing state towards the flow's source");
        break;
      default:
        this.#context.counters.count("limited.routing-states");
        this.#refuse(send, "overloaded", "this node has no room for more routing state");
    }
  }

  #refuseAsLast(send: SendMessage): void {
    const { nslpId, sessionId, mri } = send;
    const detail = "this node is the last one on the flow's path";
    this.#refuse(send, "endpoint-found", detail);
    this.#context.nslps.notify({ nslpId, sessionId, mri, type: "last-node", detail });
  }

  #holds(guard: NodeGuard, send: SendMessage, state: RoutingState | undefined): boolean {
    switch (guard) {
      case "state-exists":
        return state !== undefined;
      case "upstream":
        return send.mri.direction === "upstream";
      case "last-node":
        return this.#context.isLocal(send.mri.destination);
      case "stateless":
        return send.transfer.establishState === false;
      case "tables-full":
        return this.#sessions.full;
      default:
        return this.#sessions.tooManyHandshakes;
    }
  }

  #sendExplicitly(send: SendMessage): void {
    const carriers = atLeast(send.transfer.secure ? "tls" : "tcp");
    const association =
      send.siiHandle === undefined ? undefined : this.#associations.byHandle(send.siiHandle, carriers);
    if (association === undefined)
      this.#refuse(send, "transport-failed", "there is no fit messaging association with that peer");
    else if (association.send({ ...dataMessage(this.#context, send), explicitlyRouted: true }))
      this.#context.nslps.status(send, "no-error", "", association.transfer);
    else this.#refuse(send, "overloaded", "the peer takes messages more slowly than they come");
  }

  #refuse(send: SendMessage, error: MessageError, detail: string): void {
    this.#context.nslps.status(send, error, detail);
  }

  /** RFC 5971 section 4.4.4: at least twice as long as the refreshes of all state take at the D-mode rate. */
  #validity(): Milliseconds {
    const { validity, datagramRate } = this.#context.options;
    return ms(Math.max(validity, Math.ceil((2000 * this.#sessions.size) / datagramRate)));
  }

  #failed(error: unknown): void {
    this.#context.counters.count("internal-error");
    const text = error instanceof Error ? error.stack : error;
    this.#context.log.error({ error: text }, "a GIST message could not be handled");
  }
}

function contextOf(
  config: GistNodeConfig,
  validity: () => Milliseconds,
  failed: (error: unknown) => void,
): GistContext {
  const { transport, time, random, log, identity } = config;
  const options = { ...DEFAULT_OPTIONS, ...config.options };
  const counters = new Counters();
  return {
    time,
    random,
    log,
    transport,
    options,
    identity,
    identityText: hex(identity),
    counters,
    nslps: new NslpHost(time, log, counters, options.nslpWait),
    routes: new RouteCache(transport, time, failed),
    queues: new QueuePool(options.maxQueued, options.maxQueuedPerSession),
    cookies: new ResponderCookies(time, random, options.cookieSecretLifetime),
    datagrams: new TokenBucket(time, options.datagramRate, options.datagramBurst),
    newStates: new SourceBuckets(time, options.newStateRate, options.newStateBurst),
    peers: new AuthorisedPeers(config.authorisedPeers),
    isLocal: config.isLocal,
    validity,
  };
}

function checkHops(name: string, value: number | undefined, least: number): void {
  if (value !== undefined && !(Number.isInteger(value) && value >= least && value <= 0xff))
    throw new RangeError(`a ${name} of ${value} does not exist`);
}
