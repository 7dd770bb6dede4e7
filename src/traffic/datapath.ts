/**
 * The packet path as the rest of the daemon sees it. An engine (nfqueue, later xdp) enforces a table of
 * permissions by itself; this side installs, changes, removes and reads them in batches and hears of events in
 * batches. No call here is made for a packet.
 */
import type { IpAddress } from "../base/address.js";
import type { Algorithm } from "../base/algorithm.js";
import type { Flow } from "../base/flow.js";
import type { Bytes, Milliseconds } from "../base/units.js";

/** An AH security association (RFC 4302) of one flow: at each node found by {SPI, destination, source}. */
export interface SecurityAssociation {
  /** 256 or more. */
  readonly spi: number;
  readonly algorithm: Algorithm;
  /** Symmetric: the key. Public key: SubjectPublicKeyInfo in DER; to insert, the private key as PKCS#8 in DER. */
  readonly key: Uint8Array;
}

/** What is done about AH with packets of a flow. */
export interface Authentication {
  /** "insert" at the sender, "verify" at a router, "strip" (verify and remove) at the receiver. */
  readonly action: "insert" | "verify" | "strip";
  readonly association: SecurityAssociation;
  /**
   * When this association replaces another (or none), packets of the one before still pass for so long and up to so
   * many bytes; those without AH count as one before.
   */
  readonly overlap: { readonly duration: Milliseconds; readonly bytes: Bytes };
}

/** A permission as the engine enforces it. */
export interface Installation {
  readonly flow: Flow;
  /** Cap on the flow's counted bytes since it was first installed (AV). A packet passes if count + length <= cap. */
  readonly allowedVolume: Bytes;
  /** From now; when it is over, packets are dropped. */
  readonly lifetime: Milliseconds;
  /** A `threshold` event is raised once when the count reaches this; undefined for none. */
  readonly notifyAt?: Bytes;
  /** Count to start from, if the engine's own is lower (after a restart, from a signed Send-vol). */
  readonly countedAtLeast?: Bytes;
  /** A new epoch of counting begins: the count is set to this, whatever it was. Wins over `countedAtLeast`. */
  readonly countFrom?: Bytes;
  /** Absent: packets pass without AH. The same SPI again changes nothing about the association. */
  readonly authentication?: Authentication;
}

/** Why packets of an authenticated flow were dropped. */
export interface AuthenticationFailures {
  readonly missing: number;
  readonly malformed: number;
  readonly unknownSpi: number;
  readonly replayed: number;
  readonly badIcv: number;
}

export interface AuthenticationCount {
  readonly spi: number;
  readonly algorithm: Algorithm;
  /**
   * Verifier: highest number let through. Sender: last number sent; at more than 10,000 packets a second, the last multiple of
   * 1024, so that a verifier still knows its own bytes up to it when it is told.
   */
  readonly sequence: number;
  /** Of packets up to `sequence` that were let through under this association, as of one moment; absent where not counted. */
  readonly bytes?: Bytes;
  readonly failures: AuthenticationFailures;
}

export interface FlowCount {
  /** Bytes of whole IP datagrams as on the wire that were let through. */
  readonly bytes: Bytes;
  readonly packets: number;
  /** Packets dropped because the volume was used up. */
  readonly overVolume: number;
  /** Packets dropped because the lifetime was over. */
  readonly expired: number;
  /** Since the last packet that was let through; undefined when there was none. */
  readonly idle: Milliseconds | undefined;
  /** Of flows with AH. */
  readonly authentication?: AuthenticationCount;
}

/** Where packets come in: an interface of this host, and the hardware address of the last hop there. */
export interface Place {
  readonly interface: string;
  /** "02:00:00:00:00:01", zeros where links have none. */
  readonly address: string;
}

/** Where packets of a flow may come in, as far as it is told: `address` absent: from whatever address. */
export interface FlowPlace {
  readonly flow: Flow;
  readonly interface: string;
  readonly address?: string;
}

export interface PlaceCount extends Place {
  /** Bytes of whole IP datagrams that were let through. */
  readonly bytes: Bytes;
  /** Packets that failed authentication. */
  readonly failed: number;
}

export type DatapathEvent =
  /** First packets of a flow from this host are held until permit or refuse. Raised once a flow until answered. */
  | { readonly type: "wanted"; readonly flow: Flow }
  /** The count has reached `notifyAt`. */
  | { readonly type: "threshold"; readonly flow: Flow; readonly bytes: Bytes }
  /** A packet was dropped for lack of volume. Raised once until the next install. */
  | { readonly type: "exhausted"; readonly flow: Flow; readonly bytes: Bytes }
  /** Three quarters of the sequence numbers of the flow's association are used: it needs a new one. Raised once. */
  | { readonly type: "rekey"; readonly flow: Flow; readonly spi: number }
  /** The table was full: this permission, which nothing had used or renewed, gave way to a new one. */
  | { readonly type: "evicted"; readonly flow: Flow };

