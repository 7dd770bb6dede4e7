/**
 * The comparison alone: tables of readings, and whole flows simulated packet by packet, with Queries that travel as slowly and
 * as unsteadily as packets do.
 */
import test from "ava";
import fc from "fast-check";
import { between, type Random, seededRandom } from "../base/random.js";
import { bytes, type Milliseconds, ms } from "../base/units.js";
import {
  type Claim,
  DEFAULT_LIMITS,
  type DetectionLimits,
  type Finding,
  type Reading,
  VolumeWatch,
} from "./detection.js";

const MB = 1_000_000;

function claim(sent: number, heard?: number | null, change: Partial<Claim> = {}): Claim {
  return { epoch: 0, sent: bytes(sent), heard, mark: undefined, ...change };
}

function reading(at: number, received: number, change: Partial<Reading> = {}): Reading {
  return { at: ms(at), received: bytes(received), failures: 0, ...change };
}

function watch(limits: Partial<DetectionLimits> = {}): VolumeWatch {
  return new VolumeWatch({ ...DEFAULT_LIMITS, ...limits }, ms(0));
}

const unknown = (): undefined => undefined;

/** One Query, its answer with Message-Seq `number`, and the look after the settle time. */
function period(
  w: VolumeWatch,
  number: number,
  at: number,
  sent: number,
  received: number,
  later = received,
): readonly [Finding | undefined, boolean] {
  const first = w.claimed(claim(sent, number - 1), reading(at, received));
  w.told(number, reading(at, received));
  const second = w.settled(reading(at + 200, later), unknown);
  return [first.finding ?? second.finding, first.doubt || second.doubt];
}

test("slide 18: 1 MB against 3 MB is doubted at once, and proven by the next Query", (t) => {
  const w = watch();
  t.deepEqual(period(w, 1, 1000, MB, 3 * MB), [undefined, true]);
  const [finding] = period(w, 2, 1100, MB, 3 * MB);
  t.like(finding, { kind: "excess", amount: 2 * MB, sent: MB, received: 3 * MB, threshold: 3000, epoch: 0 });
});

test("bytes that overtook the Query are no finding", (t) => {
  const w = watch();
  t.deepEqual(period(w, 1, 60_000, MB, 3 * MB), [undefined, true]);
  // The next Query covers them.
  t.deepEqual(period(w, 2, 60_500, 3 * MB, 3 * MB), [undefined, false]);
});

test("what a sender had not heard of when it signed proves nothing", (t) => {
  const w = watch();
  period(w, 1, 1000, MB, MB);
  period(w, 2, 2000, 2 * MB, 4 * MB);
  // Signed before the answer to the last Query had come: the Query was overtaken by 2 MB of data.
  t.is(w.claimed(claim(2 * MB, 1), reading(2001, 4 * MB)).finding, undefined);
});

test("a sender that does not say what it heard is believed to have heard what is long ago", (t) => {
  const w = watch();
  w.told(1, reading(0, 3 * MB));
  t.is(w.claimed(claim(MB), reading(7999, 3 * MB)).finding, undefined);
  t.is(w.claimed(claim(MB, null), reading(8000, 3 * MB)).finding, undefined);
  t.is(w.claimed(claim(MB), reading(8000, 3 * MB)).finding?.kind, "excess");
});

test("a sequence number that was not given yet is forged, whatever the bytes say", (t) => {
  const w = watch();
  const association = { spi: 700, sequence: 5000, bytes: bytes(MB) };
  w.told(1, reading(1000, MB, { association }));
  const mark = (spi: number, sequence: number): Partial<Claim> => ({ mark: { spi, sequence } });
  t.is(w.claimed(claim(MB, 1, mark(700, 5000 - 1024)), reading(2000, MB)).finding, undefined);
  t.is(w.claimed(claim(MB, 1, mark(701, 10)), reading(2000, MB)).finding, undefined);
  t.like(w.claimed(claim(MB, 1, mark(700, 3975)), reading(2000, MB)).finding, {
    kind: "forged-sequence",
    amount: 1025,
    threshold: 1024,
    mark: { spi: 700, sequence: 3975 },
  });
});

