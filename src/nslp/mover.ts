/**
 * Moves a flow of this host from path to path: after a random wait, at most so many of all flows a second, through the list
 * once, and back to the first path when a time has passed without complaint.
 */
import { between } from "../base/random.js";
import type { Flow } from "../base/flow.js";
import type { Timer } from "../base/time.js";
import { type Milliseconds, ms } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { PbsContext } from "./context.js";
import { mriOf } from "./mri.js";
import type { Path } from "./reactors.js";
import { PBS_NSLP_ID } from "./wire/messages.js";

/** Nobody waits longer for the way back than so many times the first wait. */
const MOST_RETURN_WAITS = 16;

export interface Moved {
  readonly id: SessionId;
  readonly flow: Flow;
  /** The flow takes another path now. */
  moved(path: string, why: string): void;
  /** It could not be moved. */
  stuck(why: string): void;
}

export class Mover {
  readonly #context: PbsContext;
  readonly #flow: Moved;
  #path: Path | undefined;
  #moving = false;
  #heldUntil = 0;
  #hold: number;
  #returnWaits = 1;
  #wait: Timer | undefined;
  #return: Timer | undefined;
  #over = false;

  constructor(context: PbsContext, flow: Moved) {
    this.#context = context;
    this.#flow = flow;
    this.#hold = context.options.moves.hold;
  }

  /** Name of the path that was moved to; null: the routing table's. */
  get path(): string | null {
    return this.#path?.name ?? null;
  }

  get possible(): boolean {
    return this.#context.paths !== undefined && !this.#moving;
  }

  /** A move a short while ago has not had the time to show. */
  get held(): boolean {
    return this.#context.time.now() < this.#heldUntil;
  }

  move(why: string): void {
    if (!this.possible || this.#over) return;
    this.#moving = true;
    this.#waitAndMove(why);
  }

  /** The flow is over; its route is, too. */
  stop(): void {
    if (this.#over) return;
    this.#over = true;
    this.#wait?.cancel();
    this.#return?.cancel();
    if (this.#path !== undefined) void this.#undo();
  }

  #waitAndMove(why: string): void {
    const { time, random, options, moving } = this.#context;
    this.#wait = time.after(ms(between(random, 0, options.moves.spread)), () => {
      if (moving.take()) void this.#next(why);
      else this.#waitAndMove(why);
    });
  }

  async #next(why: string): Promise<void> {
    const { paths, logger, time } = this.#context;
    const flow = this.#flow;
    try {
      const path = await paths?.next(flow.flow);
      this.#moving = false;
      if (this.#over) return path === undefined ? undefined : void this.#undo();
      if (path === undefined) return flow.stuck("there is no other path left");
      this.#path = path;
      this.#heldUntil = time.now() + this.#hold;
      this.#hold *= 2;
      this.#returnLater();
      this.#findPeer();
      flow.moved(path.name, why);
    } catch (error) {
      this.#moving = false;
      logger.error({ error, id: flow.id }, "a flow could not be moved to another path");
      if (!this.#over) flow.stuck("the kernel refused the route");
    }
  }

  #findPeer(): void {
    const { gist } = this.#context;
    const { id, flow } = this.#flow;
    gist.invalidateRoutingState(PBS_NSLP_ID, id, mriOf(flow, "downstream"), "bad", true);
  }

  /** Each way back that turned out to be too early makes the next one wait twice as long. */
  #returnLater(): void {
    const { returnAfter } = this.#context.options.moves;
    this.#return?.cancel();
    if (returnAfter === 0) return;
    this.#return = this.#context.time.after(this.#returnWait(returnAfter), () => void this.#goBack());
  }

  #returnWait(returnAfter: Milliseconds): Milliseconds {
    return ms(returnAfter * this.#returnWaits);
  }

  async #goBack(): Promise<void> {
    this.#returnWaits = Math.min(2 * this.#returnWaits, MOST_RETURN_WAITS);
    this.#hold = this.#context.options.moves.hold;
    this.#path = undefined;
    await this.#undo();
    if (this.#over) return;
    this.#findPeer();
    this.#flow.moved("the first path", "no complaint for a while");
  }

  async #undo(): Promise<void> {
    const { paths, logger } = this.#context;
    await paths?.undo(this.#flow.flow).catch((error: unknown) => {
      logger.error({ error, id: this.#flow.id }, "the route of a flow could not be taken out");
    });
  }
}
