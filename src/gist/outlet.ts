/**
 * The way of one routing state's Data to its peer: over an association, or as datagrams where it has none. What cannot
 * go yet waits here, bounded.
 */
import type { IpAddress } from "../base/address.js";
import type { Association, AssociationUser } from "./association.js";
import { type GistContext, ownNli, sendDatagram, towardsPeer } from "./context.js";
import { MessageQueue } from "./queue.js";
import type { MessageError, SendMessage, TransferAttributes } from "./service.js";
import { MAX_OBJECT_VALUE } from "./wire/codec.js";
import type { GistData, Mri } from "./wire/messages.js";

/**
 * NSLP data that fits a datagram for sure: GIST message and 64 bytes within 576 (RFC 5971 section 5.3.3), for IPv6
 * with the largest Peer-Identity used here.
 */
const LARGEST_IN_DATAGRAM = 384;

/** Least packet that every path takes, and the room to be left in it (RFC 5971 section 5.3.3). */
const LEAST_MTU = 576;
const LEFT_FREE = 64;

/** Longest GIST message that may go in Query mode out of a link with this MTU: the path's is not known. */
export function longestInQueryMode(mtu: number): number {
  return Math.min(mtu, LEAST_MTU) - LEFT_FREE;
}

const DATAGRAM: TransferAttributes = { reliable: false, secure: false };

/** Where a peer is reached with datagrams, and from which own address. */
export interface DatagramPath {
  readonly address: IpAddress;
  readonly port: number;
  /** Undefined: that of the way to the peer, which is asked for then. */
  readonly localAddress?: IpAddress;
}

/** Whether a message must not travel as a datagram. */
export function needsAssociation({ transfer, data }: SendMessage): boolean {
  return transfer.reliable || transfer.secure || data.length > LARGEST_IN_DATAGRAM;
}

export class Outlet {
  /** Where the peer is reached; undefined before it is known. */
  path: DatagramPath | undefined;
  /** How the peer describes the flow, where a NAT makes that differ. */
  peerMri: Mri | undefined;
  readonly #context: GistContext;
  readonly #user: AssociationUser;
  readonly #queue: MessageQueue;
  #association: Association | undefined;