test("slide 20: 1 MB against nothing is found as soon as the sender has tried again", (t) => {
  const w = watch();
  t.deepEqual(period(w, 1, 10_000, MB, 0), [undefined, true]);
  // It has sent nothing since: that says nothing.
  t.deepEqual(period(w, 2, 12_500, MB, 0), [undefined, false]);
  t.deepEqual(period(w, 3, 12_600, MB + 1500, 0), [undefined, true]);
  // One packet may be lost by chance; two tries are as good as a whole period.
  t.deepEqual(period(w, 4, 14_000, MB + 1500, 0), [undefined, true]);
  t.like(period(w, 5, 15_200, MB + 3000, 0)[0], { kind: "black-hole", amount: MB + 3000 });
});

test("a black hole is found after two silent seconds, whatever came before", (t) => {
  const w = watch();
  for (let i = 1; i <= 5; i++) t.is(period(w, i, i * 1000, i * 100_000, i * 100_000)[0], undefined);
  // It begins within this period.
  t.is(period(w, 6, 6000, 600_000, 520_000)[0], undefined);
  t.deepEqual(period(w, 7, 7000, 700_000, 520_000), [undefined, true]);
  t.like(period(w, 8, 8000, 800_000, 520_000)[0], { kind: "black-hole", amount: 280_000 });
});

test("a burst that is lost before a pause is no black hole, however long the pause is and whatever trickles through it", (t) => {
  const w = watch();
  for (let i = 1; i <= 5; i++) period(w, i, i * 1000, i * 100_000, i * 100_000);
  t.deepEqual(period(w, 6, 6000, 600_000, 500_000), [undefined, true]);
  for (let i = 7; i < 30; i++) t.is(period(w, i, i * 1000, 600_000, 500_000)[0], undefined);
  for (let i = 30; i < 60; i++) {
    const trickle = (i - 29) * 100;
    t.is(period(w, i, i * 1000, 600_000 + trickle, 500_000 + trickle)[0], undefined);
  }
});

test("where an epoch begins with an association, bytes that others' packets added to the count are not the sender's", (t) => {
  const w = watch();
  w.begin(1, { spi: 700, start: bytes(MB) });
  const at = (when: number, more: number) =>
    reading(when, MB + 64_000 + more, { association: { spi: 700, sequence: 10, bytes: bytes(more) } });
  w.told(1, at(1000, 0));
  t.is(w.claimed(claim(MB, 1, { epoch: 1 }), at(2000, 50_000)).finding, undefined);
  w.told(2, at(2000, 50_000));
  t.is(w.claimed(claim(MB + 50_000, 2, { epoch: 1 }), at(3000, 60_000)).finding, undefined);
  t.like(w.claimed(claim(MB + 40_000, 2, { epoch: 1 }), at(3000, 60_000)).finding, {
    kind: "excess",
    amount: 10_000,
  });
});

test("numbers far ahead of the mark are a reason to ask", (t) => {
  const w = watch();
  const mark = { spi: 700, sequence: 10 };
  const forged = reading(1000, MB, { association: { spi: 700, sequence: 2 ** 31 } });
  t.deepEqual(w.claimed(claim(MB, null, { mark }), forged), { finding: undefined, doubt: true });
});

test("20 % dropped is found in the second period", (t) => {
  const w = watch();
  const [first] = period(w, 1, 10_000, 10 * MB, 8 * MB);
  t.is(first, undefined);
  t.like(period(w, 2, 20_000, 20 * MB, 16 * MB)[0], { kind: "loss", amount: 2 * MB, threshold: 0.5 * MB });
});

