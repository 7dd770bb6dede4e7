/**
 * The N-API addon, declared by hand: its functions take typed arrays, so that one call does a whole batch. A flow is
 * {@link KEY_BYTES} bytes in them. Every function throws an Error with a `code` on wrong arguments.
 */
import { dirname, join } from "node:path";
import { addon, addonFile } from "../base/addon.js";
import { AddressError, IpAddress } from "../base/address.js";
import { type Flow, hasPorts } from "../base/flow.js";
import type { Handle, RelayHandle, XdpHandle } from "./native-handles.js";
import type { NativeXdp } from "./xdp-native.js";

export type { Handle } from "./native-handles.js";

/** Source and destination, 16 bytes each (IPv4: 4 and zeros), ports, protocol, family, two zeros. */
export const KEY_BYTES = 40;
const DESTINATION = 16;
const SOURCE_PORT = 32;
const DESTINATION_PORT = 34;
const PROTOCOL_OFFSET = 36;
const FAMILY = 37;

/**
 * Numbers a flow in {@link Native.permit}: allowed volume, lifetime in ms, notify at (-1: never), counted at least, count
 * from (-1: goes on), number of the path.
 */
export const PERMIT_VALUES = 6;

/**
 * Numbers a flow in {@link Native.read}: 1 if permitted, bytes, packets, over volume, expired, idle in ms or -1; then of
 * AH the SPI or 0, algorithm, sequence number, bytes up to it, and packets dropped by reason: missing, malformed, unknown SPI,
 * replayed, bad ICV.
 */
export const READ_VALUES = 15;

/** Flows whose places can be counted at a time. As PLACES_FLOWS in native/places.h. */
export const TRACED_FLOWS = 4096;

/**
 * Numbers in {@link Native.readPlaces}: for each of five places the lower 16 bits of the interface's index (with an address of 0
 * as well: none), the hardware address, bytes, packets that failed authentication; then the packets of further places.
 */
export const PLACE_VALUES = 4;
export const PLACES_VALUES = 5 * PLACE_VALUES + 1;

/** What is done about AH with packets of a flow, as the addon takes it. */
export interface NativeAuthentication {
  /** Insert, verify, strip. */
  readonly action: 0 | 1 | 2;
  readonly spi: number;
  /** Place in the addon's list: ALGORITHMS in src/base/algorithm.ts. */
  readonly algorithm: number;
  readonly key: Uint8Array;
  /** Milliseconds, and bytes at most 2^32-1. */
  readonly overlap: number;
  readonly overlapBytes: number;
}

/** Numbers an event in {@link Native.takeEvents}: its type, and counted bytes (or the errno of a queue). */
export const EVENT_VALUES = 2;

export const EVENT = { wanted: 0, threshold: 1, exhausted: 2, queueFailed: 3, rekey: 4, evicted: 5 } as const;

/** Of {@link Native.probe}. */
export const DECISION = { accept: 0, drop: 1, refuse: 2, open: 3, unknown: 4, deep: 5 } as const;

/** What {@link Native.probe} says, negated, of packets that have no flow. */
export const PROBLEM = { malformed: 1, headersTooLong: 2, fragment: 3, notAFlow: 4 } as const;

/** Numbers of {@link Native.status} before the counters: flows, packets held, bytes of the table. */
export const STATUS_VALUES = 3;

export interface NativeQueue {
  readonly number: number;
  readonly purpose: number;
  /** That its thread keeps to; absent: any. */
  readonly processor?: number;
}

export interface NativeOptions {
  readonly capacity: number;
  /** Refusals that are remembered, apart from `capacity`; the oldest gives way. */
  readonly refusals: number;
  /** 0: what exceeds a volume is counted and let through. */
  readonly enforce: 0 | 1;
  readonly refuseMark: number;
  /** 0: the network is closed. */
  readonly openMark: number;
  readonly holdPackets: number;
  readonly holdPacketsPerFlow: number;
  /** Milliseconds. */
  readonly holdTime: number;
  /** None: the table alone, which needs no privileges. */
  readonly queues: readonly NativeQueue[];
  /** Names of the kernel sets; empty for none. */
  readonly set4: string;
  readonly set6: string;
  readonly insertSet4: string;
  readonly insertSet6: string;
  /** Sets of the sources of permitted flows. */
  readonly knownSet4: string;
  readonly knownSet6: string;
  /** Programs that are to look into this engine's table. */
  readonly xdp?: XdpHandle;
}

/** Numbers of {@link Native.relayStatus}: packets, malformed ones, those that were not taken, MTU of the device. */
export const RELAY_VALUES = 4;

