/** Routes looked up lately. A handshake a millisecond must not cost a kernel request each. */
import type { Time } from "../base/time.js";
import { type Milliseconds, seconds } from "../base/units.js";
import type { Route, Transport } from "./transport/transport.js";
import { wayKey } from "./transport/way.js";
import type { Mri } from "./wire/messages.js";

type Use = (route: Route | undefined) => void;

interface Entry {
  readonly until: Milliseconds;
  readonly route: Route | undefined;
}

const REMEMBERED_FOR = seconds(1);
export const MOST_REMEMBERED = 4096;
const MOST_WAITING = 4096;

export class RouteCache {
  readonly #transport: Transport;
  readonly #time: Time;
  readonly #failed: (error: unknown) => void;
  readonly #known = new Map<string, Entry>();
  readonly #asked = new Map<string, Use[]>();
  #waiting = 0;
  /** Counts changes: an answer to a question from before one is not remembered. */
  #epoch = 0;

  /** @param failed is told when what was to be done with a route throws: nobody else could be */
  constructor(transport: Transport, time: Time, failed: (error: unknown) => void) {
    this.#transport = transport;
    this.#time = time;
    this.#failed = failed;
  }

  /**
   * Calls `use` with the route of the flow: at once when it is known, else when the transport has answered. Returns
   * false, and never calls it, when too many are waiting.
   */
  lookup(mri: Mri, use: Use): boolean {
    const key = this.#transport.wayKey?.(mri) ?? wayKey(mri);
    const known = this.#known.get(key);
    if (known !== undefined && known.until > this.#time.now()) {
      use(known.route);
      return true;
    }
    const cached = this.#transport.cachedRoute?.(mri);
    if (cached !== undefined) {
      this.#remember(key, cached);
      use(cached);
      return true;
    }
    if (this.#waiting >= MOST_WAITING) return false;
    this.#waiting++;
    const others = this.#asked.get(key);
    if (others !== undefined) {
      others.push(use);
      return true;
    }
    this.#asked.set(key, [use]);
    this.#ask(key, mri);
    return true;
  }

  /** The next look-up asks the kernel again. */
  forget(): void {
    this.#epoch++;
    this.#known.clear();
  }

  #ask(key: string, mri: Mri): void {
    const epoch = this.#epoch;
    const answered = (route: Route | undefined): void => {
      if (epoch === this.#epoch) this.#answer(key, route);
      else this.#ask(key, mri);
    };
    this.#transport.route(mri).then(answered, () => answered(undefined));
  }

  #remember(key: string, route: Route | undefined): void {
    if (this.#known.size >= MOST_REMEMBERED) this.#known.clear();
    this.#known.set(key, { route, until: (this.#time.now() + REMEMBERED_FOR) as Milliseconds });
  }

  #answer(key: string, route: Route | undefined): void {
    this.#remember(key, route);
    const waiting = this.#asked.get(key) ?? [];
    this.#asked.delete(key);
    this.#waiting -= waiting.length;
    for (const use of waiting)
      try {
        use(route);
      } catch (error) {
        this.#failed(error);
      }
  }
}