  constructor(context: GistContext, user: AssociationUser) {
    this.#context = context;
    this.#user = user;
    this.#queue = new MessageQueue(context.time, context.queues, (send) =>
      context.nslps.status(send, "no-response", "the next node could not take it in the time given"),
    );
  }

  get association(): Association | undefined {
    return this.#association;
  }

  /** Messages that wait. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Whether a message that waits is such. */
  anyWaiting(test: (send: SendMessage) => boolean): boolean {
    return this.#queue.some(test);
  }

  attach(association: Association | undefined): void {
    if (association === this.#association) return;
    this.#association?.detach(this.#user);
    this.#association = association;
    association?.attach(this.#user);
  }

  /** Its user goes to rest; it keeps its place with the association. */
  rest(): void {
    this.#association?.rest(this.#user);
  }

  /** Its user is back, and still has its place with the association. */
  wake(association: Association): void {
    this.#association = association;
    association.wake(this.#user);
  }

  /** The association is gone of itself. */
  lost(): void {
    this.#association = undefined;
  }

  /** Whether what there is now may carry the message. A secure one never goes over an association without TLS. */
  suits(send: SendMessage): boolean {
    if (send.transfer.secure) return this.#association?.carrier === "tls";
    return this.#association !== undefined || !needsAssociation(send);
  }

  /** Lets a message wait, or reports that too many do. */
  enqueue(send: SendMessage): void {
    if (!this.#queue.push(send)) this.#refuse(send);
  }

  /** Lets a message wait before all others: it was sent before them and has to be sent again. */
  enqueueFirst(send: SendMessage): void {
    if (!this.#queue.pushFront(send)) this.#refuse(send);
  }

  /** Sends, behind what waits already; while the peer is slow the message waits too. */
  send(send: SendMessage): void {
    if (this.#queue.length === 0 && this.#association?.full !== true) {
      this.#transmit(send);
      return;
    }
    this.enqueue(send);
    this.#association?.awaitRoom(this.#user);
  }

  /** Sends what waits, as far as the peer takes it. `delivered` came to the peer with its Query. */
  release(delivered?: SendMessage): void {
    while (this.#queue.length > 0) {
      if (this.#association?.full === true) {
        this.#association.awaitRoom(this.#user);
        return;
      }
      const send = this.#queue.shift();
      if (send === undefined) return;
      if (send === delivered) this.#context.nslps.status(send, "no-error", "", DATAGRAM);
      else this.#transmit(send);
    }
  }

  /** The last message sent that the peer may not have read waits again. */
  recall(): void {
    const send = this.#association?.recall(this.#user);
    if (send === undefined) return;
    this.#context.counters.count("data.sent-again");
    this.enqueueFirst(send);
  }

  /** Nothing waits any more; each message is reported. */
  fail(error: MessageError, detail: string): void {
    for (const send of this.#queue.drain()) this.#context.nslps.status(send, error, detail);
  }

  #refuse(send: SendMessage): void {
    this.#context.counters.count("limited.queue");
    this.#context.nslps.status(send, "overloaded", "too many messages wait for the next node");
  }

  #transmit(send: SendMessage): void {
    const { nslps } = this.#context;
    if (!this.suits(send)) {
      nslps.status(
        send,
        "transport-failed",
        "there is no messaging association with this peer that may carry it",
      );
      return;
    }
    const association = this.#association;
    if (association === undefined) {
      this.#asDatagram(send);
      return;
    }
    sendOver(this.#context, association, this.#user.key, this.#message(send), send);
  }

  #asDatagram(send: SendMessage): void {
    const { nslps, routes } = this.#context;
    const { path } = this;
    const use = (localAddress: IpAddress | undefined): void => {
      if (localAddress === undefined) nslps.status(send, "no-response", "there is no route to the next node");
      else if (this.#sendFrom(localAddress, send)) nslps.status(send, "no-error", "", DATAGRAM);
      else nslps.status(send, "overloaded", "this node may not send more datagrams now");
    };
    if (path === undefined || path.localAddress !== undefined) {
      use(path?.localAddress);
      return;
    }
    if (routes.lookup(towardsPeer(path.address), (route) => use(route?.interfaceAddress))) return;
    nslps.status(send, "overloaded", "too many routes are being looked up");
  }

  #sendFrom(localAddress: IpAddress, send: SendMessage): boolean {
    if (this.path === undefined) return false;
    const { address, port } = this.path;
    const nli = ownNli(this.#context, localAddress, 0, this.#context.validity());
    return sendDatagram(this.#context, address, port, { ...this.#message(send), nli });
  }

  #message(send: SendMessage): GistData {
    const message = dataMessage(this.#context, send);
    return this.peerMri === undefined ? message : { ...message, mri: this.peerMri };
  }
}

/** Why data cannot be sent as it is. */
export function unfitData(data: Uint8Array): string | undefined {
  if (data.length > MAX_OBJECT_VALUE)
    return `${data.length} bytes are more than the ${MAX_OBJECT_VALUE} a message may hold`;
  if (data.length % 4 !== 0) return `${data.length} bytes are not whole 32-bit words`;
  return undefined;
}

/** @param key of the routing state whose message it is */
export function sendOver(
  { nslps }: GistContext,
  association: Association,
  key: string,
  message: GistData,
  send: SendMessage,
): void {
  if (!association.send(message)) {
    nslps.status(send, "transport-failed", "the messaging association is closing");
    return;
  }
  association.remember(key, send);
  nslps.status(send, "no-error", "", association.transfer);
}

export function dataMessage(context: GistContext, send: SendMessage): GistData {
  return {
    type: "data",
    hops: send.hopCount ?? context.options.hops,
    nslpId: send.nslpId,
    signallingSource: true,
    mri: send.mri,
    sessionId: send.sessionId,
    queryMode: false,
    explicitlyRouted: false,
    data: send.data,
  };
}
