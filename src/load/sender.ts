/**
 * The sending side: asks for flows, refreshes them, asks for more and gives them up, for as many hosts as there are
 * identities. What it keeps of a flow stands in typed arrays: about 80 bytes, whatever GIST keeps for it.
 */
import { type Milliseconds, bytes, ms } from "../base/units.js";
import { between } from "../base/random.js";
import type {
  NetworkNotification,
  Nslp,
  PeerDecision,
  ReceivedMessage,
  MessageStatus,
} from "../gist/service.js";
import { mriOf } from "../nslp/mri.js";
import { ASK_AGAIN_AT, REFRESHES_KEPT } from "../nslp/options.js";
import { isNewer, nextSequence } from "../nslp/sequence.js";
import type { SessionId } from "../gist/wire/messages.js";
import {
  INFO_CODE,
  PBS_NSLP_ID,
  type PbsNotify,
  type PbsPermission,
  SUPPORT,
  type SummaryClaim,
  type SummaryGrant,
  type Ticket,
} from "../nslp/wire/messages.js";
import { Histogram } from "./histogram.js";
import { GATHERED_FOR, type SenderBehaviour, SUMMARY_FLOWS } from "./options.js";
import { Line } from "./line.js";
import { Side, type SideParts } from "./side.js";
import { FlowTimers } from "./wheel.js";

/** So often at most is the wait doubled after which a flow that got no permission asks again. */
const DOUBLINGS = 4;

/** Of a flow. */
const STATE = {
  idle: 0,
  /** Its first Query is under way. */
  asking: 1,
  permitted: 2,
  /** It has permission, and a Query is under way. */
  refreshing: 3,
  /** It got none, and asks again later. */
  waiting: 4,
} as const;

/** Where the Query is that a flow waits to see answered. */
const HAND = {
  /** On its way, or there is none. */
  sent: 0,
  /** It waits for its signature. */
  line: 1,
  /** GIST looks for the next node. */
  gist: 2,
} as const;

export type Outcome = "granted" | "refused" | "failed";

/** Told when the asking of a flow came to an end; not while it asks again. */
export type Settled = (index: number, outcome: Outcome) => void;

export class SenderSide implements Nslp {
  readonly setUp = new Histogram();
  readonly refreshed = new Histogram();
  readonly #side: Side;
  readonly #behaviour: SenderBehaviour;
  readonly #run: string;
  readonly #timers: FlowTimers;
  readonly #line: Line;
  readonly #hand: Uint8Array;
  /** Of flows that a busy node turned away, until they have their permission. */
  readonly #tickets = new Map<number, Ticket>();
  readonly #state: Uint8Array;
  readonly #tries: Uint8Array;
  /** Attempts in a row that got no permission, as far as they make the wait for the next one longer. */
  readonly #failures: Uint8Array;
  readonly #generation: Uint32Array;
  readonly #sequence: Uint32Array;
  /** Message-Seq of the last Permission; 0 before the first. */
  readonly #heard: Uint32Array;
  /** Milliseconds of the monotonic clock. */
  readonly #asked: Float64Array;
  readonly #permittedUntil: Float64Array;
  readonly #reportedAt: Float64Array;
  readonly #period: Float64Array;
  readonly #allowed: Float64Array;
  readonly #sent: Float64Array;
  /** Where in its interval the next refresh is; flows that were refreshed by one message meet again. */
  #fraction = 0;
  #live = 0;
  #underWay = 0;
  #replaces: boolean;
  #settled: Settled = () => {};

  /** @param run 16 hexadecimal digits that no other run has */
  constructor(parts: SideParts, behaviour: SenderBehaviour, run: string) {
    const { flows } = parts.space;
    this.#side = new Side(parts);
    this.#behaviour = behaviour;
    this.#replaces = behaviour.replace;
    this.#run = run;
    this.#timers = new FlowTimers(flows, parts.time.now());
    this.#line = new Line(parts.time, (index) => this.#turn(index), parts.later);
    this.#hand = new Uint8Array(flows);
    this.#state = new Uint8Array(flows);
    this.#tries = new Uint8Array(flows);
    this.#failures = new Uint8Array(flows);
    this.#generation = new Uint32Array(flows);
    this.#sequence = new Uint32Array(flows);
    this.#heard = new Uint32Array(flows);
    this.#asked = new Float64Array(flows);
    this.#permittedUntil = new Float64Array(flows);
    this.#reportedAt = new Float64Array(flows);
    this.#period = new Float64Array(flows);
    this.#allowed = new Float64Array(flows);
    this.#sent = new Float64Array(flows);
  }

