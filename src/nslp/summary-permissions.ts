/** At the receiver: the answers to one summary Query, gathered into one Permission that lists them. */
import type { Timer, Time } from "../base/time.js";
import type { Milliseconds } from "../base/units.js";
import type { SummaryGrant } from "./wire/messages.js";

/** A flow that answers, as long as it has nothing newer to say. */
export interface Answering {
  /** The answer is still the last word on this flow. */
  stands(grant: SummaryGrant): boolean;
  /** Sends its own Permission, with what the others have to say. */
  permit(own: SummaryGrant, others: readonly SummaryGrant[]): void;
}

interface Answer {
  readonly flow: Answering;
  readonly grant: SummaryGrant;
}

export class SummaryAnswer {
  readonly #answers: Answer[] = [];
  #expected: number;
  #timer: Timer | undefined;
  #closed = false;

  /**
   * @param expected flows that were asked for
   * @param longest who has not answered by then answers alone
   */
  constructor(time: Time, expected: number, longest: Milliseconds) {
    this.#expected = expected;
    this.#timer = time.after(longest, () => this.#close());
  }

  /** false: it is too late. */
  add(flow: Answering, grant: SummaryGrant): boolean {
    if (this.#closed) return false;
    this.#answers.push({ flow, grant });
    this.less();
    return true;
  }

  /** One flow fewer to wait for: it has answered, or will do so by itself. */
  less(): void {
    if (--this.#expected <= 0) this.#close();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    const [lead, ...others] = this.#answers.filter(({ flow, grant }) => flow.stands(grant));
    lead?.flow.permit(
      lead.grant,
      others.map(({ grant }) => grant),
    );
  }
}
