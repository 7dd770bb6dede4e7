/**
 * Messages that went out on one association and are not yet known to have been read by the peer. They are kept for two
 * reasons: the peer may answer that it has no routing state for one, and when the association is lost the NSLP is told
 * which reliable messages may be lost with it.
 */
import type { SendMessage } from "./service.js";

interface Entry<User> {
  readonly number: number;
  readonly user: User;
  readonly send: SendMessage;
}

const MOST = 1024;
/** Of data, in all: a peer that reads and does not say so must not fill the memory. */
const MOST_BYTES = 1024 * 1024;
/** With so much the peer is asked what it has read, long before anything has to make way. */
const ASK = { messages: MOST / 8, bytes: MOST_BYTES / 4 };

export class SentLedger<User> {
  #entries: Entry<User>[] = [];
  #last = 0;
  #bytes = 0;

  get length(): number {
    return this.#entries.length;
  }

  get wantsAnswer(): boolean {
    return this.#entries.length >= ASK.messages || this.#bytes >= ASK.bytes;
  }

  /** Number of the last message; 0 before the first. */
  get last(): number {
    return this.#last;
  }

  /** false: older messages had to make way for it. */
  add(user: User, send: SendMessage): boolean {
    this.#entries.push({ number: ++this.#last, user, send });
    this.#bytes += send.data.length;
    let tooMany = 0;
    for (let bytes = this.#bytes; this.#entries.length - tooMany > MOST || bytes > MOST_BYTES; tooMany++)
      bytes -= this.#entries[tooMany]?.send.data.length ?? 0;
    this.#remove(0, tooMany);
    return tooMany === 0;
  }

  /** The peer has read all messages up to the one with this number. */
  readUpTo(last: number): void {
    const unread = this.#entries.findIndex((entry) => entry.number > last);
    this.#remove(0, unread < 0 ? this.#entries.length : unread);
  }

  /**
   * The user's last message, which is no longer kept. Errors come in the order of the messages they are about, so one
   * call for each error gives back just those that were refused.
   */
  recall(user: User): SendMessage | undefined {
    const at = this.#entries.findLastIndex((entry) => entry.user === user);
    return at < 0 ? undefined : this.#remove(at, 1)[0];
  }

  /** All that are left; none is kept any more. */
  drain(): readonly SendMessage[] {
    return this.#remove(0, this.#entries.length);
  }

  #remove(from: number, count: number): readonly SendMessage[] {
    if (count === 0) return [];
    const removed = this.#entries.splice(from, count).map((entry) => entry.send);
    for (const { data } of removed) this.#bytes -= data.length;
    return removed;
  }
}
