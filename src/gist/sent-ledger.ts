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

export class SentLedger<User> {
  #entries: Entry<User>[] = [];
  #last = 0;

  get length(): number {
    return this.#entries.length;
  }

  /** Number of the last message; 0 before the first. */
  get last(): number {
    return this.#last;
  }

  /** false: an older message had to make way for it. */
  add(user: User, send: SendMessage): boolean {
    this.#entries.push({ number: ++this.#last, user, send });
    if (this.#entries.length <= MOST) return true;
    this.#entries.shift();
    return false;
  }

  /** The peer has read all messages up to the one with this number. */
  readUpTo(last: number): void {
    const unread = this.#entries.findIndex((entry) => entry.number > last);
    this.#entries.splice(0, unread < 0 ? this.#entries.length : unread);
  }

  /**
   * The user's last message, which is no longer kept. Errors come in the order of the messages they are about, so one
   * call for each error gives back just those that were refused.
   */
  recall(user: User): SendMessage | undefined {
    const at = this.#entries.findLastIndex((entry) => entry.user === user);
    return at < 0 ? undefined : this.#entries.splice(at, 1)[0]?.send;
  }

  /** All that are left; none is kept any more. */
  drain(): readonly SendMessage[] {
    return this.#entries.splice(0).map((entry) => entry.send);
  }
}
