/**
 * Permitted flows of a router to which nothing happens, packed: a record of {@link RECORD} bytes and a timer in place of
 * objects. Flows of one sender, and of one receiver, share what is the sender's or receiver's.
 */
import type { KeyObject } from "node:crypto";
import { IpAddress } from "../base/address.js";
import { ALGORITHMS } from "../base/algorithm.js";
import type { Flow } from "../base/flow.js";
import { Interned } from "../base/interned.js";
import { keyedHash } from "../base/keyed-hash.js";
import { Records } from "../base/records.js";
import { SlotIndex } from "../base/slot-index.js";
import { SlotTimers } from "../base/slot-timers.js";
import type { Time } from "../base/time.js";
import { type Bytes, bytes, type Milliseconds, ms } from "../base/units.js";
import { sessionIdBytes, sessionIdFromBytes } from "../gist/wire/codec.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { AssociationName } from "./demand.js";
import { isNewer } from "./sequence.js";

/** Who asks: shared by all flows of one sender that one peer brings. */
export interface Asker {
  readonly upstreamPeer: string;
  readonly requester: string;
  /** Of the certificate that signs the Queries, and its name. */
  readonly senderKey: KeyObject;
  readonly querySigner: string;
}

/** The peers that the last messages came from: shared by all flows of one way. */
export interface Way {
  readonly previousPeer: string;
  readonly nextPeer: string | undefined;
}

/** All that there is to a router's session that has its permission and waits for what comes next. */
export interface RouterRest {
  readonly id: SessionId;
  readonly flow: Flow;
  readonly asker: Asker;
  readonly way: Way;
  /** Names the key that signs the Permissions. */
  readonly permissionSigner: string;
  /** Message-Seq of the last Query and the last Permission that were accepted. */
  readonly heardQuery: number;
  readonly heardPermission: number;
  readonly allowedVolume: Bytes;
  readonly sentVolume: Bytes;
  readonly ttl: Milliseconds;
  readonly refresh: Milliseconds;
  readonly association: AssociationName | undefined;
  readonly epoch: number;
  /** Reports and refreshes so far. */
  readonly reported: number;
  readonly refreshes: number;
  /** When its state is over. */
  readonly until: Milliseconds;
  /** When its permission came last; when a Query of it last went before new requests. Minus infinity: never. */
  readonly refreshed: Milliseconds;
  readonly favoured: Milliseconds;
  /** GIST keeps its routing state so long. */
  readonly routeUntil: Milliseconds;
}

/** What a refresh changes. */
export type Renewal = Pick<
  RouterRest,
  "allowedVolume" | "ttl" | "refresh" | "until" | "refreshed" | "routeUntil"
>;

/** Where the fields of a record stand. */
const AT = {
  id: 0,
  flow: 16,
  /** Number of the algorithm plus one; 0: packets need no AH. */
  algorithm: 54,
  asker: 56,
  permissionSigner: 60,
  heardQuery: 64,
  heardPermission: 68,
  ttl: 72,
  refresh: 76,
  allowedVolume: 80,
  sentVolume: 88,
  until: 96,
  epoch: 104,
  reported: 108,
  refreshes: 112,
  spi: 116,
  way: 120,
  refreshed: 124,
  favoured: 132,
  routeUntil: 140,
} as const;
const RECORD = 148;
const ID_BYTES = 16;

/** Where the parts of a flow stand in its bytes. The family is 0 in a record that is not in use. */
const FLOW = { source: 0, destination: 16, sourcePort: 32, destinationPort: 34, protocol: 36, family: 37 };
const FLOW_BYTES = 38;

export class RestingRouters {
  readonly #records = new Records(RECORD);
  readonly #byId = new SlotIndex();
  readonly #byFlow = new SlotIndex();
  readonly #timers: SlotTimers;
  readonly #askers = new Interned<Asker>();
  readonly #ways = new Interned<Way>();
  readonly #signers = new Interned<string>();
  readonly #hash = keyedHash();
  #stopped = false;

  /** @param over called with a session, no longer at rest, whose time is over */
  constructor(time: Time, over: (rest: RouterRest) => void) {
    this.#timers = new SlotTimers(time, (slot) => over(this.#remove(slot)));
  }

  get size(): number {
    return this.#records.count;
  }

  /** Bytes of memory. */
  get memory(): number {
    const tables = this.#byId.memory + this.#byFlow.memory + this.#timers.memory;
    return this.#records.memory + tables;
  }

