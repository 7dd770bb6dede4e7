/**
 * Takes Query-mode packets out of the forwarding path (RFC 5971 section 5.3.2.5): the kernel's rules put UDP 270 into a
 * queue, this gives each packet its verdict, at once or when an NSLP has decided. What is not exactly a Query-mode
 * message travels on as it came.
 */
import type { QueuedPacket } from "nfqueue";
import type { IpAddress } from "../../base/address.js";
import type { Logger } from "../../base/log.js";
import { QUEUES, signallingQueues } from "../../base/queues.js";
import type { Time, Timer } from "../../base/time.js";
import { seconds } from "../../base/units.js";
import { WireError } from "../../base/wire.js";
import { GIST_PORT } from "../wire/messages.js";
import { isLinkLocal } from "./addresses.js";
import type { Counters } from "./counters.js";
import type { Gathering } from "./gathering.js";
import { decrementHops, isQueryMode, messageOf, parseUdpPacket, type UdpPacket } from "./packet.js";
import { standingOf, Strangers } from "./strangers.js";
import type { Datagram, Interception } from "./transport.js";

/** "accept-changed": the packet's own bytes were changed and go on in its place. */
export type Verdict = "accept" | "accept-changed" | "drop";

/** Takes a packet's verdict; called exactly once for each packet. */
export type GiveVerdict = (verdict: Verdict) => void;

export interface InterceptorOptions {
  readonly time: Time;
  readonly logger: Logger;
  readonly counters: Counters;
  readonly interfaceName: (index: number) => string;
  readonly isLocal: (address: IpAddress) => boolean;
  readonly deliver: (datagram: Datagram) => Interception | Promise<Interception>;
  /** Hears each packet when it is read, and stays while a stranger's waits. */
  readonly gathering?: Pick<Gathering, "heard" | "stay">;
}

interface Waiting {
  readonly give: GiveVerdict;
  readonly tooLate: Timer;
}

/** Half of the 1024 packets that the kernel's queue holds: with strangers that wait, those decided at once still come through. */
export const MOST_WAITING = 512;
/** Longer than any decision is given. A packet without verdict would take its place in the kernel's queue for good. */
export const LONGEST_WAIT = seconds(10);

/** Judges one packet after another; knows nothing of the kernel. Never throws. */
export class Interceptor {
  readonly #options: InterceptorOptions;
  readonly #waiting = new Set<Waiting>();
  #stopped = false;

  constructor(options: InterceptorOptions) {
    this.#options = options;
  }

  /** Packets without verdict so far. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * @param packet an IP packet that nobody else writes to; changed in place when the verdict is "accept-changed"
   * @param give called once, now or later, in any order among packets
   */
  judge(packet: Uint8Array, interfaceIndex: number, give: GiveVerdict): void {
    const verdict = this.#stopped ? "drop" : this.#tryJudge(packet, interfaceIndex, give);
    if (verdict !== "later") give(verdict);
  }

  get gathering(): InterceptorOptions["gathering"] {
    return this.#options.gathering;
  }

  /** Too many strangers wait already. */
  turnAway(give: GiveVerdict): void {
    give(this.#is("intercept.too-many-strangers", "drop"));
  }

  /** Drops what still waits, and what comes from now on. */
  stop(): void {
    this.#stopped = true;
    for (const waiting of [...this.#waiting])
      this.#settle(waiting, () => this.#is("intercept.stopped", "drop"));
  }

  #tryJudge(packet: Uint8Array, interfaceIndex: number, give: GiveVerdict): Verdict | "later" {
    try {
      return this.#judge(packet, interfaceIndex, give);
    } catch (error) {
      if (error instanceof WireError) return this.#is("intercept.not-exact", "accept");
      return this.#failed(error);
    }
  }

  #judge(packet: Uint8Array, interfaceIndex: number, give: GiveVerdict): Verdict | "later" {
    const udp = parseUdpPacket(packet);
    if (udp.destinationPort !== GIST_PORT) return this.#is("intercept.not-exact", "accept");
    const message = messageOf(udp.payload);
    if (message === undefined) return this.#is("intercept.not-exact", "accept");
    if (!isQueryMode(message)) return this.#is("intercept.datagram-mode", "accept");
    // No answer could reach it, and no router passes it on.
    if (isLinkLocal(udp.source)) return this.#is("intercept.link-local", "drop");
    const interception = this.#options.deliver({
      message,
      source: udp.source,
      sourcePort: udp.sourcePort,
      destination: udp.destination,
      ipTtl: udp.ttl,
      inboundInterface: this.#options.interfaceName(interfaceIndex),
      intercepted: true,
    });
    if (interception instanceof Promise) return this.#wait(interception, packet, udp, give);
    return this.#carryOut(interception, packet, udp);
  }

  #wait(
    interception: Promise<Interception>,
    packet: Uint8Array,
    udp: UdpPacket,
    give: GiveVerdict,
  ): Verdict | "later" {
    if (this.#waiting.size >= MOST_WAITING) {
      interception.catch((error: unknown) => this.#failed(error));
      return this.#is("intercept.overload", "drop");
    }
    const tooLate = this.#options.time.after(LONGEST_WAIT, () =>
      this.#settle(waiting, () => this.#is("intercept.too-late", "drop")),
    );
    const waiting: Waiting = { give, tooLate };
    this.#waiting.add(waiting);
    this.#options.counters.add("intercept.waited");
    interception.then(
      (decided) => this.#settle(waiting, () => this.#carryOut(decided, packet, udp)),
      (error: unknown) => this.#settle(waiting, () => this.#failed(error)),
    );
    return "later";
  }

  #settle(waiting: Waiting, verdict: () => Verdict): void {
    if (!this.#waiting.delete(waiting)) return;
    waiting.tooLate.cancel();
    waiting.give(verdict());
  }

  #carryOut(interception: Interception, packet: Uint8Array, udp: UdpPacket): Verdict {
    if (interception === "taken") return this.#is("intercept.taken", "drop");
    if (interception === "drop") return this.#is("intercept.dropped", "drop");
    // It would come back through the UDP socket and be handled a second time.
    if (this.#options.isLocal(udp.destination)) return this.#is("intercept.end-of-path", "drop");
    if (interception === "untouched") return this.#is("intercept.untouched", "accept");
    if (!decrementHops(packet, udp)) return this.#is("intercept.no-hops-left", "drop");
    return this.#is("intercept.passed-on", "accept-changed");
  }

  #failed(error: unknown): Verdict {
    this.#options.logger.error({ error }, "an intercepted packet could not be handled");
    return this.#is("intercept.error", "drop");
  }

  #is(counter: string, verdict: Verdict): Verdict {
    this.#options.counters.add(counter);
    return verdict;
  }
}

