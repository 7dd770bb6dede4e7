/** Messaging associations: MA-SM of RFC 5971 section 6.4. */
import type { IpAddress } from "../base/address.js";
import { step, type Table } from "../base/machine.js";
import { between } from "../base/random.js";
import type { Timer } from "../base/time.js";
import { type Milliseconds, ms } from "../base/units.js";
import { type GistContext, hex, siiHandle } from "./context.js";
import type { AssociationView, SendMessage, SiiHandle } from "./service.js";
import type { Connection } from "./transport/transport.js";
import { encodeGist } from "./wire/codec.js";
import type { GistMessage } from "./wire/messages.js";

export type AssociationState = "none" | "awaiting-connection" | "connected" | "idle" | "gone";
type Event =
  "open" | "accepted" | "connected" | "used" | "unused" | "hello-due" | "silent" | "closed" | "shut-down";
type Action =
  | "open"
  | "opened"
  | "not-opened"
  | "send-hello"
  | "tell-connected"
  | "tell-lost"
  | "close"
  | "watch"
  | "keep-alive"
  | "remove";

const LIVE = ["connected", "idle"] as const;

export const ASSOCIATION_MACHINE: Table<AssociationState, Event, never, Action> = [
  { from: "none", on: "open", do: ["open"], to: "awaiting-connection" },
  {
    from: "none",
    on: "accepted",
    do: ["watch"],
    to: "idle",
    note: "no session uses it before the first Confirm, so nothing keeps it alive",
  },
  {
    from: "awaiting-connection",
    on: "connected",
    do: ["opened", "watch", "keep-alive", "tell-connected"],
    to: "connected",
  },
  { from: "awaiting-connection", on: "closed", do: ["not-opened", "remove", "tell-lost"], to: "gone" },
  { from: "awaiting-connection", on: "shut-down", do: ["not-opened", "remove", "tell-lost"], to: "gone" },
  { from: "connected", on: "hello-due", do: ["send-hello", "keep-alive"], to: "connected" },
  { from: "connected", on: "unused", do: [], to: "idle", note: "the last session left: no more MA-Hello" },
  { from: "idle", on: "used", do: ["keep-alive"], to: "connected" },
  {
    from: LIVE,
    on: "silent",
    do: ["close", "remove", "tell-lost"],
    to: "gone",
    note: "NoHello: nothing came for this node's hold time",
  },
  { from: LIVE, on: "closed", do: ["remove", "tell-lost"], to: "gone" },
  { from: LIVE, on: "shut-down", do: ["close", "remove", "tell-lost"], to: "gone" },
];

/** What stands on an association: routing state. */
export interface AssociationUser {
  /** The association that was being opened can be used. */
  associationConnected(): void;
  /** It is gone, and the user is no longer attached to it. `refused`: the peer is not who it said it was. */
  associationLost(reason: string, refused: boolean): void;
  /** Its sessions move to another association with the same peer. */
  associationReplaced(by: Association): void;
}

export interface AssociationOwner {
  removed(association: Association): void;
}

/** A message sent lately, kept in case the peer answers that it has no routing state for it. */
interface Recent {
  readonly user: AssociationUser;
  readonly send: SendMessage;
}

const MOST_RECENT = 128;
const MOST_ADDRESSES = 8;

