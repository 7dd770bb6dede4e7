/** Waiting for an NSLP that decides about a Query from another process. Bounded in number and in time. */
import type { GistContext } from "./context.js";
import type { PeerDecision } from "./service.js";

export class Decisions {
  readonly #context: GistContext;
  #waiting = 0;

  constructor(context: GistContext) {
    this.#context = context;
  }

  /** The decision, or undefined when it took too long or too many were being waited for. Never rejects. */
  wait(answer: Promise<PeerDecision>): Promise<PeerDecision | undefined> {
    const { time, options, counters } = this.#context;
    if (this.#waiting >= options.maxDecisions) {
      counters.count("limited.decisions");
      return Promise.resolve(undefined);
    }
    this.#waiting++;
    return new Promise((resolve) => {
      let settled = false;
      const settle = (decision: PeerDecision | undefined): void => {
        if (settled) return;
        settled = true;
        timer.cancel();
        this.#waiting--;
        resolve(decision);
      };
      const timer = time.after(options.decisionWait, () => {
        counters.count("dropped.undecided");
        settle(undefined);
      });
      answer.then(settle, () => settle(undefined));
    });
  }
}