/** Netlink messages of waiting packets; what comes above is dropped by the kernel. */
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

interface OpenQueues {
  /** What the package returned: kept, because it frees native memory still in use when this is collected. */
  readonly queues: readonly unknown[];
  interceptor: Interceptor | undefined;
}

/**
 * Queues this process has open. The nfqueue package cannot close one: it stays until the process exits and keeps the
 * event loop alive, so whoever stops a transport ends with process.exit(). A transport started again takes it over.
 */
const opened = new Map<number, OpenQueues>();

/**
 * Connects the kernel's queues for signalling to the interceptor. Rejects with one clear error.
 * @param base number of the first one ({@link signallingQueues})
 *
 * The package copies each packet into a buffer of its own and names it by its number in every verdict, so verdicts may
 * come late and in any order. It reads a packet with all that the kernel says about it into 65,535 bytes; what does not
 * fit never gets a verdict and fills the queue for good. So the rules must let no packet near that length into the queue.
 */
export async function openQueues(base: number, interceptor: Interceptor): Promise<void> {
  const open = opened.get(base);
  if (open?.interceptor !== undefined) throw new Error(`queue ${base} is already in use in this process`);
  if (open !== undefined) {
    open.interceptor = interceptor;
    return;
  }
  try {
    const { NF_ACCEPT, NF_DROP, createQueueHandler } = (await import("nfqueue")).default;
    const giveTo =
      (packet: QueuedPacket): GiveVerdict =>
      (verdict) => {
        if (verdict === "drop") packet.setVerdict(NF_DROP);
        else if (verdict === "accept") packet.setVerdict(NF_ACCEPT);
        else packet.setVerdict(NF_ACCEPT, undefined, packet.payload);
      };
    const judge = (packet: QueuedPacket): void => {
      // With no daemon behind it a queue drops, as the kernel does when nobody listens.
      if (entry.interceptor === undefined) giveTo(packet)("drop");
      else entry.interceptor.judge(packet.payload, packet.info.indev, giveTo(packet));
    };
    const strangers = new Strangers(judge, (turn) => {
      entry.interceptor?.gathering?.stay();
      setImmediate(turn);
    });
    const read = (packet: QueuedPacket): void => {
      entry.interceptor?.gathering?.heard();
      strangers.read();
      const standing = standingOf(packet.info.nfmark);
      if (standing === "known" || entry.interceptor === undefined) judge(packet);
      else if (!strangers.wait(packet, standing)) entry.interceptor.turnAway(giveTo(packet));
    };
    const queues = signallingQueues(base).map((number) =>
      createQueueHandler(number, RECEIVE_BUFFER_BYTES, read),
    );
    const entry: OpenQueues = { queues, interceptor };
    opened.set(base, entry);
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    throw new Error(
      `cannot take packets from queue ${base} or one up to ${base + QUEUES - 1} (another program may have it, or the capability NET_ADMIN is missing): ${detail}`,
    );
  }
}

/** Leaves the queues open without an interceptor: what waits, and what comes from now on, is dropped. */
export function releaseQueues(base: number): void {
  const open = opened.get(base);
  if (open === undefined) return;
  open.interceptor?.stop();
  open.interceptor = undefined;
}
