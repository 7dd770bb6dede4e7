import test from "ava";
import fc from "fast-check";
import { bytes } from "../base/units.js";
import { DEFAULT_LIMITS } from "./detection.js";
import { type EntranceCount, EntranceWatch, type OffPathProof } from "./entrances.js";

const MB = 1_000_000;
const PATH = { interface: "left", address: "02:00:00:00:00:01" };
const BESIDE = { interface: "left", address: "02:00:00:00:00:02" };
const ELSEWHERE = { interface: "other", address: "02:00:00:00:00:03" };

function at(place: { interface: string; address: string }, came: number, failed = 0): EntranceCount {
  return { ...place, bytes: came, failed };
}

function places(proof: OffPathProof | undefined): string[] {
  return (proof?.strange ?? []).map(({ interface: name, address }) => `${name} ${address}`);
}

/** A flow whose first megabyte came as it was sent, by its path. */
function fitting(): EntranceWatch {
  const watch = new EntranceWatch(DEFAULT_LIMITS);
  watch.fits([at(PATH, MB)], bytes(MB));
  return watch;
}

test("bytes too many, by another interface and by another address of the same one", (t) => {
  const watch = fitting();
  const counts = [at(PATH, 2 * MB), at(BESIDE, 50_000), at(ELSEWHERE, 3 * MB)];
  const proof = watch.prove(counts, bytes(2 * MB), true, "left");
  t.is(proof?.how, "counted");
  t.is(proof?.sent, bytes(MB));
  t.deepEqual(proof?.own, [at(PATH, MB)]);
  t.deepEqual(places(proof), ["left 02:00:00:00:00:02", "other 02:00:00:00:00:03"]);
});

test("nothing is proven without an excess, a place of the flow's own, or its signalling", (t) => {
  const counts = [at(PATH, 2 * MB), at(ELSEWHERE, 3 * MB)];
  t.is(fitting().prove(counts, bytes(2 * MB), false, "left"), undefined);
  t.is(new EntranceWatch(DEFAULT_LIMITS).prove(counts, bytes(2 * MB), true, "left"), undefined);
  t.is(fitting().prove(counts, bytes(2 * MB), true, "other"), undefined);
  t.deepEqual(places(fitting().prove(counts, bytes(2 * MB), true, "")), ["other 02:00:00:00:00:03"]);
});

test("a path that has moved is not taken for an attacker", (t) => {
  // What was sent since comes elsewhere, and somebody injects as well.
  const moved = [at(PATH, MB), at(ELSEWHERE, MB), at(BESIDE, 3 * MB)];
  t.is(fitting().prove(moved, bytes(2 * MB), true, "left"), undefined);
});

test("what is behind the place of the flow's own packets is not found here", (t) => {
  t.is(fitting().prove([at(PATH, 5 * MB)], bytes(2 * MB), true, "left"), undefined);
});

test("a few bytes elsewhere are no matter", (t) => {
  const counts = [at(PATH, 5 * MB), at(ELSEWHERE, DEFAULT_LIMITS.excess)];
  t.is(fitting().prove(counts, bytes(2 * MB), true, "left"), undefined);
});

test("signed packets: a place without a good one", (t) => {
  const watch = new EntranceWatch(DEFAULT_LIMITS);
  // What came before the epoch was not signed.
  watch.begin([at(PATH, MB), at(ELSEWHERE, MB)], bytes(MB), true);
  t.is(watch.prove([at(PATH, MB), at(ELSEWHERE, MB, 500)], bytes(MB), false, ""), undefined);
  const counts = [at(PATH, 2 * MB, 100), at(ELSEWHERE, MB, 500), at(BESIDE, 0, 3)];
  const proof = watch.prove(counts, bytes(2 * MB), false, "");
  t.is(proof?.how, "signed");
  t.deepEqual(places(proof), ["other 02:00:00:00:00:03"]);
  // One good packet, played again from there before it came by the path, and nobody is blocked.
  t.is(watch.prove([at(PATH, 2 * MB), at(ELSEWHERE, MB + 100, 500)], bytes(2 * MB), false, ""), undefined);
});

test("bytes that nobody notices, before the sender has sent, make no place the flow's own", (t) => {
  const watch = new EntranceWatch(DEFAULT_LIMITS);
  watch.fits([at(PATH, 10), at(ELSEWHERE, DEFAULT_LIMITS.excess)], bytes(10));
  const counts = [at(PATH, MB), at(ELSEWHERE, 5 * MB)];
  t.is(watch.prove(counts, bytes(MB), true, ""), undefined);
});

test("whatever an attacker elsewhere sends, the place by which the sender's own bytes come is never named", (t) => {
  const size = fc.oneof(fc.nat(10_000), fc.nat(100_000), fc.nat(5 * MB));
  const steps = fc.array(fc.tuple(size, size, fc.boolean()), { maxLength: 20 });
  fc.assert(
    fc.property(steps, fc.nat(15), (all, lossPercent) => {
      const watch = new EntranceWatch(DEFAULT_LIMITS);
      let [sent, own, injected] = [0, 0, 0];
      for (const [honest, attack, compared] of all) {
        sent += honest;
        own += Math.ceil(honest * (1 - lossPercent / 100));
        injected += attack;
        const counts = [at(PATH, own), at(ELSEWHERE, injected)];
        const excess = own + injected > sent + DEFAULT_LIMITS.excess;
        if (!excess && compared) watch.fits(counts, bytes(sent));
        const proof = watch.prove(counts, bytes(sent), excess, "");
        t.false(places(proof).includes("left 02:00:00:00:00:01"), JSON.stringify(proof));
      }
    }),
    { numRuns: 2000 },
  );
});