  put(rest: RouterRest): void {
    const slot = this.#records.take();
    this.#write(slot, rest);
    this.#byId.add(this.#hash(this.#idOf(slot)), slot);
    this.#byFlow.add(this.#hash(this.#flowOf(slot)), slot);
    this.#timers.set(slot, rest.until);
  }

  /** Takes a session out; undefined when it is not at rest here. */
  takeById(id: SessionId): RouterRest | undefined {
    return this.#take(this.#slotOf(id));
  }

  takeByFlow(flow: Flow): RouterRest | undefined {
    if (this.size === 0) return undefined;
    const key = flowBytes(flow);
    const holds = (slot: number): boolean => this.#records.holds(slot, AT.flow, key);
    return this.#take(this.#byFlow.find(this.#hash(key), holds));
  }

  /** A session that stays at rest; undefined when it is not at rest here. */
  look(id: SessionId): RouterRest | undefined {
    const slot = this.#slotOf(id);
    return slot === undefined ? undefined : this.#read(slot);
  }

  /** It hears a Query, and stays at rest. False: that is not newer than the last one, or it is not at rest here. */
  query(id: SessionId, sequence: number, sentVolume: Bytes): boolean {
    const slot = this.#hearing(id, AT.heardQuery, sequence);
    if (slot === undefined) return false;
    this.#records.setF64(slot, AT.sentVolume, sentVolume);
    return true;
  }

  /** The same of a Permission. */
  permission(id: SessionId, sequence: number): boolean {
    return this.#hearing(id, AT.heardPermission, sequence) !== undefined;
  }

  /** Its permission has been renewed. False: it is not at rest here. */
  renew(id: SessionId, renewal: Renewal): boolean {
    const slot = this.#slotOf(id);
    if (slot === undefined) return false;
    const records = this.#records;
    records.setF64(slot, AT.allowedVolume, renewal.allowedVolume);
    records.setU32(slot, AT.ttl, renewal.ttl);
    records.setU32(slot, AT.refresh, renewal.refresh);
    records.setF64(slot, AT.until, renewal.until);
    records.setF64(slot, AT.refreshed, renewal.refreshed);
    records.setF64(slot, AT.routeUntil, renewal.routeUntil);
    records.setU32(slot, AT.refreshes, records.u32(slot, AT.refreshes) + 1);
    if (!this.#stopped) this.#timers.set(slot, renewal.until);
    return true;
  }

  /** All as they are now; made while they are walked. */
  *all(): IterableIterator<RouterRest> {
    for (let slot = 0; slot < this.#records.end; slot++) if (this.#isUsed(slot)) yield this.#read(slot);
  }

  *ids(): IterableIterator<SessionId> {
    for (let slot = 0; slot < this.#records.end; slot++)
      if (this.#isUsed(slot)) yield sessionIdFromBytes(this.#idOf(slot));
  }

  /** Nothing is over any more. */
  stop(): void {
    this.#stopped = true;
    this.#timers.stop();
  }

  /** @param field with the sequence number of the last one that it has heard */
  #hearing(id: SessionId, field: number, sequence: number): number | undefined {
    const slot = this.#slotOf(id);
    if (slot === undefined || !isNewer(sequence, this.#records.u32(slot, field))) return undefined;
    this.#records.setU32(slot, field, sequence);
    return slot;
  }

  #slotOf(id: SessionId): number | undefined {
    if (this.size === 0) return undefined;
    const key = sessionIdBytes(id);
    return this.#byId.find(this.#hash(key), (slot) => this.#records.holds(slot, AT.id, key));
  }

  #take(slot: number | undefined): RouterRest | undefined {
    return slot === undefined ? undefined : this.#remove(slot);
  }

  #remove(slot: number): RouterRest {
    const rest = this.#read(slot);
    this.#timers.cancel(slot);
    this.#byId.remove(this.#hash(this.#idOf(slot)), slot);
    this.#byFlow.remove(this.#hash(this.#flowOf(slot)), slot);
    this.#askers.release(this.#records.i32(slot, AT.asker));
    this.#ways.release(this.#records.i32(slot, AT.way));
    this.#signers.release(this.#records.i32(slot, AT.permissionSigner));
    this.#records.give(slot);
    return rest;
  }

  #isUsed(slot: number): boolean {
    return this.#records.u8(slot, AT.flow + FLOW.family) !== 0;
  }

  #idOf(slot: number): Uint8Array {
    return this.#records.bytes(slot, AT.id, ID_BYTES);
  }

