/**
 * The routing state table: both kinds of state by {MRI, Session-ID, NSLPID}, the MRI as this node sends it. A state that
 * nothing happened to for a while goes to rest, and is woken when something does.
 */
import { Bedtime } from "../base/bedtime.js";
import { type Milliseconds, ms } from "../base/units.js";
import type { Association, AssociationUser } from "./association.js";
import type { Associations } from "./associations.js";
import { type GistContext, stateKey } from "./context.js";
import type { FlowSession } from "./flow-session.js";
import { type QueryingOwner, QueryingState, sameWay } from "./querying.js";
import { type RespondingOwner, RespondingState } from "./responding.js";
import { dataMessage, sendOver } from "./outlet.js";
import { type Rest, type RestKind, RestingStates, type Way } from "./resting.js";
import type { SendMessage } from "./service.js";
import { keyOf, StateTable } from "./state-table.js";
import type { Route } from "./transport/transport.js";
import type { Mri, NetworkLayerInformation } from "./wire/messages.js";

export type { FlowSession } from "./flow-session.js";
export type RoutingState = QueryingState | RespondingState;

export class Sessions implements QueryingOwner, RespondingOwner {
  readonly #context: GistContext;
  readonly #associations: Associations;
  readonly #querying = new StateTable<QueryingState>();
  readonly #responding = new StateTable<RespondingState>();
  readonly #resting: RestingStates;
  /** States whose peer, behind a NAT, knows the flow by another MRI: by that. */
  readonly #behindNat = new Map<string, QueryingState>();
  #handshakes = 0;
  readonly #bedtime: Bedtime<RoutingState>;

