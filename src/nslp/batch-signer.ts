/**
 * Signs this host's messages and hands them to GIST: alone and at once, or, where the path can do it, together with what
 * falls due within a short time, by one signature over the root of a hash tree.
 */
import { HashTree, leafHash, MAX_LEAVES, rootInput } from "../authorization/tree.js";
import type { Signer } from "../authorization/signing.js";
import type { Counters } from "../base/counters.js";
import type { Flow } from "../base/flow.js";
import type { Logger } from "../base/log.js";
import type { Time, Timer } from "../base/time.js";
import type { Milliseconds } from "../base/units.js";
import type { Direction, SessionId } from "../gist/wire/messages.js";
import { signatureInput, withSignature } from "./wire/codec.js";
import { PBS_NSLP_ID } from "./wire/messages.js";

export interface ToSign {
  readonly id: SessionId;
  readonly flow: Flow;
  readonly direction: Direction;
  /** Header and objects before Auth-data. Wiped once it is signed: a Permission may hold a key. */
  readonly unsigned: Uint8Array;
}

export interface BatchParts {
  readonly time: Time;
  readonly counters: Counters;
  readonly logger: Logger;
  /** The one in use now: certificates are renewed. */
  readonly signer: () => Signer;
  readonly send: (message: Omit<ToSign, "unsigned"> & { readonly data: Uint8Array }) => void;
}

export class BatchSigner {
  readonly #parts: BatchParts;
  /** One of each session: a later message takes the place of one that still waits. */
  readonly #waiting = new Map<SessionId, ToSign>();
  #timer: Timer | undefined;
  #due = Number.POSITIVE_INFINITY;
  /** All that waits goes at the end of this turn of the event loop. */
  #soon = false;

  constructor(parts: BatchParts) {
    this.#parts = parts;
  }

  /** Never throws; what cannot be signed is logged, and goes the way of a message that got lost. */
  sendNow(message: ToSign): void {
    this.drop(message.id);
    this.#alone(message);
  }

  /** With others of this turn of the event loop: under load these are many, and otherwise nobody waits. */
  sendSoon(message: ToSign): void {
    this.#wait(message);
    if (this.#soon) return;
    this.#soon = true;
    setImmediate(() => this.#flush());
  }

  /** Waits for others, for so long at most. */
  sendWithin(message: ToSign, wait: Milliseconds): void {
    this.#wait(message);
    const { time } = this.#parts;
    const due = time.now() + wait;
    if (due >= this.#due) return;
    this.#due = due;
    this.#timer?.cancel();
    this.#timer = time.after(wait, () => this.#flush());
  }

  /** The session is over, or has something newer to say. */
  drop(id: SessionId): void {
    const message = this.#waiting.get(id);
    if (message === undefined) return;
    message.unsigned.fill(0);
    this.#waiting.delete(id);
  }

  stop(): void {
    this.#timer?.cancel();
    for (const id of [...this.#waiting.keys()]) this.drop(id);
  }

  #wait(message: ToSign): void {
    this.drop(message.id);
    if (this.#waiting.size >= MAX_LEAVES) this.#flush();
    this.#waiting.set(message.id, message);
  }

  #flush(): void {
    this.#timer?.cancel();
    this.#soon = false;
    this.#due = Number.POSITIVE_INFINITY;
    const messages = [...this.#waiting.values()];
    this.#waiting.clear();
    const [only] = messages;
    if (only !== undefined && messages.length === 1) this.#alone(only);
    else if (only !== undefined) this.#together(messages);
  }

  #alone(message: ToSign): void {
    const { signer, counters } = this.#parts;
    this.#guarded(() => {
      const signature = signer().signSync(inputOf(message));
      counters.count("signature.made");
      this.#send(message, withSignature(message.unsigned, signature));
    });
    message.unsigned.fill(0);
  }

  #together(messages: readonly ToSign[]): void {
    const { signer, counters } = this.#parts;
    this.#guarded(() => {
      const tree = new HashTree(messages.map((message) => leafHash(inputOf(message))));
      const signature = signer().signSync(rootInput(messages.length, tree.root));
      counters.count("signature.made");
      counters.count("signature.saved-by-tree", messages.length - 1);
      messages.forEach((message, i) =>
        this.#send(message, withSignature(message.unsigned, signature, tree.path(i))),
      );
    });
    for (const { unsigned } of messages) unsigned.fill(0);
  }

  #send({ id, flow, direction }: ToSign, data: Uint8Array): void {
    this.#parts.send({ id, flow, direction, data });
  }

  #guarded(sign: () => void): void {
    try {
      sign();
    } catch (error) {
      this.#parts.logger.error({ error }, "a message could not be signed");
    }
  }
}

function inputOf({ id, unsigned }: ToSign): Uint8Array {
  return signatureInput(id, PBS_NSLP_ID, unsigned);
}
