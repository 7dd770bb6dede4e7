/**
 * Routing state that nothing happens to, packed: a record of {@link RECORD} bytes and a timer in place of objects. States
 * of one association share all that is of the peer and not of the flow.
 */
import { Interned } from "../base/interned.js";
import { keyedHash } from "../base/keyed-hash.js";
import { Records } from "../base/records.js";
import { SlotIndex } from "../base/slot-index.js";
import { SlotTimers } from "../base/slot-timers.js";
import { type Milliseconds, ms } from "../base/units.js";
import { ByteReader } from "../base/wire.js";
import type { GistContext } from "./context.js";
import type { FlowSession } from "./flow-session.js";
import type { QueryingRest } from "./querying.js";
import type { RespondingRest } from "./responding.js";

import { sessionIdBytes, sessionIdFromBytes } from "./wire/codec.js";
import { mriBytes, readMri } from "./wire/mri.js";

export type Rest = QueryingRest | RespondingRest;
export type RestKind = Rest["kind"];

/** Where the fields of a record stand. */
const AT = {
  session: 0,
  nslp: 16,
  /** 0: the record is not in use. */
  kind: 18,
  flags: 19,
  mriLength: 20,
  mri: 24,
  way: 76,
  due: 80,
  wantedUntil: 88,
  /** Querying: until when it is valid. Responding: for how long, as the peer was told. */
  validity: 96,
  usedAt: 104,
} as const;
const RECORD = 112;
const KIND = { querying: 1, responding: 2 } as const;
const FLAG = { stale: 1, expires: 2 } as const;

/** What states with the same peer have in common. */
export type Way =
  | Pick<QueryingRest, "kind" | "association" | "peer" | "route" | "proposed">
  | Pick<RespondingRest, "kind" | "association" | "peer" | "inboundInterface">;

export class RestingStates {
  readonly #records = new Records(RECORD);
  readonly #index = new SlotIndex();
  readonly #timers: SlotTimers;
  readonly #ways = new Interned<Way>();
  readonly #hash = keyedHash();
  readonly #counts = { querying: 0, responding: 0 };

  /** @param due called with a state, no longer at rest, whose time has come */
  constructor({ time }: Pick<GistContext, "time">, due: (rest: Rest) => void) {
    this.#timers = new SlotTimers(time, (slot) => due(this.#remove(slot)));
  }

  get counts(): Readonly<Record<RestKind, number>> {
    return this.#counts;
  }

  get size(): number {
    return this.#records.count;
  }

  /** Bytes of memory. */
  get memory(): number {
    return this.#records.memory + this.#index.memory + this.#timers.memory;
  }

  put(rest: Rest): void {
    const slot = this.#records.take();
    const session = sessionIdBytes(rest.sessionId);
    this.#write(slot, session, rest);
    this.#index.add(this.#hashOf(session, mriBytes(rest.mri)), slot);
    this.#timers.set(slot, rest.due);
    this.#counts[rest.kind]++;
  }

  /** Takes a state out; undefined when none of this session, and of this kind if one is given, is at rest. */
  take(session: FlowSession, kind?: RestKind): Rest | undefined {
    const slot = this.#find(session, kind);
    return slot === undefined ? undefined : this.#remove(slot);
  }

  /** The way of a state, which stays at rest; undefined when none of this session is. */
  wayOf(session: FlowSession, kind?: RestKind): Way | undefined {
    const slot = this.#find(session, kind);
    return slot === undefined ? undefined : this.#wayOf(slot);
  }

