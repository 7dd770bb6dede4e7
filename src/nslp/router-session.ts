/** A flow that crosses this router: Queries go on as they came, Permissions are installed before they go on. */
import type { KeyObject } from "node:crypto";
import { signatureAlgorithmOf } from "../authorization/algorithm.js";
import type { Fresh } from "../authorization/detection.js";
import { type Flow, flowKey } from "../base/flow.js";
import { step } from "../base/machine.js";
import type { Timer } from "../base/time.js";
import { type Bytes, bytes, type Milliseconds, ms } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import { keepRoute, type PbsContext, send } from "./context.js";
import type { Crossing } from "./crossings.js";
import {
  type Association,
  type AssociationName,
  associationText,
  checkedBy,
  demandOf,
  NO_OVERLAP,
  sameAssociation,
} from "./demand.js";
import { countFrom, FIRST_EPOCH, recount } from "./epoch.js";
import { graceFor, longestState, softState } from "./grace.js";
import { makeReport } from "./hops.js";
import {
  ROUTER_MACHINE,
  type RouterAction,
  type RouterEvent,
  type RouterGuard,
  type RouterState,
} from "./machines/router.js";
import { Mover } from "./mover.js";
import { type Attached, refuseDefense, sendNotify, tellFull } from "./notify.js";
import { ROUTE_AHEAD } from "./options.js";
import type { Told } from "./readings.js";
import type { RouterRest } from "./resting.js";
import { Heard, type Session } from "./session.js";
import { authenticationView, type FlowView } from "./view.js";
import { encodeNotify, MAX_REPORTS, withReport } from "./wire/codec.js";
import {
  type Defense,
  type Epoch,
  INFO_CLASS,
  INFO_CODE,
  type Info,
  type PbsPermission,
  type PbsQuery,
  SOLUTION,
  type SummaryClaim,
  type SummaryGrant,
} from "./wire/messages.js";

const STATE_NAMES: Record<RouterState, string> = {
  idle: "1 idle",
  "wait-permission": "2 wait for P",
  permission: "3 permission",
};

/** A message to pass on: the bytes as they were received, and the hops that it has left. */
export interface Passing {
  readonly data: Uint8Array;
  readonly hopCount: number;
}

/** What is kept of a Permission. */
type Kept = Pick<PbsPermission, "allowedVolume" | "ttl" | "refresh">;

export class RouterSession implements Session {
  readonly role = "router";
  readonly id: SessionId;
  readonly flow: Flow;
  readonly upstreamPeer: string;
  readonly heard = new Heard();
  touched = 0;
  readonly #context: PbsContext;
  readonly #requester: string;
  /** Of the certificate that signs the flow's Queries. */
  readonly #senderKey: KeyObject;
  /** As it was last at rest. */
  #rested: Pick<RouterRest, "asker" | "way"> | undefined;
  #state: RouterState = "idle";
  #sentVolume = bytes(0);
  #permission: Kept | undefined;
  /** Only until it has gone on: it would hold the memory of the whole message. */
  #passing: Passing | undefined;
  /** Of a Notify to be passed on. */
  #info: Info | undefined;
  #attached: Attached = {};
  #association: AssociationName | undefined;
  /** The last Permission brought another association than the one before. */
  #changed = false;
  /** What this router or one upstream cannot do, until the receiver has been told. */
  #refused: { readonly defense: Defense; readonly info: Info | undefined; readonly why: string } | undefined;
  /** Of the last Permission. */
  #epoch = FIRST_EPOCH.epoch;
  /** Message-Seq of the last Query, and how many reports are in it already. */
  #lastQuery = { sequence: 0, reports: 0 };
  #reported = 0;
  readonly #mover: Mover;
  /** The last Permission with Solution 4 names this router. */
  #named = false;
  /** It goes on when the flow has been moved. */
  #held: Passing | undefined;
  #previousPeer: string;
  #nextPeer: string | undefined;
  #until = 0;
  /** GIST keeps its routing state so long, unless it is told otherwise; it is when the flow ends. */
  #routeUntil = 0;
  /** When the permission came last; long ago where it is to end in its time, however late this node was. */
  #refreshed = Number.NEGATIVE_INFINITY;
  #refreshes = 0;
  #reason: string | null = null;
  #timer: Timer | undefined;
  /** Calls to the packet path that have not returned. */
  #installing = 0;
  #over = false;

