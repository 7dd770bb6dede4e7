/**
 * The engine that is always there: NFQUEUE with native threads. The verdicts are made in the addon; this side
 * translates permissions, counts and events, in batches.
 */
import { readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { type Flow, flowKey } from "../base/flow.js";
import type { Logger } from "../base/log.js";
import { SystemTime, type Time, type Timer } from "../base/time.js";
import { type Bytes, bytes, type Milliseconds, ms, seconds } from "../base/units.js";
import { ALGORITHMS } from "../base/algorithm.js";
import type {
  AuthenticationCount,
  Datapath,
  DatapathEvent,
  DatapathStatus,
  FlowCount,
  Installation,
  PlaceCount,
} from "./datapath.js";
import { INSERT_SET, KNOWN_SET, PERMITTED_SET } from "./firewall-rules.js";
import {
  decodeFlow,
  encodeFlow,
  encodeFlows,
  EVENT,
  EVENT_VALUES,
  type Handle,
  KEY_BYTES,
  native,
  type Native,
  type NativeAuthentication,
  PERMIT_VALUES,
  READ_VALUES,
  STATUS_VALUES,
} from "./native.js";
import type { XdpHandle } from "./native-handles.js";
import { Tracing } from "./tracing.js";

export interface NfqueueOptions {
  /** First of four queue numbers; the next three, for permitted, held and authenticated packets, are this engine's. */
  readonly queueBase: number;
  /** Permissions that the table can hold. */
  readonly capacity: number;
  readonly holdPacketsPerFlow: number;
  /** Packets held in all. */
  readonly holdPackets: number;
  /** After this time without an answer a held packet is dropped. */
  readonly holdTime: Milliseconds;
  /** Bits that mark packets of local applications that are to be rejected; rules in the filter table look for them. */
  readonly refuseMark: number;
  /** Bits that mark packets without permission in an open network; absent: the network is closed. */
  readonly openMark?: number;
  /** False: packets beyond the volume are counted and pass. */
  readonly enforce: boolean;
  readonly logger: Logger;
  /** For tests. */
  readonly time?: Time;
  /** False: the table alone, without queues and kernel sets, which needs no privileges. */
  readonly kernel?: boolean;
  /** Why this engine and not the better one, for the status. */
  readonly reason?: string;
  /** Processors that the threads for permitted packets, and for those with AH, keep to; absent: any. */
  readonly processor?: number;
  readonly ahProcessor?: number;
  /** XDP programs that look into this engine's table. */
  readonly xdp?: XdpHandle;
}

/** Why the engine cannot start or do what was asked; `code` is the addon's, such as EFULL or EPERM. */
export class NfqueueError extends Error {
  override readonly name = "NfqueueError";
  readonly code: string;
  readonly remedy: string;

  constructor(code: string, message: string, remedy: string) {
    super(remedy === "" ? message : `${message}; ${remedy}`);
    this.code = code;
    this.remedy = remedy;
  }
}

export const REFUSALS = 65_536;
const EVENTS_AT_ONCE = 256;
/** Elements added to the kernel sets before other work gets its turn; about 2 ms. */
const SET_SLICE = 2048;
/** Entries looked over before other work gets its turn. */
const ADOPTED_SLICE = 32_768;
/**
 * Elements of the sets live 600 s whatever a permission's lifetime is. All permissions are gone through in KEEP_STEPS
 * steps of KEEP_PERIOD, and added again where that is more than 200 s ago, so at most every 400 s.
 */
const KEEP_PERIOD = seconds(1);
const KEEP_STEPS = 200;
const QUEUES_FILE = "/proc/net/netfilter/nfnetlink_queue";

/** In the order of the addon's numbers, which is that of the queues' too. */
const PURPOSES = ["permitted", "hold", "authenticated"] as const;

interface Queue {
  readonly number: number;
  readonly purpose: (typeof PURPOSES)[number];
  readonly processor?: number;
}

/** Where the values of the association begin, the SPI first; 0: there is none. */
const AUTHENTICATION = 6;
const ACTIONS = ["insert", "verify", "strip"] as const;
const MAX_OVERLAP_BYTES = 2 ** 32 - 1;

export class NfqueueDatapath implements Datapath {
  readonly engine = "nfqueue";
  readonly #native: Native;
  readonly #handle: Handle;
  readonly #options: NfqueueOptions;
  readonly #queues: readonly Queue[];
  readonly #time: Time;
  readonly #eventKeys = new Uint8Array(EVENTS_AT_ONCE * KEY_BYTES);
  readonly #eventValues = new Float64Array(EVENTS_AT_ONCE * EVENT_VALUES);
  readonly #oneKey = new Uint8Array(KEY_BYTES);
  readonly #oneCount = new Float64Array(READ_VALUES);
  #listener: ((events: readonly DatapathEvent[]) => void) | undefined;
  #keepTimer: Timer | undefined;
  #keepCursor = 0;
  /** Numbers of paths, by flow; of flows that are not installed too. */
  readonly #paths = new Map<string, number>();
  readonly #tracing: Tracing;
  #stopped = false;

  private constructor(options: NfqueueOptions) {
    this.#native = native();
    this.#options = options;
    this.#time = options.time ?? new SystemTime();
    const { kernel = true } = options;
    this.#queues = kernel ? queuesOf(options) : [];
    this.#handle = this.#open(kernel);
    this.#tracing = new Tracing(
      {
        trace: (flow, number) => this.#native.trace(this.#handle, encodeFlows([flow]), number),
        read: (number, out) => this.#native.readPlaces(this.#handle, number, out),
        ticket: () => this.#native.remove(this.#handle, new Uint8Array()),
        settled: (ticket) => this.#native.settled(this.#handle, ticket),
      },
      this.#time,
    );
    if (kernel) this.#keepLater();
  }

  /**
   * Binds the queues and starts their threads. Rules and kernel sets are the firewall's; without the sets
   * {@link install} rejects. Throws {@link NfqueueError}.
   */
  static open(options: NfqueueOptions): NfqueueDatapath {
    return new NfqueueDatapath(options);
  }

  async install(permissions: readonly Installation[]): Promise<void> {
    const keys = new Uint8Array(permissions.length * KEY_BYTES);
    const values = new Float64Array(permissions.length * PERMIT_VALUES);
    permissions.forEach((permission, index) => {
      encodeFlow(permission.flow, keys, index);
      values.set([...numbers(permission), this.#pathOf(permission.flow)], index * PERMIT_VALUES);
    });
    await this.installEncoded(keys, values, authentications(permissions));
  }

  /**
   * {@link install} of flows that are encoded already: {@link KEY_BYTES} bytes and {@link PERMIT_VALUES} numbers
   * each (native.ts). Rejects with {@link NfqueueError}; then nothing of what is new stays.
   */
  async installEncoded(
    keys: Uint8Array,
    values: Float64Array,
    authentications?: readonly (NativeAuthentication | undefined)[],
  ): Promise<void> {
    const isNew = new Uint8Array(keys.length / KEY_BYTES);
    this.#call(() => this.#native.permit(this.#handle, keys, values, isNew, authentications));
    try {
      await this.#addToSets(keys);
    } catch (error) {
      if (!this.#stopped) this.#native.remove(this.#handle, selected(keys, isNew));
      throw error;
    }
  }

  remove(flows: readonly Flow[]): Promise<void> {
    return this.removeEncoded(encodeFlows(flows));
  }

  /** {@link remove} of flows that are encoded already, {@link KEY_BYTES} bytes each. */
  async removeEncoded(keys: Uint8Array): Promise<void> {
    const ticket = this.#call(() => this.#native.remove(this.#handle, keys));
    while (!this.#stopped && !this.#native.settled(this.#handle, ticket)) await setImmediate();
  }

  refuse(flow: Flow, duration: Milliseconds): void {
    this.#refuse(flow, duration, 0);
  }

  letGo(flow: Flow, duration: Milliseconds): void {
    this.#refuse(flow, duration, 1);
  }

  steer(flow: Flow, path: number): void {
    if (path === 0) this.#paths.delete(flowKey(flow));
    else this.#paths.set(flowKey(flow), path);
    if (!this.#stopped) this.#call(() => this.#native.steer(this.#handle, encodeFlows([flow]), path));
  }

  read(flows: readonly Flow[]): (FlowCount | undefined)[] {
    const [first] = flows;
    if (first !== undefined && flows.length === 1) return [this.#readOne(first)];
    const out = new Float64Array(flows.length * READ_VALUES);
    this.#call(() => this.#native.read(this.#handle, encodeFlows(flows), out));
    return flows.map((_, index) => count(out.subarray(index * READ_VALUES, (index + 1) * READ_VALUES)));
  }

  countUpTo(flow: Flow, spi: number, sequence: number): Bytes | undefined {
    const key = encodeFlows([flow]);
    const counted = this.#call(() => this.#native.readUpTo(this.#handle, key, spi, sequence));
    return counted < 0 ? undefined : bytes(counted);
  }

  trace(flow: Flow, on: boolean): boolean {
    if (this.#stopped) return false;
    if (on) return this.#call(() => this.#tracing.start(flow));
    this.#call(() => this.#tracing.stop(flow));
    return false;
  }

  places(flow: Flow): readonly PlaceCount[] {
    return this.#stopped ? [] : this.#call(() => this.#tracing.places(flow));
  }

  listen(listener: (events: readonly DatapathEvent[]) => void): void {
    this.#listener = listener;
    this.#deliver();
  }

  status(): DatapathStatus {
    const names = this.#native.counterNames;
    const out = new Float64Array(STATUS_VALUES + names.length + this.#queues.length);
    this.#call(() => this.#native.status(this.#handle, out));
    const dropped = this.#queues.length === 0 ? new Map<number, number>() : queueDrops();
    const { reason } = this.#options;
    return {
      engine: this.engine,
      ...(reason === undefined ? {} : { reason }),
      flows: out[0] ?? 0,
      capacity: this.#options.capacity,
      held: out[1] ?? 0,
      counters: Object.fromEntries(names.map((name, i) => [name, out[STATUS_VALUES + i] ?? 0])),
      queues: this.#queues.map(({ number, purpose }, i) => ({
        number,
        purpose,
        packets: out[STATUS_VALUES + names.length + i] ?? 0,
        dropped: dropped.get(number) ?? 0,
      })),
    };
  }

  /** Raises what XDP programs tell of the flows of this table. Returns whether permissions of an earlier process were found. */
  listenTo(programs: XdpHandle): boolean {
    return this.#call(() => this.#native.xdpListen(programs, this.#handle));
  }

  /** Verifies packets with AH of this table's flows that come by an interface with XDP programs. Throws NfqueueError. */
  serve(programs: XdpHandle, interfaceIndex: number): void {
    this.#call(() => this.#native.xdpServe(programs, this.#handle, interfaceIndex));
  }

  /** Takes out permissions of an earlier process whose time is over. Resolves to how many others of it there are. */
  async dropAdopted(): Promise<number> {
    const out = new Float64Array(2);
    let left = 0;
    for (let start = 0; start === 0 || start < (out[1] ?? 0); start += ADOPTED_SLICE) {
      if (this.#stopped) return 0;
      this.#call(() => this.#native.xdpDropAdopted(this.#handle, start, start + ADOPTED_SLICE, out));
      left += out[0] ?? 0;
      await setImmediate();
    }
    return left;
  }

  /** Bytes of memory that the flow table has taken so far. */
  tableBytes(): number {
    const out = new Float64Array(STATUS_VALUES + this.#native.counterNames.length + this.#queues.length);
    this.#call(() => this.#native.status(this.#handle, out));
    return out[2] ?? 0;
  }

  /** Adds every permission to the kernel sets again, for when the sets were emptied or made anew. */
  async refillSets(): Promise<void> {
    let total = 0;
    let start = 0;
    do {
      total = this.#call(() => this.#native.keepInSets(this.#handle, start, start + SET_SLICE, 1));
      start += SET_SLICE;
      await setImmediate();
    } while (start < total);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#keepTimer?.cancel();
    this.#native.close(this.#handle);
  }

  #refuse(flow: Flow, duration: Milliseconds, open: 0 | 1): void {
    if (this.#stopped) return;
    try {
      this.#native.refuse(this.#handle, encodeFlows([flow]), duration, open);
    } catch (error) {
      this.#options.logger.error({ error }, "held packets could not be refused");
    }
  }

  /** Arrays for one look each would take longer than the look. */
  #readOne(flow: Flow): FlowCount | undefined {
    encodeFlow(flow, this.#oneKey.fill(0), 0);
    this.#call(() => this.#native.read(this.#handle, this.#oneKey, this.#oneCount));
    return count(this.#oneCount);
  }

  #pathOf(flow: Flow): number {
    return this.#paths.size === 0 ? 0 : (this.#paths.get(flowKey(flow)) ?? 0);
  }

  #open(kernel: boolean): Handle {
    const {
      capacity,
      enforce,
      refuseMark,
      openMark = 0,
      holdPackets,
      holdPacketsPerFlow,
      holdTime,
      xdp,
    } = this.#options;
    try {
      return this.#native.open(
        {
          capacity,
          refusals: REFUSALS,
          enforce: enforce ? 1 : 0,
          refuseMark,
          openMark,
          holdPackets,
          holdPacketsPerFlow,
          holdTime,
          queues: this.#queues.map((queue) => ({ ...queue, purpose: PURPOSES.indexOf(queue.purpose) })),
          set4: kernel ? PERMITTED_SET[4] : "",
          set6: kernel ? PERMITTED_SET[6] : "",
          insertSet4: kernel ? INSERT_SET[4] : "",
          insertSet6: kernel ? INSERT_SET[6] : "",
          knownSet4: kernel ? KNOWN_SET[4] : "",
          knownSet6: kernel ? KNOWN_SET[6] : "",
          ...(xdp === undefined ? {} : { xdp }),
        },
        () => this.#deliver(),
      );
    } catch (error) {
      throw translate(error, this.#queues);
    }
  }

  /** The addon's errors as ours. */
  #call<T>(action: () => T): T {
    if (this.#stopped) throw new NfqueueError("ECLOSED", "the packet engine is stopped", "");
    try {
      return action();
    } catch (error) {
      throw translate(error, []);
    }
  }

  async #addToSets(keys: Uint8Array): Promise<void> {
    if (this.#queues.length === 0) return;
    const total = keys.length / KEY_BYTES;
    for (let start = 0; start < total; start += SET_SLICE) {
      if (start > 0) await setImmediate();
      const end = Math.min(total, start + SET_SLICE);
      this.#call(() => this.#native.addToSets(this.#handle, keys, start, end));
    }
  }

  #keepLater(): void {
    this.#keepTimer = this.#time.after(KEEP_PERIOD, () => {
      this.#keep();
      if (!this.#stopped) this.#keepLater();
    });
  }

  /** Errors are logged and tried again: a set that is missing stops flows, not the daemon. */
  #keep(): void {
    const step = Math.max(SET_SLICE, Math.ceil(this.#options.capacity / KEEP_STEPS));
    try {
      const end = this.#keepCursor + step;
      const total = this.#call(() => this.#native.keepInSets(this.#handle, this.#keepCursor, end, 0));
      this.#keepCursor = end < total ? end : 0;
    } catch (error) {
      this.#options.logger.error({ error }, "permissions cannot be kept in the kernel sets");
    }
  }

  #deliver(): void {
    const listener = this.#listener;
    if (listener === undefined) return;
    for (;;) {
      if (this.#stopped) return;
      const events = this.#takeEvents();
      if (events === undefined) return;
      try {
        listener(events);
      } catch (error) {
        this.#options.logger.error({ error }, "a listener of the packet engine failed");
      }
    }
  }

  /** The next events for the listener; undefined when there are no more. */
  #takeEvents(): DatapathEvent[] | undefined {
    const total = this.#native.takeEvents(this.#handle, this.#eventKeys, this.#eventValues);
    if (total === 0) return undefined;
    const events: DatapathEvent[] = [];
    for (let i = 0; i < total; i++) {
      const event = this.#event(i);
      if (event !== undefined) events.push(event);
    }
    return events;
  }

  #event(index: number): DatapathEvent | undefined {
    const value = this.#eventValues[index * EVENT_VALUES + 1] ?? 0;
    switch (this.#eventValues[index * EVENT_VALUES]) {
      case EVENT.wanted:
        return { type: "wanted", flow: decodeFlow(this.#eventKeys, index) };
      case EVENT.threshold:
        return { type: "threshold", flow: decodeFlow(this.#eventKeys, index), bytes: bytes(value) };
      case EVENT.exhausted:
        return { type: "exhausted", flow: decodeFlow(this.#eventKeys, index), bytes: bytes(value) };
      case EVENT.evicted:
        return { type: "evicted", flow: decodeFlow(this.#eventKeys, index) };
      case EVENT.rekey:
        return { type: "rekey", flow: decodeFlow(this.#eventKeys, index), spi: value };
      default:
        this.#options.logger.error({ errno: value }, "a packet queue broke; the kernel drops its packets");
        return undefined;
    }
  }
}

function numbers(permission: Installation): number[] {
  const { allowedVolume, lifetime, notifyAt, countedAtLeast, countFrom } = permission;
  return [allowedVolume, lifetime, notifyAt ?? -1, countedAtLeast ?? 0, countFrom ?? -1];
}

/** Undefined when no flow has any. */
function authentications(
  permissions: readonly Installation[],
): (NativeAuthentication | undefined)[] | undefined {
  if (permissions.every(({ authentication }) => authentication === undefined)) return undefined;
  return permissions.map(({ authentication }) => {
    if (authentication === undefined) return undefined;
    const { action, association, overlap } = authentication;
    return {
      action: ACTIONS.indexOf(action) as NativeAuthentication["action"],
      spi: association.spi,
      algorithm: ALGORITHMS.indexOf(association.algorithm),
      key: association.key,
      overlap: overlap.duration,
      overlapBytes: Math.min(overlap.bytes, MAX_OVERLAP_BYTES),
    };
  });
}

// By index: to take an array apart walks it by an iterator, which costs more than the look-up itself.
function count(values: Float64Array): FlowCount | undefined {
  const at = (index: number): number => values[index] ?? 0;
  if (at(0) === 0) return undefined;
  const idle = at(5);
  const counted = {
    bytes: bytes(at(1)),
    packets: at(2),
    overVolume: at(3),
    expired: at(4),
    idle: idle < 0 ? undefined : ms(idle),
  };
  if (at(AUTHENTICATION) === 0) return counted;
  const authentication = authenticationCount(values.subarray(AUTHENTICATION));
  return authentication === undefined ? counted : { ...counted, authentication };
}

function authenticationCount(values: Float64Array): AuthenticationCount | undefined {
  const [
    spi = 0,
    place = 0,
    sequence = 0,
    counted = 0,
    missing = 0,
    malformed = 0,
    unknownSpi = 0,
    replayed = 0,
    badIcv = 0,
  ] = values;
  const algorithm = ALGORITHMS[place];
  if (spi === 0 || algorithm === undefined) return undefined;
  return {
    spi,
    algorithm,
    sequence,
    bytes: bytes(counted),
    failures: { missing, malformed, unknownSpi, replayed, badIcv },
  };
}

/** The keys whose flag is 1. */
function selected(keys: Uint8Array, flags: Uint8Array): Uint8Array {
  const indices = [...flags.keys()].filter((i) => flags[i] === 1);
  const out = new Uint8Array(indices.length * KEY_BYTES);
  indices.forEach((from, to) =>
    out.set(keys.subarray(from * KEY_BYTES, (from + 1) * KEY_BYTES), to * KEY_BYTES),
  );
  return out;
}

/** One line a bound queue: number, port id, waiting, copy mode, copy range, dropped for lack of room, dropped on the way. */
function queueLines(): number[][] {
  try {
    const text = readFileSync(QUEUES_FILE, "utf8");
    return text
      .split("\n")
      .filter((line) => line.trim() !== "")
      .map((line) => line.trim().split(/\s+/).map(Number));
  } catch {
    return [];
  }
}

/** Held packets wait anyway, so their thread is put anywhere. */
function queuesOf({ queueBase, processor, ahProcessor }: NfqueueOptions): readonly Queue[] {
  const of = { permitted: processor, hold: undefined, authenticated: ahProcessor };
  return PURPOSES.map((purpose, i) => {
    const keepsTo = of[purpose];
    return { number: queueBase + 1 + i, purpose, ...(keepsTo !== undefined && { processor: keepsTo }) };
  });
}

function queueDrops(): Map<number, number> {
  return new Map(queueLines().map((line) => [line[0] ?? -1, (line[5] ?? 0) + (line[6] ?? 0)]));
}

const REMEDIES: Readonly<Record<string, string>> = {
  EPROCESSOR: "give processors that there are as packets.processor and packets.ah_processor",
  EFULL: "raise packets.capacity, or let permissions end",
  ENOENT: "install the rules first",
  ENOSPC: "the kernel set needs more room than packets.capacity gives it",
};

function translate(error: unknown, queues: readonly Queue[]): NfqueueError {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "EPERM" && queues.length > 0) return new NfqueueError(code, message, whyNotBound(queues));
  return new NfqueueError(code, message, REMEDIES[code] ?? "");
}

/** The kernel says EPERM both without privileges and when somebody else has the queue. */
function whyNotBound(queues: readonly Queue[]): string {
  const taken = queueLines().find((line) => queues.some(({ number }) => number === line[0]));
  return taken === undefined
    ? "run as root, or with CAP_NET_ADMIN"
    : `another process has queue ${taken[0]} (netlink port ${taken[1]}): stop it, or set packets.queue_base`;
}