test("one bad period is no finding, and a good one ends the row", (t) => {
  const w = watch();
  period(w, 1, 10_000, 10 * MB, 8 * MB);
  t.deepEqual(period(w, 2, 20_000, 20 * MB, 18 * MB), [undefined, false]);
  t.is(period(w, 3, 30_000, 30 * MB, 26 * MB)[0], undefined);
  t.is(period(w, 4, 40_000, 40 * MB, 34 * MB)[0]?.kind, "loss");
});

test("a slow flow that loses its half is found once it adds up", (t) => {
  const w = watch();
  const found = [1, 2, 3, 4].map((i) => period(w, i, i * 10_000, i * 100_000, i * 50_000)[0]);
  t.deepEqual(found.slice(0, 3), [undefined, undefined, undefined]);
  t.like(found[3], { kind: "loss", amount: 100_000 });
});

test("a small share is no matter, however much it adds up to", (t) => {
  const w = watch();
  for (let i = 1; i < 100; i++) t.is(period(w, i, i * 10_000, i * MB, i * 0.96 * MB)[0], undefined);
});

test("bytes on their way are not lost", (t) => {
  const w = watch();
  for (let i = 1; i < 20; i++)
    t.deepEqual(period(w, i, i * 10_000, i * 10 * MB, i * 10 * MB - 2 * MB, i * 10 * MB), [undefined, false]);
});

test("with a mark, loss is exact however much is on its way", (t) => {
  const w = watch();
  const mark = (i: number) => ({ spi: 300, sequence: i * 1000, bytes: bytes(i * MB) });
  let found: Finding | undefined;
  for (let i = 1; i <= 2; i++) {
    const association = { spi: 300, sequence: i * 1000 + 900, bytes: bytes(i * MB * 1.5) };
    w.claimed(claim(i * MB, undefined, { mark: mark(i) }), reading(i * 6000, i * MB));
    found = w.settled(reading(i * 6000 + 200, i * MB * 1.5, { association }), () =>
      bytes(i * MB * 0.9),
    ).finding;
    t.is(found?.kind, i === 2 ? "loss" : undefined);
  }
  t.is(found?.amount, 0.1 * MB);
});

test("a new epoch forgets what was, and Queries of the one before say nothing", (t) => {
  const w = watch();
  period(w, 1, 1000, MB, 3 * MB);
  w.begin(1);
  t.deepEqual(w.claimed(claim(MB, 1), reading(1500, MB)), { finding: undefined, doubt: false });
  t.is(w.last?.verdict, "too-early");
  w.told(2, reading(1600, MB));
  t.is(w.claimed(claim(MB, 2, { epoch: 1 }), reading(2000, MB)).finding, undefined);
  t.is(w.last?.verdict, "fits");
});

test("packets that fail authentication are found above their rate", (t) => {
  const w = watch();
  const failing = (at: number, failures: number) => {
    w.claimed(claim(0), reading(at, 0));
    return w.settled(reading(at + 200, 0, { failures }), unknown).finding;
  };
  t.is(failing(1000, 50), undefined);
  t.is(failing(11_000, 1050), undefined);
  t.like(failing(21_000, 3000), { kind: "failures", amount: 1950, threshold: 1000 });
});

// --- whole flows

interface World {
  /** Bytes a millisecond at most; the source sends in bursts and pauses. */
  readonly rate: number;
  /** Between the Queries, in milliseconds: 0.5 to 1.5 of it. */
  readonly refresh: number;
  /** Of packets and Queries, in milliseconds, each with its own jitter up to `jitter` (packets overtake each other). */
  readonly delay: number;
  readonly jitter: number;
  /** What a Query takes longer now and then: a lost segment of its TLS connection. */
  readonly stall: number;
  readonly loss: number;
  /** Packets lost in a row, now and then. */
  readonly burst: number;
  readonly duration: number;
  readonly seed: number;
}

