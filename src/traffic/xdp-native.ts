/**
 * The XDP programs, as the addon has them. They look into the same table as the engine that was opened with them, so
 * permissions are installed, changed, removed and read through the engine alone.
 */
import type { Handle, LinkWatch, XdpHandle } from "./native-handles.js";

/** Actions of a program. */
export const XDP_ACTION = { aborted: 0, drop: 1, pass: 2, send: 4 } as const;

/** Bytes of a pattern of packets that pass by rules alone: {@link NativeXdpOptions.exempts}. */
export const EXEMPT_BYTES = 96;
export const MAX_EXEMPTS = 16;

/** Classes of packets that go to the stack without permission. Those of the configuration begin with {@link EXEMPT_CLASS}. */
export const CLASSES = { signalling: 0, icmp: 1, open: 2 } as const;
export const EXEMPT_CLASS = 3;

/** By the stack alone, by generic programs, or by native ones, too. */
export const EGRESS = { stack: 0, generic: 1, native: 2 } as const;

export interface NativeXdpOptions {
  /** File with the compiled programs. */
  readonly object: string;
  /** Of the table; the engine is to be opened with the same. */
  readonly capacity: number;
  readonly refusals: number;
  readonly enforce: 0 | 1;
  /** Whether packets without permission are left to the stack, whose rules have a class for them. */
  readonly open: 0 | 1;
  /**
   * Each a mask and a value for the flow's key, then lowest and highest source port and destination port, 16 bits each, then
   * the number of the class in 64 bits.
   */
  readonly exempts: Uint8Array;
  /** For each class: rate a second (0: no bound) and milliseconds' worth at once, of all together and then of one source. */
  readonly bounds: Float64Array;
}

export interface NativeXdp {
  readonly xdpCounterNames: readonly string[];
  /** Throws when the kernel does not take the programs of a file. */
  xdpProbe(object: string): void;
  /** Throws when there can be no AF_XDP sockets. */
  xskProbe(): void;
  /** Makes the tables, or finds those that programs on this namespace's interfaces still have. Code EADDRINUSE: another process has them. */
  xdpOpen(options: NativeXdpOptions): XdpHandle;
  /** Has the engine raise what the programs tell. Returns whether permissions of an earlier process were found. */
  xdpListen(programs: XdpHandle, engine: Handle): boolean;
  /**
   * Of a range of entries, takes out permissions of an earlier process whose time is over. Writes into `out` how many others of
   * that process are in the range, and how many entries there are to go through.
   */
  xdpDropAdopted(engine: Handle, start: number, end: number, out: Float64Array): void;
  /** 0: ends listening, before the engine is closed. 1: gives the tables up, after it. Programs stay attached. */
  xdpClose(programs: XdpHandle, all: 0 | 1): void;
  /**
   * Attaches the program, in place of an earlier one of ours. The last number is as net.ipv4.conf.*.rp_filter. Returns whether
   * super-packets are forwarded by a program, too, which is so with generic ones only. Code EBUSY: another program is there.
   */
  xdpAttach(programs: XdpHandle, interfaceIndex: number, generic: 0 | 1, checkSource: 0 | 1 | 2): boolean;
  /** Takes a program of ours off; whether there was one. */
  xdpDetach(interfaceIndex: number): boolean;
  /** Has all packets from the source of this flow's key dropped for so many milliseconds from now, or, with 0, no longer. */
  xdpBlock(programs: XdpHandle, key: Uint8Array, duration: number): void;
  /**
   * The same of this flow's packets where they come in by an interface from a hardware address of 6 bytes; zeros: from whatever
   * address.
   */
  xdpBlockPlace(
    programs: XdpHandle,
    key: Uint8Array,
    interfaceIndex: number,
    address: Uint8Array,
    duration: number,
  ): void;
  /** How programs may send by this interface: one of {@link EGRESS}. */
  xdpAllowEgress(programs: XdpHandle, interfaceIndex: number, egress: 0 | 1 | 2): void;
  /**
   * Has packets with AH of an interface that has our program go by AF_XDP to a thread that verifies and sends them; after
   * {@link xdpListen}. Returns how many receive queues are served. Replaces what was before.
   */
  xdpServe(programs: XdpHandle, engine: Handle, interfaceIndex: number): number;
  /** No longer: they go to the stack. */
  xdpLeave(programs: XdpHandle, interfaceIndex: number): void;
  /** Bits of {@link XDP_FEATURE}, or -1 when the kernel does not say. */
  xdpFeatures(interfaceIndex: number): number;
  /**
   * Gives the kernel's threads that receive for an interface a real-time priority, 1 to 99; returns how many there are. Throws
   * when the kernel does not say (before Linux 6.8) or does not allow it.
   */
  raiseReceiveThreads(interfaceIndex: number, priority: number): number;
  /** Kind of the queueing discipline by which an interface sends, such as "fq_codel"; empty when the kernel does not say. */
  linkQueueing(interfaceIndex: number): string;
  /** Packets in the order of the names. */
  xdpCounters(programs: XdpHandle, out: Float64Array): void;
  /** Calls back with rtnetlink's messages of these groups, or with null when some were lost. */
  watchRoutes(groups: Uint32Array, callback: (datagram: Buffer | null) => void): LinkWatch;
  unwatchRoutes(watch: LinkWatch): void;
  /** Runs an interface's program on a frame that nobody sent. Returns its action, leaves the frame in `out` and its length in `length`. */
  xdpTry(interfaceIndex: number, frame: Uint8Array, out: Uint8Array, length: Float64Array): number;
  /** The same of the program for super-packets, of a frame of segments of so many bytes. */
  xdpTrySegments(interfaceIndex: number, frame: Uint8Array, segment: number): number;
}

export const XDP_FEATURE = { basic: 1, redirect: 2, transmit: 4 } as const;