  constructor(
    context: PbsContext,
    about: { id: SessionId; flow: Flow; upstreamPeer: string; requester: string; senderKey: KeyObject },
  ) {
    this.#context = context;
    this.id = about.id;
    this.flow = about.flow;
    this.upstreamPeer = about.upstreamPeer;
    this.#previousPeer = about.upstreamPeer;
    this.#requester = about.requester;
    this.#senderKey = about.senderKey;
    this.#mover = new Mover(context, this);
  }

  /** As it was when it went to rest; it does nothing before {@link wake}. */
  static fromRest(context: PbsContext, rest: RouterRest): RouterSession {
    const { id, flow, asker } = rest;
    const { upstreamPeer, requester, senderKey } = asker;
    const session = new RouterSession(context, { id, flow, upstreamPeer, requester, senderKey });
    session.heard.query = rest.heardQuery;
    session.heard.permission = rest.heardPermission;
    session.heard.signers.query = asker.querySigner;
    session.heard.signers.permission = rest.permissionSigner;
    session.#state = "permission";
    session.#sentVolume = rest.sentVolume;
    session.#permission = { allowedVolume: rest.allowedVolume, ttl: rest.ttl, refresh: rest.refresh };
    session.#association = rest.association;
    session.#epoch = rest.epoch;
    session.#reported = rest.reported;
    session.#refreshes = rest.refreshes;
    session.#until = rest.until;
    session.#refreshed = rest.refreshed;
    session.#routeUntil = rest.routeUntil;
    session.heard.favoured = rest.favoured;
    session.#previousPeer = rest.way.previousPeer;
    session.#nextPeer = rest.way.nextPeer;
    session.#rested = rest;
    return session;
  }

