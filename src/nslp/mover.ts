/**
 * Moves a flow of this host from path to path: after a random wait, at most so many of all flows a second, through the list
 * once, and back to the first path when a time has passed without complaint. That is a trial: of the flows that left a path one
 * comes back first, and if it has to leave again the others stay away for as long again.
 */
import { between } from "../base/random.js";
import type { Flow } from "../base/flow.js";
import type { Timer } from "../base/time.js";
import { ms } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { PbsContext } from "./context.js";
import { mriOf } from "./mri.js";
import type { Path } from "./reactors.js";
import { PBS_NSLP_ID } from "./wire/messages.js";

/** Nobody waits longer for the way back than so many times the first wait. */
const MOST_RETURN_WAITS = 16;
/** Flows that left a path together come back one after the other, within this share of their wait. */
const RETURN_SPREAD = 0.25;

const NO_OTHER = "there is no other path left";

export interface Moved {
  readonly id: SessionId;
  readonly flow: Flow;
  /** The flow takes another path now. */
  moved(path: string, why: string): void;
  /** New flows that take this one's place may come from now on; {@link gaveWay} follows, or {@link stuck}. */
  givesWay?(): void;
  /** New flows like this one take another path, with another source; this one has none left. */
  gaveWay(path: string, why: string): void;
  /** There is no other path, or it could not be taken. */
  stuck(why: string): void;
}

type Parts = Pick<
  PbsContext,
  "paths" | "time" | "random" | "options" | "moving" | "firstPaths" | "gist" | "logger"
>;

export class Mover {
  readonly #context: Parts;
  readonly #flow: Moved;
  #path: Path | undefined;
  #moving = false;
  #heldUntil = 0;
  #hold: number;
  #returnWaits = 1;
  #wait: Timer | undefined;
  #return: Timer | undefined;
  #trial: Timer | undefined;
  #over = false;

  constructor(context: Parts, flow: Moved) {
    this.#context = context;
    this.#flow = flow;
    this.#hold = context.options.moves.hold;
  }

  /** Name of the path that was moved to; null: the routing table's. */
  get path(): string | null {
    return this.#path?.name ?? null;
  }

  /** The flow has never been moved, and is not about to be. */
  get unused(): boolean {
    return this.#path === undefined && !this.#moving && this.#heldUntil === 0;
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
    void this.#moveIfPossible(why);
  }

  /** The flow is over; its route is, too. */
  stop(): void {
    if (this.#over) return;
    this.#over = true;
    this.#wait?.cancel();
    this.#return?.cancel();
    this.#trial?.cancel();
    if (this.#path !== undefined) void this.#undo();
  }

  /** Whoever has no other path says so at once: somebody else may have one. */
  async #moveIfPossible(why: string): Promise<void> {
    const { paths } = this.#context;
    const elsewhere = (await paths?.hasNext(this.#flow.flow)) === true;
    if (this.#over) return;
    if (elsewhere) return this.#waitAndMove(why);
    this.#moving = false;
    this.#flow.stuck(NO_OTHER);
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
      const path = await paths?.next(flow.flow, () => flow.givesWay?.());
      this.#moving = false;
      if (this.#over) return path === undefined ? undefined : void this.#undo();
      if (path === undefined) return flow.stuck(NO_OTHER);
      if (path.source !== undefined) return flow.gaveWay(path.name, why);
      if (this.#path === undefined) this.#leaveFirst();
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

  #leaveFirst(): void {
    this.#trial?.cancel();
    this.#context.firstPaths.set(this.#place, "bad");
  }

  #findPeer(): void {
    const { gist } = this.#context;
    const { id, flow } = this.#flow;
    gist.invalidateRoutingState(PBS_NSLP_ID, id, mriOf(flow, "downstream"), "bad", true);
  }

  /** What shares the first path with this flow, as far as can be told. */
  get #place(): string {
    return this.#flow.flow.destination.toString();
  }

  /** Each way back that turned out to be too early makes the next one wait twice as long. */
  #returnLater(): void {
    const { time, random, options } = this.#context;
    const { returnAfter } = options.moves;
    this.#return?.cancel();
    if (returnAfter === 0) return;
    const share = between(random, this.#returnWaits, this.#returnWaits * (1 + RETURN_SPREAD));
    this.#return = time.after(ms(returnAfter * share), () => this.#goBackIfGood());
  }

  /** Of the flows that left the path one tries it, and the others wait for what becomes of that. */
  #goBackIfGood(): void {
    const { firstPaths, moving } = this.#context;
    const known = firstPaths.get(this.#place);
    if (known === "bad" || known === "tried" || !moving.take()) return this.#returnLater();
    if (known === undefined) this.#try();
    void this.#goBack();
  }

  #try(): void {
    const { firstPaths, time, options } = this.#context;
    firstPaths.set(this.#place, "tried");
    this.#trial = time.after(options.moves.returnAfter, () => {
      if (firstPaths.get(this.#place) !== "bad") firstPaths.set(this.#place, "good");
    });
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
