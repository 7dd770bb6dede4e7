/**
 * Routing state that is awake, by {MRI, Session-ID, NSLPID}. Session-IDs are random, so that most have one state here, which
 * is compared; only those that share one get keys. To make a key, and hash it, takes longer than all else that a look-up does.
 */
import { stateKey } from "./context.js";
import type { FlowSession } from "./flow-session.js";
import { sameMri } from "./wire/mri.js";
import type { SessionId } from "./wire/messages.js";

export class StateTable<S extends FlowSession> {
  readonly #states = new Map<SessionId, S | Map<string, S>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(session: FlowSession): S | undefined {
    const found = this.#states.get(session.sessionId);
    if (found instanceof Map) return found.get(keyOf(session));
    return found !== undefined && isOf(found, session) ? found : undefined;
  }

  /** It takes the place of one with the same names. */
  add(state: S): void {
    const before = this.get(state);
    if (before !== undefined) this.remove(before);
    this.#size++;
    const others = this.#states.get(state.sessionId);
    if (others === undefined) this.#states.set(state.sessionId, state);
    else if (others instanceof Map) others.set(keyOf(state), state);
    else this.#states.set(state.sessionId, new Map([others, state].map((one) => [keyOf(one), one])));
  }

  /** Nothing happens when it is not there. */
  remove(state: S): void {
    const found = this.#states.get(state.sessionId);
    if (found === state) this.#states.delete(state.sessionId);
    else if (!(found instanceof Map) || found.get(keyOf(state)) !== state) return;
    else {
      found.delete(keyOf(state));
      if (found.size === 0) this.#states.delete(state.sessionId);
    }
    this.#size--;
  }

  /** What is removed while it is walked is left out; what is added may be missed where others have its Session-ID. */
  *values(): IterableIterator<S> {
    for (const one of this.#states.values())
      if (one instanceof Map) yield* one.values();
      else yield one;
  }
}

function isOf(state: FlowSession, { nslpId, mri }: FlowSession): boolean {
  return state.nslpId === nslpId && sameMri(state.mri, mri);
}

/** {@link stateKey} of a session. */
export function keyOf({ mri, sessionId, nslpId }: FlowSession): string {
  return stateKey(mri, sessionId, nslpId);
}
