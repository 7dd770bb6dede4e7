/** A flow of this host: asks, installs what was granted, refreshes, asks for more. */
import { fitsKey, isSymmetric } from "../authorization/algorithm.js";
import { type Flow, flowKey } from "../base/flow.js";
import { step } from "../base/machine.js";
import { between } from "../base/random.js";
import type { Timer } from "../base/time.js";
import { type Bytes, bytes, type Milliseconds, ms } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { Authentication, FlowCount } from "../traffic/datapath.js";
import { keepRoute, type PbsContext } from "./context.js";
import {
  type Association,
  type AssociationName,
  associationText,
  demandOf,
  NO_OVERLAP,
  sameAssociation,
} from "./demand.js";
import {
  SENDER_MACHINE,
  type SenderAction,
  type SenderEvent,
  type SenderGuard,
  type SenderState,
} from "./machines/sender.js";
import { FIRST_EPOCH } from "./epoch.js";
import { graceFor, longestState, softState } from "./grace.js";
import { Mover } from "./mover.js";
import { ASK_AGAIN_AT } from "./options.js";
import { type Attached, BUSY_TEXT, refuseDefense } from "./notify.js";
import { nextSequence } from "./sequence.js";
import type { Predecessor } from "./source-moves.js";
import { Heard, type Session } from "./session.js";
import type { Member } from "./summary-queries.js";
import { pairOf } from "./supports.js";
import { authenticationView, type FlowView, type RequestOutcome } from "./view.js";
import { codesOf } from "./wire/algorithms.js";
import { encodeUnsigned, MAX_TICKETS } from "./wire/codec.js";
import {
  AUTH_ALGORITHM,
  type Defense,
  INFO_CODE,
  type Info,
  type Mark,
  OBJECT_TYPE,
  type PbsPermission,
  SOLUTION,
  SUPPORT,
  type SummaryClaim,
  type SummaryGrant,
  type Ticket,
} from "./wire/messages.js";

const STATE_NAMES: Record<SenderState, string> = {
  idle: "1 idle",
  "wait-permission": "2 wait for P",
  permission: "3 permission",
};

/** What is kept of a Permission. */
interface Kept extends Pick<PbsPermission, "allowedVolume" | "ttl" | "refresh"> {
  readonly association: AssociationName | undefined;
}

/** One that is not installed yet, with the key. */
interface Answer extends Kept {
  readonly association: Association | undefined;
}

/**
 * Asked for more so often in vain, the volume is used up. What comes first after the asking may still be the answer to an
 * earlier Query: on a fast flow several are under way.
 */
const GAINLESS = 3;

/** A Query that the receiver asks for is sent within so many milliseconds. */
const ASKED_WITHIN = 50;

/** A Permission that names a router, and that router's word that it has no other path, are that close to each other, in milliseconds. */
const ONE_WORD = 2000;
/** Of what a busy node says, so much more at most, that those whom it turned away together do not come back together. */
const BACK_OFF_SPREAD = 0.25;
const LEAST_SPREAD = 100;
const LEAST_BACK_OFF = 500;
/** Where a node that is busy gives no ticket, each time twice as long, so many times. */
const DOUBLINGS = 4;

/** A permission that nears its end is not refreshed more often for it, in milliseconds. */
const LEAST_PERIOD = 1000;

/** Objects that a node refuses which cannot help to save signatures. */
const SAVING: readonly number[] = [OBJECT_TYPE.pathSupport, OBJECT_TYPE.summary, OBJECT_TYPE.treePath];

/** Queries that bring nothing new, and may wait for others. */
const REFRESHES: readonly SenderEvent[] = ["refresh-due", "refresh-alone", "refresh-again"];

