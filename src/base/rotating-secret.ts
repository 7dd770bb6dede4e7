/**
 * A secret that is made anew from time to time, for what a node hands out and wants to know again without keeping it.
 * Each generation has a random name, which goes along: neither a counter nor a time, so that nobody can tell from it how
 * long the node has been up.
 */
import type { Random } from "./random.js";
import type { Time } from "./time.js";
import type { Milliseconds } from "./units.js";

export const GENERATION_BYTES = 4;
const SECRET_BYTES = 32;

export interface Generation {
  readonly id: Uint8Array;
  readonly secret: Uint8Array;
  readonly born: Milliseconds;
}

export class RotatingSecret {
  readonly #time: Time;
  readonly #random: Random;
  readonly #lifetime: Milliseconds;
  #current: Generation;
  #previous: Generation | undefined;

  /** @param lifetime of a generation; what was made with it is known for at least as long and at most twice as long */
  constructor(time: Time, random: Random, lifetime: Milliseconds) {
    this.#time = time;
    this.#random = random;
    this.#lifetime = lifetime;
    this.#current = this.#newGeneration();
  }

  get current(): Generation {
    this.#turnOver();
    return this.#current;
  }

  /** The generation whose name these bytes begin with; undefined when it is none, or over. */
  find(bytes: Uint8Array): Generation | undefined {
    this.#turnOver();
    return [this.#current, this.#previous].find((g) => g !== undefined && startsWith(bytes, g.id));
  }

  #turnOver(): void {
    const age = this.#time.now() - this.#current.born;
    if (age < this.#lifetime) return;
    this.#previous = age < 2 * this.#lifetime ? this.#current : undefined;
    this.#current = this.#newGeneration();
  }

  #newGeneration(): Generation {
    return {
      id: this.#random.bytes(GENERATION_BYTES),
      secret: this.#random.bytes(SECRET_BYTES),
      born: this.#time.now(),
    };
  }
}

function startsWith(bytes: Uint8Array, beginning: Uint8Array): boolean {
  return bytes.length >= beginning.length && beginning.every((b, i) => b === bytes[i]);
}