export interface Datapath {
  readonly engine: string;
  /**
   * Installs or changes permissions: one that is there keeps its counts and gets the new cap, lifetime and
   * threshold. Packets held for a flow are released, in their order. Resolves when every one is enforced.
   * When the table is full, permissions give way that no packet has used and nobody has renewed, the oldest first, each with an
   * `evicted` event. Rejects, with nothing installed, when there are none such.
   */
  install(permissions: readonly Installation[]): Promise<void>;
  /** Removes permissions; unknown flows are passed over. Resolves when no further packet of them passes. */
  remove(flows: readonly Flow[]): Promise<void>;
  /**
   * Refuses a flow of this host: held packets and those that follow within `duration` are answered to the
   * application (ICMP administratively prohibited, or RST for TCP) and dropped.
   */
  refuse(flow: Flow, duration: Milliseconds): void;
  /**
   * Open network, for a flow of this host whose receiver does not answer: held packets and those that follow within `duration`
   * are sent in the class of traffic without permission. In a closed network they are dropped. Absent: the engine cannot.
   */
  letGo?(flow: Flow, duration: Milliseconds): void;
  /**
   * Sender: packets of this flow take a path of their own from now on, whether it is installed already or later, until 0 says
   * that they take the routing table's again. Whoever calls has rules and tables for it (paths.ts). Absent: the engine cannot.
   * @param path 1 to 31, or 0
   */
  steer?(flow: Flow, path: number): void;
  /** Counts of flows, in the order asked; undefined for a flow that is not installed. */
  read(flows: readonly Flow[]): (FlowCount | undefined)[];
  /**
   * Verifier: bytes let through so far under an association (the current one or the one before) in packets up to this sequence
   * number. Known for the last 1024 numbers, and for the last 64 multiples of 1024; undefined for others, and at a sender.
   */
  countUpTo?(flow: Flow, spi: number, sequence: number): Bytes | undefined;
  /**
   * From now on it is counted where packets of a flow that is installed come in; or no longer. At most 4096 flows at a time, and
   * five places of each: whatever comes by others is not told apart. Returns whether it is. Absent: the engine cannot.
   */
  trace?(flow: Flow, on: boolean): boolean;
  /** Of a flow that is traced; empty for others. */
  places?(flow: Flow): readonly PlaceCount[];
  /** All packets from a source are dropped for so long, or no longer: for an engine that they reach before the kernel's rules. */
  block?(source: IpAddress, duration: Milliseconds): void;
  unblock?(source: IpAddress): void;
  /** The same of packets of one flow at a place; `address` absent: whatever it is. Throws when it cannot. */
  blockPlace?(place: FlowPlace, duration: Milliseconds): void;
  unblockPlace?(place: FlowPlace): void;
  /** Sets the one listener for events; they come in batches. */
  listen(listener: (events: readonly DatapathEvent[]) => void): void;
  status(): DatapathStatus;
  /** Stops the engine. Kernel rules stay, so that nothing unpermitted passes. */
  stop(): Promise<void>;
}

/** Which engine judges first what comes in by an interface. */
export interface InterfaceEngine {
  readonly name: string;
  readonly engine: "xdp" | "xdp-generic" | "nfqueue";
  /** Whether permitted flows are sent by this interface without the stack. */
  readonly transmits: boolean;
  /** Who verifies AH of what comes by it: a thread beside the stack, or that of the queue. */
  readonly authenticates: "af_xdp" | "nfqueue";
  /** Why it is not xdp, or does not transmit, or has no AF_XDP. */
  readonly reason?: string;
}

export interface DatapathStatus {
  readonly engine: string;
  /** Why it is not the better one. */
  readonly reason?: string;
  readonly flows: number;
  readonly capacity: number;
  /** Packets held now. */
  readonly held: number;
  /** Packets by verdict and reason, such as "accept", "drop.no-permission", "drop.over-volume". */
  readonly counters: Readonly<Record<string, number>>;
  readonly queues: readonly {
    readonly number: number;
    readonly purpose: string;
    readonly packets: number;
    readonly dropped: number;
  }[];
  /** Of an engine that differs by interface. */
  readonly interfaces?: readonly InterfaceEngine[];
}
