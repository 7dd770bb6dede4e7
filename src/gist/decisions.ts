/** Waiting for an NSLP that decides about a Query from another process. Bounded in number and in time. */
import type { GistContext } from "./context.js";
import type { PeerDecision } from "./service.js";

export class Decisions {
  readonly #context: GistContext;
  readonly #waiting = new Set<(decision: undefined) => void>();

  constructor(context: GistContext) {
    this.#context = context;
  }

  /** Nothing is waited for any more. */
  stop(): void {
    for (const settle of [...this.#waiting]) settle(undefined);
  }

  /** The decision, or undefined when it took too long or too many were being waited for. Never rejects. */
  wait(answer: Promise<PeerDecision>): Promise<PeerDecision | undefined> {
    const { time, options, counters } = this.#context;
    if (this.#waiting.size >= options.maxDecisions) {
      counters.count("limited.decisions");
      return Promise.resolve(undefined);
    }
    return new Promise((resolve) => {
      const settle = (decision: PeerDecision | undefined): void => {
        if (!this.#waiting.delete(settle)) return;
        timer.cancel();
        resolve(decision);
      };
      this.#waiting.add(settle);
      const timer = time.after(options.decisionWait, () => {
        counters.count("dropped.undecided");
        settle(undefined);
      });
      answer.then(settle, () => settle(undefined));
    });
  }
}