export interface Native extends NativeXdp {
  readonly counterNames: readonly string[];
  /** Starts the threads. `wake` is called when there are events after there were none. */
  open(options: NativeOptions, wake: () => void): Handle;
  /** Ends the threads and frees everything; afterwards every other function throws. Twice does nothing. */
  close(engine: Handle): void;
  /** Installs or changes permissions, and releases what is held. Writes 1 into `isNew` for each flow that was not there. Codes EFULL and EKEY: nothing was done. */
  permit(
    engine: Handle,
    keys: Uint8Array,
    values: Float64Array,
    isNew: Uint8Array,
    authentications: readonly (NativeAuthentication | undefined)[] | undefined,
  ): void;
  /** Adds flows number `start` to `end` of `keys` to the kernel sets, unless that was done lately. Code ENOENT: there is no such set. */
  addToSets(engine: Handle, keys: Uint8Array, start: number, end: number): void;
  /** The same for entries of the table by number, or with `all` for those added lately too. Returns how many there are. */
  keepInSets(engine: Handle, start: number, end: number, all: 0 | 1): number;
  /** Takes flows out. Returns a ticket. */
  remove(engine: Handle, keys: Uint8Array): number;
  /** Whether no verdict is still on its way that was made before the ticket. */
  settled(engine: Handle, ticket: number): boolean;
  /** Refuses flows for some milliseconds, or has them go without permission. */
  refuse(engine: Handle, keys: Uint8Array, duration: number, open: 0 | 1): void;
  /** Has packets of flows that are in the table take a path, 0 to 31; 0: the routing table's. */
  steer(engine: Handle, keys: Uint8Array, path: number): void;
  read(engine: Handle, keys: Uint8Array, out: Float64Array): void;
  /** Counts places of one flow from zero on under a number (1 to {@link TRACED_FLOWS}), or with 0 no longer; false: it has no permission. */
  trace(engine: Handle, key: Uint8Array, number: number): boolean;
  /** {@link PLACES_VALUES} numbers. */
  readPlaces(engine: Handle, number: number, out: Float64Array): void;
  /** Bytes let through under one flow's association in packets up to a sequence number; -1: not known. */
  readUpTo(engine: Handle, key: Uint8Array, spi: number, sequence: number): number;
  /** Judges a packet of `full` bytes, of which the first are given, as the permitted queue would, and counts it. */
  probe(engine: Handle, packet: Uint8Array, full: number, offloaded: 0 | 1): number;
  /** Moves events out, oldest first, and returns how many. */
  takeEvents(engine: Handle, keys: Uint8Array, values: Float64Array): number;
  /** {@link STATUS_VALUES}, then the counters in the order of their names, then packets of each queue. */
  status(engine: Handle, out: Float64Array): void;
  /** Process, user and group at the other end of a Unix stream socket, into the first three places of `out`. */
  peerCredentials(fd: number, out: Float64Array): void;
  /**
   * Makes a TUN device; what is routed into it goes in UDP to `port` of the address with these bytes. Without bytes: what
   * comes to `port` comes out of the device.
   */
  relayOpen(options: { readonly device: string; readonly port: number }, to: Uint8Array): RelayHandle;
  /** Takes the device away. Twice does nothing. */
  relayClose(relay: RelayHandle): void;
  relayStatus(relay: RelayHandle, out: Float64Array): void;
}

/** The addon, loaded at the first call. Throws when it was not built. */
export function native(): Native {
  return addon() as Native;
}

/** The compiled XDP programs, beside the addon. */
const PROGRAMS = "pbs.bpf.o";

/** File with the compiled XDP programs. Throws when the addon was not built. */
export function programsFile(): string {
  return join(dirname(addonFile()), PROGRAMS);
}

/** Keys of `flows`, one after the other. Throws {@link AddressError} for a flow between the two families. */
export function encodeFlows(flows: readonly Flow[]): Uint8Array {
  const keys = new Uint8Array(flows.length * KEY_BYTES);
  flows.forEach((flow, index) => encodeFlow(flow, keys, index));
  return keys;
}

/** Writes the key of a flow to place number `index` of `keys`, which must be zeros there. */
export function encodeFlow(flow: Flow, keys: Uint8Array, index: number): void {
  const { source, destination, protocol } = flow;
  if (source.family !== destination.family)
    throw new AddressError(`${source} and ${destination} are not of one family`);
  const at = index * KEY_BYTES;
  keys.set(source.bytes, at);
  keys.set(destination.bytes, at + DESTINATION);
  keys[at + PROTOCOL_OFFSET] = protocol;
  keys[at + FAMILY] = source.family;
  if (!hasPorts(protocol)) return;
  putU16(keys, at + SOURCE_PORT, flow.sourcePort);
  putU16(keys, at + DESTINATION_PORT, flow.destinationPort);
}

/** The inverse of {@link encodeFlow}. */
export function decodeFlow(keys: Uint8Array, index: number): Flow {
  const key = keys.subarray(index * KEY_BYTES, (index + 1) * KEY_BYTES);
  const length = key[FAMILY] === 4 ? 4 : 16;
  return {
    protocol: key[PROTOCOL_OFFSET] ?? 0,
    source: IpAddress.fromBytes(key, 0, length),
    destination: IpAddress.fromBytes(key, DESTINATION, length),
    sourcePort: getU16(key, SOURCE_PORT),
    destinationPort: getU16(key, DESTINATION_PORT),
  };
}

function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}

function getU16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