  get atRest(): RouterRest | undefined {
    const { query, permission, signers, favoured } = this.heard;
    const busy = this.#installing > 0 || this.#passing !== undefined || this.#held !== undefined;
    if (this.#state !== "permission" || busy || this.#refused !== undefined || this.#reason !== null)
      return undefined;
    if (!this.#mover.unused || this.#permission === undefined) return undefined;
    if (query === undefined || permission === undefined) return undefined;
    if (signers.query === undefined || signers.permission === undefined) return undefined;
    const { id, flow, upstreamPeer, previousPeer, nextPeer } = this;
    const [requester, senderKey] = [this.#requester, this.#senderKey];
    const before = this.#rested;
    const stays = before?.way.previousPeer === previousPeer && before.way.nextPeer === nextPeer;
    return {
      id,
      flow,
      asker: before?.asker ?? { upstreamPeer, requester, senderKey, querySigner: signers.query },
      way: stays ? before.way : { previousPeer, nextPeer },
      permissionSigner: signers.permission,
      heardQuery: query,
      heardPermission: permission,
      allowedVolume: this.#permission.allowedVolume,
      ttl: this.#permission.ttl,
      refresh: this.#permission.refresh,
      sentVolume: this.#sentVolume,
      association: this.#association,
      epoch: this.#epoch,
      reported: this.#reported,
      refreshes: this.#refreshes,
      until: ms(this.#until),
      refreshed: ms(this.#refreshed),
      favoured: ms(favoured),
      routeUntil: ms(this.#routeUntil),
    };
  }

  wake(): void {
    this.#awaitRefresh();
  }

  get pending(): boolean {
    return this.#state !== "permission";
  }

  get holds(): boolean {
    return this.#state === "permission" || this.#installing > 0;
  }

  get refreshTime(): Milliseconds {
    return this.#permission?.refresh ?? ms(0);
  }

  get nextPeer(): string | undefined {
    return this.#nextPeer;
  }

  get previousPeer(): string {
    return this.#previousPeer;
  }

  /** Whether a summary that came from this peer may be about this flow. With AH each Permission brings the key. */
  listable(peer: string): boolean {
    return peer === this.#previousPeer && this.#nextPeer !== undefined && this.extendable(this.#epoch);
  }

  extendable(epoch: number): boolean {
    return this.#state === "permission" && this.#association === undefined && epoch === this.#epoch;
  }

  /** GIST is looking for the next node, or has found another. */
  pathUncertain(): void {
    this.#nextPeer = undefined;
    this.#routeUntil = 0;
  }

  /** What a summary Query says of this flow; it has been checked that it may. */
  claimed({ sequence, sentVolume, epoch, heard }: SummaryClaim): void {
    this.#sentVolume = sentVolume;
    this.#lastQuery = { sequence, reports: 0 };
    this.#compare({ sequence, sentVolume, mark: { epoch, heard } }, "");
  }

  /** What a summary Permission says of this flow; it has been checked that it may. */
  extended({ sequence, allowedVolume, ttl, refresh }: SummaryGrant): void {
    this.#context.crossing.told(this.id, sequence);
    void this.#granted({ allowedVolume, ttl, refresh }, undefined, undefined);
  }

  /**
   * A Query whose signature and sequence were checked.
   * @param by interface by which GIST's Query for the flow had come; empty: not known
   */
  query(query: PbsQuery, passing: Passing, from: string, by: string): void {
    this.#previousPeer = from;
    this.#sentVolume = query.sentVolume;
    this.#lastQuery = { sequence: query.sequence, reports: query.reports?.length ?? 0 };
    this.#passing = passing;
    if (this.#state === "permission") this.#compare(query, by);
    this.#on("query");
  }

  /** A Permission whose signature and sequence were checked. */
  permission(permission: PbsPermission, passing: Passing, from: string): void {
    this.#nextPeer = from;
    this.#routeUntil = 0;
    this.#context.crossing.told(this.id, permission.sequence);
    if (permission.allowedVolume > 0) return this.#demanded(permission, passing);
    this.#passing = passing;
    this.#reason = permission.info?.text ?? "the receiver refused";
    this.#on("refused");
  }

  /** A node upstream cannot do what a Permission asks for: that is for the receiver. */
  algorithmRefused(defense: Defense, info: Info): void {
    this.#refused = { defense, info, why: info.text };
    this.#on("algorithm-refused");
  }

  notify(info: Info, pending: boolean, attached: Attached = {}): void {
    this.#info = info;
    this.#attached = attached;
    this.#on(pending ? "pending" : "notified");
  }

  async revoke(reason: string): Promise<void> {
    this.#installing++;
    await this.#context.installer.remove(this.flow);
    this.#installing--;
    this.#reason = reason;
    const text = `revoked at a router: ${reason}`;
    // Or the sender's next refresh would bring it back.
    this.#context.buried.set(flowKey(this.flow), { code: INFO_CODE.revoked, reason: text });
    this.#info = {
      class: INFO_CLASS.permanentFailure,
      code: INFO_CODE.revoked,
      objectType: 0,
      retryAfter: ms(0),
      text,
    };
    this.#attached = {};
    this.#on("revoked-here");
  }

  stop(): void {
    this.#over = true;
    this.#timer?.cancel();
    this.#mover.stop();
  }

  /** The flow takes another path from here. */
  moved(path: string, why: string): void {
    this.#nextPeer = undefined;
    this.#context.counters.count("path.changed");
    this.#context.events.report("path", this, `${path}: ${why}`);
    this.#goOn("path-changed");
  }

  /** A router has paths by next hop and relay alone. */
  gaveWay(path: string): void {
    this.stuck(`${path} is for senders`);
  }

  /** It could not be moved; the sender may know another way. */
  stuck(why: string): void {
    this.#context.events.report("path", this, `stays where it is: ${why}`);
    this.#goOn("path-kept");
  }

  #goOn(how: "path-changed" | "path-kept"): void {
    this.#passing = this.#held;
    this.#held = undefined;
    this.#on(how);
  }

  view(): FlowView {
    const count = this.#context.datapath.read([this.flow])[0];
    return {
      id: this.id,
      flow: flowKey(this.flow),
      role: this.role,
      state: STATE_NAMES[this.#state],
      allowedVolume: this.#permission?.allowedVolume ?? bytes(0),
      sentVolume: this.#sentVolume,
      countedVolume: count?.bytes ?? bytes(0),
      packets: count?.packets ?? 0,
      overVolume: count?.overVolume ?? 0,
      authentication: authenticationView(this.#association, count),
      remaining:
        this.#permission === undefined ? null : ms(Math.max(0, this.#until - this.#context.time.now())),
      refresh: this.#permission?.refresh ?? null,
      refreshes: this.#refreshes,
      requester: this.#requester,
      rule: null,
      path: this.#mover.path,
      detection: this.#context.crossing.view(this.id),
      lastReason: this.#reason,
    };
  }

  #demanded(permission: PbsPermission, passing: Passing): void {
    if (permission.defense.solution === SOLUTION.changePath) {
      const mover = permission.epoch?.mover;
      this.#named = mover !== undefined && sameBytes(mover, this.#context.signer.identity);
      this.#passing = passing;
      return this.#on("path-change");
    }
    const { accepts } = this.#context.options;
    const demand = demandOf(permission.defense, () => signatureAlgorithmOf(this.#senderKey), accepts);
    if (demand.type === "supported") return void this.#granted(permission, passing, demand.association);
    permission.defense.key.fill(0);
    this.#refused = { defense: permission.defense, info: undefined, why: `${demand.why} by a router` };
    this.#on("unsupported");
  }

  /** The table says nothing of a packet path that is full: then there is no permission to forward. */
  async #granted(
    permission: Kept & Pick<PbsPermission, "epoch">,
    passing: Passing | undefined,
    association: Association | undefined,
  ): Promise<void> {
    this.#installing++;
    const first = this.#permission === undefined;
    const { epoch } = permission;
    const begun = recount(first ? FIRST_EPOCH.epoch : this.#epoch, epoch, this.#sentVolume);
    const overlap = begun.countFrom === undefined ? this.#context.options.overlap : epoch?.overlap;
    const installed = await this.#context.installer.install({
      flow: this.flow,
      allowedVolume: permission.allowedVolume,
      lifetime: longestState(this.#context, permission),
      countedAtLeast: countFrom(!first, this.#sentVolume),
      ...begun,
      ...(association && {
        authentication: {
          action: "verify",
          association: checkedBy(association, this.#senderKey),
          overlap: first ? NO_OVERLAP : (overlap ?? NO_OVERLAP),
        },
      }),
    });
    association?.key.fill(0);
    this.#installing--;
    if (this.#over) return installed ? this.#context.release(this) : undefined;
    if (!installed) return tellFull(this.#context, this);
    if (this.#permission !== undefined) this.#refreshes++;
    const { allowedVolume, ttl, refresh } = permission;
    this.#epoch = epoch?.epoch ?? this.#epoch;
    this.#permission = { allowedVolume, ttl, refresh };
    this.#changed = !sameAssociation(association, this.#association);
    this.#association = association && { spi: association.spi, algorithm: association.algorithm };
    if (epoch !== undefined && begun.countFrom !== undefined)
      this.#context.crossing.begin(this.#crossing, begun.countFrom, this.#freshIn(epoch, begun.countFrom));
    this.#passing = passing;
    this.#on("granted");
    this.#context.rested(this);
  }

  /** The association that nothing but this epoch's packets come under, where all of them are counted here. */
  #freshIn({ start, overlap }: Epoch, counted: Bytes): Fresh | undefined {
    const alone = this.#changed && overlap.duration === 0 && counted === start;
    return alone && this.#association !== undefined ? { spi: this.#association.spi, start } : undefined;
  }

  #compare(query: Told, by: string): void {
    this.#context.crossing.query(this.#crossing, query, by);
  }

  get #crossing(): Crossing {
    return {
      id: this.id,
      flow: this.flow,
      role: this.role,
      epoch: this.#epoch,
      association: this.#association,
      allowedVolume: this.#permission?.allowedVolume ?? bytes(0),
    };
  }

  #on(event: RouterEvent): void {
    if (this.#over) return;
    const arc = step(ROUTER_MACHINE, this.#state, event, (guard) => this.#holds(guard));
    if (arc === undefined) return;
    this.#state = arc.to;
    if (arc.to === "permission") this.#context.settled(this);
    for (const action of arc.do) this.#act(action, event);
  }

  #holds(guard: RouterGuard): boolean {
    if (guard === "new-algorithm") return this.#changed;
    return this.#named && (guard === "names-this" || (this.#mover.possible && !this.#mover.held));
  }

  #act(action: RouterAction, event: RouterEvent): void {
    switch (action) {
      case "forward-query":
        return this.#forward("downstream");
      case "report-query":
        return this.#reportIntoQuery();
      case "forward-permission":
        return this.#forward("upstream");
      case "forward-notify":
        return this.#forwardNotify();
      case "forward-refusal":
        return this.#forwardRefusal();
      case "refuse-algorithm":
        return this.#refuseAlgorithm();
      case "await-permission":
        return this.#awaitPermission(this.#context.options.routerWait);
      case "prolong-wait":
        return this.#awaitPermission(ms((this.#info?.retryAfter ?? 0) + this.#context.options.routerWait));
      case "install":
        return; // Done before the event: the arc is followed only when the packet path enforces it.
      case "keep-alive":
        return this.#keepAlive();
      case "leave":
        return this.#leave();
      case "say-stuck":
        return this.#sayStuck();
      case "change-path":
        this.#held = this.#passing;
        this.#passing = undefined;
        return this.#mover.move("the receiver says that packets vanish behind this router");
      case "remove-permission":
        return void this.#context.installer.remove(this.flow);
      case "report":
        return this.#report(event);
      case "report-authentication":
        return this.#reportAuthentication();
      case "forget":
        this.stop();
        keepRoute(this.#context, this.id, this.flow, ms(0));
        return this.#context.forget(this);
    }
  }

  #forward(direction: "downstream" | "upstream"): void {
    const passing = this.#passing;
    this.#passing = undefined;
    if (passing === undefined) return;
    if (passing.hopCount === 0) return this.#context.counters.count("dropped.no-hops-left");
    const { data, hopCount } = passing;
    send(this.#context, { id: this.id, flow: this.flow, direction, data, hopCount });
    this.#context.counters.count(direction === "downstream" ? "query.forwarded" : "permission.forwarded");
  }

  /** Says to the receiver what has come this far. Nothing of it may hold up the Query. */
  #reportIntoQuery(): void {
    const { reporting, signer, datapath, counters, logger, options } = this.#context;
    const passing = this.#passing;
    if (options.reportRate === 0) return;
    const counted = datapath.read([this.flow])[0]?.bytes;
    if (passing === undefined || counted === undefined || this.#lastQuery.reports >= MAX_REPORTS) return;
    // Of a flow without packets there is nothing to say.
    if (counted === 0 && this.#sentVolume === 0) return;
    if (!reporting.take()) return counters.count("limited.report");
    try {
      const said = { epoch: this.#epoch, counted, sequence: this.#lastQuery.sequence };
      const report = makeReport(signer, this.id, this.#reported++, said);
      this.#passing = { ...passing, data: withReport(passing.data, report) ?? passing.data };
      counters.count("report.sent");
    } catch (error) {
      logger.error({ error, id: this.id }, "a report could not be signed");
    }
  }

  /** The flow goes another way from now on; if that one crosses this router too, its Permission comes soon. */
  #leave(): void {
    const { options, time } = this.#context;
    const lifetime = ms(Math.min(Math.max(0, this.#until - time.now()), options.leaveAfter));
    this.#until = time.now() + lifetime;
    this.#refreshed = Number.NEGATIVE_INFINITY;
    this.#awaitRefresh();
  }

  /** Behind the Permission, on the same way: whoever has not seen that one does not believe it. */
  #sayStuck(): void {
    const reason = { class: INFO_CLASS.informational, code: INFO_CODE.noOtherPath };
    sendNotify(this.#context, this, reason, "the router that was asked has no other path");
  }

  #forwardNotify(): void {
    if (this.#info === undefined) return;
    const { listed, ticket } = this.#attached;
    const data = encodeNotify({
      type: "notify",
      flow: this.flow,
      info: this.#info,
      ...(listed && { listed }),
      ...(ticket && { ticket }),
    });
    this.#attached = {};
    send(this.#context, { id: this.id, flow: this.flow, direction: "upstream", data });
    this.#context.counters.count("notify.forwarded");
  }

  #refuseAlgorithm(): void {
    if (this.#refused !== undefined)
      refuseDefense(this.#context, this, this.#refused.defense, this.#refused.why);
    this.#refused = undefined;
  }

  #forwardRefusal(): void {
    const refused = this.#refused;
    this.#refused = undefined;
    if (refused?.info === undefined) return;
    const { info, defense } = refused;
    const data = encodeNotify({ type: "notify", flow: this.flow, info, defense });
    send(this.#context, { id: this.id, flow: this.flow, direction: "downstream", data });
    this.#context.counters.count("notify.forwarded");
  }

  #reportAuthentication(): void {
    if (!this.#changed) return;
    this.#context.events.report("authentication", this, associationText(this.#association));
  }

  #keepAlive(): void {
    if (this.#permission === undefined) return;
    this.#refreshed = this.#context.time.now();
    this.#live(softState(this.#permission));
  }

  #live(lifetime: Milliseconds): void {
    this.#until = this.#context.time.now() + lifetime;
    this.#awaitRefresh();
    if (this.#until <= this.#routeUntil) return;
    this.#routeUntil = this.#context.time.now() + lifetime * ROUTE_AHEAD;
    keepRoute(this.#context, this.id, this.flow, ms(lifetime * ROUTE_AHEAD));
  }

  #awaitRefresh(): void {
    const { time } = this.#context;
    this.#timer?.cancel();
    this.#timer = time.after(ms(Math.max(0, this.#until - time.now())), () => this.#notRefreshed());
  }

  #notRefreshed(): void {
    const about = { since: this.#refreshed, due: this.#until, late: false };
    const grace = this.#permission && graceFor(this.#context, this.#permission, about);
    if (grace === undefined) this.#on("state-over");
    else this.#live(grace);
  }

  #awaitPermission(wait: Milliseconds): void {
    this.#timer?.cancel();
    this.#timer = this.#context.time.after(wait, () => this.#on("wait-over"));
  }

  #report(event: RouterEvent): void {
    const { events } = this.#context;
    if (event === "granted")
      return events.report("granted", this, `${this.#permission?.allowedVolume ?? 0} bytes`);
    if (event === "wait-over") return events.report("no-answer", this, "no Permission came in time");
    if (event === "state-over") return events.report("expired", this, "TTL over or not refreshed");
    const had = this.#permission !== undefined;
    events.report(had ? "revoked" : "refused", this, this.#reason ?? this.#info?.text ?? "");
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
