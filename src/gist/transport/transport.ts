/**
 * What the GIST node needs of the network. The node and its state machines see only this, so that they run in
 * memory in tests; the real transports stand beside this file.
 */
import type { IpAddress } from "../../base/address.js";
import type { Milliseconds } from "../../base/units.js";
import type { Mri } from "../wire/messages.js";

/** A GIST message that came as a datagram: the bytes after the magic number. */
export interface Datagram {
  /** GIST message, without magic number. May be hostile. */
  readonly message: Uint8Array;
  readonly source: IpAddress;
  readonly sourcePort: number;
  /** 0.0.0.0 or :: when not known, as it is for datagrams that came to the UDP socket. */
  readonly destination: IpAddress;
  /** TTL or hop limit on arrival; 0 when not known. */
  readonly ipTtl: number;
  /** "" when not known. */
  readonly inboundInterface: string;
  /** true: taken out of the forwarding path or addressed to this host, in Query mode (flag C). */
  readonly intercepted: boolean;
}

/** What to do with an intercepted Query-mode packet. */
export type Interception =
  /** It was for this node: it goes no further. */
  | "taken"
  /** Not for this node: it travels on as it came. */
  | "untouched"
  /** It travels on with its GIST hop count one lower. */
  | "decrement-hops"
  | "drop";

/** How this host would send a flow's packets: what a Query-mode message for that flow must copy. */
export interface Route {
  /** Own address on the interface towards the destination: goes into the NLI. */
  readonly interfaceAddress: IpAddress;
  readonly interfaceName: string;
  readonly mtu: number;
  /** Gateway towards the destination; undefined when it is on the link, or not known. */
  readonly nextHop?: IpAddress | undefined;
}

export interface PeerCertificate {
  /** Common name. */
  readonly subject: string;
  /** Its dNSNames, or its common name where there are none (RFC 5971 section 5.7.3.1). */
  readonly names: readonly string[];
  /** The identity that its key stands for. */
  readonly identity: Uint8Array;
}

/** A messaging association's byte stream, TLS over TCP or plain TCP, already framed into GIST messages. */
export interface Connection {
  readonly protocol: "tls" | "tcp";
  readonly remoteAddress: IpAddress;
  readonly localAddress: IpAddress;
  readonly initiator: boolean;
  /** Of the peer's certificate, when TLS. */
  readonly peer: PeerCertificate | undefined;
  /** Queues a whole message. Returns false when the peer is slow and `drained` will be called. */
  send(message: Uint8Array): boolean;
  /** Bytes queued and not yet taken by the kernel. */
  readonly queued: number;
  close(): void;
}

export interface ConnectionHandler {
  /** One GIST message, header and objects; may be hostile. */
  message(connection: Connection, message: Uint8Array): void;
  drained(connection: Connection): void;
  /** Once, and nothing after it. `reason` is for a person. */
  closed(connection: Connection, reason: string): void;
}

export interface TransportHandler extends ConnectionHandler {
  /**
   * A promise while an NSLP decides; it settles within a bounded time and never rejects. Until then the bytes of the
   * message stay as they are.
   */
  datagram(datagram: Datagram): Interception | Promise<Interception>;
  /** Routes, links or addresses of this host have changed; comes at most every few milliseconds. */
  routesChanged(): void;
  /** A peer opened an association to this node. */
  accepted(connection: Connection): void;
}

export interface QueryModeOptions {
  /** The flow's source stands as IP source (S = 0); else this host's own address. */
  readonly spoofSource: boolean;
  /** TTL or hop limit. */
  readonly ttl: number;
  /** Router Alert value bound to the NSLPID (RFC 5971 section 5.3.2); without one the transport's own stands. */
  readonly routerAlert?: number | undefined;
}

export interface Transport {
  /** Starts listening. Rejects with one clear error when a port or a capability is missing. */
  start(handler: TransportHandler): Promise<void>;
  /** Port on which TLS associations are taken; goes into the Stack-Configuration-Data. */
  readonly tlsPort: number;
  /** Port on which associations without TLS are taken; undefined: there are none. */
  readonly tcpPort: number | undefined;
  /** The route that packets of this flow take from here; undefined when there is none. Never rejects. */
  route(mri: Mri): Promise<Route | undefined>;
  /** The same at once, when it is known from lately; undefined says nothing, ask {@link route} then. */
  cachedRoute?(mri: Mri): Route | undefined;
  /** What tells the flow's way from others, where more than the MRI does: two MRIs with one key have one route. */
  wayKey?(mri: Mri): string;
  /**
   * Sends a message in Query mode along the flow's path: to UDP 270 at the flow's destination (downstream) with
   * magic number, Router Alert and DF, by the flow's own route.
   */
  sendQueryMode(mri: Mri, message: Uint8Array, options: QueryModeOptions): void;
  /** Sends a message in normal datagram mode to a peer, from port 270. */
  sendDatagram(to: IpAddress, port: number, message: Uint8Array): void;
  /** Opens an association; the promise rejects when it fails or takes longer than `timeout`. */
  connect(to: IpAddress, port: number, protocol: "tls" | "tcp", timeout: Milliseconds): Promise<Connection>;
  stop(): Promise<void>;
}