  constructor(context: GistContext, associations: Associations) {
    this.#context = context;
    this.#associations = associations;
    this.#resting = new RestingStates(context, (rest) => this.#wake(rest));
    this.#bedtime = new Bedtime<RoutingState>(
      context.time,
      () => this.awake(),
      (state) => this.#rest(state),
    );
    associations.eachAtRest = (association, tell) => this.#eachAtRest(association, tell);
  }

  get counts(): { querying: number; responding: number } {
    const { querying, responding } = this.#resting.counts;
    return { querying: this.#querying.size + querying, responding: this.#responding.size + responding };
  }

  get size(): number {
    return this.#querying.size + this.#responding.size + this.#resting.size;
  }

  get full(): boolean {
    return this.size >= this.#context.options.maxRoutingStates;
  }

  get tooManyHandshakes(): boolean {
    return this.#handshakes >= this.#context.options.maxPendingHandshakes;
  }

  querying(session: FlowSession): QueryingState | undefined {
    const found = this.#bedtime.touch(this.#querying.get(session)) ?? this.#woken(session, "querying");
    return found instanceof QueryingState ? found : undefined;
  }

  responding(session: FlowSession): RespondingState | undefined {
    const found = this.#bedtime.touch(this.#responding.get(session)) ?? this.#woken(session, "responding");
    return found instanceof RespondingState ? found : undefined;
  }

  find(session: FlowSession): RoutingState | undefined {
    const awake = this.#querying.get(session) ?? this.#responding.get(session) ?? this.#renamed(session);
    return this.#bedtime.touch(awake) ?? this.#woken(session);
  }

  #renamed(session: FlowSession): QueryingState | undefined {
    return this.#behindNat.size === 0 ? undefined : this.#behindNat.get(keyOf(session));
  }

  /** Where the Data of a state that is at rest come from. It need not be woken for them: it would but deliver them. */
  wayAtRest(session: FlowSession): Way | undefined {
    return this.#resting.wayOf(session);
  }

  /** Sends from a state that is at rest, if that is all there is to do; else false. */
  sendAtRest(send: SendMessage): boolean {
    const { time } = this.#context;
    const association = this.#resting.wayToSend(send, time.now())?.association;
    if (association?.live !== true || association.full) return false;
    if (send.transfer.secure && association.carrier !== "tls") return false;
    sendOver(this.#context, association, keyOf(send), dataMessage(this.#context, send), send);
    return true;
  }

  setLifetime(session: FlowSession, lifetime: Milliseconds): void {
    const until = ms(this.#context.time.now() + lifetime);
    if (lifetime > 0 && this.#resting.setWanted(session, until)) return;
    this.find(session)?.setLifetime(lifetime);
  }

  /** States that are awake. */
  *awake(): Iterable<RoutingState> {
    yield* this.#querying.values();
    yield* this.#responding.values();
  }

  /** States that are at rest. */
  *atRest(): Iterable<Rest> {
    yield* this.#resting.all("querying");
    yield* this.#resting.all("responding");
  }

  /** The sessions of all querying states; what is removed while they are walked is left out, what is added may be missed. */
  allQuerying(): IterableIterator<FlowSession> {
    return this.#bedtime.whileUp(this.#everyQuerying());
  }

  *#everyQuerying(): Iterable<FlowSession> {
    yield* this.#resting.all("querying");
    yield* this.#querying.values();
  }

  /** What the route of a querying state's flow is now. */
  routeIs(session: FlowSession, route: Route | undefined): void {
    const before = this.#resting.wayOf(session, "querying");
    if (before?.kind === "querying" && route !== undefined && sameWay(route, before.route)) return;
    this.querying(session)?.routeIs(route);
  }

  addQuerying({ nslpId, sessionId, mri }: FlowSession): QueryingState {
    const flow = { nslpId, sessionId, mri };
    const state = new QueryingState(this.#context, this.#associations, this, flow);
    this.#querying.add(state);
    this.#bedtime.touch(state);
    return state;
  }

  addResponding({ nslpId, sessionId, mri }: FlowSession, nli: NetworkLayerInformation): RespondingState {
    const flow = { nslpId, sessionId, mri, interfaceAddress: nli.interfaceAddress };
    const state = new RespondingState(this.#context, this, flow);
    this.#responding.add(state);
    this.#bedtime.touch(state);
    return state;
  }

  removed(state: RoutingState): void {
    if (!(state instanceof QueryingState)) {
      this.#responding.remove(state);
      return;
    }
    this.#querying.remove(state);
    this.#forgetName(state);
  }

  knownAs(state: QueryingState, mri: Mri): void {
    this.#forgetName(state);
    this.#behindNat.set(stateKey(mri, state.sessionId, state.nslpId), state);
  }

  #forgetName(state: QueryingState): void {
    const { peerMri, sessionId, nslpId } = state;
    if (peerMri === undefined) return;
    const key = stateKey(peerMri, sessionId, nslpId);
    // Another state may have come to the same name.
    if (this.#behindNat.get(key) === state) this.#behindNat.delete(key);
  }

  handshake(change: 1 | -1): void {
    this.#handshakes += change;
  }

  shutDown(reason: string): void {
    this.#endEach(() => true, reason);
    this.#bedtime.stop();
  }

  /** Forgets the state of an NSLP that is gone. */
  forget(nslpId: number): void {
    this.#endEach((state) => state.nslpId === nslpId, "the NSLP is gone");
  }

  #endEach(is: (state: { readonly nslpId: number }) => boolean, reason: string): void {
    for (const state of [...this.awake()]) if (is(state)) state.shutDown(reason);
    for (const rest of this.#resting.takeEach((_way, nslpId) => is({ nslpId })))
      this.#wake(rest).shutDown(reason);
  }

  #woken(session: FlowSession, kind?: RestKind): RoutingState | undefined {
    const rest = this.#resting.take(session, kind);
    return rest === undefined ? undefined : this.#wake(rest);
  }

  #wake(rest: Rest): RoutingState {
    if (rest.kind === "querying") {
      const state = this.addQuerying(rest);
      state.wake(rest);
      return state;
    }
    const state = new RespondingState(this.#context, this, {
      ...rest,
      interfaceAddress: rest.peer.address,
    });
    this.#responding.add(state);
    this.#bedtime.touch(state);
    state.wake(rest);
    return state;
  }

  /** One at a time, so that a lost association does not need memory for all that stood on it. */
  #eachAtRest(association: Association, tell: (user: AssociationUser) => void): void {
    for (const rest of this.#resting.takeEach((way) => way.association === association)) {
      const state = this.#wake(rest);
      tell(state);
      this.#rest(state);
    }
  }

  /** Whether it could go to rest. */
  #rest(state: RoutingState): boolean {
    const rest = state.atRest;
    if (rest === undefined) return false;
    state.rest();
    if (state instanceof QueryingState) this.#querying.remove(state);
    else this.#responding.remove(state);
    this.#resting.put(rest);
    return true;
  }
}
