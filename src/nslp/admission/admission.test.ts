import test from "ava";
import { type AdmissionOptions, DEFAULT_ADMISSION } from "../../authorization/admission.js";
import { Counters } from "../../base/counters.js";
import { parseFlow } from "../../base/flow.js";
import { seededRandom } from "../../base/random.js";
import { FakeTime } from "../../base/time.js";
import { ms, seconds } from "../../base/units.js";
import type { SessionId } from "../../gist/wire/messages.js";
import { Admission, type Job, type Refusal, type Urgency } from "./admission.js";

const FLOW = parseFlow("udp 10.0.0.1:1 > 10.0.1.1:2");

/** A node whose one worker takes `service` for each job, under a fake clock. */
class Bench {
  readonly time = new FakeTime();
  readonly counters = new Counters();
  readonly admission: Admission;
  readonly done: string[] = [];
  readonly refused: (Refusal & { readonly name: string })[] = [];
  readonly #service: number;
  #ids = 0;

  constructor(service: number, options: Partial<AdmissionOptions> = {}) {
    this.#service = service;
    this.admission = new Admission({
      time: this.time,
      random: seededRandom(1),
      counters: this.counters,
      options: { ...DEFAULT_ADMISSION, ...options },
      atOnce: 1,
      node: new Uint8Array(16),
    });
  }

  job(name: string, urgency: Urgency, peer = "peer", sender = name): Job {
    const id = (++this.#ids).toString(16).padStart(32, "0") as SessionId;
    return {
      peer,
      sender,
      urgency,
      cost: 1,
      about: { id, flow: FLOW },
      run: () =>
        new Promise((resolve) => {
          this.time.after(ms(this.#service), () => {
            this.done.push(name);
            resolve();
          });
        }),
      refuse: (refusal) => this.refused.push({ ...refusal, name }),
    };
  }

  submit(name: string, urgency: Urgency, peer?: string, sender?: string): void {
    this.admission.submit(this.job(name, urgency, peer, sender));
  }

  /** A tick at a time, so that what is done makes room for the next. */
  async pass(duration: number): Promise<void> {
    for (let left = duration; left > 0; left -= 10) {
      this.time.advance(ms(10));
      await Promise.resolve();
      await Promise.resolve();
      await Promise.resolve();
    }
  }

  count(name: string): number {
    return this.done.filter((one) => one.startsWith(name)).length;
  }
}

test("what keeps permissions alive goes first, and what is new is not forgotten for it", async (t) => {
  const bench = new Bench(10);
  bench.submit("first", "new");
  for (let i = 0; i < 40; i++) bench.submit("new", "new", "peer", `n${i}`);
  for (let i = 0; i < 40; i++) bench.submit("back", "returning", "peer", `b${i}`);
  for (let i = 0; i < 90; i++) bench.submit("kept", "kept", "peer", `k${i}`);
  await bench.pass(1020);
  t.true(bench.count("kept") >= 75, `${bench.count("kept")}`);
  t.true(bench.count("back") >= 7, `${bench.count("back")}`);
  t.true(bench.count("new") >= 1, `${bench.count("new")}`);
});

test("a request that would wait too long is told when to come, one after the other", async (t) => {
  const bench = new Bench(20);
  for (let i = 0; i < 60; i++) bench.submit("early", "new", "peer", `e${i}`);
  await bench.pass(400);
  t.is(bench.refused.length, 0);
  for (let i = 0; i < 20; i++) bench.submit("late", "new", "peer", `l${i}`);
  const waits = bench.refused.map(({ retryAfter }) => retryAfter);
  t.is(waits.length, 20);
  t.deepEqual(new Set(bench.refused.map(({ reason }) => reason)), new Set(["long-wait"]));
  for (let i = 1; i < waits.length; i++) {
    const step = (waits[i] ?? 0) - (waits[i - 1] ?? 0);
    t.true(step > 15 && step < 25, `${step} ms`);
  }
  t.true(bench.admission.view().busy);
  t.is(bench.admission.view().waiting.new > 0, true);
});

test("one with a ticket goes before newcomers, at its time and not before", async (t) => {
  const bench = new Bench(20);
  for (let i = 0; i < 60; i++) bench.submit("early", "new", "peer", `e${i}`);
  await bench.pass(400);
  const late = bench.job("late", "new", "peer", "late");
  bench.admission.submit(late);
  const ticket = bench.refused[0]?.ticket;
  if (ticket === undefined) return t.fail("no ticket");
  t.is(bench.admission.urgencyOf([ticket], late.about), "new");
  await bench.pass(bench.refused[0]?.retryAfter ?? 0);
  t.is(bench.admission.urgencyOf([ticket], late.about), "returning");
  t.is(bench.admission.urgencyOf([ticket], bench.job("other", "new").about), "new");
  t.is(bench.admission.urgencyOf(undefined, late.about), "new");
  t.like(bench.counters.snapshot(), { "ticket.early": 1, "ticket.forged": 1, "ticket.good": 1 });
});

test("one sender that floods is turned away, and all others are served as if it were not there", async (t) => {
  const bench = new Bench(10);
  for (let round = 0; round < 100; round++) {
    for (let i = 0; i < 20; i++) bench.submit("flood", "new", "peer", "flooder");
    if (round % 10 === 0) {
      bench.submit("neighbour", "new", "peer", "neighbour");
      bench.submit("other", "new", "other peer", "other");
    }
    await bench.pass(20);
  }
  await bench.pass(200);
  t.is(bench.count("neighbour"), 10);
  t.is(bench.count("other"), 10);
  t.deepEqual(
    bench.refused.filter(({ name }) => name !== "flood"),
    [],
  );
  t.true(bench.refused.length > 1500);
});

test("what has waited too long is not done any more, and a refresh that was given up is remembered", async (t) => {
  const bench = new Bench(3000);
  bench.submit("running", "kept");
  bench.submit("waiting", "kept");
  await bench.pass(3100);
  t.deepEqual(bench.done, ["running"]);
  t.like(bench.refused[0], { name: "waiting", reason: "too-late" });
  t.true(bench.admission.lateSince(0));
  t.false(bench.admission.lateSince(bench.time.now()));
  t.like(bench.counters.snapshot(), { "busy.too-late": 1, "busy.refresh": 1 });
});

test("puzzles come when more is turned away than served, get harder, and go again", async (t) => {
  const bench = new Bench(50, { puzzle: 10 });
  const bits: number[] = [];
  for (let second = 0; second < 6; second++) {
    for (let i = 0; i < 100; i++) {
      bench.submit("crowd", "new", "peer", `${second} ${i}`);
      await bench.pass(10);
    }
    bits.push(bench.admission.view().puzzle);
  }
  t.deepEqual(
    bits,
    [...bits].sort((a, b) => a - b),
  );
  t.deepEqual([...new Set(bits)].slice(-3), [8, 9, 10]);
  t.true(bench.refused.some(({ ticket }) => ticket?.bits === 10));
  await bench.pass(6000);
  t.is(bench.admission.view().puzzle, 0);
});

test("nobody is told to wait longer than the configuration says", async (t) => {
  const bench = new Bench(100, { longestRetry: seconds(3), patience: ms(100) });
  for (let i = 0; i < 500; i++) {
    bench.submit("crowd", "new", "peer", `${i}`);
    await bench.pass(10);
  }
  const waits = bench.refused.map(({ retryAfter }) => retryAfter);
  t.true(waits.length > 100);
  t.true(Math.max(...waits) <= 3000, `${Math.max(...waits)}`);
});