interface Attack {
  readonly from: number;
  /** Share of the packets that an attacker drops. */
  readonly drop?: number;
  /** Bytes a millisecond that an attacker adds. */
  readonly inject?: number;
}

interface Happening {
  readonly at: number;
  readonly do: (now: number) => void;
}

/** Runs a flow to its end, or to the first finding. */
function simulate(world: World, attack?: Attack, limits: Partial<DetectionLimits> = {}) {
  const random = seededRandom(world.seed);
  const w = watch(limits);
  const plan: Happening[] = [];
  let sent = 0;
  let received = 0;
  let heard: number | null = null;
  let permission = 0;
  let found: { readonly finding: Finding; readonly at: number } | undefined;
  const at = (when: number, what: (now: number) => void): void => void plan.push({ at: when, do: what });

  const settled = (now: number): void => {
    const { finding } = w.settled(reading(now, received), unknown);
    if (finding !== undefined) found ??= { finding, at: now };
  };
  let settling = false;
  const arrived = (query: Claim, now: number): void => {
    const { finding } = w.claimed(query, reading(now, received));
    if (finding !== undefined) found ??= { finding, at: now };
    if (!settling) {
      settling = true;
      at(now + DEFAULT_LIMITS.settle, (then) => {
        settling = false;
        settled(then);
      });
    }
    const number = ++permission;
    w.told(number, reading(now, received));
    at(now + travel(world, random), () => (heard = Math.max(heard ?? 0, number)));
  };
  const query = (now: number): void => {
    const signed = claim(sent, heard);
    const stalled = random.fraction() < 0.1 ? world.stall : 0;
    at(now + travel(world, random) + stalled, (then) => arrived(signed, then));
    at(now + between(random, 0.5, 1.5) * world.refresh, query);
  };
  let losing = 0;
  let busyUntil = 0;
  let idleUntil = 0;
  const send = (now: number): void => {
    at(now + 10, send);
    if (now > busyUntil && now > idleUntil) {
      busyUntil = now + between(random, 10, 5000);
      idleUntil = busyUntil + (random.fraction() < 0.5 ? between(random, 10, 5000) : 0);
    }
    if (now > busyUntil) return;
    // What is sent in 10 ms travels together, and each of its packets can be lost.
    const size = Math.floor(world.rate * between(random, 0, 20));
    sent += size;
    if (random.fraction() < 0.001) losing = world.burst;
    const drop = now >= (attack?.from ?? Number.POSITIVE_INFINITY) ? (attack?.drop ?? 0) : 0;
    const through = losing-- > 0 ? 0 : size - lostOf(size, 1 - (1 - world.loss) * (1 - drop), random);
    at(now + travel(world, random), () => void (received += through));
  };
  const inject = (now: number): void => {
    received += (attack?.inject ?? 0) * 10;
    at(now + 10, inject);
  };

  at(0, send);
  at(between(random, 0.5, 1.5) * world.refresh, query);
  if (attack?.inject !== undefined) at(attack.from, inject);
  for (let now = 0; now <= world.duration && found === undefined;) {
    let next = 0;
    for (let i = 1; i < plan.length; i++) if ((plan[i]?.at ?? 0) < (plan[next]?.at ?? 0)) next = i;
    const [happening] = plan.splice(next, 1);
    if (happening === undefined) break;
    now = happening.at;
    happening.do(now);
  }
  return found;
}

const PACKET = 1500;

/** Bytes lost of so many, each packet with this probability: counted out for few, and near enough for many. */
function lostOf(size: number, share: number, random: Random): number {
  const packets = Math.ceil(size / PACKET);
  if (packets > 100) {
    const spread = Math.sqrt(packets * share * (1 - share));
    const normal = [0, 0, 0, 0, 0, 0].reduce((sum) => sum + between(random, -1, 1), 0) / Math.SQRT2;
    return Math.floor(Math.min(size, Math.max(0, packets * share + spread * normal) * PACKET));
  }
  let lost = 0;
  for (let i = 0; i < packets; i++)
    if (random.fraction() < share) lost += Math.min(PACKET, size - i * PACKET);
  return lost;
}