  #flowOf(slot: number): Uint8Array {
    return this.#records.bytes(slot, AT.flow, FLOW_BYTES);
  }

  #write(slot: number, rest: RouterRest): void {
    const records = this.#records;
    const { association, asker, way, permissionSigner } = rest;
    records.setBytes(slot, AT.id, sessionIdBytes(rest.id));
    records.setBytes(slot, AT.flow, flowBytes(rest.flow));
    records.setI32(slot, AT.asker, this.#askers.take(asker, askerKey));
    records.setI32(slot, AT.way, this.#ways.take(way, wayKey));
    records.setI32(
      slot,
      AT.permissionSigner,
      this.#signers.take(permissionSigner, (signer) => signer),
    );
    records.setU32(slot, AT.heardQuery, rest.heardQuery);
    records.setU32(slot, AT.heardPermission, rest.heardPermission);
    records.setU32(slot, AT.ttl, rest.ttl);
    records.setU32(slot, AT.refresh, rest.refresh);
    records.setF64(slot, AT.allowedVolume, rest.allowedVolume);
    records.setF64(slot, AT.sentVolume, rest.sentVolume);
    records.setF64(slot, AT.until, rest.until);
    records.setF64(slot, AT.refreshed, rest.refreshed);
    records.setF64(slot, AT.favoured, rest.favoured);
    records.setF64(slot, AT.routeUntil, rest.routeUntil);
    records.setU32(slot, AT.epoch, rest.epoch);
    records.setU32(slot, AT.reported, rest.reported);
    records.setU32(slot, AT.refreshes, rest.refreshes);
    if (association === undefined) return;
    records.setU8(slot, AT.algorithm, ALGORITHMS.indexOf(association.algorithm) + 1);
    records.setU32(slot, AT.spi, association.spi);
  }

  #read(slot: number): RouterRest {
    const records = this.#records;
    const algorithm = ALGORITHMS[records.u8(slot, AT.algorithm) - 1];
    return {
      id: sessionIdFromBytes(this.#idOf(slot)),
      flow: flowFrom(this.#flowOf(slot)),
      asker: this.#askers.get(records.i32(slot, AT.asker)),
      way: this.#ways.get(records.i32(slot, AT.way)),
      permissionSigner: this.#signers.get(records.i32(slot, AT.permissionSigner)),
      heardQuery: records.u32(slot, AT.heardQuery),
      heardPermission: records.u32(slot, AT.heardPermission),
      ttl: ms(records.u32(slot, AT.ttl)),
      refresh: ms(records.u32(slot, AT.refresh)),
      allowedVolume: bytes(records.f64(slot, AT.allowedVolume)),
      sentVolume: bytes(records.f64(slot, AT.sentVolume)),
      until: ms(records.f64(slot, AT.until)),
      refreshed: ms(records.f64(slot, AT.refreshed)),
      favoured: ms(records.f64(slot, AT.favoured)),
      routeUntil: ms(records.f64(slot, AT.routeUntil)),
      epoch: records.u32(slot, AT.epoch),
      reported: records.u32(slot, AT.reported),
      refreshes: records.u32(slot, AT.refreshes),
      association: algorithm === undefined ? undefined : { algorithm, spi: records.u32(slot, AT.spi) },
    };
  }
}

/** The key's name stands for the key. */
function askerKey({ upstreamPeer, requester, querySigner }: Asker): string {
  return `${querySigner} ${upstreamPeer} ${requester}`;
}

function wayKey({ previousPeer, nextPeer }: Way): string {
  return `${previousPeer} ${nextPeer ?? ""}`;
}

function flowBytes(flow: Flow): Uint8Array {
  const key = new Uint8Array(FLOW_BYTES);
  key.set(flow.source.bytes, FLOW.source);
  key.set(flow.destination.bytes, FLOW.destination);
  key[FLOW.sourcePort] = flow.sourcePort >> 8;
  key[FLOW.sourcePort + 1] = flow.sourcePort & 0xff;
  key[FLOW.destinationPort] = flow.destinationPort >> 8;
  key[FLOW.destinationPort + 1] = flow.destinationPort & 0xff;
  key[FLOW.protocol] = flow.protocol;
  key[FLOW.family] = flow.source.family;
  return key;
}

function flowFrom(key: Uint8Array): Flow {
  const byte = (at: number): number => key[at] ?? 0;
  const address = (at: number): IpAddress => IpAddress.fromBytes(key, at, byte(FLOW.family) === 4 ? 4 : 16);
  return {
    protocol: byte(FLOW.protocol),
    source: address(FLOW.source),
    destination: address(FLOW.destination),
    sourcePort: (byte(FLOW.sourcePort) << 8) | byte(FLOW.sourcePort + 1),
    destinationPort: (byte(FLOW.destinationPort) << 8) | byte(FLOW.destinationPort + 1),
  };
}
