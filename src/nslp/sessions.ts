/**
 * The tables of sessions: by Session-ID and by flow, with their bounds. A router's session that nothing happened to for a
 * while goes to rest, and is woken when something does.
 */
import { Bedtime } from "../base/bedtime.js";
import type { Flow } from "../base/flow.js";
import type { Time } from "../base/time.js";
import type { Bytes } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { PbsOptions } from "./options.js";
import { type Renewal, type RouterRest, RestingRouters } from "./resting.js";
import type { RestingTable } from "./resting-summaries.js";
import type { Session } from "./session.js";
import { NoSuchFlow } from "./view.js";

export class Sessions<S extends Session> implements Omit<RestingTable, "byId"> {
  readonly #byId = new Map<SessionId, S>();
  readonly #byFlow = new Map<string, S>();
  /** Sessions without permission: in all, and by the peer that brought them. */
  readonly #pending = new Set<S>();
  readonly #pendingOf = new Map<string, number>();
  readonly #options: PbsOptions;
  readonly #resting: RestingRouters;
  readonly #bedtime: Bedtime<S>;
  readonly #revive: (rest: RouterRest) => S;

  /** @param revive makes the object of a session that was at rest */
  constructor(options: PbsOptions, time: Time, revive: (rest: RouterRest) => S) {
    this.#options = options;
    this.#revive = revive;
    this.#resting = new RestingRouters(time, (rest) => this.#wake(rest));
    this.#bedtime = new Bedtime(
      time,
      () => this.#byId.values(),
      (session) => this.#rest(session),
    );
  }

  byId(id: SessionId): S | undefined {
    return this.#bedtime.touch(this.#byId.get(id)) ?? this.#woken(this.#resting.takeById(id));
  }

  byFlow(flow: Flow): S | undefined {
    return this.#bedtime.touch(this.#byFlow.get(nameOf(flow))) ?? this.#woken(this.#resting.takeByFlow(flow));
  }

  atRest(id: SessionId): RouterRest | undefined {
    return this.#resting.look(id);
  }

  queryAtRest(id: SessionId, sequence: number, sentVolume: Bytes): boolean {
    return this.#resting.query(id, sequence, sentVolume);
  }

  permissionAtRest(id: SessionId, sequence: number): boolean {
    return this.#resting.permission(id, sequence);
  }

  renewAtRest(id: SessionId, renewal: Renewal): boolean {
    return this.#resting.renew(id, renewal);
  }

  /** Puts a session to rest, if it can be: what lives for a moment only costs the garbage collector little. */
  rest(session: S): void {
    if (this.#byId.get(session.id) === session) this.#rest(session);
  }

  /** Those that are awake; all but routers' always are. */
  awake(): IterableIterator<S> {
    return this.#byId.values();
  }

  /** All, to be looked at only: what is at rest stays there. */
  *all(): IterableIterator<S> {
    yield* this.#byId.values();
    for (const rest of this.#resting.all()) yield this.#revive(rest);
  }

  get size(): number {
    return this.#byId.size + this.#resting.size;
  }

  /** Nothing happens any more. */
  stop(): void {
    this.#bedtime.stop();
    this.#resting.stop();
    for (const session of this.#byId.values()) session.stop();
  }

  /** Why one more session cannot be taken; undefined when it can. */
  fullFor(peer: string | undefined): string | undefined {
    if (this.size >= this.#options.maxSessions) return "this node keeps no more sessions";
    if (this.#pending.size >= this.#options.maxPending)
      return "too many flows are waiting for an answer here";
    if (peer !== undefined && (this.#pendingOf.get(peer) ?? 0) >= this.#options.maxPendingPerPeer)
      return "too many flows of this peer are waiting for an answer";
    return undefined;
  }

  add(session: S): void {
    this.#insert(session);
    this.#pending.add(session);
    this.#countPending(session, 1);
  }

  /** The session has its permission now. */
  settle(session: S): void {
    if (this.#pending.delete(session)) this.#countPending(session, -1);
  }

  remove(session: S): void {
    if (this.#byId.get(session.id) === session) this.#byId.delete(session.id);
    const key = nameOf(session.flow);
    if (this.#byFlow.get(key) === session) this.#byFlow.delete(key);
    if (this.#pending.delete(session)) this.#countPending(session, -1);
  }

  /** By any unique beginning of the id. Throws {@link NoSuchFlow}. */
  find(beginning: string): S {
    const exact = this.#byId.get(beginning as SessionId);
    if (exact !== undefined) return this.#bedtime.touch(exact);
    const [found, another] = this.#idsWith(beginning);
    if (another !== undefined) throw new NoSuchFlow(`more than one flow's id begins with "${beginning}"`);
    const session = found === undefined || beginning === "" ? undefined : this.byId(found);
    if (session === undefined) throw new NoSuchFlow(`no flow's id begins with "${beginning}"`);
    return session;
  }

  /** At most two. */
  #idsWith(beginning: string): SessionId[] {
    const found: SessionId[] = [];
    for (const ids of [this.#byId.keys(), this.#resting.ids()])
      for (const id of ids) {
        if (id.startsWith(beginning)) found.push(id);
        if (found.length > 1) return found;
      }
    return found;
  }

  #insert(session: S): void {
    this.#byId.set(session.id, session);
    this.#byFlow.set(nameOf(session.flow), session);
    this.#bedtime.touch(session);
  }

  #woken(rest: RouterRest | undefined): S | undefined {
    return rest === undefined ? undefined : this.#wake(rest);
  }

  #wake(rest: RouterRest): S {
    const session = this.#revive(rest);
    this.#insert(session);
    session.wake?.();
    return session;
  }

  /** Whether it could go to rest. */
  #rest(session: S): boolean {
    const rest = session.atRest;
    // Another session of the flow may have taken its place in the one table and not yet in the other.
    if (rest === undefined || this.#byFlow.get(nameOf(session.flow)) !== session) return false;
    session.stop();
    this.#byId.delete(session.id);
    this.#byFlow.delete(nameOf(session.flow));
    this.#resting.put(rest);
    return true;
  }

  #countPending(session: S, change: number): void {
    const peer = session.upstreamPeer;
    if (peer === undefined) return;
    const count = (this.#pendingOf.get(peer) ?? 0) + change;
    if (count > 0) this.#pendingOf.set(peer, count);
    else this.#pendingOf.delete(peer);
  }
}

const FLOW_BYTES = 38;
const scratch = Buffer.alloc(FLOW_BYTES);

/** Equal for equal flows and unequal for others. Not for people, whose texts take much longer to write. */
function nameOf({ source, destination, sourcePort, destinationPort, protocol }: Flow): string {
  const { length } = source.bytes;
  scratch.set(source.bytes);
  scratch.set(destination.bytes, length);
  scratch.writeUInt16BE(sourcePort, 2 * length);
  scratch.writeUInt16BE(destinationPort, 2 * length + 2);
  scratch[2 * length + 4] = protocol;
  return scratch.toString("latin1", 0, 2 * length + 5);
}
