/** A flow to this host: policy decides, the grant is enforced and refreshed here, and can be taken back. */
import type { KeyObject } from "node:crypto";
import {
  type AuthenticationLevel,
  type AuthenticationRule,
  candidates,
  signatureAlgorithmOf,
} from "../authorization/algorithm.js";
import type { Grant } from "../authorization/decision.js";
import type { Situation } from "../authorization/reaction.js";
import { type Flow, flowKey, reverse } from "../base/flow.js";
import { step } from "../base/machine.js";
import type { Timer } from "../base/time.js";
import { type Bytes, bytes, type Milliseconds, ms } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { FlowCount } from "../traffic/datapath.js";
import { keepRoute, type PbsContext } from "./context.js";
import { type Association, associationText, NO_OVERLAP } from "./demand.js";
import { countFrom, nextEpoch, resumed } from "./epoch.js";
import {
  RECEIVER_MACHINE,
  type ReceiverAction,
  type ReceiverEvent,
  type ReceiverGuard,
  type ReceiverState,
} from "./machines/receiver.js";
import { graceFor, longestState, softState } from "./grace.js";
import { sendNotify } from "./notify.js";
import { WORN_AT } from "./options.js";
import { NO_DEFENSE, ReceiverKeys } from "./receiver-keys.js";
import { nextSequence } from "./sequence.js";
import { Heard, type Session } from "./session.js";
import type { Answering, SummaryAnswer } from "./summary-permissions.js";
import type { Told } from "./readings.js";
import { type Due, FlowWatch, type Watched } from "./watch.js";
import { authenticationView, CannotAuthenticate, type FlowView, type PendingView } from "./view.js";
import { canDo } from "./wire/algorithms.js";
import { encodeUnsigned } from "./wire/codec.js";
import {
  AUTH_ALGORITHM,
  type Defense,
  type Epoch,
  INFO_CLASS,
  INFO_CODE,
  type Info,
  type PbsQuery,
  SOLUTION,
  SUPPORT,
  type SummaryClaim,
  type SummaryGrant,
} from "./wire/messages.js";

const STATE_NAMES: Record<ReceiverState, string> = {
  idle: "1 idle",
  decide: "2 permission decision",
  permission: "3 permission",
};

/** What is left of a grant given once is not handed out when a full-sized packet would not fit. */
const LEAST_USEFUL = 1500;

const RETURN_RULE = "return traffic";

const NO_AUTHENTICATION: AuthenticationRule = { level: "none" };

/** The asking host, by the certificate that its first Query carried. */
export interface Requester {
  readonly subject: string;
  readonly fingerprint: string;
  readonly publicKey: KeyObject;
}

/** Why what is enforced now was not before; undefined: a refresh, which is answered at once. */
type Change = "grant" | "changed-here" | "raise-security" | "new-key" | "algorithm-refused" | "path-bad";

/** For the sender alone: routers let it pass, and keep the association that they have. */
const CHANGE_PATH: Defense = {
  solution: SOLUTION.changePath,
  algorithm: AUTH_ALGORITHM.none,
  key: new Uint8Array(),
};

/** What is kept of the last Query. */
type Asked = Pick<PbsQuery, "requestedVolume" | "sentVolume" | "algorithms" | "support">;

/** What a Permission says, before it is signed. */
interface Content {
  readonly allowedVolume: Bytes;
  readonly ttl: Milliseconds;
  readonly refresh: Milliseconds;
  readonly defense: Defense;
  readonly info?: Info;
}

/** What an earlier session of the same flow leaves to a new one. */
export interface Inheritance {
  readonly used: Bytes;
  /** End of the lifetime that was granted once. */
  readonly until: number;
  /** A person has said yes to it. */
  readonly approved?: Grant;
}