export class SenderSession implements Session, Member {
  readonly role = "sender";
  readonly upstreamPeer = undefined;
  readonly previousPeer = undefined;
  readonly id: SessionId;
  readonly flow: Flow;
  readonly heard = new Heard();
  /** Names the two hosts of the flow. */
  readonly pair: string;
  touched = 0;
  readonly #context: PbsContext;
  #state: SenderState = "idle";
  #sequence: number | undefined;
  #requested: Bytes;
  #permission: Kept | undefined;
  #allowedBefore = bytes(0);
  /** Count at which more is asked for. */
  #askAt = bytes(0);
  #permittedUntil = 0;
  #installedAt = 0;
  /** Since when nodes on the path have been too busy, and how often they said so. */
  #busySince: number | undefined;
  #turnedAway = 0;
  /** What the last of them gave; and those that the next Query takes along. */
  #given: Ticket | undefined;
  #tickets: readonly Ticket[] = [];
  #refreshes = 0;
  #tries = 0;
  #answerOwed = false;
  /** A packet did not fit since the last install. */
  #exhausted = false;
  /** More was asked for since then, so that an answer without more is the answer to that. */
  #askedSince = false;
  /** Answers to that, in a row, that brought nothing. */
  #gainless = 0;
  #over = false;
  #reason: string | null = null;
  #retryAfter = ms(0);
  #answerTimer: Timer | undefined;
  #refreshTimer: Timer | undefined;
  #ttlTimer: Timer | undefined;
  #outcome: ((outcome: RequestOutcome) => void)[] = [];
  #answer: Answer | undefined;
  /** The last Permission brought another association than the one before. */
  #changed = false;
  /** What this host cannot do, until the receiver has been told. */
  #refused: { readonly defense: Defense; readonly why: string } | undefined;
  /** Of the last Permission. */
  #epoch = FIRST_EPOCH.epoch;
  #askTimer: Timer | undefined;
  readonly #mover: Mover;
  #moveReason = "";
  /** Queries went unanswered; where there is no other path that may be the receiver's being away. */
  #silent = false;
  /** Until then a router that the receiver asked to change the path may say that it cannot. */
  #routerAskedUntil = 0;
  /** Until then a Permission that names a router is about one that has said so. */
  #routerStuckUntil = 0;
  #nextPeer: string | undefined;
  /** What the last Query asked of the path; what it asked for before it was not answered. */
  #support = 0;
  #unanswered = 0;
  /** What the last Query for this flow alone asked for. */
  #said: Bytes | undefined;
  /** Flows whose refresh the last Query carried. */
  #led: readonly SenderSession[] = [];
  /** Where in its interval the next refresh is to be, in [0, 1), if it went with others. */
  #fraction: number | undefined;
  #refreshedAt = 0;
  /** A node did not take the summary that this refresh was in. */
  #sentBack = false;
  /** Of the same kind, from another source; named until there is a permission. */
  readonly #predecessor: Predecessor | undefined;

  constructor(context: PbsContext, id: SessionId, flow: Flow, volume: Bytes) {
    this.#context = context;
    this.id = id;
    this.flow = flow;
    this.#predecessor = context.sourceMoves.take(flow);
    this.#requested = bytes(Math.max(volume, this.#predecessor?.volume ?? 0));
    this.pair = pairOf(flow);
    this.#mover = new Mover(context, this);
  }

  get nextPeer(): string | undefined {
    return this.#nextPeer;
  }

