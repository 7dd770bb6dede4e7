/** What a client has to remember of its calls to tell its NSLPs what was lost with the service. */
import type { Time } from "../../base/time.js";
import type { Milliseconds } from "../../base/units.js";
import type { MessageHandle, SendMessage } from "../service.js";
import { mriKey } from "../wire/mri.js";
import type { Target } from "./values.js";

export type Sent = Omit<SendMessage, "data">;

/** Messages whose fate is not known, by the handle that they have on the wire. */
export class InFlight {
  readonly #sent = new Map<MessageHandle, { readonly message: Sent; readonly at: Milliseconds }>();
  readonly #time: Time;
  readonly #max: number;
  readonly #memory: Milliseconds;
  #last = 0;

  constructor(time: Time, max: number, memory: Milliseconds) {
    this.#time = time;
    this.#max = max;
    this.#memory = memory;
  }

  get full(): boolean {
    this.#forgetOld();
    return this.#sent.size >= this.#max;
  }

  /** A handle that no other message in flight has. Not when {@link full}. */
  add(message: Sent): MessageHandle {
    do this.#last = (this.#last + 1) >>> 0;
    while (this.#sent.has(this.#last));
    this.#sent.set(this.#last, { message, at: this.#time.now() });
    return this.#last;
  }

  take(handle: MessageHandle | undefined): Sent | undefined {
    if (handle === undefined) return undefined;
    const sent = this.#sent.get(handle);
    this.#sent.delete(handle);
    return sent?.message;
  }

  takeAll(): readonly Sent[] {
    const all = [...this.#sent.values()].map(({ message }) => message);
    this.#sent.clear();
    return all;
  }

  /** A service that never reports must not fill the table for good. */
  #forgetOld(): void {
    const oldest = this.#time.now() - this.#memory;
    for (const [handle, { at }] of this.#sent) {
      if (at >= oldest) return;
      this.#sent.delete(handle);
    }
  }
}

interface Known extends Target {
  usedAt: Milliseconds;
}

/** Sessions that were used lately, the last used at the end. */
export class KnownSessions {
  readonly #known = new Map<string, Known>();
  readonly #time: Time;
  readonly #max: number;
  readonly #memory: Milliseconds;

  constructor(time: Time, max: number, memory: Milliseconds) {
    this.#time = time;
    this.#max = max;
    this.#memory = memory;
  }

  get size(): number {
    return this.#known.size;
  }

  used({ nslpId, sessionId, mri }: Target): void {
    const key = keyOf({ nslpId, sessionId, mri });
    this.#known.delete(key);
    this.#known.set(key, { nslpId, sessionId, mri, usedAt: this.#time.now() });
    this.#forgetOld();
  }

  over(target: Target): void {
    this.#known.delete(keyOf(target));
  }

  all(): readonly Target[] {
    this.#forgetOld();
    return [...this.#known.values()];
  }

  #forgetOld(): void {
    const oldest = this.#time.now() - this.#memory;
    for (const [key, { usedAt }] of this.#known) {
      if (usedAt >= oldest && this.#known.size <= this.#max) return;
      this.#known.delete(key);
    }
  }
}

function keyOf({ nslpId, sessionId, mri }: Target): string {
  return `${nslpId} ${sessionId} ${mriKey(mri)}`;
}
