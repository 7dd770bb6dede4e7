/** The NSLPs of a node. An NSLP that throws is logged and counted here, and harms nothing else. */
import type { Logger } from "../base/log.js";
import type { Time } from "../base/time.js";
import { type Milliseconds, ms } from "../base/units.js";
import type { Counters } from "../base/counters.js";
import type {
  MessageError,
  NetworkNotification,
  Nslp,
  PeerDecision,
  ReceivedMessage,
  SendMessage,
  TransferAttributes,
} from "./service.js";

const NOT_A_PEER: PeerDecision = { peer: false };

export class NslpHost {
  readonly #nslps = new Map<number, Nslp>();
  readonly #time: Time;
  readonly #log: Logger;
  readonly #counters: Counters;
  readonly #wait: Milliseconds;
  readonly #started: Milliseconds;
  /** When an NSLP left that was here once. */
  readonly #left = new Map<number, Milliseconds>();
  #later: (() => void)[] = [];

  /** @param wait how long an NSLP that is not here is expected to come (back) */
  constructor(time: Time, log: Logger, counters: Counters, wait: Milliseconds) {
    this.#wait = wait;
    this.#started = time.now();
    this.#time = time;
    this.#log = log;
    this.#counters = counters;
  }

  register(nslpId: number, nslp: Nslp): void {
    if (this.#nslps.has(nslpId)) throw new Error(`an NSLP is already registered for NSLPID ${nslpId}`);
    this.#nslps.set(nslpId, nslp);
    this.#left.delete(nslpId);
  }

  /** What is still to be told to it is dropped. */
  unregister(nslpId: number): void {
    if (this.#nslps.delete(nslpId)) this.#left.set(nslpId, this.#time.now());
  }

  /** Whether an NSLP that is not here may come (back) in a moment. */
  expects(nslpId: number): boolean {
    return this.#time.now() < (this.#left.get(nslpId) ?? this.#started) + this.#wait;
  }

  has(nslpId: number): boolean {
    return this.#nslps.has(nslpId);
  }

  /** Never throws, and the promise never rejects: an NSLP that fails does not peer. */
  recv(message: ReceivedMessage): PeerDecision | Promise<PeerDecision> {
    const nslp = this.#nslps.get(message.nslpId);
    if (nslp === undefined) return NOT_A_PEER;
    try {
      const decision = nslp.recvMessage(message);
      if (!(decision instanceof Promise)) return decision;
      return decision.catch((error: unknown) => this.#threw(message.nslpId, error));
    } catch (error) {
      return this.#threw(message.nslpId, error);
    }
  }

  /**
   * Success is told only for messages with a handle: without one nobody could say which message it was.
   *
   * @param transfer how it was sent; without it it was not
   */
  status(send: SendMessage, error: MessageError, detail: string, transfer?: TransferAttributes): void {
    if (error === "no-error" && send.handle === undefined) return;
    this.#counters.count(`status.${error}`);
    const { reliable, secure } = transfer ?? send.transfer;
    this.#deferTo(send.nslpId, (nslp) =>
      nslp.messageStatus({
        handle: send.handle,
        nslpId: send.nslpId,
        sessionId: send.sessionId,
        mri: send.mri,
        transfer: { reliable, secure },
        error,
        detail,
      }),
    );
  }

  notify(notification: NetworkNotification): void {
    this.#counters.count(`notification.${notification.type}`);
    this.#deferTo(notification.nslpId, (nslp) => nslp.networkNotification(notification));
  }

  /** Reports come after the call that caused them has returned, so that no NSLP is entered while it is sending. */
  #deferTo(nslpId: number, call: (nslp: Nslp) => void): void {
    const nslp = this.#nslps.get(nslpId);
    if (nslp === undefined) return;
    this.#later.push(() => {
      if (this.#nslps.get(nslpId) !== nslp) return;
      try {
        call(nslp);
      } catch (error) {
        this.#threw(nslpId, error);
      }
    });
    if (this.#later.length === 1) this.#time.after(ms(0), () => this.#tell());
  }

  #tell(): void {
    const calls = this.#later;
    this.#later = [];
    for (const call of calls) call();
  }

  #threw(nslpId: number, error: unknown): PeerDecision {
    this.#counters.count("nslp.threw");
    this.#log.error({ nslpId, error: error instanceof Error ? error.stack : error }, "an NSLP failed");
    return NOT_A_PEER;
  }
}
