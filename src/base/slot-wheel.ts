/**
 * A hierarchical timer wheel for things that have a number: 16 bytes for each, and nothing to be collected. Setting and
 * cancelling are O(1) however many there are. Whoever owns it says how far time has come.
 */
import { type Milliseconds, ms } from "./units.js";

export const TICK = ms(10);
const SLOT_BITS = 8;
const SLOTS = 1 << SLOT_BITS;
const LEVELS = 4;
/** Every place of the wheel is the head of a ring; the heads are the first nodes, the things come after them. */
const HEADS = LEVELS * SLOTS;
/** As `next`: the node is in no ring. */
const OUT = -1;
const LEAST = 1024;

export class SlotWheel {
  /** Things whose timer is set. */
  count = 0;
  #tick: number;
  #next = Int32Array.from({ length: HEADS + LEAST }, (_, node) => (node < HEADS ? node : OUT));
  #previous = Int32Array.from({ length: HEADS + LEAST }, (_, node) => node);
  /** In ticks. */
  #due = new Float64Array(HEADS + LEAST);

  constructor(now: Milliseconds) {
    this.#tick = Math.floor(now / TICK);
  }

  /** Bytes of memory. */
  get memory(): number {
    return this.#next.byteLength + this.#previous.byteLength + this.#due.byteLength;
  }

  /** Sets the timer of a thing anew, to fire at `at` or up to a tick later. */
  set(thing: number, at: Milliseconds): void {
    if (Number.isNaN(at)) throw new RangeError("a timer needs an instant");
    this.cancel(thing);
    const node = thing + HEADS;
    while (node >= this.#next.length) this.#grow();
    this.#due[node] = Math.max(Math.ceil(at / TICK), this.#tick + 1);
    this.count++;
    this.#place(node);
  }

  /** Does nothing where none is set. */
  cancel(thing: number): void {
    const node = thing + HEADS;
    if (node >= this.#next.length || this.#next[node] === OUT) return;
    this.count--;
    this.#unlink(node);
  }

  /** Calls `fire` with what is due by `now`, in the order of the ticks; it must not throw. */
  advance(now: Milliseconds, fire: (thing: number) => void): void {
    const target = Math.floor(now / TICK);
    while (this.#tick < target && this.count > 0) {
      this.#tick++;
      this.#cascade();
      this.#fireSlot(fire);
    }
    this.#tick = Math.max(this.#tick, target);
  }

  /** The latest instant up to which nothing can be due; undefined when nothing is set. */
  nextLook(): Milliseconds | undefined {
    if (this.count === 0) return undefined;
    for (let ahead = 1; ahead < SLOTS; ahead++) {
      const tick = this.#tick + ahead;
      const head = tick % SLOTS;
      // At a turn of the wheel timers come down from the level above, so time must be looked at there.
      if (this.#next[head] !== head || head === 0) return ms(tick * TICK);
    }
    return ms((this.#tick + SLOTS) * TICK);
  }

  #place(node: number): void {
    const due = this.#due[node] as number;
    const distance = due - this.#tick;
    let level = 0;
    while (level < LEVELS - 1 && distance >= SLOTS ** (level + 1)) level++;
    // What lies beyond the last level waits in its farthest slot and is placed again from there.
    const farthest = this.#tick + SLOTS ** LEVELS - 1;
    const head = level * SLOTS + (Math.floor(Math.min(due, farthest) / SLOTS ** level) % SLOTS);
    const last = this.#previous[head] as number;
    this.#previous[node] = last;
    this.#next[node] = head;
    this.#next[last] = node;
    this.#previous[head] = node;
  }

  #unlink(node: number): void {
    const [next, previous] = [this.#next[node] as number, this.#previous[node] as number];
    this.#next[previous] = next;
    this.#previous[next] = previous;
    this.#next[node] = OUT;
  }

  #cascade(): void {
    for (let level = 1; level < LEVELS; level++) {
      const span = SLOTS ** level;
      if (this.#tick % span !== 0) return;
      this.#placeAgain(level * SLOTS + ((this.#tick / span) % SLOTS));
    }
  }

  /** Only those that were there: what lies beyond the last level may come to the same ring again. */
  #placeAgain(head: number): void {
    const last = this.#previous[head] as number;
    if (last === head) return;
    for (let node = this.#next[head] as number; ; node = this.#next[head] as number) {
      this.#unlink(node);
      this.#place(node);
      if (node === last) return;
    }
  }

  #fireSlot(fire: (thing: number) => void): void {
    const head = this.#tick % SLOTS;
    // Who is called may cancel a later one of the same slot, so they are taken one at a time.
    for (let node = this.#next[head] as number; node !== head; node = this.#next[head] as number) {
      this.cancel(node - HEADS);
      fire(node - HEADS);
    }
  }

  #grow(): void {
    const { length } = this.#next;
    const [next, previous, due] = [this.#next, this.#previous, this.#due];
    this.#next = new Int32Array(length * 2).fill(OUT, length);
    this.#next.set(next);
    this.#previous = new Int32Array(length * 2);
    this.#previous.set(previous);
    this.#due = new Float64Array(length * 2);
    this.#due.set(due);
  }
}