export class ReceiverSession implements Session, Watched, Answering {
  readonly role = "receiver";
  readonly nextPeer = undefined;
  readonly id: SessionId;
  readonly flow: Flow;
  readonly upstreamPeer: string;
  readonly heard = new Heard();
  touched = 0;
  readonly #context: PbsContext;
  readonly #requester: Requester;
  /** Bytes that earlier sessions of this flow used of a grant given once; its counts start anew here. */
  readonly #inherited: Inheritance | undefined;
  readonly #keys: ReceiverKeys;
  #state: ReceiverState = "idle";
  #sequence: number | undefined;
  /** Not the message itself, which would keep its whole memory. */
  #query: Asked;
  #grant: Grant | undefined;
  #rule: string | null = null;
  #allowed = bytes(0);
  /** End of the grant's lifetime. */
  #grantedUntil = 0;
  #askedUntil = 0;
  #refreshes = 0;
  #refreshed = 0;
  #reason: string | null = null;
  #refusal: { class: number; code: number } = {
    class: INFO_CLASS.permanentFailure,
    code: INFO_CODE.refusedByPolicy,
  };
  #ttlTimer: Timer | undefined;
  #refreshTimer: Timer | undefined;
  /** Granted as return traffic: only while this host asks for the way out. */
  #returns = false;
  #installing = 0;
  #over = false;
  /** What is announced: the packet path counts by it. */
  #epoch: Epoch;
  /** What it is to count by from its next installation on. */
  #nextEpoch: Epoch | undefined;
  /** All packets of this epoch were signed by the sender. */
  #signed = false;
  #watch: FlowWatch | undefined;
  #movingUntil = 0;
  /** The router that the next Permission with Solution 4 asks to change the path. */
  #mover: Uint8Array | undefined;
  #previousPeer: string;
  /** Where the answer to the last Query goes, if that was a summary. */
  #answer: SummaryAnswer | undefined;
  /** Of the last Permission that was signed for this flow alone. */
  #announced: number | undefined;
  #told: Bytes | undefined;

  constructor(
    context: PbsContext,
    about: {
      id: SessionId;
      upstreamPeer: string;
      query: PbsQuery;
      requester: Requester;
      inherited: Inheritance | undefined;
    },
  ) {
    this.#context = context;
    this.id = about.id;
    this.flow = about.query.flow;
    this.upstreamPeer = about.upstreamPeer;
    this.#previousPeer = about.upstreamPeer;
    this.#requester = about.requester;
    this.#inherited = about.inherited;
    this.#keys = new ReceiverKeys(context.random, context.spis, about.requester.publicKey);
    this.#query = askedBy(about.query);
    this.#epoch = resumed(about.query);
  }

  get pending(): boolean {
    return this.#state !== "permission";
  }

  get holds(): boolean {
    return this.#state === "permission" || this.#installing > 0;
  }

  get refreshTime(): Milliseconds {
    return this.#grant?.refresh ?? ms(0);
  }

  get previousPeer(): string {
    return this.#previousPeer;
  }

  /** Whether a summary that came from this peer may be about this flow. With AH each Permission brings the key. */
  listable(peer: string): boolean {
    const plain = this.#keys.enforced === undefined && !this.#keys.changing;
    return this.#state === "permission" && peer === this.#previousPeer && plain;
  }

  /** What a summary Query says of this flow; it has been checked that it may. */
  claimed({ sequence, sentVolume, epoch, heard }: SummaryClaim, answer: SummaryAnswer | undefined): void {
    const told = { ...this.#query, sequence, sentVolume, mark: { epoch, heard }, listed: true };
    this.query(told, this.#previousPeer, answer);
  }

  stands({ sequence }: SummaryGrant): boolean {
    return !this.#over && this.#state === "permission" && sequence === this.#sequence;
  }

  permit(
    { sequence, epoch: _epoch, id: _id, ...content }: SummaryGrant,
    others: readonly SummaryGrant[],
  ): void {
    this.#sign({ ...content, defense: NO_DEFENSE }, sequence, this.#epoch, others);
  }

  /**
   * A Query whose signature and sequence were checked.
   * @param answer of a summary Query
   * @param by as {@link FlowWatch.query} has it
   */
  query(query: Asked & Told, from: string, answer?: SummaryAnswer, by = ""): void {
    this.#previousPeer = from;
    this.#answer = answer;
    this.#query = askedBy(query);
    this.#renewWhenWorn();
    this.#watch?.query(query, by);
    this.#on("query");
  }

  get epoch(): Epoch {
    return this.#epoch;
  }

  get signed(): boolean {
    return this.#signed;
  }

  get allowedVolume(): Bytes {
    return this.#allowed;
  }

  get ruleName(): string | null {
    return this.#rule;
  }

  /** What can be done about an attack. */
  get situation(): Situation {
    const own = signatureAlgorithmOf(this.#requester.publicKey);
    const able = candidates(this.#ruleFor("public-key"), own, (name) => canDo(this.#query.algorithms, name));
    return {
      signed: this.#signed,
      canSign: able.length > 0,
      moving: this.#context.time.now() < this.#movingUntil,
    };
  }

  reactionDue(): void {
    this.#on("compared");
  }

  askForQuery(): void {
    this.#on("query-wanted");
  }

  /** The packet path runs out of sequence numbers under this SPI. */
  renewKey(spi: number): void {
    if (this.#state !== "permission" || this.#keys.changing || this.#keys.enforced?.spi !== spi) return;
    this.#keys.renew();
    void this.#enforce("new-key");
  }

  /** From now on packets have to prove their origin at this level. Rejects with {@link CannotAuthenticate}. */
  async authenticate(level: AuthenticationLevel): Promise<void> {
    if (this.#state !== "permission")
      throw new CannotAuthenticate("the flow has no permission yet", "wait until it has, or pbsctl grant ID");
    if (level === this.#keys.level) return;
    if (!this.#keys.demand(this.#ruleFor(level), this.#query.algorithms))
      throw new CannotAuthenticate(
        cannotDo(level),
        "add an algorithm that the sender can do to the rule's algorithms, or choose another level",
      );
    await this.#enforce("raise-security");
    if (this.#keys.changing)
      throw new CannotAuthenticate(
        "the packet path did not take the new association",
        "see pbsctl status; the next refresh tries again",
      );
  }

  /**
   * A node upstream cannot do what a Permission asks for. The Notify is unsigned: it makes this host fall to the next
   * algorithm of its own list, and never gives up one that packets have come with.
   */
  algorithmRefused(defense: Defense, why: string): void {
    const current = this.#keys.enforced;
    const { counters } = this.#context;
    if (this.#state !== "permission" || current === undefined || current.spi !== defense.spi)
      return counters.count("dropped.notify-out-of-date");
    if (this.#keys.changing) return counters.count("dropped.notify-out-of-date");
    const counted = this.#count()?.authentication;
    if (counted?.spi === current.spi && counted.sequence > 0)
      return counters.count("rejected.notify-against-packets");
    this.#reason = `${current.algorithm} cannot be used on the path: ${why}`;
    if (this.#keys.fallBack()) return void this.#enforce("algorithm-refused");
    this.#refusal = { class: INFO_CLASS.permanentFailure, code: INFO_CODE.unsupportedAlgorithm };
    this.#on("no-algorithm-left");
  }

  exhausted(): void {
    this.#on("exhausted");
    this.#watch?.exhausted();
  }

  /** A person says yes, or changes what was granted. */
  async grantByHand(change: { volume?: Bytes; lifetime?: Milliseconds }): Promise<void> {
    const grant = this.#grant;
    if (grant === undefined) return;
    this.#grant = {
      ...grant,
      volume: change.volume ?? grant.volume,
      lifetime: change.lifetime ?? grant.lifetime,
    };
    if (this.#state === "decide") return this.#granted(this.#grant);
    if (change.volume !== undefined) this.#allowed = change.volume;
    this.#grantedUntil = this.#context.time.now() + this.#grant.lifetime;
    await this.#enforce("changed-here");
  }

  /** A person says no. */
  denyByHand(reason: string): void {
    this.#reason = reason;
    this.#on("decline");
  }

  get asksAPerson(): boolean {
    return this.#state === "decide" && this.#askedUntil > 0;
  }

  async revoke(reason: string): Promise<void> {
    await this.#context.installer.remove(this.flow);
    this.#reason = reason;
    this.#refusal = { class: INFO_CLASS.permanentFailure, code: INFO_CODE.revoked };
    this.#on("revoked-here");
  }

  stop(): void {
    this.#over = true;
    this.#answer?.less();
    this.#answer = undefined;
    this.#context.batch.drop(this.id);
    this.#cancelTimers();
    this.#watch?.stop();
    this.#keys.wipe();
  }

  #cancelTimers(): void {
    this.#ttlTimer?.cancel();
    this.#refreshTimer?.cancel();
  }

  /** What a new session of the same flow has to take over: nothing where volume is granted anew anyway. */
  legacy(): Inheritance | undefined {
    if (this.#state !== "permission") return this.#inherited;
    if (this.#grant === undefined || this.#grant.extend) return undefined;
    const used = bytes((this.#inherited?.used ?? 0) + (this.#count()?.bytes ?? 0));
    return { used, until: this.#grantedUntil };
  }

  /** A flow that says so takes its place: of the same sender, to the same program, from another address. */
  isFollowedBy({ protocol, source, destination, destinationPort }: Flow, signer: string): boolean {
    const { flow } = this;
    if (this.heard.signers.query !== signer || flow.source.equals(source)) return false;
    if (flow.protocol !== protocol || flow.destinationPort !== destinationPort) return false;
    return flow.destination.equals(destination);
  }

  /** Ends it in favour of another flow, which takes over what is returned. */
  succeed(): Inheritance | undefined {
    const left = this.legacy();
    const approved =
      this.#state === "permission" && this.#askedUntil > 0 ? this.#grant : this.#inherited?.approved;
    this.#reason = "a flow of the same sender from another address takes its place";
    this.#refusal = { class: INFO_CLASS.informational, code: INFO_CODE.lifetimeOver };
    this.#on("succeeded");
    if (approved === undefined) return left;
    return { ...(left ?? { used: bytes(0), until: Number.POSITIVE_INFINITY }), approved };
  }

  pendingView(): PendingView {
    return {
      id: this.id,
      flow: flowKey(this.flow),
      requester: this.#requester.subject,
      rule: this.#rule ?? "",
      requestedVolume: this.#query.requestedVolume,
      expiresIn: ms(Math.max(0, this.#askedUntil - this.#context.time.now())),
    };
  }

  view(): FlowView {
    const count = this.#count();
    const permitted = this.#state === "permission";
    return {
      id: this.id,
      flow: flowKey(this.flow),
      role: this.role,
      state: STATE_NAMES[this.#state],
      allowedVolume: this.#allowed,
      sentVolume: this.#query.sentVolume,
      countedVolume: count?.bytes ?? bytes(0),
      packets: count?.packets ?? 0,
      overVolume: count?.overVolume ?? 0,
      authentication: authenticationView(this.#keys.enforced, count),
      remaining: permitted ? this.#remaining() : null,
      refresh: permitted ? (this.#grant?.refresh ?? null) : null,
      refreshes: this.#refreshes,
      requester: this.#requester.subject,
      rule: this.#rule,
      path: null,
      detection: this.#watch?.view() ?? null,
      lastReason: this.#reason,
    };
  }

  /** Its own event may have come before a restart, and the sender's Query says nothing of its sequence numbers. */
  #renewWhenWorn(): void {
    const counted = this.#count()?.authentication;
    if (counted !== undefined && counted.sequence >= WORN_AT) this.renewKey(counted.spi);
  }

  #on(event: ReceiverEvent): void {
    if (this.#over) return;
    const arc = step(RECEIVER_MACHINE, this.#state, event, (guard) => this.#holds(guard));
    if (arc === undefined) return;
    this.#state = arc.to;
    if (arc.to === "permission") this.#context.settled(this);
    for (const action of arc.do) this.#act(action, event);
  }

  #holds(guard: ReceiverGuard): boolean {
    return guard === "asks-for-more" ? this.#asksForMore() : this.#watch?.due === true;
  }

  #act(action: ReceiverAction, event: ReceiverEvent): void {
    switch (action) {
      case "decide":
        return this.#decide();
      case "tell-pending":
        return this.#tellPending();
      case "extend":
        return this.#extend();
      case "prolong":
        return this.#prolong();
      case "install":
        // A refresh is enforced after the fact: the flow is permitted already.
        return event === "query" ? void this.#enforce(undefined) : undefined;
      case "send-permission":
        return event === "query" ? undefined : this.#sendPermission();
      case "send-path-change":
        return this.#sendPermission(CHANGE_PATH);
      case "react":
        return this.#react(this.#watch?.takeDue());
      case "send-refusal":
        return void this.#sendRefusal();
      case "remove-permission":
        return void this.#context.installer.remove(this.flow);
      case "report":
        return this.#report(event);
      case "report-authentication":
        return this.#reportAuthentication(event);
      case "bury":
        return this.#bury(event);
      case "forget":
        this.stop();
        return this.#context.forget(this);
    }
  }

  #react(decided: Due | undefined): void {
    switch (decided?.reaction) {
      case "public-key":
        return void this.#raiseSecurity();
      case "change-path":
        return void this.#changePath(decided.mover);
      case "block":
        return void this.#blockSource(decided.why);
      case "revoke":
        return void this.revoke(decided.why);
      case "alarm":
      case undefined:
        return;
    }
  }

  /** Shared keys are known to the attacker: nothing of the old association passes any more, and its bytes are forgotten. */
  async #raiseSecurity(): Promise<void> {
    this.#nextEpoch = nextEpoch(this.#epoch, this.#query.sentVolume);
    this.#keys.demand(this.#ruleFor("public-key"), this.#query.algorithms);
    await this.#enforce("raise-security");
  }

  async #changePath(mover: Uint8Array | undefined): Promise<void> {
    this.#mover = mover;
    this.#nextEpoch = nextEpoch(this.#epoch, this.#query.sentVolume);
    this.#movingUntil = this.#context.time.now() + this.#context.options.moves.hold;
    await this.#enforce("path-bad");
  }

  async #blockSource(why: string): Promise<void> {
    const { blocker, logger, options } = this.#context;
    try {
      await blocker?.block(this.flow.source, options.blockFor);
    } catch (error) {
      logger.error({ error, id: this.id }, "a source could not be blocked");
    }
    await this.revoke(why);
  }

  #ruleFor(level: AuthenticationLevel): AuthenticationRule {
    const { algorithms } = this.#grant?.authentication ?? NO_AUTHENTICATION;
    return algorithms === undefined ? { level } : { level, algorithms };
  }

  #decide(): void {
    const buried = this.#context.buried.get(flowKey(this.flow));
    if (buried !== undefined) {
      this.#refusal = { class: INFO_CLASS.permanentFailure, code: buried.code };
      return this.denyByHand(buried.reason);
    }
    const decision = this.#context.policy.decide(this.flow, this.#requester);
    this.#rule = decision.rule;
    const returned = decision.type === "deny" ? this.#returnGrant() : undefined;
    if (returned !== undefined) {
      this.#rule = RETURN_RULE;
      this.#returns = true;
      return void this.#granted(returned);
    }
    switch (decision.type) {
      case "deny":
        return this.denyByHand(decision.reason);
      case "ask":
        if (this.#inherited?.approved !== undefined) return void this.#granted(this.#inherited.approved);
        this.#grant = decision.grant;
        return this.#ask(decision.timeout);
      case "grant":
        return void this.#granted(decision.grant);
    }
  }

  /** Who was asked by this host may answer. */
  #returnGrant(): Grant | undefined {
    const { returns } = this.#context.options;
    if (returns.policy !== "auto" || !this.#context.asksFor(reverse(this.flow))) return undefined;
    const { volume, lifetime, refresh, authentication } = returns;
    return { volume, lifetime, refresh, extend: true, ...(authentication && { authentication }) };
  }

  #ask(timeout: Milliseconds): void {
    this.#askedUntil = this.#context.time.now() + timeout;
    this.#ttlTimer = this.#context.time.after(timeout, () => {
      this.#reason = "nobody decided in time";
      this.#on("too-late");
    });
    this.#on("ask");
  }

  async #granted(grant: Grant): Promise<void> {
    this.#grant = grant;
    const inherited = grant.extend ? undefined : this.#inherited;
    const used = inherited?.used ?? 0;
    this.#allowed = bytes(grant.volume - used);
    if (used > 0 && this.#allowed < LEAST_USEFUL) {
      this.#refusal = { class: INFO_CLASS.permanentFailure, code: INFO_CODE.volumeExhausted };
      return this.denyByHand("the volume that was granted once is used up");
    }
    this.#grantedUntil = Math.min(
      this.#context.time.now() + grant.lifetime,
      inherited?.until ?? Number.POSITIVE_INFINITY,
    );
    if (!this.#keys.demand(grant.authentication ?? NO_AUTHENTICATION, this.#query.algorithms)) {
      this.#refusal = { class: INFO_CLASS.permanentFailure, code: INFO_CODE.unsupportedAlgorithm };
      return this.denyByHand(cannotDo(grant.authentication?.level ?? "none"));
    }
    const detection = grant.detection ?? this.#context.options.detection;
    if (detection.mode !== "off") this.#watch = new FlowWatch(this.#context, this, detection);
    // The sender had this flow before this node knew of it: what is on its way was counted by nobody, or twice.
    if (this.#query.sentVolume > 0) this.#watch?.begin(this.#epoch.epoch);
    await this.#enforce("grant");
  }

  /** Puts the permission into the packet path, then lets the machine know (or, on a refresh, answers at once). */
  async #enforce(then: Change | undefined): Promise<void> {
    this.#installing++;
    const first = this.#state === "decide";
    const wanted = this.#keys.wanted;
    const epoch = this.#nextEpoch;
    const abrupt = first || epoch !== undefined;
    const authentication = this.#keys.authentication(abrupt ? NO_OVERLAP : this.#context.options.overlap);
    const installed = await this.#context.installer.install({
      flow: this.flow,
      allowedVolume: this.#allowed,
      lifetime: this.#lifetime(),
      countedAtLeast: countFrom(!first, this.#query.sentVolume),
      ...(epoch && { countFrom: epoch.start }),
      ...(authentication && { authentication }),
    });
    this.#installing--;
    if (this.#over) return installed ? this.#context.release(this) : undefined;
    if (!installed) return this.#full();
    this.#arm();
    // Another association was made meanwhile: it is announced when it is in place, and this one never.
    if (this.#keys.wanted !== wanted) return void (epoch && this.#begun(epoch, undefined));
    const changed = this.#keys.enforce();
    const alone = abrupt && changed;
    this.#signed = this.#keys.level === "public-key" && (alone || this.#signed);
    if (epoch !== undefined) this.#begun(epoch, alone ? this.#keys.enforced : undefined);
    if (then === undefined) this.#refreshes++;
    // A change that the packet path had no room for is made up for by a refresh.
    if (then === undefined && changed) return this.#on("new-key");
    if (then === undefined) return this.#sendPermission();
    this.#on(then);
  }

  /** @param alone the association that nothing but this epoch's packets have come under */
  #begun(epoch: Epoch, alone: Association | undefined): void {
    this.#epoch = epoch;
    if (this.#nextEpoch === epoch) this.#nextEpoch = undefined;
    this.#watch?.begin(epoch.epoch, alone && { spi: alone.spi, start: epoch.start });
  }

  #full(): void {
    this.#refusal = { class: INFO_CLASS.transientFailure, code: INFO_CODE.tableFull };
    this.#reason = "the receiver's flow table is full";
    if (this.#state === "decide") this.#on("decline");
  }

  /** Soft state: the grant's own end, and the end without refresh. */
  #arm(): void {
    this.#cancelTimers();
    const { time } = this.#context;
    this.#ttlTimer = time.after(this.#remaining(), () => {
      this.#reason = "the permission's time is over";
      this.#refusal = { class: INFO_CLASS.permanentFailure, code: INFO_CODE.lifetimeOver };
      this.#on("ttl-over");
    });
    this.#refreshed = time.now();
    this.#awaitRefresh(softState(this.#granting()));
    keepRoute(this.#context, this.id, this.flow, this.#lifetime());
  }

  #awaitRefresh(wait: Milliseconds): void {
    const { time } = this.#context;
    const due = time.now() + wait;
    this.#refreshTimer = time.after(wait, () => {
      const about = { since: this.#refreshed, due, late: false };
      const grace = graceFor(this.#context, this.#granting(), about);
      if (grace !== undefined) return this.#awaitRefresh(grace);
      this.#reason = "the sender no longer refreshes";
      this.#refusal = { class: INFO_CLASS.informational, code: INFO_CODE.lifetimeOver };
      this.#on("no-refresh");
    });
  }

  #asksForMore(): boolean {
    return this.#query.requestedVolume > this.#allowed && this.#mayExtend();
  }

  #mayExtend(): boolean {
    if (this.#grant?.extend !== true) return false;
    return !this.#returns || this.#context.asksFor(reverse(this.flow));
  }

  /** Never more than the rule's volume ahead of what has arrived. */
  #extend(): void {
    const ahead = bytes((this.#count()?.bytes ?? 0) + (this.#grant?.volume ?? 0));
    this.#allowed = bytes(Math.max(this.#allowed, Math.min(ahead, this.#query.requestedVolume)));
    this.#prolong();
  }

  #prolong(): void {
    if (this.#mayExtend() && this.#grant !== undefined)
      this.#grantedUntil = this.#context.time.now() + this.#grant.lifetime;
  }

  #remaining(): Milliseconds {
    return ms(Math.max(0, this.#grantedUntil - this.#context.time.now()));
  }

  #granting(): { ttl: Milliseconds; refresh: Milliseconds } {
    return { ttl: this.#remaining(), refresh: this.#grant?.refresh ?? ms(0) };
  }

  #lifetime(): Milliseconds {
    return longestState(this.#context, this.#granting());
  }

  #tellPending(): void {
    const retryAfter = ms(Math.max(0, this.#askedUntil - this.#context.time.now()));
    if (retryAfter === 0) return;
    sendNotify(
      this.#context,
      this,
      { class: INFO_CLASS.informational, code: INFO_CODE.pending, retryAfter },
      "a person decides at the receiver",
    );
  }

  #sendPermission(defense: Defense = this.#keys.defense()): void {
    const grant = this.#grant;
    if (grant === undefined) return;
    const ttl = this.#remaining();
    if (ttl < 1) return;
    this.#say({
      allowedVolume: this.#allowed,
      ttl,
      refresh: grant.refresh,
      defense,
    });
  }

  #sendRefusal(): void {
    const info: Info = { ...this.#refusal, objectType: 0, retryAfter: ms(0), text: this.#reason ?? "" };
    this.#say({ allowedVolume: bytes(0), ttl: ms(0), refresh: ms(0), defense: NO_DEFENSE, info });
    this.#context.counters.count("refusal.sent");
  }

  /** Among the answers to a summary where that says all, else by a message of its own. */
  #say(content: Content): void {
    const sequence = nextSequence(this.#sequence, this.#context.time.wall());
    this.#sequence = sequence;
    const ask = this.#watch?.told(sequence) ?? false;
    const named = content.defense === CHANGE_PATH ? this.#mover : undefined;
    const answer = this.#answer;
    this.#answer = undefined;
    const { allowedVolume, ttl, refresh } = content;
    const epoch = this.#epoch.epoch;
    const listed = { id: this.id, sequence, allowedVolume, ttl, refresh, epoch };
    if (!ask && this.#isPlain(content) && answer?.add(this, listed) === true) return;
    answer?.less();
    this.#sign(content, sequence, { ...this.#epoch, ask, ...(named && { mover: named }) });
  }

  /** All nodes know everything about it but the time and the volume. */
  #isPlain({ allowedVolume, defense, info }: Content): boolean {
    const announced = this.#announced === this.#epoch.epoch;
    return allowedVolume > 0 && announced && info === undefined && defense.solution === SOLUTION.noAction;
  }

  /** An answer to a refresh waits for others where the path knows hash trees; what changes something does not. */
  #sign(content: Content, sequence: number, epoch: Epoch, summary: readonly SummaryGrant[] = []): void {
    const { signer, batch, counters, options } = this.#context;
    const news = !this.#isPlain(content) || epoch.ask || content.allowedVolume !== this.#told;
    this.#announced = epoch.epoch;
    this.#told = content.allowedVolume;
    try {
      const unsigned = encodeUnsigned({
        type: "permission",
        flow: this.flow,
        sequence,
        certificate: signer.certificate,
        ...content,
        ...((epoch.ask || epoch.epoch > 0) && { epoch }),
        ...(summary.length > 0 && { summary }),
      });
      const message = { id: this.id, flow: this.flow, direction: "upstream", unsigned } as const;
      const { support = 0 } = this.#query;
      const together = (support & SUPPORT.tree) !== 0 && content.allowedVolume > 0;
      const patient = (support & SUPPORT.patient) !== 0;
      if (!together) batch.sendNow(message);
      else if (news || !patient) batch.sendSoon(message);
      else batch.sendWithin(message, options.collect);
      if (content.allowedVolume > 0) counters.count("permission.sent");
      if (summary.length > 0) counters.count("summary.flows-granted", summary.length);
    } catch (error) {
      this.#context.logger.error({ error, id: this.id }, "a Permission could not be signed");
    }
  }

  #report(event: ReceiverEvent): void {
    const { events } = this.#context;
    switch (event) {
      case "ask":
        return events.report("pending", this, `asked for by ${this.#requester.subject}`);
      case "grant":
        return events.report("granted", this, `${this.#allowed} bytes by rule "${this.#rule}"`);
      case "query":
      case "changed-here":
        return events.report("extended", this, `${this.#allowed} bytes`);
      case "decline":
      case "too-late":
        return events.report("refused", this, this.#reason ?? "");
      case "no-algorithm-left":
      case "revoked-here":
        return events.report("revoked", this, this.#reason ?? "");
      default:
        return events.report("expired", this, this.#reason ?? "");
    }
  }

  #reportAuthentication(event: ReceiverEvent): void {
    const association = this.#keys.enforced;
    if (event === "grant" && association === undefined) return;
    const why = event === "algorithm-refused" ? ` (${this.#reason})` : "";
    this.#context.events.report("authentication", this, associationText(association) + why);
  }

  /** What ended for good is refused until the quarantine is over, or the next packet would bring it back. */
  #bury(event: ReceiverEvent): void {
    const key = flowKey(this.flow);
    if (event === "revoked-here") {
      this.#context.buried.set(key, { code: INFO_CODE.revoked, reason: `revoked: ${this.#reason}` });
    } else if (event === "decline" || event === "too-late") {
      // The session that used the grant is gone; without a trace of it the next one would be granted all of it again.
      if (this.#inherited !== undefined && Number.isFinite(this.#inherited.until))
        this.#context.buried.set(key, {
          code: INFO_CODE.volumeExhausted,
          reason: "the volume that was granted once is used up",
        });
    } else if (this.#grant?.extend === false) {
      this.#context.buried.set(key, {
        code: INFO_CODE.lifetimeOver,
        reason: "what was granted once is over",
      });
    }
  }

  #count(): FlowCount | undefined {
    return this.#context.datapath.read([this.flow])[0];
  }
}

function askedBy({ requestedVolume, sentVolume, algorithms, support }: Asked): Asked {
  return {
    requestedVolume,
    sentVolume,
    ...(algorithms && { algorithms }),
    ...(support !== undefined && { support }),
  };
}

function cannotDo(level: AuthenticationLevel): string {
  return `packets have to be authenticated (${level}), and the sender can do none of the algorithms that are allowed`;
}
