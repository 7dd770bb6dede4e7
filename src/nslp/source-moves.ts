/**
 * Flows of this host that gave way because their source address has no good path left. A flow cannot change its source; new
 * ones to the same place get another, and each takes the place of one that gave way. After a time without complaint new flows get
 * the first source again; those that have another keep it.
 */
import type { Flow } from "../base/flow.js";
import type { Logger } from "../base/log.js";
import { between, type Random } from "../base/random.js";
import type { TokenBucket } from "../base/rate-limit.js";
import type { Time, Timer } from "../base/time.js";
import { type Bytes, ms, seconds } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { EventLog } from "./events.js";
import type { PbsOptions } from "./options.js";
import type { PathChanger } from "./reactors.js";

/** Applications that open a connection anew do so within this time. */
const SUCCEEDS_WITHIN = seconds(60);
/** Of one kind, and kinds. */
const MAX_WAITING = 256;
const MAX_KINDS = 1024;
/** Nobody waits longer for the way back than so many times the first wait. */
const MOST_WAITS = 16;

/** What a new flow takes over. */
export interface Predecessor {
  readonly id: SessionId;
  /** What was left of the permission. */
  readonly volume: Bytes;
}

interface Waiting extends Predecessor {
  readonly source: string;
  readonly until: number;
}

interface Kind {
  waiting: Waiting[];
  /** Set while new flows have another source. */
  back: Timer | undefined;
  /** How many times the first wait the next way back waits. */
  waits: number;
}

interface Parts {
  readonly time: Time;
  readonly random: Random;
  readonly options: PbsOptions;
  /** Moves of flows, of all sessions. */
  readonly moving: TokenBucket;
  readonly paths?: PathChanger;
  readonly logger: Logger;
  readonly events: EventLog;
}

export class SourceMoves {
  readonly #context: Parts;
  /** By destination, protocol and port; the one used last is the last. */
  readonly #kinds = new Map<string, Kind>();

  constructor(context: Parts) {
    this.#context = context;
  }

  /** A flow gives way. */
  left(flow: Flow, id: SessionId, volume: Bytes): void {
    const kind = this.#kindFor(kindOf(flow));
    const until = this.#context.time.now() + SUCCEEDS_WITHIN;
    const others = kind.waiting.filter((one) => one.until > this.#context.time.now());
    kind.waiting = [...others, { id, volume, source: flow.source.toString(), until }].slice(-MAX_WAITING);
    if (kind.back === undefined) this.#returnLater(flow, id, kind);
  }

  /** It does not, after all. */
  stays(flow: Flow, id: SessionId): void {
    const kind = this.#kinds.get(kindOf(flow));
    if (kind !== undefined) kind.waiting = kind.waiting.filter((one) => one.id !== id);
  }

  /** The flow whose place a new one takes; each is given away once. */
  take(flow: Flow): Predecessor | undefined {
    const kind = this.#kinds.get(kindOf(flow));
    const [now, source] = [this.#context.time.now(), flow.source.toString()];
    const found = kind?.waiting.find((one) => one.until > now && one.source !== source);
    if (kind !== undefined) kind.waiting = kind.waiting.filter((one) => one !== found);
    return found;
  }

  stop(): void {
    for (const { back } of this.#kinds.values()) back?.cancel();
    this.#kinds.clear();
  }

  #kindFor(key: string): Kind {
    const kind = this.#kinds.get(key) ?? { waiting: [], back: undefined, waits: 1 };
    this.#kinds.delete(key);
    this.#kinds.set(key, kind);
    if (this.#kinds.size > MAX_KINDS) this.#forgetOne();
    return kind;
  }

  /** One that is away from its first source would not come back. */
  #forgetOne(): void {
    for (const [key, { back }] of this.#kinds)
      if (back === undefined) {
        this.#kinds.delete(key);
        return;
      }
  }

  /** Each way back that turned out to be too early makes the next one wait twice as long. */
  #returnLater(flow: Flow, id: SessionId, kind: Kind): void {
    const { time, random, options } = this.#context;
    const { returnAfter } = options.moves;
    if (returnAfter === 0) return;
    const share = between(random, kind.waits, kind.waits * 1.25);
    kind.back = time.after(ms(returnAfter * share), () => {
      if (!this.#context.moving.take()) return this.#returnLater(flow, id, kind);
      kind.back = undefined;
      kind.waits = Math.min(2 * kind.waits, MOST_WAITS);
      void this.#goBack(flow, id);
    });
  }

  async #goBack(flow: Flow, id: SessionId): Promise<void> {
    const { paths, logger, events } = this.#context;
    try {
      await paths?.undoSource(flow);
      events.report("path", { id, flow, role: "sender" }, "new flows like it have the first source again");
    } catch (error) {
      logger.error({ error, id }, "the rule for another source could not be taken out");
    }
  }
}

function kindOf({ protocol, destination, destinationPort }: Flow): string {
  return `${protocol} ${destination} ${destinationPort}`;
}
