/** What the parts of one GIST node share. */
import { bytesText } from "../base/wire.js";
import { IpAddress } from "../base/address.js";
import type { Logger } from "../base/log.js";
import type { Random } from "../base/random.js";
import { Recent } from "../base/recent.js";
import type { Time } from "../base/time.js";
import { type Milliseconds, ms } from "../base/units.js";
import type { AuthorisedPeers } from "./authorised-peers.js";
import type { ResponderCookies } from "./cookies.js";
import type { Counters } from "../base/counters.js";
import type { NslpHost } from "./nslp-host.js";
import { type GistOptions, LONGEST_PEER_TIME } from "./options.js";
import type { QueuePool } from "./queue.js";
import type { SourceBuckets, TokenBucket } from "../base/rate-limit.js";
import type { RouteCache } from "./routes.js";
import type { SiiHandle } from "./service.js";
import type { Transport } from "./transport/transport.js";
import { encodeGist, mriKey } from "./wire/codec.js";
import type { GistMessage, Mri, NetworkLayerInformation, SessionId } from "./wire/messages.js";

export interface GistContext {
  readonly time: Time;
  readonly random: Random;
  readonly log: Logger;
  readonly transport: Transport;
  readonly options: GistOptions;
  /** Peer-Identity of this node, as bytes and in hexadecimal. */
  readonly identity: Uint8Array;
  readonly identityText: string;
  readonly counters: Counters;
  readonly nslps: NslpHost;
  readonly routes: RouteCache;
  readonly queues: QueuePool;
  readonly cookies: ResponderCookies;
  /** One bucket for all D-mode messages made here (RFC 5971 section 5.3.3). */
  readonly datagrams: TokenBucket;
  /** New responding states, for each peer. */
  readonly newStates: SourceBuckets;
  readonly peers: AuthorisedPeers;
  /** Whether an address is this host's own: then it is an end of the path. */
  isLocal(address: IpAddress): boolean;
  /** RS-Validity-Time to tell peers now: longer when so much state could not be refreshed within the D-mode rate. */
  validity(): Milliseconds;
}

/** A Peer-Identity, or other bytes that come again, as text. */
export function hex(bytes: Uint8Array): string {
  const { length } = bytes;
  return length < SHORT || length > LONG ? textOf(bytes) : identities.get(bytes, 0, length, textOf);
}

const SHORT = 3;
const LONG = 64;
const identities = new Recent<string>(256);
const textOf = (bytes: Uint8Array): string => bytesText(bytes, "hex");

/** Key of routing state: {MRI with its direction, Session-ID, NSLPID} as one text. */
export function stateKey(mri: Mri, sessionId: SessionId, nslpId: number): string {
  return `${sessionId} ${nslpId} ${mriKey(mri)}`;
}

/** Names a peer at one of its addresses, as associations are matched (RFC 5971 section 5.7.3). */
export function siiHandle(identity: string, interfaceAddress: IpAddress): SiiHandle {
  return `${identity}@${interfaceAddress}`;
}

const ANY_SOURCE = { 4: IpAddress.parse("0.0.0.0"), 6: IpAddress.parse("::") } as const;

/** The way to a peer, as an MRI that the transport can route; without `from` that of this host's own packets. */
export function towardsPeer(peer: IpAddress, from: IpAddress = ANY_SOURCE[peer.family]): Mri {
  return { method: "loose-end", direction: "downstream", source: from, destination: peer };
}

export function ownNli(
  context: GistContext,
  interfaceAddress: IpAddress,
  ipTtl: number,
  validity: Milliseconds,
): NetworkLayerInformation {
  return { ipTtl, validity, peerIdentity: context.identity, interfaceAddress };
}

/** A time that a peer named, made sane. */
export function peerTime(context: GistContext, given: Milliseconds): Milliseconds {
  return ms(Math.min(Math.max(given, context.options.shortestValidity), LONGEST_PEER_TIME));
}

/**
 * Answers in normal datagram mode, from the address that the way there has. The rate limit comes before the question for
 * that way, so that a flood of forged messages cannot ask the kernel more often than the answers could go.
 */
export function answerWithDatagram(
  context: GistContext,
  to: IpAddress,
  port: number,
  answer: (interfaceAddress: IpAddress) => GistMessage,
): void {
  const { counters, datagrams, routes } = context;
  if (!datagrams.take()) {
    counters.count("limited.datagram");
    return;
  }
  const asked = routes.lookup(towardsPeer(to), (route) => {
    if (route === undefined) counters.count("dropped.no-route-back");
    else transmit(context, to, port, answer(route.interfaceAddress));
  });
  if (!asked) counters.count("limited.routes");
}

/** Sends in normal datagram mode unless the rate limit says no; then the message counts as lost. */
export function sendDatagram(
  context: GistContext,
  to: IpAddress,
  port: number,
  message: GistMessage,
): boolean {
  if (!context.datagrams.take()) {
    context.counters.count("limited.datagram");
    return false;
  }
  transmit(context, to, port, message);
  return true;
}

function transmit(context: GistContext, to: IpAddress, port: number, message: GistMessage): void {
  countSent(context, message);
  context.transport.sendDatagram(to, port, encodeGist(message));
}

/** Ready texts: one that is put together has to be hashed each time. */
const SENT = {
  query: "sent.query",
  response: "sent.response",
  confirm: "sent.confirm",
  data: "sent.data",
  error: "sent.error",
  hello: "sent.hello",
} as const;

/** Counts by type, and Errors by their code. */
export function countSent(context: GistContext, message: GistMessage): void {
  context.counters.count(SENT[message.type]);
  if (message.type === "error") context.counters.count(`sent.error-${message.error.code}`);
}
