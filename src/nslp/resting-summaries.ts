/**
 * What summaries do to a router's flows that are at rest, which most are: they stay there. A flow that is woken becomes a session
 * with its timers, and that session lives until the summary has been answered or installed; of many at a time that is most of the work.
 */
import { type Bytes, ms } from "../base/units.js";
import type { Flow } from "../base/flow.js";
import type { SessionId } from "../gist/wire/messages.js";
import { keepRoute, type PbsContext } from "./context.js";
import { countFrom } from "./epoch.js";
import { longestState, softState } from "./grace.js";
import { tellFull } from "./notify.js";
import { ROUTE_AHEAD } from "./options.js";
import type { Renewal, RouterRest } from "./resting.js";
import type { RouterSession } from "./router-session.js";
import type { SummaryClaim, SummaryGrant } from "./wire/messages.js";

/** The table of sessions, as far as it is about those at rest. */
export interface RestingTable {
  /** As it is; undefined when it is not at rest. */
  atRest(id: SessionId): RouterRest | undefined;
  /** False: it is not newer than the last one, or the session is not at rest. */
  queryAtRest(id: SessionId, sequence: number, sentVolume: Bytes): boolean;
  permissionAtRest(id: SessionId, sequence: number): boolean;
  /** False: the session is not at rest. */
  renewAtRest(id: SessionId, renewal: Renewal): boolean;
  /** Wakes it. */
  byId(id: SessionId): RouterSession | { readonly role: "sender" | "receiver" } | undefined;
}

/** Whose summary it is, and which way it came. */
export interface SummaryOrigin {
  /** The key that signed it. */
  readonly signer: string;
  readonly peer: string;
  /** The flow that the message is about. */
  readonly own: Pick<RouterSession, "flow" | "previousPeer" | "nextPeer">;
}

export function isClaimedAtRest(rest: RouterRest, { signer, peer, own }: SummaryOrigin): boolean {
  const { asker, way, association, flow } = rest;
  return (
    asker.querySigner === signer &&
    association === undefined &&
    way.previousPeer === peer &&
    way.nextPeer !== undefined &&
    way.nextPeer === own.nextPeer &&
    samePair(flow, own.flow)
  );
}

export function isGrantedAtRest(rest: RouterRest, origin: SummaryOrigin, grant: SummaryGrant): boolean {
  const { permissionSigner, way, association, epoch, flow } = rest;
  const { signer, peer, own } = origin;
  return (
    permissionSigner === signer &&
    association === undefined &&
    epoch === grant.epoch &&
    way.previousPeer === own.previousPeer &&
    way.nextPeer === peer &&
    samePair(flow, own.flow)
  );
}

/** As {@link RouterSession.claimed}. */
export function claimAtRest(
  context: PbsContext,
  table: RestingTable,
  rest: RouterRest,
  claim: SummaryClaim,
): void {
  const { id, sequence, sentVolume, heard } = claim;
  if (!table.queryAtRest(id, sequence, sentVolume)) return;
  const { flow, epoch, association, allowedVolume } = rest;
  const crossing = { id, flow, role: "router", epoch, association, allowedVolume } as const;
  context.crossing.query(crossing, { sequence, sentVolume, mark: { epoch: claim.epoch, heard } }, "");
}

/** As {@link RouterSession.extended}. False: something newer has come already. */
export function extendAtRest(
  context: PbsContext,
  table: RestingTable,
  rest: RouterRest,
  grant: SummaryGrant,
): boolean {
  const { id, sequence, allowedVolume } = grant;
  if (!table.permissionAtRest(id, sequence)) return false;
  context.crossing.told(id, sequence);
  const { flow, sentVolume } = rest;
  const lifetime = longestState(context, grant);
  const countedAtLeast = countFrom(true, sentVolume);
  void context.installer.install({ flow, allowedVolume, lifetime, countedAtLeast }).then((installed) => {
    if (installed) renew(context, table, rest, grant);
    else tellFull(context, { id, flow });
  });
  return true;
}

/** The packet path has it. */
function renew(context: PbsContext, table: RestingTable, rest: RouterRest, grant: SummaryGrant): void {
  const { id, flow } = rest;
  const now = context.time.now();
  const lifetime = softState(grant);
  const until = ms(now + lifetime);
  const routed = until <= rest.routeUntil;
  const routeUntil = routed ? rest.routeUntil : ms(now + lifetime * ROUTE_AHEAD);
  const { allowedVolume, ttl, refresh } = grant;
  if (table.renewAtRest(id, { allowedVolume, ttl, refresh, until, refreshed: now, routeUntil })) {
    if (!routed) keepRoute(context, id, flow, ms(lifetime * ROUTE_AHEAD));
    return;
  }
  changedMeanwhile(context, table, flow, grant);
}

/** It was woken while the packet path took it, or is over. */
function changedMeanwhile(context: PbsContext, table: RestingTable, flow: Flow, grant: SummaryGrant): void {
  const session = table.byId(grant.id);
  if (session?.role === "router" && session.extendable(grant.epoch)) session.extended(grant);
  else context.release({ flow });
}

function samePair(a: Flow, b: Flow): boolean {
  return a.source.equals(b.source) && a.destination.equals(b.destination);
}
