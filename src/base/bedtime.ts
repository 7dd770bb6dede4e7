/** Lets things go to rest that nobody asked for in a while: looks at those that are awake, some at a time. */
import { TICK, type Time, type Timer } from "./time.js";
import { seconds } from "./units.js";

export interface Wakeful {
  /** When it was last asked for. */
  touched: number;
}

/** So long after it was last asked for, a thing goes to rest. */
const REST_AFTER = seconds(1);
/** Going to rest takes some microseconds; so many do at a time. */
const AT_ONCE = 512;

export class Bedtime<T extends Wakeful> {
  readonly #time: Time;
  readonly #awake: () => Iterable<T>;
  readonly #rest: (thing: T) => boolean;
  #timer: Timer | undefined;
  #stayUp = 0;

  /**
   * @param awake all that is awake
   * @param rest puts one to rest, and takes it from those that are awake; false when it cannot be
   */
  constructor(time: Time, awake: () => Iterable<T>, rest: (thing: T) => boolean) {
    this.#time = time;
    this.#awake = awake;
    this.#rest = rest;
  }

  /** It was asked for just now. */
  touch<S extends T | undefined>(thing: S): S {
    if (thing === undefined) return thing;
    thing.touched = this.#time.now();
    this.#timer ??= this.#time.after(REST_AFTER, () => this.#look());
    return thing;
  }

  /** Nothing goes to rest while this walks. */
  *whileUp<V>(walk: Iterable<V>): IterableIterator<V> {
    this.#stayUp++;
    try {
      yield* walk;
    } finally {
      this.#stayUp--;
    }
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #look(): void {
    const before = this.#time.now() - REST_AFTER;
    let rested = 0;
    let others = false;
    for (const thing of this.#stayUp > 0 ? [] : this.#awake()) {
      if (thing.touched > before || !this.#rest(thing)) others = true;
      else if (++rested === AT_ONCE) break;
    }
    const full = rested === AT_ONCE;
    const again = full || others || this.#stayUp > 0;
    this.#timer = again ? this.#time.after(full ? TICK : REST_AFTER, () => this.#look()) : undefined;
  }
}
