/** The last events, and those to come for whoever follows. Memory is bounded whatever a reader does. */
import { Readable } from "node:stream";
import type { PbsControl, PbsEvent } from "../nslp/view.js";
import { ControlError } from "./error.js";

/** Events kept for somebody who asks later, and for a follower who reads slowly. */
export const RING = 1000;
const MAX_FOLLOWERS = 32;

/** Stands in the stream where a slow reader missed events. */
export interface Lagged {
  readonly time: number;
  readonly type: "lagged";
  readonly missed: number;
}

export class EventLog {
  readonly #ring: PbsEvent[] = [];
  #next = 0;
  readonly #followers = new Set<Follower>();
  readonly #stop: () => void;
  readonly #wall: () => number;

  /** @param wall milliseconds since 1970 */
  constructor(pbs: Pick<PbsControl, "listen">, wall: () => number) {
    this.#wall = wall;
    this.#stop = pbs.listen((event) => this.#add(event));
  }

  /** Oldest first. */
  recent(): readonly PbsEvent[] {
    return [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)];
  }

  /** A stream of newline-delimited JSON: recent events, then new ones until it is destroyed or the log is closed. */
  follow(): Readable {
    if (this.#followers.size >= MAX_FOLLOWERS)
      throw new ControlError(
        503,
        "too-many-followers",
        "too many readers follow the events",
        "stop one of them",
      );
    const follower = new Follower(this.#wall);
    for (const event of this.recent()) follower.add(event);
    this.#followers.add(follower);
    follower.once("close", () => this.#followers.delete(follower));
    return follower;
  }

  close(): void {
    this.#stop();
    for (const follower of this.#followers) follower.end();
  }

  #add(event: PbsEvent): void {
    if (this.#ring.length < RING) this.#ring.push(event);
    else {
      this.#ring[this.#next] = event;
      this.#next = (this.#next + 1) % RING;
    }
    for (const follower of this.#followers) follower.add(event);
  }
}

class Follower extends Readable {
  readonly #waiting: PbsEvent[] = [];
  readonly #wall: () => number;
  #missed = 0;
  #wanted = false;
  #ended = false;

  constructor(wall: () => number) {
    super({ highWaterMark: 64 * 1024 });
    this.#wall = wall;
  }

  add(event: PbsEvent): void {
    // After a gap the marker comes first, so that the order of the lines is the order of the events.
    if (this.#missed > 0 || this.#waiting.length >= RING) this.#missed++;
    else this.#waiting.push(event);
    this.#flush();
  }

  end(): void {
    this.#ended = true;
    this.#flush();
  }

  override _read(): void {
    this.#wanted = true;
    this.#flush();
  }

  #flush(): void {
    let line: PbsEvent | Lagged | undefined;
    while (this.#wanted && (line = this.#take()) !== undefined)
      this.#wanted = this.push(`${JSON.stringify(line)}\n`);
    if (this.#wanted && this.#ended) {
      this.#wanted = false;
      this.push(null);
    }
  }

  #take(): PbsEvent | Lagged | undefined {
    const event = this.#waiting.shift();
    if (event !== undefined || this.#missed === 0) return event;
    const missed = this.#missed;
    this.#missed = 0;
    return { time: this.#wall(), type: "lagged", missed };
  }
}