export class Association {
  static readonly #actions: Readonly<Record<Action, (self: Association) => void>> = {
    open: (self) => self.#open(),
    opened: (self) => self.#done(self.#connection),
    "not-opened": (self) => self.#done(undefined),
    watch: (self) => self.#startWatch(),
    "keep-alive": (self) => self.#keepAlive(),
    "send-hello": (self) => self.#sendHello(),
    "tell-connected": (self) => self.#tellConnected(),
    "tell-lost": (self) => self.#tellLost(),
    close: (self) => self.#connection?.close(),
    remove: (self) => self.#remove(),
  };

  /** Peer-Identity in hexadecimal: of the certificate once connected, before that of the Response. */
  readonly identity: string;
  /** Where it was connected to, or came from. */
  readonly address: IpAddress;
  readonly initiator: boolean;
  /** Whether a Confirm has bound a stack to it; one that this node opened needs none from the peer. */
  confirmed: boolean;
  readonly #context: GistContext;
  readonly #owner: AssociationOwner;
  readonly #users = new Set<AssociationUser>();
  readonly #addresses = new Map<string, IpAddress>();
  readonly #recent: (Recent | undefined)[] = [];
  #recentAt = 0;
  #state: AssociationState = "none";
  #connection: Connection | undefined;
  #peerHoldTime: Milliseconds;
  #born: Milliseconds;
  #sentAt: Milliseconds;
  #receivedAt: Milliseconds;
  #helloTimer: Timer | undefined;
  #silenceTimer: Timer | undefined;
  #sent = 0;
  #received = 0;
  #port = 0;
  #done: (connection: Connection | undefined) => void = () => {};
  #reason = "";
  #refused = false;

  constructor(
    context: GistContext,
    owner: AssociationOwner,
    peer: { identity: string; address: IpAddress; initiator: boolean },
  ) {
    this.#context = context;
    this.#owner = owner;
    this.identity = peer.identity;
    this.address = peer.address;
    this.initiator = peer.initiator;
    this.confirmed = peer.initiator;
    this.#peerHoldTime = context.options.holdTime;
    this.#born = context.time.now();
    this.#sentAt = this.#born;
    this.#receivedAt = this.#born;
  }

  get state(): AssociationState {
    return this.#state;
  }

  /** Can carry messages. */
  get live(): boolean {
    return this.#state === "connected" || this.#state === "idle";
  }

  get connection(): Connection | undefined {
    return this.#connection;
  }

  get age(): Milliseconds {
    return ms(this.#context.time.now() - this.#born);
  }

  get handle(): SiiHandle {
    return siiHandle(this.identity, this.interfaceAddress);
  }

  /** The peer's Interface-Address as it first told it; before that the address of the connection. */
  get interfaceAddress(): IpAddress {
    for (const first of this.#addresses.values()) return first;
    return this.address;
  }

  get interfaceAddresses(): Iterable<string> {
    return this.#addresses.keys();
  }

  /** The peer has this Interface-Address: it said so over this association, or was met there. false: too many. */
  addAddress(address: IpAddress): boolean {
    if (this.#addresses.size >= MOST_ADDRESSES) return false;
    this.#addresses.set(address.toString(), address);
    return true;
  }

  set peerHoldTime(time: Milliseconds) {
    this.#peerHoldTime = time;
  }

  /** @param done is told once: the connection, before any user hears of it, or undefined when there is none */
  open(port: number, done: (connection: Connection | undefined) => void): void {
    this.#port = port;
    this.#done = done;
    this.#raise("open");
  }

  accept(connection: Connection): void {
    this.#connection = connection;
    this.#raise("accepted");
  }

  attach(user: AssociationUser): void {
    this.#users.add(user);
    this.#raise("used");
  }

  detach(user: AssociationUser): void {
    if (this.#users.delete(user) && this.#users.size === 0) this.#raise("unused");
  }

  /** All users move to another association with the same peer. */
  replaceBy(other: Association): void {
    for (const user of [...this.#users]) user.associationReplaced(other);
  }

  /** The connection is gone. */
  closed(reason: string): void {
    this.#reason = reason;
    this.#raise("closed");
  }

  shutDown(reason: string): void {
    this.#reason = reason;
    this.#raise("shut-down");
  }

  heard(): void {
    this.#received++;
    this.#receivedAt = this.#context.time.now();
  }

  /** Queues a message; false when the peer is too slow and the queue is full, or the association is not live. */
  send(message: GistMessage): boolean {
    if (this.#connection === undefined || !this.live) return false;
    if (this.#connection.queued > this.#context.options.maxQueuedBytes) {
      this.#context.counters.count("limited.association");
      return false;
    }
    this.#sent++;
    this.#sentAt = this.#context.time.now();
    this.#context.counters.count(`sent.${message.type}`);
    this.#connection.send(encodeGist(message));
    return true;
  }

  /** A keepalive, or with a Hello-ID the answer to the peer's. */
  hello(helloId: number): void {
    const { hops } = this.#context.options;
    this.send({ type: "hello", hops, nslpId: 0, signallingSource: true, replyRequested: false, helloId });
  }

  /** Remembers a message of a user in case of "No Routing State". */
  remember(user: AssociationUser, send: SendMessage): void {
    this.#recent[this.#recentAt] = { user, send };
    this.#recentAt = (this.#recentAt + 1) % MOST_RECENT;
  }

  /**
   * The user's last message that is still remembered, which is forgotten. Errors come in the order of the messages
   * they are about, so one call for each error gives back just those that were refused.
   */
  recall(user: AssociationUser): SendMessage | undefined {
    for (let back = 1; back <= MOST_RECENT; back++) {
      const at = (this.#recentAt - back + MOST_RECENT) % MOST_RECENT;
      const recent = this.#recent[at];
      if (recent?.user !== user) continue;
      this.#recent[at] = undefined;
      return recent.send;
    }
    return undefined;
  }

  view(): AssociationView {
    return {
      peer: this.handle,
      peerIdentity: this.identity,
      address: this.address.toString(),
      subject: this.#connection?.peer?.subject ?? "",
      protocol: this.#connection?.protocol ?? "tls",
      state: this.#state,
      initiator: this.initiator,
      age: this.age,
      messagesSent: this.#sent,
      messagesReceived: this.#received,
    };
  }

  #raise(event: Event): void {
    const arc = step(ASSOCIATION_MACHINE, this.#state, event, () => true);
    if (arc === undefined) return;
    this.#state = arc.to;
    for (const action of arc.do) Association.#actions[action](this);
  }

  #startWatch(): void {
    this.#receivedAt = this.#context.time.now();
    this.#watch();
  }

  #sendHello(): void {
    // Counts as sent also when the peer is too slow for it: what is queued will show that this node lives.
    this.#sentAt = this.#context.time.now();
    this.hello(0);
  }

  #tellConnected(): void {
    for (const user of [...this.#users]) user.associationConnected();
  }

  #remove(): void {
    this.#helloTimer?.cancel();
    this.#silenceTimer?.cancel();
    this.#owner.removed(this);
  }

  #open(): void {
    const { transport, options } = this.#context;
    transport.connect(this.address, this.#port, "tls", options.connectTimeout).then(
      (connection) => this.#opened(connection),
      (error) => this.closed(error instanceof Error ? error.message : String(error)),
    );
  }

  #opened(connection: Connection): void {
    if (this.#state !== "awaiting-connection") {
      connection.close();
      return;
    }
    const { peer } = connection;
    if (connection.protocol !== "tls" || peer === undefined || hex(peer.identity) !== this.identity) {
      connection.close();
      this.#refused = true;
      this.closed("the peer's certificate does not stand for the Peer-Identity of its Response");
      return;
    }
    this.#connection = connection;
    this.#sentAt = this.#context.time.now();
    this.#raise("connected");
    if (this.#users.size === 0) this.#raise("unused");
  }

  #tellLost(): void {
    const users = [...this.#users];
    this.#users.clear();
    for (const user of users) user.associationLost(this.#reason, this.#refused);
  }

  // Both timers look when they fire whether there was traffic meanwhile: setting them anew for each message would
  // cost more than the message.
  #keepAlive(): void {
    this.#helloTimer?.cancel();
    const interval = between(this.#context.random, this.#peerHoldTime / 2, (this.#peerHoldTime * 3) / 4);
    this.#scheduleHello(interval);
  }

  #scheduleHello(interval: number): void {
    const { time } = this.#context;
    const due = this.#sentAt + interval - time.now();
    if (due <= 0) {
      this.#raise("hello-due");
      return;
    }
    this.#helloTimer = time.after(ms(due), () => {
      if (this.#state === "connected") this.#scheduleHello(interval);
    });
  }

  #watch(): void {
    const { time, options } = this.#context;
    const left = this.#receivedAt + options.holdTime - time.now();
    if (left > 0) {
      this.#silenceTimer = time.after(ms(left), () => this.#watch());
      return;
    }
    this.#reason = "the peer was silent for longer than the hold time";
    this.#raise("silent");
  }
}