  /** The way by which a state may send, and stay at rest. It is in use now. */
  wayToSend(session: FlowSession, now: Milliseconds): Way | undefined {
    const slot = this.#find(session);
    if (slot === undefined || (this.#records.u8(slot, AT.flags) & FLAG.stale) !== 0) return undefined;
    this.#records.setF64(slot, AT.usedAt, now);
    return this.#wayOf(slot);
  }

  /** Until when a state is wanted; false when none of this session is at rest. */
  setWanted(session: FlowSession, until: Milliseconds): boolean {
    const slot = this.#find(session);
    if (slot === undefined) return false;
    this.#records.setF64(slot, AT.wantedUntil, until);
    return true;
  }

  /** All states of this kind as they are now; made while they are walked. What moves meanwhile may be missed. */
  *all(kind: RestKind): IterableIterator<Rest> {
    for (let slot = 0; slot < this.#records.end; slot++)
      if (this.#records.u8(slot, AT.kind) === KIND[kind]) yield this.#read(slot);
  }

  /** Takes out, one after the other, what is such. */
  *takeEach(is: (way: Way, nslpId: number) => boolean): IterableIterator<Rest> {
    for (let slot = 0; slot < this.#records.end; slot++) {
      if (this.#records.u8(slot, AT.kind) === 0) continue;
      if (is(this.#wayOf(slot), this.#records.u16(slot, AT.nslp))) yield this.#remove(slot);
    }
  }

  #find({ nslpId, sessionId, mri }: FlowSession, kind?: RestKind): number | undefined {
    if (this.size === 0) return undefined;
    const records = this.#records;
    const session = sessionIdBytes(sessionId);
    const value = mriBytes(mri);
    return this.#index.find(
      this.#hashOf(session, value),
      (slot) =>
        records.holds(slot, AT.session, session) &&
        records.u16(slot, AT.nslp) === nslpId &&
        records.u8(slot, AT.mriLength) === value.length &&
        records.holds(slot, AT.mri, value) &&
        (kind === undefined || records.u8(slot, AT.kind) === KIND[kind]),
    );
  }

  /** Peers choose Session-IDs, and may give many flows the same one. */
  #hashOf(session: Uint8Array, mri: Uint8Array): number {
    return (Math.imul(this.#hash(session), 31) ^ this.#hash(mri)) >>> 0;
  }

  #remove(slot: number): Rest {
    const rest = this.#read(slot);
    this.#timers.cancel(slot);
    this.#index.remove(this.#hashOf(this.#records.bytes(slot, AT.session, 16), mriBytes(rest.mri)), slot);
    this.#ways.release(this.#records.i32(slot, AT.way));
    this.#records.give(slot);
    this.#counts[rest.kind]--;
    return rest;
  }

  #write(slot: number, session: Uint8Array, rest: Rest): void {
    const records = this.#records;
    const value = mriBytes(rest.mri);
    records.setBytes(slot, AT.session, session);
    records.setU16(slot, AT.nslp, rest.nslpId);
    records.setU8(slot, AT.kind, KIND[rest.kind]);
    records.setU8(slot, AT.mriLength, value.length);
    records.setBytes(slot, AT.mri, value);
    records.setI32(slot, AT.way, this.#ways.take(wayOf(rest), wayKey));
    records.setF64(slot, AT.due, rest.due);
    records.setF64(slot, AT.wantedUntil, rest.wantedUntil);
    if (rest.kind === "responding") return records.setF64(slot, AT.validity, rest.validity);
    records.setF64(slot, AT.validity, rest.validUntil);
    records.setF64(slot, AT.usedAt, rest.usedAt);
    records.setU8(
      slot,
      AT.flags,
      (rest.stale ? FLAG.stale : 0) | (rest.next === "expired" ? FLAG.expires : 0),
    );
  }

  #read(slot: number): Rest {
    const records = this.#records;
    const way = this.#wayOf(slot);
    const nslpId = records.u16(slot, AT.nslp);
    const sessionId = sessionIdFromBytes(records.bytes(slot, AT.session, 16));
    const mri = readMri(new ByteReader(records.bytes(slot, AT.mri, records.u8(slot, AT.mriLength))));
    const due = ms(records.f64(slot, AT.due));
    const wantedUntil = records.f64(slot, AT.wantedUntil);
    const validity = ms(records.f64(slot, AT.validity));
    const { association, peer } = way;
    if (way.kind === "responding") {
      const { kind, inboundInterface } = way;
      return {
        kind,
        nslpId,
        sessionId,
        mri,
        association,
        peer,
        inboundInterface,
        wantedUntil,
        validity,
        due,
      };
    }
    const { kind, route, proposed } = way;
    const flags = records.u8(slot, AT.flags);
    return {
      kind,
      nslpId,
      sessionId,
      mri,
      association,
      peer,
      route,
      proposed,
      validUntil: validity,
      wantedUntil,
      usedAt: records.f64(slot, AT.usedAt),
      stale: (flags & FLAG.stale) !== 0,
      next: (flags & FLAG.expires) === 0 ? "refresh-due" : "expired",
      due,
    };
  }

  #wayOf(slot: number): Way {
    return this.#ways.get(this.#records.i32(slot, AT.way));
  }
}

function wayOf(rest: Rest): Way {
  const { association, peer } = rest;
  return rest.kind === "querying"
    ? { kind: rest.kind, association, peer, route: rest.route, proposed: rest.proposed }
    : { kind: rest.kind, association, peer, inboundInterface: rest.inboundInterface };
}

function wayKey(way: Way): string {
  const peer = `${way.association.number} ${way.peer.identity} ${way.peer.address}`;
  if (way.kind === "responding") return `responding ${peer} ${way.inboundInterface}`;
  const { interfaceAddress, interfaceName, mtu, nextHop } = way.route;
  return `querying ${peer} ${interfaceAddress} ${interfaceName} ${mtu} ${nextHop ?? "-"} ${way.proposed.join()}`;
}

/** When a state that is at rest is over, if nothing happens. */
export function endOf(rest: Rest): Milliseconds {
  return rest.kind === "querying" ? rest.validUntil : rest.due;
}
