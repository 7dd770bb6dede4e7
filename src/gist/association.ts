/** Messaging associations: MA-SM of RFC 5971 section 6.4. */
import type { IpAddress } from "../base/address.js";
import { step, type Table } from "../base/machine.js";
import { between } from "../base/random.js";
import type { Timer } from "../base/time.js";
import { type Milliseconds, ms, seconds } from "../base/units.js";
import { countSent, type GistContext, hex, siiHandle } from "./context.js";
import { SentLedger } from "./sent-ledger.js";
import type { AssociationView, SendMessage, SiiHandle, TransferAttributes } from "./service.js";
import type { Carrier } from "./stack.js";
import type { Connection } from "./transport/transport.js";
import { encodeGist } from "./wire/codec.js";
import type { GistMessage } from "./wire/messages.js";

export type AssociationState = "none" | "awaiting-connection" | "connected" | "idle" | "gone";
type Event =
  | "open"
  | "accepted"
  | "connected"
  | "used"
  | "unused"
  | "hello-due"
  | "probe-due"
  | "silent"
  | "closed"
  | "shut-down";
type Action =
  | "open"
  | "opened"
  | "not-opened"
  | "send-hello"
  | "send-probe"
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
  { from: "connected", on: "probe-due", do: ["send-probe"], to: "connected" },
  {
    from: "idle",
    on: "probe-due",
    do: ["send-probe"],
    to: "idle",
    note: "an MA-Hello whose answer shows that the peer has read what was sent before",
  },
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

/** Why an association is gone. */
export interface Loss {
  /** For a person. */
  readonly reason: string;
  /** "refused": the peer is not who it said it was; "unauthorised": it is not, or no longer, to be a peer. */
  readonly cause: "closed" | "refused" | "unauthorised";
}

/** What stands on an association: routing state. */
export interface AssociationUser {
  /** Names it for good, also after it was at rest. */
  readonly key: string;
  /** The association that was being opened can be used. */
  associationConnected(): void;
  /** The peer takes messages again. */
  associationHasRoom(): void;
  /** It is gone, and the user is no longer attached to it. */
  associationLost(loss: Loss): void;
  /** Its sessions move to another association with the same peer. */
  associationReplaced(by: Association): void;
}

export interface AssociationOwner {
  removed(association: Association): void;
  /** Wakes each user of the association that is at rest, one after the other, and lets it hear something. */
  eachAtRest(association: Association, tell: (user: AssociationUser) => void): void;
}

/** So long after a message its reading is asked for; sooner when much waits for that. */
const PROBE_AFTER = seconds(1);
const LARGEST_HELLO_ID = 0xffffffff;
const MOST_ADDRESSES = 8;

export const NOT_AUTHORISED = "the list of authorised peers does not let this node be one";

let made = 0;

