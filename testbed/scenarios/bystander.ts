/** A permitted flow beside an attack, of which nothing may be missing. */
import type { Program } from "../lib/programs.js";
import type { Step } from "../lib/report.js";
import type { Testbed } from "../lib/testbed.js";
import { flowMatching, udpListener, udpSender } from "./common.js";

const PORT = 9000;
const LOSS_ALLOWED = 0.01;

/** Numbered datagrams from sender1 to receiver1. */
export class Bystander {
  readonly #testbed: Testbed;
  readonly #sender: Program;
  readonly #listener: Program;

  private constructor(testbed: Testbed, sender: Program, listener: Program) {
    this.#testbed = testbed;
    this.#sender = sender;
    this.#listener = listener;
  }

  static async start(testbed: Testbed): Promise<Bystander> {
    const listener = testbed.spawn("receiver1", udpListener(PORT));
    await listener.says("listening");
    const to = testbed.address("receiver1", 4);
    const stream = { from: 4000, to, port: PORT, count: 0, size: 200, rate: 100 };
    const sender = testbed.spawn("sender1", udpSender(stream));
    await listener.says("\n10\n");
    return new Bystander(testbed, sender, listener);
  }

  /** Looks at what came since the last look, but for the first moments, when packets were held. */
  #seen = 0;

  async check(step: Step): Promise<void> {
    const all = this.#numbers();
    const recent = all.slice(this.#seen);
    this.#seen = all.length;
    const [first = 0] = recent;
    const expected = (recent.at(-1) ?? first) - first + 1;
    const loss = recent.length === 0 ? 1 : 1 - recent.length / expected;
    step.measure("datagrams of the flow beside it", recent.length);
    step.expect("undisturbed", step.measure("its loss", Math.round(loss * 10_000) / 10_000) <= LOSS_ALLOWED);
  }

  async refreshes(): Promise<number> {
    return (await flowMatching(this.#testbed.daemon("receiver1"), /192\.168\.20\.1:4000 > .*:9000$/))
      .refreshes;
  }

  async stop(): Promise<void> {
    await this.#sender.stop();
    await this.#listener.stop();
  }

  #numbers(): number[] {
    return this.#listener.stdout
      .split("\n")
      .filter((line) => /^\d+$/.test(line))
      .map(Number);
  }
}
