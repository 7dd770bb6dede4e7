/**
 * Takes Query-mode packets out of the forwarding path (RFC 5971 section 5.3.2.5): the kernel's rules put UDP 270 into a
 * queue, this gives each packet its verdict. What is not exactly a Query-mode message travels on as it came.
 */
import type { QueuedPacket } from "nfqueue";
import type { IpAddress } from "../../base/address.js";
import type { Logger } from "../../base/log.js";
import { WireError } from "../../base/wire.js";
import { GIST_PORT } from "../wire/messages.js";
import type { Counters } from "./counters.js";
import { decrementHops, isQueryMode, messageOf, parseUdpPacket, type UdpPacket } from "./packet.js";
import type { Datagram, Interception } from "./transport.js";

/** "accept-changed": the packet's own bytes were changed and go on in its place. */
export type Verdict = "accept" | "accept-changed" | "drop";

export interface InterceptorOptions {
  readonly logger: Logger;
  readonly counters: Counters;
  readonly interfaceName: (index: number) => string;
  readonly isLocal: (address: IpAddress) => boolean;
  readonly deliver: (datagram: Datagram) => Interception;
}

/** Judges one packet after another; knows nothing of the kernel. Never throws. */
export class Interceptor {
  readonly #options: InterceptorOptions;

  constructor(options: InterceptorOptions) {
    this.#options = options;
  }

  /** @param packet an IP packet; changed in place when the verdict is "accept-changed" */
  judge(packet: Uint8Array, interfaceIndex: number): Verdict {
    try {
      return this.#judge(packet, interfaceIndex);
    } catch (error) {
      if (error instanceof WireError) return this.#is("intercept.not-exact", "accept");
      this.#options.logger.error({ error }, "an intercepted packet could not be handled");
      return this.#is("intercept.error", "drop");
    }
  }

  #judge(packet: Uint8Array, interfaceIndex: number): Verdict {
    const udp = parseUdpPacket(packet);
    if (udp.destinationPort !== GIST_PORT) return this.#is("intercept.not-exact", "accept");
    const message = messageOf(udp.payload);
    if (message === undefined) return this.#is("intercept.not-exact", "accept");
    if (!isQueryMode(message)) return this.#is("intercept.datagram-mode", "accept");
    const interception = this.#options.deliver({
      message,
      source: udp.source,
      sourcePort: udp.sourcePort,
      destination: udp.destination,
      ipTtl: udp.ttl,
      inboundInterface: this.#options.interfaceName(interfaceIndex),
      intercepted: true,
    });
    return this.#carryOut(interception, packet, udp);
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

  #is(counter: string, verdict: Verdict): Verdict {
    this.#options.counters.add(counter);
    return verdict;
  }
}

/** Netlink messages of waiting packets; what comes above is dropped by the kernel. */
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

interface OpenQueue {
  /** What the package returned: kept, because it frees native memory still in use when this is collected. */
  readonly queue: unknown;
  interceptor: Interceptor | undefined;
}

/**
 * Queues this process has open. The nfqueue package cannot close one: it stays until the process exits and keeps the
 * event loop alive, so whoever stops a transport ends with process.exit(). A transport started again takes it over.
 */
const openQueues = new Map<number, OpenQueue>();

/**
 * Connects the kernel's queue to the interceptor. Rejects with one clear error.
 *
 * The package reads a packet with all that the kernel says about it into 65,535 bytes; what does not fit never gets a
 * verdict and fills the queue for good. So the rules must let no packet near that length into the queue.
 */
export async function openQueue(number: number, interceptor: Interceptor): Promise<void> {
  const open = openQueues.get(number);
  if (open?.interceptor !== undefined) throw new Error(`queue ${number} is already in use in this process`);
  if (open !== undefined) {
    open.interceptor = interceptor;
    return;
  }
  try {
    const { NF_ACCEPT, NF_DROP, createQueueHandler } = (await import("nfqueue")).default;
    const verdict = (packet: QueuedPacket): void => {
      // With no daemon behind it a queue drops, as the kernel does when nobody listens.
      const judged = entry.interceptor?.judge(packet.payload, packet.info.indev) ?? "drop";
      if (judged === "drop") packet.setVerdict(NF_DROP);
      else if (judged === "accept") packet.setVerdict(NF_ACCEPT);
      else packet.setVerdict(NF_ACCEPT, undefined, packet.payload);
    };
    const queue = createQueueHandler(number, RECEIVE_BUFFER_BYTES, verdict);
    const entry: OpenQueue = { queue, interceptor };
    openQueues.set(number, entry);
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    throw new Error(
      `cannot take packets from queue ${number} (another program may have it, or the capability NET_ADMIN is missing): ${detail}`,
    );
  }
}

/** Leaves the queue open without an interceptor: its packets are dropped from now on. */
export function releaseQueue(number: number): void {
  const open = openQueues.get(number);
  if (open !== undefined) open.interceptor = undefined;
}