export class Association {
  /** No other association of this process has the same. */
  readonly number = ++made;
  static readonly #actions: Readonly<Record<Action, (self: Association) => void>> = {
    open: (self) => self.#open(),
    opened: (self) => self.#done(self.#connection),
    "not-opened": (self) => self.#done(undefined),
    watch: (self) => self.#startWatch(),
    "keep-alive": (self) => self.#keepAlive(),
    "send-hello": (self) => self.#sendHello(),
    "send-probe": (self) => self.#sendProbe(),
    "tell-connected": (self) => self.#tellConnected(),
    "tell-lost": (self) => self.#tellLost(),
    close: (self) => self.#connection?.close(),
    remove: (self) => self.#remove(),
  };

  readonly carrier: Carrier;
  /** Where it was connected to, or came from. */
  readonly address: IpAddress;
  readonly initiator: boolean;
  /** Whether a Confirm has bound a stack to it; one that this node opened needs none from the peer. */
  confirmed: boolean;
  readonly #context: GistContext;
  readonly #owner: AssociationOwner;
  readonly #users = new Set<AssociationUser>();
  /** Users that are at rest: they have no object. */
  #atRest = 0;
  readonly #addresses = new Map<string, IpAddress>();
  readonly #ledger = new SentLedger<string>();
  /** Who has messages that wait for room, in the order in which they began to. */
  readonly #waiting = new Set<AssociationUser>();
  #identity: string;
  /** Made when it is first asked for: every message that comes has it. */
  #handle: SiiHandle | undefined;
  #state: AssociationState = "none";
  #connection: Connection | undefined;
  #peerHoldTime: Milliseconds;
  #born: Milliseconds;
  #sentAt: Milliseconds;
  #receivedAt: Milliseconds;
  #helloTimer: Timer | undefined;
  #silenceTimer: Timer | undefined;
  #probeTimer: Timer | undefined;
  /** The MA-Hello whose answer is awaited, and the last message before it. */
  #probe: { readonly helloId: number; readonly last: number } | undefined;
  #helloId = 0;
  #sent = 0;
  #received = 0;
  #port = 0;
  #done: (connection: Connection | undefined) => void = () => {};
  #loss: Loss = { reason: "", cause: "closed" };

  constructor(
    context: GistContext,
    owner: AssociationOwner,
    peer: { identity: string; address: IpAddress; initiator: boolean; carrier: Carrier },
  ) {
    this.#context = context;
    this.#owner = owner;
    this.#identity = peer.identity;
    this.carrier = peer.carrier;
    this.address = peer.address;
    this.initiator = peer.initiator;
    this.confirmed = peer.initiator;
    this.#peerHoldTime = context.options.holdTime;
    this.#born = context.time.now();
    this.#sentAt = this.#born;
    this.#receivedAt = this.#born;
  }

  /**
   * Peer-Identity in hexadecimal: of the certificate once connected, before that of the Response. Without TLS it is what
   * the peer says of itself, and "" before its first Confirm.
   */
  get identity(): string {
    return this.#identity;
  }

  /** Whether messages that name this Peer-Identity may come over it. */
  standsFor(identity: string): boolean {
    return this.#identity === identity || (this.#identity === "" && this.carrier === "tcp");
  }

  /** The first Confirm says who the peer is, where no certificate does. */
  identify(identity: string): void {
    if (!this.standsFor(identity)) return;
    this.#identity = identity;
    this.#handle = undefined;
  }

  get state(): AssociationState {
    return this.#state;
  }

  /** What a message sent over it gets. */
  get transfer(): TransferAttributes {
    return { reliable: true, secure: this.carrier === "tls" };
  }

  /** Whether the list of authorised peers lets its peer be one. */
  get authorised(): boolean {
    return this.#context.peers.admits(this.#connection?.peer?.names ?? []);
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
    this.#handle ??= siiHandle(this.identity, this.interfaceAddress);
    return this.#handle;
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
    this.#handle = undefined;
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
    this.#waiting.delete(user);
    if (this.#users.delete(user) && this.#unused) this.#raise("unused");
  }

  /** The user goes to rest: it is still one, but must not be told anything before it was woken. */
  rest(user: AssociationUser): void {
    if (this.#users.delete(user)) this.#atRest++;
  }

  /** The user is back. */
  wake(user: AssociationUser): void {
    this.#atRest--;
    this.#users.add(user);
  }

  /** All users move to another association with the same peer. */
  replaceBy(other: Association): void {
    const users = [...this.#users];
    this.#owner.eachAtRest(this, (user) => user.associationReplaced(other));
    for (const user of users) user.associationReplaced(other);
  }

  /** The connection is gone. */
  closed(reason: string): void {
    this.#loss = { reason, cause: "closed" };
    this.#raise("closed");
  }

  shutDown(reason: string, cause: Loss["cause"] = "closed"): void {
    this.#loss = { reason, cause };
    this.#raise("shut-down");
  }

  /** As much waits for the peer as may: what is sent now is refused. */
  get full(): boolean {
    return (this.#connection?.queued ?? 0) > this.#context.options.maxQueuedBytes;
  }

  /** The user is told when there is room again. */
  awaitRoom(user: AssociationUser): void {
    this.#waiting.add(user);
  }

  /** The peer has taken what waited for it. */
  drained(): void {
    for (const user of [...this.#waiting]) {
      if (this.full) return;
      // It stands at the end of the line again when it has more than there is room for.
      this.#waiting.delete(user);
      user.associationHasRoom();
    }
  }

  heard(): void {
    this.#received++;
    this.#receivedAt = this.#context.time.now();
  }

  /** Queues a message; false when the peer is too slow and the queue is full, or the association is not live. */
  send(message: GistMessage): boolean {
    if (this.#connection === undefined || !this.live) return false;
    if (this.full) {
      this.#context.counters.count("limited.association");
      return false;
    }
    this.#sent++;
    this.#sentAt = this.#context.time.now();
    countSent(this.#context, message);
    this.#connection.send(encodeGist(message));
    return true;
  }

  /** Answers the peer's MA-Hello. */
  answerHello(helloId: number): void {
    this.#hello(false, helloId);
  }

  /** The peer answered an MA-Hello, and so has read all that was sent before it. */
  helloAnswered(helloId: number): void {
    if (this.#probe === undefined || this.#probe.helloId !== helloId) return;
    this.#ledger.readUpTo(this.#probe.last);
    this.#probe = undefined;
    if (this.#ledger.length > 0) this.#scheduleProbe();
  }

  /** Remembers a message of the user with this key until the peer is known to have read it. */
  remember(key: string, send: SendMessage): void {
    if (!this.#ledger.add(key, send)) this.#context.counters.count("limited.unconfirmed");
    if (this.#probe !== undefined) return;
    if (this.#ledger.wantsAnswer) this.#raise("probe-due");
    else if (this.#probeTimer === undefined) this.#scheduleProbe();
  }

  /** The user's last message that the peer is not known to have read, which is forgotten. */
  recall(user: AssociationUser): SendMessage | undefined {
    return this.#ledger.recall(user.key);
  }

  view(): AssociationView {
    return {
      peer: this.handle,
      peerIdentity: this.identity,
      address: this.address.toString(),
      subject: this.#connection?.peer?.subject ?? "",
      protocol: this.carrier,
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
    this.#hello(false, 0);
  }

  #hello(replyRequested: boolean, helloId: number): void {
    const { hops } = this.#context.options;
    this.send({ type: "hello", hops, nslpId: 0, signallingSource: true, replyRequested, helloId });
  }

  #scheduleProbe(): void {
    this.#probeTimer = this.#context.time.after(PROBE_AFTER, () => this.#raise("probe-due"));
  }

  #sendProbe(): void {
    this.#probeTimer?.cancel();
    this.#probeTimer = undefined;
    if (this.#ledger.length === 0) return;
    if (this.full) {
      this.#scheduleProbe();
      return;
    }
    this.#helloId = (this.#helloId % LARGEST_HELLO_ID) + 1;
    this.#probe = { helloId: this.#helloId, last: this.#ledger.last };
    this.#hello(true, this.#helloId);
  }

  #tellConnected(): void {
    for (const user of [...this.#users]) user.associationConnected();
  }

  #remove(): void {
    this.#helloTimer?.cancel();
    this.#silenceTimer?.cancel();
    this.#probeTimer?.cancel();
    this.#owner.removed(this);
  }

  #open(): void {
    const { transport, options } = this.#context;
    transport.connect(this.address, this.#port, this.carrier, options.connectTimeout).then(
      (connection) => this.#opened(connection),
      (error) => this.closed(error instanceof Error ? error.message : String(error)),
    );
  }

  #opened(connection: Connection): void {
    if (this.#state !== "awaiting-connection") {
      connection.close();
      return;
    }
    const objection = this.#objectionTo(connection);
    if (objection !== undefined) {
      connection.close();
      this.#loss = objection;
      this.#raise("closed");
      return;
    }
    this.#connection = connection;
    this.#sentAt = this.#context.time.now();
    this.#raise("connected");
    if (this.#unused) this.#raise("unused");
  }

  get #unused(): boolean {
    return this.#users.size === 0 && this.#atRest === 0;
  }

  #objectionTo({ protocol, peer }: Connection): Loss | undefined {
    const named = this.carrier === "tcp" || (peer !== undefined && hex(peer.identity) === this.#identity);
    if (protocol !== this.carrier || !named)
      return {
        reason: "the peer's certificate does not stand for the Peer-Identity of its Response",
        cause: "refused",
      };
    if (this.#context.peers.admits(peer?.names ?? [])) return undefined;
    return { reason: NOT_AUTHORISED, cause: "unauthorised" };
  }

  #tellLost(): void {
    const { nslps } = this.#context;
    for (const send of this.#ledger.drain())
      if (send.transfer.reliable)
        nslps.status(
          send,
          "transport-failed",
          `it may not have arrived: ${this.#loss.reason}`,
          this.transfer,
        );
    const users = [...this.#users];
    this.#users.clear();
    this.#waiting.clear();
    for (const user of users) user.associationLost(this.#loss);
    this.#owner.eachAtRest(this, (user) => {
      this.#users.delete(user);
      user.associationLost(this.#loss);
    });
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
    this.#loss = { reason: "the peer was silent for longer than the hold time", cause: "closed" };
    this.#raise("silent");
  }
}
