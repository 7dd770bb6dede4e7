/** The tables of sessions: by Session-ID and by flow, with their bounds. */
import { type Flow, flowKey } from "../base/flow.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { PbsOptions } from "./options.js";
import type { Session } from "./session.js";
import { NoSuchFlow } from "./view.js";

export class Sessions<S extends Session> {
  readonly #byId = new Map<SessionId, S>();
  readonly #byFlow = new Map<string, S>();
  /** Sessions without permission: in all, and by the peer that brought them. */
  readonly #pending = new Set<S>();
  readonly #pendingOf = new Map<string, number>();
  readonly #options: PbsOptions;

  constructor(options: PbsOptions) {
    this.#options = options;
  }

  byId(id: SessionId): S | undefined {
    return this.#byId.get(id);
  }

  byFlow(flow: Flow): S | undefined {
    return this.#byFlow.get(flowKey(flow));
  }

  all(): IterableIterator<S> {
    return this.#byId.values();
  }

  get size(): number {
    return this.#byId.size;
  }

  /** Why one more session cannot be taken; undefined when it can. */
  fullFor(peer: string | undefined): string | undefined {
    if (this.#byId.size >= this.#options.maxSessions) return "this node keeps no more sessions";
    if (this.#pending.size >= this.#options.maxPending)
      return "too many flows are waiting for an answer here";
    if (peer !== undefined && (this.#pendingOf.get(peer) ?? 0) >= this.#options.maxPendingPerPeer)
      return "too many flows of this peer are waiting for an answer";
    return undefined;
  }

  add(session: S): void {
    this.#byId.set(session.id, session);
    this.#byFlow.set(flowKey(session.flow), session);
    this.#pending.add(session);
    this.#countPending(session, 1);
  }

  /** The session has its permission now. */
  settle(session: S): void {
    if (this.#pending.delete(session)) this.#countPending(session, -1);
  }

  remove(session: S): void {
    if (this.#byId.get(session.id) === session) this.#byId.delete(session.id);
    const key = flowKey(session.flow);
    if (this.#byFlow.get(key) === session) this.#byFlow.delete(key);
    if (this.#pending.delete(session)) this.#countPending(session, -1);
  }

  /** By any unique beginning of the id. Throws {@link NoSuchFlow}. */
  find(beginning: string): S {
    const exact = this.#byId.get(beginning as SessionId);
    if (exact !== undefined) return exact;
    let found: S | undefined;
    for (const [id, session] of this.#byId) {
      if (!id.startsWith(beginning)) continue;
      if (found !== undefined) throw new NoSuchFlow(`more than one flow's id begins with "${beginning}"`);
      found = session;
    }
    if (found === undefined || beginning === "")
      throw new NoSuchFlow(`no flow's id begins with "${beginning}"`);
    return found;
  }

  #countPending(session: S, change: number): void {
    const peer = session.upstreamPeer;
    if (peer === undefined) return;
    const count = (this.#pendingOf.get(peer) ?? 0) + change;
    if (count > 0) this.#pendingOf.set(peer, count);
    else this.#pendingOf.delete(peer);
  }
}
