/** Messages of one session that wait until they can be handed to the peer. Bounded, each with its own time limit. */
import type { Time, Timer } from "../base/time.js";
import type { SendMessage } from "./service.js";

interface Waiting {
  readonly send: SendMessage;
  readonly timer: Timer | undefined;
}

/** The bound that all queues of a node share. */
export class QueuePool {
  #used = 0;
  readonly #most: number;
  readonly #mostPerQueue: number;

  constructor(most: number, mostPerQueue: number) {
    this.#most = most;
    this.#mostPerQueue = mostPerQueue;
  }

  take(alreadyInQueue: number): boolean {
    if (this.#used >= this.#most || alreadyInQueue >= this.#mostPerQueue) return false;
    this.#used++;
    return true;
  }

  giveBack(): void {
    this.#used--;
  }

  get used(): number {
    return this.#used;
  }
}

export class MessageQueue {
  readonly #time: Time;
  readonly #pool: QueuePool;
  readonly #expired: (send: SendMessage) => void;
  #waiting: Waiting[] = [];

  /** @param expired is told of a message whose timeout passed; the queue no longer holds it */
  constructor(time: Time, pool: QueuePool, expired: (send: SendMessage) => void) {
    this.#time = time;
    this.#pool = pool;
    this.#expired = expired;
  }

  get length(): number {
    return this.#waiting.length;
  }

  some(test: (send: SendMessage) => boolean): boolean {
    return this.#waiting.some((w) => test(w.send));
  }

  /** false when there is no room. */
  push(send: SendMessage): boolean {
    if (!this.#pool.take(this.#waiting.length)) return false;
    this.#waiting.push(this.#wait(send));
    return true;
  }

  /** Puts a message before the others: it was sent before them and has to be sent again. */
  pushFront(send: SendMessage): boolean {
    if (!this.#pool.take(this.#waiting.length)) return false;
    this.#waiting.unshift(this.#wait(send));
    return true;
  }

  /** Takes the first message. */
  shift(): SendMessage | undefined {
    const first = this.#waiting.shift();
    if (first === undefined) return undefined;
    first.timer?.cancel();
    this.#pool.giveBack();
    return first.send;
  }

  /** Empties the queue. */
  drain(): readonly SendMessage[] {
    if (this.#waiting.length === 0) return [];
    const taken = this.#waiting;
    this.#waiting = [];
    for (const { timer } of taken) {
      timer?.cancel();
      this.#pool.giveBack();
    }
    return taken.map((w) => w.send);
  }

  #wait(send: SendMessage): Waiting {
    const waiting: Waiting = {
      send,
      timer:
        send.timeout === undefined ? undefined : this.#time.after(send.timeout, () => this.#expire(waiting)),
    };
    return waiting;
  }

  #expire(waiting: Waiting): void {
    const at = this.#waiting.indexOf(waiting);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    this.#pool.giveBack();
    this.#expired(waiting.send);
  }
}
