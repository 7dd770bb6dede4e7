/**
 * Route changes that this host sees itself (RFC 5971 section 7.1.2): the flows' routes are looked up again, some in
 * each turn, and a flow that leaves another way than before asks for its peer anew.
 */
import type { Timer } from "../base/time.js";
import { TICK } from "../base/time.js";
import type { GistContext } from "./context.js";
import type { FlowSession, Sessions } from "./sessions.js";

const PER_TURN = 256;

export class PathWatch {
  readonly #context: GistContext;
  readonly #sessions: Sessions;
  /** What is left to be looked at. */
  #rest: Iterator<FlowSession> | undefined;
  #again = false;
  #timer: Timer | undefined;

  constructor(context: GistContext, sessions: Sessions) {
    this.#context = context;
    this.#sessions = sessions;
  }

  routesChanged(): void {
    this.#context.counters.count("routes-changed");
    this.#context.routes.forget();
    // Those looked at before may be wrong now, but starting over each time would never come to the last ones.
    if (this.#rest !== undefined) this.#again = true;
    else this.#start();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#rest?.return?.();
    this.#rest = undefined;
    this.#again = false;
  }

  #start(): void {
    this.#rest = this.#sessions.allQuerying();
    this.#timer = this.#context.time.after(TICK, () => this.#turn());
  }

  #turn(): void {
    for (let i = 0; i < PER_TURN; i++) {
      const next = this.#rest?.next();
      if (next === undefined || next.done === true) {
        this.#end();
        return;
      }
      const { nslpId, sessionId, mri } = next.value;
      const session = { nslpId, sessionId, mri };
      if (!this.#context.routes.lookup(mri, (route) => this.#sessions.routeIs(session, route)))
        this.#context.counters.count("limited.routes");
    }
    this.#timer = this.#context.time.after(TICK, () => this.#turn());
  }

  #end(): void {
    this.#rest = undefined;
    if (!this.#again) return;
    this.#again = false;
    this.#start();
  }
}
