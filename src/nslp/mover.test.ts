/** Many flows on one bad path: when each leaves it, and when each comes back. */
import test from "ava";
import { parseFlow } from "../base/flow.js";
import { silentLogger } from "../base/log.js";
import { seededRandom } from "../base/random.js";
import { TokenBucket } from "../base/rate-limit.js";
import { FakeTime } from "../base/time.js";
import { ms, seconds } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import { BoundedMemory } from "./bounded.js";
import type { FirstPath } from "./context.js";
import { Mover } from "./mover.js";
import { DEFAULT_PBS_OPTIONS } from "./options.js";

const FLOWS = 200;
const RATE = 20;
const SPREAD = seconds(1);
const HOLD = seconds(2);
const RETURN_AFTER = seconds(60);

interface Happened {
  readonly flow: number;
  readonly at: number;
  readonly path: string;
}

/** Flows to one receiver with a first path and one or more others, each of them good or bad. */
class Crowd {
  readonly time = new FakeTime();
  readonly happened: Happened[] = [];
  readonly stuck: number[] = [];
  readonly movers: Mover[];
  readonly #at: number[];
  readonly #paths: readonly string[];

  constructor(count: number, paths: readonly string[]) {
    const { time } = this;
    this.#paths = paths;
    this.#at = new Array<number>(count).fill(0);
    const moves = {
      ...DEFAULT_PBS_OPTIONS.moves,
      spread: SPREAD,
      hold: HOLD,
      rate: RATE,
      returnAfter: RETURN_AFTER,
    };
    const shared = {
      time,
      random: seededRandom(1),
      options: { ...DEFAULT_PBS_OPTIONS, moves },
      moving: new TokenBucket(time, RATE, RATE),
      firstPaths: new BoundedMemory<FirstPath>(time, 100, RETURN_AFTER),
      gist: {
        register: () => undefined,
        sendMessage: () => undefined,
        setStateLifetime: () => undefined,
        invalidateRoutingState: () => undefined,
      },
      logger: silentLogger,
    };
    this.movers = this.#at.map((_, i) => {
      const flow = parseFlow(`udp 192.0.2.1:${4000 + i} > 198.51.100.7:80`);
      return new Mover(
        { ...shared, paths: this.#pathsOf(i) },
        {
          id: String(i) as SessionId,
          flow,
          moved: (path) => this.happened.push({ flow: i, at: time.now(), path }),
          gaveWay: () => undefined,
          stuck: () => this.stuck.push(i),
        },
      );
    });
  }

  /** Those on their first path. */
  get home(): number {
    return this.#at.filter((at) => at === 0).length;
  }

  /** All that are on this path complain, unless a move of theirs is too young to have shown; as receivers do. */
  complain(path: number): void {
    this.movers.forEach((mover, i) => {
      if (this.#at[i] === path && mover.possible && !mover.held) mover.move("test");
    });
  }

  /** Time passes in steps, each with what follows from it. */
  async pass(duration: number, each: () => void = () => undefined): Promise<void> {
    for (let left = duration; left > 0; left -= 100) {
      this.time.advance(ms(100));
      for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
      each();
    }
  }

  #pathsOf(flow: number) {
    const at = this.#at;
    const next = (): string | undefined => this.#paths[at[flow] ?? 0];
    return {
      hasNext: async () => next() !== undefined,
      next: async () => {
        const name = next();
        if (name === undefined) return undefined;
        at[flow] = (at[flow] ?? 0) + 1;
        return { name };
      },
      undo: async () => void (at[flow] = 0),
      undoSource: async () => undefined,
    };
  }
}

/** The most that happened in any second. */
function busiest(happened: readonly Happened[]): number {
  return Math.max(
    ...happened.map(({ at }) => happened.filter((one) => one.at >= at && one.at < at + 1000).length),
  );
}

test("two hundred flows leave a bad path one after the other, each once", async (t) => {
  const crowd = new Crowd(FLOWS, ["second"]);
  crowd.complain(0);
  await crowd.pass(20_000, () => crowd.complain(0));
  t.is(crowd.home, 0);
  t.is(crowd.happened.length, FLOWS);
  t.is(new Set(crowd.happened.map(({ flow }) => flow)).size, FLOWS);
  t.true(
    busiest(crowd.happened) <= 2 * RATE,
    "what the bucket held at first, and what it got in that second",
  );
  t.true((crowd.happened.at(-1)?.at ?? 0) >= ((FLOWS - RATE) / RATE) * 1000 - 1000);
});

test("where all paths are bad each is tried once, and longer each time", async (t) => {
  const crowd = new Crowd(1, ["second", "third"]);
  const complainAll = (): void => [0, 1, 2].forEach((path) => crowd.complain(path));
  await crowd.pass(30_000, complainAll);
  t.deepEqual(
    crowd.happened.map(({ path }) => path),
    ["second", "third"],
  );
  const [first, second] = crowd.happened.map(({ at }) => at);
  t.true((second ?? 0) - (first ?? 0) >= HOLD);
  t.true(crowd.stuck.length > 0, "it says that there is none left");
});

test("one of two hundred tries the first path; while it is bad the others stay away", async (t) => {
  const crowd = new Crowd(FLOWS, ["second"]);
  await crowd.pass(20_000, () => crowd.complain(0));
  const left = crowd.happened.length;
  // Long enough for each to have wanted to go back.
  await crowd.pass(2 * RETURN_AFTER, () => crowd.complain(0));
  const later = crowd.happened.slice(left);
  const back = later.filter(({ path }) => path === "the first path");
  t.true(back.length >= 1 && back.length <= 2, `${back.length} tried`);
  t.is(later.length, 2 * back.length, "and left again");
  t.is(crowd.home, 0);
});

test("when it is good one tries it, then all come back, not at once and for good", async (t) => {
  const crowd = new Crowd(FLOWS, ["second"]);
  await crowd.pass(20_000, () => crowd.complain(0));
  const left = crowd.happened.length;
  await crowd.pass(8 * RETURN_AFTER);
  const back = crowd.happened.slice(left);
  t.is(crowd.home, FLOWS);
  t.is(back.length, FLOWS);
  t.true((back[1]?.at ?? 0) - (back[0]?.at ?? 0) > RETURN_AFTER / 4, "one first");
  t.true(busiest(back) <= 2 * RATE);
});