  /** Flows with permission. */
  get live(): number {
    return this.#live;
  }

  /** Queries without an answer so far. */
  get underWay(): number {
    return this.#underWay;
  }

  /** Flows that have something to ask and wait for their signatures. */
  get inLine(): number {
    return this.#line.length;
  }

  counters(): Record<string, number> {
    return this.#side.counters.snapshot();
  }

  whenSettled(settled: Settled): void {
    this.#settled = settled;
  }

  /** From now on flows that are over are not replaced. */
  windDown(): void {
    this.#replaces = false;
  }

  /** Fires what is due; called every few milliseconds. */
  advance(): void {
    this.#timers.advance(this.#now(), (index) => this.#due(index));
  }

  /**
   * Asks for a flow that is idle; others are left as they are.
   * @param since when it should have been asked for: from then on its latency counts
   */
  start(index: number, since: Milliseconds = this.#now()): boolean {
    const state = this.#state[index];
    if (state !== STATE.idle && state !== STATE.waiting) return false;
    this.#heard[index] = 0;
    this.#sent[index] = 0;
    this.#allowed[index] = 0;
    this.#count("flow.asked");
    this.#ask(index, STATE.asking, since, this.#behaviour.saving && 0);
    return true;
  }

  /** Refreshes a flow that has permission, ahead of its time. */
  refresh(index: number, since: Milliseconds = this.#now()): boolean {
    const { saving } = this.#behaviour;
    // One of its block has taken it along.
    if (saving === "summaries" && this.#state[index] === STATE.refreshing) return true;
    if (this.#state[index] !== STATE.permitted) return false;
    if (saving === "summaries") this.#refreshBlock(index, since, 0, () => true);
    else this.#ask(index, STATE.refreshing, since, saving && 0);
    return true;
  }

  /** Asks for more volume for a flow that has permission. */
  modify(index: number, since: Milliseconds = this.#now()): boolean {
    if (this.#state[index] !== STATE.permitted) return false;
    this.#sent[index] = this.#allowed[index] ?? 0;
    this.#count("flow.modified");
    this.#ask(index, STATE.refreshing, since);
    return true;
  }

  /** Gives a flow up that has permission, as a sender does: it no longer asks. A new one begins in its place. */
  replace(index: number, since: Milliseconds): boolean {
    if (this.#state[index] !== STATE.permitted) return false;
    this.#count("flow.left");
    this.#end(index);
    return this.start(index, since);
  }

  // --- GIST

  recvMessage(received: ReceivedMessage): PeerDecision {
    if (!received.routingStateCheck) this.#take(received);
    return { peer: false };
  }

  messageStatus(status: MessageStatus): void {
    const index = this.#side.parts.space.placeOf(status.sessionId)?.index;
    if (index !== undefined && this.#hand[index] === HAND.gist && this.#id(index) === status.sessionId)
      this.#hand[index] = HAND.sent;
    this.#side.status(status);
  }

  networkNotification({ type }: NetworkNotification): void {
    this.#count(`notified.${type}`);
  }

  #take(received: ReceivedMessage): void {
    const decoded = this.#side.read(received);
    const place = this.#side.parts.space.placeOf(received.sessionId);
    if (decoded === undefined || place === undefined) return;
    const { index, generation } = place;
    if (this.#id(index) !== received.sessionId || generation !== this.#generation[index])
      return this.#count("dropped.old-session");
    const { message } = decoded;
    if (message.type === "permission") {
      this.#side.sample(received, decoded);
      this.#fraction = this.#side.parts.random.fraction();
      this.#permission(index, message);
      for (const grant of message.summary ?? []) this.#listed(grant);
    } else if (message.type === "notify") this.#notify(index, message);
  }

  #listed(grant: SummaryGrant): void {
    const place = this.#side.parts.space.placeOf(grant.id);
    if (place === undefined || this.#id(place.index) !== grant.id) return this.#count("dropped.old-session");
    this.#permission(place.index, grant);
  }

  #permission(
    index: number,
    permission: Pick<PbsPermission, "sequence" | "allowedVolume" | "ttl" | "refresh">,
  ): void {
    const heard = this.#heard[index] ?? 0;
    if (heard !== 0 && !isNewer(permission.sequence, heard)) return this.#count("dropped.replayed");
    this.#heard[index] = permission.sequence;
    if (permission.allowedVolume === 0) return this.#refused(index);
    const state = this.#state[index];
    if (state === STATE.idle) return this.#count("dropped.idle");
    const now = this.#now();
    const lifetime = Math.min(permission.ttl, permission.refresh * REFRESHES_KEPT);
    this.#permittedUntil[index] = now + lifetime;
    this.#period[index] = Math.min(permission.refresh, permission.ttl / 2);
    this.#allowed[index] = permission.allowedVolume;
    const { gist, space } = this.#side.parts;
    const mri = mriOf(space.flow(this.#place(index)), "downstream");
    gist.setStateLifetime(PBS_NSLP_ID, this.#id(index), mri, ms(lifetime));
    if (state === STATE.permitted) return this.#count("permission.unasked");
    this.#leaveLine(index);
    this.#tickets.delete(index);
    const latency = now - (this.#asked[index] ?? now);
    if (state === STATE.asking || state === STATE.waiting) {
      this.#live++;
      this.setUp.record(latency);
      this.#count("flow.granted");
      this.#reportedAt[index] = now;
    } else {
      this.refreshed.record(latency);
      this.#count("flow.refreshed");
    }
    if (state !== STATE.waiting) this.#underWay--;
    this.#failures[index] = 0;
    this.#state[index] = STATE.permitted;
    this.#scheduleRefresh(index);
    this.#settled(index, "granted");
  }

  #refused(index: number): void {
    const state = this.#state[index];
    if (state === STATE.idle) return;
    const had = state === STATE.permitted || state === STATE.refreshing;
    this.#count(had ? "flow.revoked" : "flow.refused");
    const settles = state === STATE.asking || state === STATE.refreshing;
    this.#end(index);
    if (this.#replaces) this.start(index);
    if (settles) this.#settled(index, "refused");
  }

  /** What cannot be granted now is asked for again when the Notify says so, with some spread. */
  #notify(index: number, { info, listed, ticket }: PbsNotify): void {
    this.#count(`notify.code-${info.code}`);
    if (info.code === INFO_CODE.refreshSingly) return this.#askSingly(listed ?? []);
    const state = this.#state[index];
    if (info.retryAfter === 0 || (state !== STATE.asking && state !== STATE.refreshing)) return;
    this.#count("flow.told-to-wait");
    this.#tries[index] = 0;
    if (ticket !== undefined) this.#keepTicket(index, ticket);
    const wait = between(this.#side.parts.random, 1, 1.25) * info.retryAfter;
    if (state === STATE.asking) this.#wait(index, wait);
    else {
      this.#leaveLine(index);
      this.#timers.set(index, ms(this.#now() + wait));
    }
  }

  /** All hosts have one processor here, so puzzles are left alone. */
  #keepTicket(index: number, ticket: Ticket): void {
    if (ticket.bits === 0) this.#tickets.set(index, ticket);
    else this.#count("puzzle.unsolved");
  }

  #askSingly(ids: readonly SessionId[]): void {
    for (const id of ids) {
      const index = this.#side.parts.space.placeOf(id)?.index;
      if (index !== undefined && this.#id(index) === id && this.#state[index] === STATE.refreshing)
        this.#query(index);
    }
  }

  #wait(index: number, delay: number): void {
    this.#underWay--;
    this.#leaveLine(index);
    this.#state[index] = STATE.waiting;
    this.#timers.set(index, ms(this.#now() + delay));
  }

  #due(index: number): void {
    const state = this.#state[index];
    if (state === STATE.permitted) {
      if (this.#now() >= (this.#permittedUntil[index] ?? 0)) return this.#lost(index);
      this.#count("refresh.due");
      return this.#refreshWithOthers(index);
    }
    if (state === STATE.waiting) {
      this.#count("flow.asked-again");
      return this.#ask(index, STATE.asking, ms(this.#asked[index] ?? 0));
    }
    if (state !== STATE.idle) this.#unanswered(index);
  }

  #unanswered(index: number): void {
    const tries = this.#tries[index] ?? 0;
    if (tries > 0 && tries < this.#behaviour.timeouts.length) {
      this.#count("retransmissions");
      return this.#query(index);
    }
    if (tries === 0) return this.#query(index);
    if (this.#state[index] === STATE.asking) return this.#failed(index);
    this.#count("refresh.missed");
    if (this.#now() < (this.#permittedUntil[index] ?? 0)) return this.#missed(index);
    this.#lost(index);
  }

  #lost(index: number): void {
    this.#count("flow.lost");
    this.#end(index);
    this.#settled(index, "failed");
    if (this.#behaviour.retryAfter !== undefined) this.start(index);
  }

  /** As a sender does, it asks again when the next refresh is due: who asks at once keeps busy who could not answer. */
  #missed(index: number): void {
    this.#underWay--;
    this.#state[index] = STATE.permitted;
    const again = this.#now() + between(this.#side.parts.random, 0.5, 1.5) * (this.#period[index] ?? 0);
    this.#timers.set(index, ms(Math.min(again, this.#permittedUntil[index] ?? again)));
    this.#settled(index, "failed");
  }

  #failed(index: number): void {
    this.#count("flow.failed");
    const { retryAfter } = this.#behaviour;
    const failures = this.#failures[index] ?? 0;
    // What GIST still has comes to nobody as one more: for that nobody need ask more seldom.
    if (this.#hand[index] !== HAND.gist) this.#failures[index] = Math.min(failures + 1, DOUBLINGS);
    if (retryAfter !== undefined)
      return this.#wait(index, retryAfter * 2 ** failures * between(this.#side.parts.random, 0.5, 1.5));
    this.#end(index);
    this.#settled(index, "failed");
  }

  #end(index: number): void {
    const state = this.#state[index];
    if (state === STATE.permitted || state === STATE.refreshing) this.#live--;
    if (state === STATE.asking || state === STATE.refreshing) this.#underWay--;
    this.#timers.cancel(index);
    this.#tickets.delete(index);
    this.#hand[index] = HAND.sent;
    const { gist, space } = this.#side.parts;
    const mri = mriOf(space.flow(this.#place(index)), "downstream");
    gist.setStateLifetime(PBS_NSLP_ID, this.#id(index), mri, ms(0));
    this.#state[index] = STATE.idle;
    this.#generation[index] = (this.#generation[index] ?? 0) + 1;
  }

  #refreshWithOthers(index: number): void {
    const { saving } = this.#behaviour;
    const now = this.#now();
    if (saving !== "summaries") return this.#ask(index, STATE.refreshing, now, saving && GATHERED_FOR);
    this.#refreshBlock(index, now, GATHERED_FOR, (other) => {
      const since = now - (this.#asked[other] ?? now);
      return since >= (this.#period[other] ?? 0) / 2;
    });
  }

  /** Those of its block that have permission and nothing new to say go along in one Query. */
  #refreshBlock(index: number, since: Milliseconds, wait: number, isDue: (index: number) => boolean): void {
    const claims: SummaryClaim[] = [];
    for (const other of this.#side.parts.space.blockOf(index, SUMMARY_FLOWS)) {
      if (other === index || this.#state[other] !== STATE.permitted || !isDue(other)) continue;
      if (this.#wantsMore(other)) continue;
      this.#begin(other, STATE.refreshing, since);
      claims.push(this.#claim(other));
    }
    this.#ask(index, STATE.refreshing, since, wait, claims);
  }

  #claim(index: number): SummaryClaim {
    return {
      id: this.#id(index),
      sequence: this.#numberQuery(index),
      sentVolume: bytes(this.#report(index)),
      epoch: 0,
      heard: this.#heard[index] ?? 0,
    };
  }

  #begin(index: number, state: number, since: Milliseconds): void {
    this.#state[index] = state;
    this.#tries[index] = 0;
    this.#asked[index] = since;
    this.#underWay++;
  }

  #ask(
    index: number,
    state: number,
    since: Milliseconds,
    wait?: number,
    listed: readonly SummaryClaim[] = [],
  ): void {
    this.#begin(index, state, since);
    this.#query(index, wait, listed);
  }

  /** Number of the Query that is sent now; from now on its answer is awaited. */
  #numberQuery(index: number): number {
    const sequence = nextSequence(this.#sequence[index] || undefined, this.#side.parts.time.wall());
    this.#sequence[index] = sequence;
    this.#awaitAnswer(index);
    return sequence;
  }

  #awaitAnswer(index: number): void {
    const { timeouts } = this.#behaviour;
    const tries = this.#tries[index] ?? 0;
    this.#tries[index] = tries + 1;
    this.#timers.set(index, ms(this.#now() + (timeouts[tries] ?? timeouts[0] ?? 0)));
  }

  #wantsMore(index: number): boolean {
    const allowed = this.#allowed[index] ?? 0;
    return allowed > 0 && this.#report(index) >= allowed * ASK_AGAIN_AT;
  }

  /**
   * What is to be signed by itself waits for its turn, and its answer is awaited from then on. No second one is made while GIST
   * still has the first: that one says the same.
   *
   * @param wait as {@link Side.send} has it
   */
  #query(index: number, wait?: number, listed: readonly SummaryClaim[] = []): void {
    if (this.#hand[index] === HAND.gist) {
      this.#count("query.still-held");
      return this.#awaitAnswer(index);
    }
    if (wait !== undefined || listed.length > 0) return this.#send(index, wait, listed);
    this.#hand[index] = HAND.line;
    this.#timers.cancel(index);
    this.#line.add(index);
  }

  /** Its turn has come, unless it wants nothing any more. */
  #turn(index: number): void {
    if (this.#hand[index] !== HAND.line) return;
    const first = this.#state[index] === STATE.asking;
    this.#hand[index] = first ? HAND.gist : HAND.sent;
    if (this.#sequence[index] === 0) this.#count("query.first");
    this.#send(index);
  }

  #leaveLine(index: number): void {
    if (this.#hand[index] === HAND.line) this.#hand[index] = HAND.sent;
  }

  #send(index: number, wait?: number, listed: readonly SummaryClaim[] = []): void {
    const { space } = this.#side.parts;
    const { volume } = this.#behaviour;
    const flow = space.flow(this.#place(index));
    const sequence = this.#numberQuery(index);
    const heard = this.#heard[index] ?? 0;
    const signer = this.#side.signer(space.senderOf(index));
    const about = { id: this.#id(index), flow, direction: "downstream", signer } as const;
    const more = this.#wantsMore(index);
    const sent = this.#sent[index] ?? 0;
    const allowed = this.#allowed[index] ?? 0;
    const support = this.#support(wait);
    const ticket = this.#tickets.get(index);
    const query = {
      type: "query",
      flow,
      sequence,
      requestedVolume: bytes(allowed === 0 ? volume : more ? allowed + volume : allowed),
      sentVolume: bytes(sent),
      certificate: signer.certificate,
      mark: { epoch: 0, ...(heard !== 0 && { heard }) },
      ...(support !== 0 && { support }),
      ...(listed.length > 0 && { summary: listed }),
      ...(ticket !== undefined && { tickets: [ticket] }),
    } as const;
    const held = this.#hand[index] === HAND.gist;
    this.#side.send(about, query, wait, held);
  }

  /** What a Query asks of its path; its answer may wait as long as it has waited itself. */
  #support(wait: number | undefined): number {
    const { saving } = this.#behaviour;
    if (saving === undefined) return 0;
    const patient = wait === undefined || wait === 0 ? 0 : SUPPORT.patient;
    return SUPPORT.tree | (saving === "summaries" ? SUPPORT.summary : 0) | patient;
  }

  /** Bytes that the flow says it has sent by now. */
  #report(index: number): number {
    const { reportedRate } = this.#behaviour;
    const allowed = this.#allowed[index] ?? 0;
    const before = this.#sent[index] ?? 0;
    if (reportedRate === 0 || allowed === 0) return before;
    const now = this.#now();
    const elapsed = (now - (this.#reportedAt[index] ?? now)) / 1000;
    const sent = Math.min(allowed, before + elapsed * reportedRate);
    this.#reportedAt[index] = now;
    this.#sent[index] = sent;
    return sent;
  }

  #scheduleRefresh(index: number): void {
    if (!this.#behaviour.refreshes) return this.#timers.cancel(index);
    const period = this.#period[index] ?? 0;
    const wait = (0.5 + this.#fraction) * period;
    this.#timers.set(index, ms(this.#now() + wait));
  }

  #place(index: number): { index: number; generation: number } {
    return { index, generation: this.#generation[index] ?? 0 };
  }

  #id(index: number) {
    return this.#side.parts.space.sessionId(this.#run, this.#place(index));
  }

  #now(): Milliseconds {
    return this.#side.parts.time.now();
  }

  #count(name: string): void {
    this.#side.counters.count(name);
  }
}