function travel({ delay, jitter }: World, random: Random): number {
  return delay + between(random, 0, jitter);
}

const honest: fc.Arbitrary<World> = fc.record({
  rate: fc.constantFrom(1, 10, 100, 1000, 100_000),
  refresh: fc.constantFrom(100, 1000, 10_000, 60_000),
  delay: fc.constantFrom(0, 1, 50, 200),
  jitter: fc.constantFrom(0, 5, 50),
  stall: fc.constantFrom(0, 200, 3000),
  loss: fc.constantFrom(0, 0.001, 0.01),
  burst: fc.constantFrom(0, 1, 5),
  duration: fc.constant(60_000),
  seed: fc.integer(),
});

test("1 % loss, bursts of loss, reordering, 200 ms of delay, bursty sending, late Queries: no alarm", (t) => {
  fc.assert(
    fc.property(honest, (world) => {
      t.deepEqual(simulate(world), undefined);
    }),
    { numRuns: 200 },
  );
  t.pass();
});

const ATTACKED: Milliseconds = ms(20_000);

test("20 % dropped is found within four refreshes", (t) => {
  const worlds = fc.record({
    rate: fc.constantFrom(100, 1000, 100_000),
    refresh: fc.constantFrom(1000, 10_000),
    delay: fc.constantFrom(1, 50),
    jitter: fc.constantFrom(0, 5),
    stall: fc.constant(0),
    loss: fc.constantFrom(0, 0.01),
    burst: fc.constant(0),
    duration: fc.constant(100_000),
    seed: fc.integer(),
  });
  fc.assert(
    fc.property(worlds, (world) => {
      const found = simulate(world, { from: ATTACKED, drop: 0.2 });
      t.truthy(found, JSON.stringify(world));
      t.true((found?.at ?? 0) >= ATTACKED);
    }),
    { numRuns: 60 },
  );
});

test("when everything vanishes it is found within five refreshes", (t) => {
  const worlds = fc.record({
    rate: fc.constantFrom(100, 1000, 100_000),
    refresh: fc.constantFrom(1000, 10_000),
    delay: fc.constantFrom(1, 50),
    jitter: fc.constantFrom(0, 5),
    stall: fc.constantFrom(0, 200),
    loss: fc.constantFrom(0, 0.01),
    burst: fc.constant(0),
    duration: fc.constant(150_000),
    seed: fc.integer(),
  });
  fc.assert(
    fc.property(worlds, (world) => {
      const found = simulate(world, { from: ATTACKED, drop: 1 });
      t.is(found?.finding.kind, "black-hole", JSON.stringify(world));
      // The source pauses for up to 5 s.
      t.true((found?.at ?? 0) - ATTACKED < 5 * 1.5 * world.refresh + 10_000);
    }),
    { numRuns: 60 },
  );
});

test("twice the bytes are found within two refreshes, and proven", (t) => {
  fc.assert(
    fc.property(honest, (world) => {
      const rate = Math.max(10, world.rate);
      const found = simulate(
        { ...world, refresh: Math.min(world.refresh, 10_000), rate, loss: 0, burst: 0 },
        {
          from: ATTACKED,
          inject: 2 * rate,
        },
      );
      t.is(found?.finding.kind, "excess", JSON.stringify(world));
      t.true((found?.at ?? 0) - ATTACKED < 40_000);
    }),
    { numRuns: 60 },
  );
});

test("what is remembered does not grow", (t) => {
  const w = watch();
  for (let i = 1; i < 10_000; i++) w.told(i, reading(i, 0));
  // Only the last few Permissions are witnesses.
  t.is(w.claimed(claim(0, 1), reading(10_000, MB)).finding, undefined);
});
