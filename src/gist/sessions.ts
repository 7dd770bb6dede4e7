/** The routing state table: both kinds of state by {MRI, Session-ID, NSLPID}, the MRI as this node sends it. */
import type { Associations } from "./associations.js";
import { type GistContext, stateKey } from "./context.js";
import { type QueryingOwner, QueryingState } from "./querying.js";
import { type RespondingOwner, RespondingState } from "./responding.js";
import type { Mri, NetworkLayerInformation, SessionId } from "./wire/messages.js";

/** What names a session at one node. */
export interface FlowSession {
  readonly nslpId: number;
  readonly sessionId: SessionId;
  /** As this node sends it. */
  readonly mri: Mri;
}

export type RoutingState = QueryingState | RespondingState;

export class Sessions implements QueryingOwner, RespondingOwner {
  readonly #context: GistContext;
  readonly #associations: Associations;
  readonly #querying = new Map<string, QueryingState>();
  readonly #responding = new Map<string, RespondingState>();
  /** States whose peer, behind a NAT, knows the flow by another MRI: by that. */
  readonly #behindNat = new Map<string, QueryingState>();
  #handshakes = 0;

  constructor(context: GistContext, associations: Associations) {
    this.#context = context;
    this.#associations = associations;
  }

  get counts(): { querying: number; responding: number } {
    return { querying: this.#querying.size, responding: this.#responding.size };
  }

  get size(): number {
    return this.#querying.size + this.#responding.size;
  }

  get full(): boolean {
    return this.size >= this.#context.options.maxRoutingStates;
  }

  get tooManyHandshakes(): boolean {
    return this.#handshakes >= this.#context.options.maxPendingHandshakes;
  }

  querying(session: FlowSession): QueryingState | undefined {
    return this.#querying.get(keyOf(session));
  }

  responding(session: FlowSession): RespondingState | undefined {
    return this.#responding.get(keyOf(session));
  }

  find(session: FlowSession): RoutingState | undefined {
    const key = keyOf(session);
    return this.#querying.get(key) ?? this.#responding.get(key) ?? this.#behindNat.get(key);
  }

  *all(): Iterable<RoutingState> {
    yield* this.#querying.values();
    yield* this.#responding.values();
  }

  /** A live view: what is added or removed while it is walked is seen so. */
  allQuerying(): IterableIterator<QueryingState> {
    return this.#querying.values();
  }

  addQuerying({ nslpId, sessionId, mri }: FlowSession): QueryingState {
    const flow = { nslpId, sessionId, mri };
    const state = new QueryingState(this.#context, this.#associations, this, keyOf(flow), flow);
    this.#querying.set(state.key, state);
    return state;
  }

  addResponding({ nslpId, sessionId, mri }: FlowSession, nli: NetworkLayerInformation): RespondingState {
    const flow = { nslpId, sessionId, mri, nli };
    const state = new RespondingState(this.#context, this, keyOf(flow), flow);
    this.#responding.set(state.key, state);
    return state;
  }

  removed(state: RoutingState): void {
    if (!(state instanceof QueryingState)) {
      this.#responding.delete(state.key);
      return;
    }
    this.#querying.delete(state.key);
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
    for (const state of [...this.all()]) state.shutDown(reason);
  }

  /** Forgets the state of an NSLP that is gone. */
  forget(nslpId: number): void {
    for (const state of [...this.all()]) if (state.nslpId === nslpId) state.shutDown("the NSLP is gone");
  }
}

function keyOf({ mri, sessionId, nslpId }: FlowSession): string {
  return stateKey(mri, sessionId, nslpId);
}