  /** Nothing new to say: no more volume, no AH (each Permission brings its key), no second try, no move, no ticket. */
  get listable(): boolean {
    const able = (this.#context.supports.proven(this.flow) & SUPPORT.summary) !== 0;
    if (!able || this.#over || this.#tries > 1 || this.#nextPeer === undefined) return false;
    return this.extendable(this.#epoch) && this.#hasNoNews();
  }

  #hasNoNews(): boolean {
    if (this.#exhausted || this.#said !== this.#requested || this.heard.permission === undefined)
      return false;
    return this.#tickets.length === 0 && (this.#count()?.bytes ?? 0) < this.#askAt;
  }

  /** GIST is looking for the next node, or has found another. */
  pathUncertain(): void {
    this.#nextPeer = undefined;
  }

  refreshEarly(): void {
    if (this.#answerOwed || this.#refreshTimer === undefined) return;
    if (this.#context.time.now() - this.#refreshedAt < 0.5 * this.#period() || !this.listable) return;
    this.#refreshNow();
  }

  claim(): SummaryClaim {
    this.#sequence = nextSequence(this.#sequence, this.#context.time.wall());
    this.#support = 0;
    return {
      id: this.id,
      sequence: this.#sequence,
      sentVolume: this.#count()?.bytes ?? bytes(0),
      epoch: this.#epoch,
      heard: this.heard.permission ?? 0,
    };
  }

  queryAlone(): void {
    if (!this.#over) this.#sendQuery(true);
  }

  queryFor(others: readonly SenderSession[]): void {
    this.#sendQuery(true, others);
  }

  extendable(epoch: number): boolean {
    return (
      this.#state === "permission" && this.#permission?.association === undefined && epoch === this.#epoch
    );
  }

  /** What a summary Permission says of this flow; it has been checked that it may. */
  extended({ allowedVolume, ttl, refresh }: SummaryGrant): void {
    this.#dropAnswer();
    this.#answer = { allowedVolume, ttl, refresh, association: undefined };
    this.#changed = false;
    this.#settled();
    this.#on("granted");
  }

  get pending(): boolean {
    return this.#state !== "permission";
  }

  get holds(): boolean {
    return this.#state === "permission";
  }

  get refreshTime(): Milliseconds {
    return this.#permission?.refresh ?? ms(0);
  }

  start(): void {
    this.#on("start");
  }

  /** What becomes of the asking; at once where that is known. */
  outcome(): Promise<RequestOutcome> {
    if (this.#state !== "wait-permission") return Promise.resolve(this.#result(this.#state === "permission"));
    return new Promise((resolve) => this.#outcome.push(resolve));
  }

  /** A Permission whose signature and sequence were checked. */
  permission(permission: PbsPermission, from: string): void {
    this.#nextPeer = from;
    this.#answered();
    if (permission.allowedVolume > 0) return this.#demanded(permission);
    this.#settled();
    this.#because(permission.info, "the receiver refused without a reason");
    this.#on("refused");
  }

  /** The flow takes another path now. */
  moved(path: string, why: string): void {
    this.#nextPeer = undefined;
    const { counters, events } = this.#context;
    counters.count("path.changed");
    if (this.#silent) events.report("attack", this, `black hole on the path: ${why}`);
    this.#silent = false;
    events.report("path", this, `${path}: ${why}`);
    this.#tries = 0;
    this.#busySince = undefined;
    this.#on("path-changed");
  }

  /** New flows may take its place. */
  givesWay(): void {
    const left = (this.#permission?.allowedVolume ?? 0) - (this.#count()?.bytes ?? 0);
    this.#context.sourceMoves.left(this.flow, this.id, bytes(Math.max(0, left)));
  }

  /** New flows like it have another source. */
  gaveWay(path: string, why: string): void {
    const { counters, events } = this.#context;
    counters.count("path.gave-way");
    if (this.#silent) events.report("attack", this, `black hole on the path: ${why}`);
    events.report("path", this, `gives way to new flows by ${path}: ${why}`);
    this.#reason = `this source address has no good path: new connections have ${path}`;
    this.#retryAfter = ms(0);
    this.#on("gave-way");
  }

  /** It could not be moved. */
  stuck(why: string): void {
    this.#context.sourceMoves.stays(this.flow, this.id);
    if (!this.#silent) this.#context.events.report("path", this, `stays where it is: ${why}`);
    this.#silent = false;
    this.#on("no-path");
  }

  /** The packet path runs out of sequence numbers under this SPI. */
  newKeyDue(spi: number): void {
    if (this.#permission?.association?.spi === spi) this.#on("new-key-due");
  }

  notify(info: Info, pending: boolean, { listed = [], ticket }: Attached = {}): void {
    if (info.code === INFO_CODE.noOtherPath) return this.#routerIsStuck();
    if (isAboutSaving(info)) return this.#saveLess();
    if (info.code === INFO_CODE.refreshSingly) return this.#refreshSingly(listed);
    if (isAboutBusyness(info)) return this.#turnedBack(info, ticket);
    this.#because(info, "a node on the path refused");
    if (pending) return this.#on("pending");
    this.#settled();
    this.#on("notified");
  }

  threshold(): void {
    this.#on("threshold");
  }

  exhausted(): void {
    this.#exhausted = true;
    this.#on("exhausted");
  }

  associationLost(): void {
    this.#nextPeer = undefined;
    this.#on("association-lost");
  }

  /** GIST could not deliver a Query. The answer timer decides when to give up. */
  undeliverable(detail: string): void {
    this.#reason = detail;
  }

  async revoke(reason: string): Promise<void> {
    await this.#context.installer.remove(this.flow);
    this.#reason = reason;
    // Or the application's next packet would bring it back.
    this.#retryAfter = this.#context.options.quarantine;
    this.#on("revoked-here");
  }

  stop(): void {
    this.#over = true;
    this.#led = [];
    this.#context.summaryQueries.leave(this);
    this.#context.batch.drop(this.id);
    for (const timer of [this.#answerTimer, this.#refreshTimer, this.#ttlTimer, this.#askTimer])
      timer?.cancel();
    this.#mover.stop();
    this.#dropAnswer();
  }

  view(): FlowView {
    const count = this.#count();
    const permission = this.#permission;
    return {
      id: this.id,
      flow: flowKey(this.flow),
      role: this.role,
      state: STATE_NAMES[this.#state],
      allowedVolume: permission?.allowedVolume ?? bytes(0),
      sentVolume: count?.bytes ?? bytes(0),
      countedVolume: count?.bytes ?? bytes(0),
      packets: count?.packets ?? 0,
      overVolume: count?.overVolume ?? 0,
      authentication: authenticationView(permission?.association, count),
      remaining:
        permission === undefined ? null : ms(Math.max(0, this.#permittedUntil - this.#context.time.now())),
      refresh: permission?.refresh ?? null,
      refreshes: this.#refreshes,
      requester: null,
      rule: null,
      path: this.#mover.path,
      detection: null,
      lastReason: this.#reason,
    };
  }

  /** A node on the path is busy. What the Query listed was turned away with it, and has no ticket. */
  #turnedBack(info: Info, ticket: Ticket | undefined): void {
    const led = this.#led;
    this.#led = [];
    this.#busy(info, ticket);
    for (const session of led) if (session.#answerOwed) session.#busy(info, undefined);
  }

  /** Only who is asked for no more work than this host does keeps the ticket. */
  #busy(info: Info, ticket: Ticket | undefined): void {
    this.#because(info, BUSY_TEXT);
    this.#busySince ??= this.#context.time.now();
    this.#turnedAway++;
    this.#given = ticket;
    const { puzzleEffort } = this.#context.options.admission;
    if (ticket !== undefined && ticket.bits > puzzleEffort) {
      this.#reason = `${this.#reason ?? BUSY_TEXT}, and asks for a puzzle of ${ticket.bits} bits; puzzle_effort allows ${puzzleEffort}`;
      this.#context.counters.count("puzzle.too-hard");
    }
    this.#moveReason = this.#reason ?? BUSY_TEXT;
    this.#on("busy");
  }

  #demanded(permission: PbsPermission): void {
    this.#epoch = permission.epoch?.epoch ?? this.#epoch;
    if (permission.defense.solution === SOLUTION.changePath)
      return permission.epoch?.mover === undefined ? this.#toldToMove() : this.#pathMoved();
    const { signer, options } = this.#context;
    const demand = demandOf(permission.defense, () => signer.packetAlgorithm, options.accepts);
    if (demand.type === "unsupported") {
      permission.defense.key.fill(0);
      this.#refused = { defense: permission.defense, why: `${demand.why} by the sender` };
      this.#reason = `the receiver asks for AH of a kind that this host cannot do: ${demand.why}`;
      // Another Permission may follow, so that this one is no answer.
      return this.#on("unsupported");
    }
    const { allowedVolume, ttl, refresh } = permission;
    const { association } = demand;
    this.#dropAnswer();
    this.#answer = { allowedVolume, ttl, refresh, association };
    this.#changed = !sameAssociation(association, this.#permission?.association);
    this.#settled();
    const gained = allowedVolume > (this.#permission?.allowedVolume ?? 0);
    this.#gainless = gained ? 0 : this.#gainless + (this.#askedSince ? 1 : 0);
    if (this.#askedSince) this.#reason = "the granted volume is used up and was not extended";
    this.#on("granted");
    if (permission.epoch?.ask === true) this.#queryWhenAsked();
  }

  /** Signed by the receiver: data does not arrive there. */
  #toldToMove(): void {
    this.#settled();
    const why = "the receiver asks for another path, because packets do not arrive";
    if (!this.#mover.possible || this.#mover.held) {
      const held = this.#mover.held ? "it has moved a short while ago" : "no other path is configured";
      return this.#context.events.report("path", this, `stays where it is: ${held}; ${why}`);
    }
    this.#moveReason = why;
    this.#on("path-change");
  }

  /** A router has changed the path, or could not; either way a Query shows. */
  #pathMoved(): void {
    const { time } = this.#context;
    if (time.now() < this.#routerStuckUntil) return this.#toldToMove();
    this.#settled();
    this.#routerAskedUntil = time.now() + ONE_WORD;
    this.#queryWhenAsked();
  }

  /** Unsigned, and believed only beside a Permission that asks for another path. It comes first where that one is still verified. */
  #routerIsStuck(): void {
    const now = this.#context.time.now();
    if (now >= this.#routerAskedUntil) {
      this.#routerStuckUntil = now + ONE_WORD;
      return;
    }
    this.#routerAskedUntil = 0;
    this.#askTimer?.cancel();
    this.#toldToMove();
  }

  #queryWhenAsked(): void {
    const { random, time } = this.#context;
    this.#askTimer?.cancel();
    this.#askTimer = time.after(ms(between(random, 0, ASKED_WITHIN)), () => this.#on("asked"));
  }

  /** Its key is of no more use. */
  #dropAnswer(): void {
    this.#answer?.association?.key.fill(0);
    this.#answer = undefined;
  }

  #on(event: SenderEvent): void {
    if (this.#over) return;
    const arc = step(SENDER_MACHINE, this.#state, event, (guard) => this.#holds(guard));
    if (arc === undefined) return;
    if (arc.to === "permission" && this.#state !== arc.to) this.#context.summaryQueries.join(this);
    this.#state = arc.to;
    if (arc.to === "permission") this.#context.settled(this);
    for (const action of arc.do) this.#act(action, event);
  }

  #holds(guard: SenderGuard): boolean {
    switch (guard) {
      case "tries-left":
        return this.#tries < this.#context.options.queryTimeouts.length;
      case "in-use":
        return this.#inUse();
      case "answer-owed":
        return this.#answerOwed;
      case "patient":
        return this.#isPatient();
      case "path-left":
        return this.#context.options.moves.onSilence === "change-path" && this.#mover.possible;
      case "new-algorithm":
        return this.#changed;
      case "nothing-gained":
        return this.#gainless >= GAINLESS;
    }
  }

  #act(action: SenderAction, event: SenderEvent): void {
    switch (action) {
      case "send-query":
        return this.#refreshOrQuery(event);
      case "ask-for-more":
        this.#requested = bytes((this.#permission?.allowedVolume ?? 0) + this.#context.options.requestVolume);
        return;
      case "await-answer":
        return this.#awaitAnswer();
      case "prolong-wait":
        return this.#prolong();
      case "back-off":
        return this.#backOff();
      case "install":
        return void this.#install();
      case "schedule-refresh":
        return this.#scheduleRefresh();
      case "refresh-soon":
        return this.#refreshWithin(between(this.#context.random, 0, this.#context.options.lossJitter));
      case "refuse-application":
        return this.#refuseApplication();
      case "end-connection":
        return void this.#context.connections?.end(this.flow);
      case "give-up":
        return this.#giveUp();
      case "refuse-algorithm":
        return this.#refuseAlgorithm();
      case "change-path":
        return this.#mover.move(this.#moveReason);
      case "report-silence":
        return this.#reportSilence();
      case "remove-permission":
        return void this.#context.installer.remove(this.flow);
      case "report":
        return this.#report(event);
      case "report-authentication":
        return this.#reportAuthentication();
      case "forget":
        return this.#forget();
    }
  }

  /** A refresh may go with others. */
  #refreshOrQuery(event: SenderEvent): void {
    const refresh = REFRESHES.includes(event);
    this.#fraction = this.#goesWithOthers(event) ? this.#context.summaryQueries.offer(this) : undefined;
    if (this.#fraction === undefined) this.#sendQuery(refresh);
  }

  /** What was turned away goes with others once more; then alone, in case the list was too long. */
  #goesWithOthers(event: SenderEvent): boolean {
    if (event === "ask-again") return this.#turnedAway === 1;
    return event === "refresh-due" || event === "refresh-again";
  }

  /** A second try asks nothing of the path, and the first Query of a flow only what it is known to do. */
  #supportWanted(): number {
    const { supports } = this.#context;
    if (this.#tries > 1) return 0;
    return this.#state === "permission" ? supports.ask(this.flow) : supports.proven(this.flow);
  }

  /** A node on the path cannot do what a Query asked of it. If that was not the last one, it has no more to say. */
  #saveLess(): void {
    if (this.#support === 0) return;
    const { supports, counters } = this.#context;
    counters.count("support.refused");
    supports.refused(this.flow, this.#support);
    this.#support = 0;
    const led = this.#led;
    this.#led = [];
    for (const session of [this, ...led]) session.#on("support-refused");
  }

  /** A node on the path does not have all flows that the last Query listed, or not on the same path. */
  #refreshSingly(listed: readonly SessionId[]): void {
    const led = this.#led;
    this.#led = [];
    if (led.length === 0) return;
    this.#context.counters.count("summary.sent-back");
    for (const session of [this, ...led]) {
      if (!session.#answerOwed) continue;
      session.#tries = 0;
      // Sent back twice it goes alone, whoever says that it is not the reason.
      const alone = session.#sentBack || listed.includes(session.id);
      session.#sentBack = true;
      session.#on(alone ? "refresh-alone" : "refresh-again");
    }
  }

  /** A Permission says that the path did what the last Query asked of it. */
  #answered(): void {
    const { supports } = this.#context;
    if (!this.#answerOwed) return;
    if (this.#support !== 0) supports.confirmed(this.flow, this.#support);
    else if (this.#unanswered !== 0) supports.doubted(this.flow, this.#unanswered);
    this.#unanswered = 0;
  }

  /** @param refresh it may wait for others to be signed with */
  #sendQuery(refresh: boolean, others: readonly SenderSession[] = []): void {
    const { signer, time, batch, counters, options, supports } = this.#context;
    this.#unanswered = this.#tries > 1 ? this.#support : 0;
    this.#support = this.#supportWanted();
    this.#said = this.#requested;
    this.#led = others;
    this.#sequence = nextSequence(this.#sequence, time.wall());
    this.#askedSince = this.#exhausted;
    const count = this.#count();
    try {
      const unsigned = encodeUnsigned({
        type: "query",
        flow: this.flow,
        sequence: this.#sequence,
        requestedVolume: this.#requested,
        sentVolume: count?.bytes ?? bytes(0),
        certificate: signer.certificate,
        algorithms: this.#algorithms(),
        mark: this.#mark(count),
        ...(this.#support !== 0 && { support: this.#support | (refresh ? SUPPORT.patient : 0) }),
        ...(others.length > 0 && { summary: others.map((other) => other.claim()) }),
        ...(this.#tickets.length > 0 && { tickets: this.#tickets }),
        ...(this.#permission === undefined && this.#predecessor && { predecessor: this.#predecessor.id }),
      });
      const message = { id: this.id, flow: this.flow, direction: "downstream", unsigned } as const;
      const together = (supports.proven(this.flow) & this.#support & SUPPORT.tree) !== 0;
      if (!together) batch.sendNow(message);
      else if (refresh) batch.sendWithin(message, options.collect);
      else batch.sendSoon(message);
      counters.count("query.sent");
      if (others.length > 0) counters.count("summary.flows-listed", others.length);
    } catch (error) {
      this.#context.logger.error({ error, id: this.id }, "a Query could not be signed");
    }
  }

  /** What a receiver needs to compare what has come with what was sent by now. */
  #mark(count: FlowCount | undefined): Mark {
    const heard = this.heard.permission;
    const counted = count?.authentication;
    return {
      epoch: this.#epoch,
      ...(heard !== undefined && { heard }),
      ...(counted && {
        association: {
          spi: counted.spi,
          sequence: counted.sequence,
          ...(counted.bytes !== undefined && { bytes: counted.bytes }),
        },
      }),
    };
  }

  /** An empty list would mean those of the draft. */
  #algorithms(): readonly number[] {
    const own = this.#context.signer.packetAlgorithm;
    const able = this.#context.options.accepts.filter((algorithm) => fitsKey(algorithm, own));
    return able.length === 0 ? [AUTH_ALGORITHM.none] : codesOf(able);
  }

  #refuseApplication(): void {
    const { datapath, options } = this.#context;
    datapath.refuse(this.flow, ms(Math.max(options.refuseFor, this.#retryAfter)));
  }

  /** Nobody has said no: the receiver may know nothing of PBS. */
  #giveUp(): void {
    const { datapath, options } = this.#context;
    if (options.letGoFor === undefined || datapath.letGo === undefined) this.#refuseApplication();
    else datapath.letGo(this.flow, options.letGoFor);
  }

  #refuseAlgorithm(): void {
    if (this.#refused !== undefined)
      refuseDefense(this.#context, this, this.#refused.defense, this.#refused.why);
    this.#refused = undefined;
  }

  #reportSilence(): void {
    const { queryTimeouts } = this.#context.options;
    this.#moveReason = `${queryTimeouts.length} Queries without an answer`;
    this.#context.counters.count("finding.silence");
    this.#silent = true;
  }

  #reportAuthentication(): void {
    if (!this.#changed) return;
    this.#context.events.report("authentication", this, associationText(this.#permission?.association));
  }

  #awaitAnswer(): void {
    const { queryTimeouts } = this.#context.options;
    this.#tries++;
    this.#answerOwed = true;
    this.#waitFor(queryTimeouts[this.#tries - 1] ?? queryTimeouts[0] ?? ms(2000));
  }

  /** The answer may take as long as the Notify says. One more try after that, in case it got lost. */
  #prolong(): void {
    this.#tries = 1;
    this.#waitFor(ms(this.#retryAfter + (this.#context.options.queryTimeouts[0] ?? 0)));
  }

  #isPatient(): boolean {
    const { endurance, puzzleEffort } = this.#context.options.admission;
    const waited = this.#context.time.now() - (this.#busySince ?? 0);
    return waited + this.#retryAfter <= endurance && (this.#given?.bits ?? 0) <= puzzleEffort;
  }

  /** Meanwhile the puzzle is solved, if there is one. An answer is still owed: nothing else asks before. */
  #backOff(): void {
    const { random, time, solver, options, counters } = this.#context;
    const ticket = this.#given;
    const doubled = ticket === undefined ? 2 ** Math.min(this.#turnedAway - 1, DOUBLINGS) : 1;
    // Who is on the path can say anything; what is installed is not left to die of it.
    const most = Math.min(options.longestAdvice, this.#permission?.refresh ?? Number.POSITIVE_INFINITY);
    const least = Math.min(Math.max(LEAST_BACK_OFF, this.#retryAfter) * doubled, most);
    const wait = ms(least + between(random, 0, Math.max(LEAST_SPREAD, BACK_OFF_SPREAD * least)));
    const solvable = ticket !== undefined && ticket.bits <= options.admission.puzzleEffort;
    const solved = solvable ? solver.solve(ticket, () => this.#given === ticket && !this.#over) : undefined;
    counters.count("query.backed-off");
    this.#answerOwed = true;
    this.#refreshTimer?.cancel();
    this.#answerTimer?.cancel();
    this.#answerTimer = time.after(wait, () => void this.#askAgain(solved));
  }

  async #askAgain(solving: Promise<Ticket | undefined> | undefined): Promise<void> {
    const given = this.#given;
    const solved = await solving;
    // Granted, or turned away once more, while the puzzle was being solved.
    if (this.#given !== given) return;
    this.#given = undefined;
    if (solved !== undefined) this.#keepTicket(solved);
    this.#tries = 0;
    this.#on("ask-again");
  }

  /** The last one of each node. */
  #keepTicket(ticket: Ticket): void {
    const others = this.#tickets.filter(({ node }) => Buffer.compare(node, ticket.node) !== 0);
    this.#tickets = [...others, ticket].slice(-MAX_TICKETS);
  }

  #waitFor(wait: Milliseconds): void {
    this.#answerTimer?.cancel();
    this.#answerTimer = this.#context.time.after(wait, () => {
      this.#answerOwed = false;
      this.#reason ??= "no answer: a PBS node on the path or the receiver is missing";
      this.#on("no-answer");
    });
  }

  #settled(): void {
    this.#answerTimer?.cancel();
    this.#answerOwed = false;
    this.#tries = 0;
  }

  async #install(): Promise<void> {
    const permission = this.#answer;
    if (permission === undefined) return;
    // From here on its key is the packet path's.
    this.#answer = undefined;
    if (this.#permission !== undefined) this.#refreshes++;
    this.#allowedBefore = this.#permission?.allowedVolume ?? bytes(0);
    this.#permission = withoutKey(permission);
    this.#reason = null;
    this.#exhausted = false;
    this.#askedSince = false;
    this.#given = undefined;
    this.#tickets = [];
    this.#busySince = undefined;
    this.#turnedAway = 0;
    this.#installedAt = this.#context.time.now();
    this.#live(softState(permission));
    const sent = this.#count()?.bytes ?? 0;
    const installed = await this.#context.installer.install({
      flow: this.flow,
      allowedVolume: permission.allowedVolume,
      lifetime: longestState(this.#context, permission),
      notifyAt: this.#askAgainAt(permission.allowedVolume, bytes(sent)),
      ...(permission.association && { authentication: this.#inserting(permission.association) }),
    });
    if (this.#over) return installed ? this.#context.release(this) : undefined;
    if (installed) return this.#tell(true);
    this.#reason = "this host's flow table is full";
    this.#on("revoked-here");
  }

  /**
   * Of what is new: of a long transfer's whole volume 80 % would be over before it is installed. A refresh that adds nothing does
   * not put it off.
   */
  #askAgainAt(allowed: Bytes, sent: Bytes): Bytes {
    if (allowed !== this.#allowedBefore || sent >= this.#askAt)
      this.#askAt = bytes(sent + (allowed - sent) * ASK_AGAIN_AT);
    return this.#askAt;
  }

  #live(lifetime: Milliseconds): void {
    const { time } = this.#context;
    this.#permittedUntil = time.now() + lifetime;
    this.#ttlTimer?.cancel();
    this.#ttlTimer = time.after(lifetime, () => this.#notRefreshed());
    keepRoute(this.#context, this.id, this.flow, lifetime);
  }

  /** Not by the receiver's will, if a node has been too busy for the refresh. */
  #notRefreshed(): void {
    const late = this.#busySince !== undefined;
    const about = { since: this.#installedAt, due: this.#permittedUntil, late };
    const grace = this.#permission && graceFor(this.#context, this.#permission, about);
    if (grace === undefined) this.#on("ttl-over");
    else this.#live(grace);
  }

  /** The key of a signature is this host's own. */
  #inserting({ spi, algorithm, key }: Association): Authentication {
    const association = {
      spi,
      algorithm,
      key: isSymmetric(algorithm) ? key : this.#context.signer.exportKey(),
    };
    return { action: "insert", association, overlap: NO_OVERLAP };
  }

  #scheduleRefresh(): void {
    const period = this.#period();
    if (period === 0) return;
    const fraction = this.#fraction ?? this.#context.random.fraction();
    this.#fraction = undefined;
    this.#refreshedAt = this.#context.time.now();
    this.#refreshWithin((0.5 + fraction) * period);
  }

  /** 0 before the first Permission. What ends before its refresh time could not be prolonged otherwise. */
  #period(): number {
    const permission = this.#permission ?? this.#answer;
    if (permission === undefined) return 0;
    const { refresh, ttl } = permission;
    return Math.min(refresh, Math.max(ttl / 2, LEAST_PERIOD));
  }

  #refreshWithin(delay: number): void {
    this.#refreshTimer?.cancel();
    this.#refreshTimer = this.#context.time.after(ms(delay), () => this.#refreshNow());
  }

  #refreshNow(): void {
    this.#tries = 0;
    this.#sentBack = false;
    this.#on("refresh-due");
  }

  #inUse(): boolean {
    const idle = this.#count()?.idle;
    return idle === undefined ? this.#refreshes === 0 : idle < this.#context.options.idleTimeout;
  }

  #report(event: SenderEvent): void {
    const { events } = this.#context;
    if (event === "granted" && this.#exhausted) return events.report("exhausted", this, this.#reason ?? "");
    if (event === "granted") return this.#reportGrant();
    if (event === "ttl-over") return events.report("expired", this, "the permission's time is over");
    if (event === "no-answer") return events.report("no-answer", this, this.#reason ?? "");
    if (event === "revoked-here") return events.report("revoked", this, this.#reason ?? "");
    if (event === "busy" && this.#state !== "idle") return events.report("busy", this, this.#reason ?? "");
    events.report(this.#permission === undefined ? "refused" : "revoked", this, this.#reason ?? "");
  }

  #reportGrant(): void {
    const before = this.#allowedBefore;
    const now = this.#permission?.allowedVolume ?? 0;
    if (before === now) return;
    this.#context.events.report(before === 0 ? "granted" : "extended", this, `${now} bytes`);
  }

  #because(info: Info | undefined, otherwise: string): void {
    this.#reason = info === undefined || info.text === "" ? otherwise : info.text;
    this.#retryAfter = info?.retryAfter ?? ms(0);
  }

  #forget(): void {
    this.stop();
    this.#tell(false);
    keepRoute(this.#context, this.id, this.flow, ms(0));
    this.#context.forget(this);
  }

  #tell(granted: boolean): void {
    const waiting = this.#outcome;
    this.#outcome = [];
    for (const resolve of waiting) resolve(this.#result(granted));
  }

  #result(granted: boolean): RequestOutcome {
    return {
      granted,
      id: this.id,
      allowedVolume: granted ? (this.#permission?.allowedVolume ?? bytes(0)) : bytes(0),
      reason: granted ? null : this.#reason,
    };
  }

  #count(): FlowCount | undefined {
    return this.#context.datapath.read([this.flow])[0];
  }
}

function isAboutSaving({ code, objectType }: Info): boolean {
  return code === INFO_CODE.unknownObject && SAVING.includes(objectType);
}

function isAboutBusyness({ code }: Info): boolean {
  return code === INFO_CODE.busy || code === INFO_CODE.rateLimited;
}

function withoutKey({ allowedVolume, ttl, refresh, association }: Answer): Kept {
  const name = association && { spi: association.spi, algorithm: association.algorithm };
  return { allowedVolume, ttl, refresh, association: name };
}
