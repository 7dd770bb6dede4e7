import test from "ava";
import fc from "fast-check";
import { AGAIN_MARK, STRANGER_MARK } from "../../base/marks.js";
import { MOST_STRANGERS, standingOf, Strangers } from "./strangers.js";

/** Turns are taken by hand. */
function room() {
  const handled: string[] = [];
  let turn: (() => void) | undefined;
  const strangers = new Strangers<string>(
    (packet) => handled.push(packet),
    (next) => {
      turn = next;
    },
  );
  const pass = (): boolean => {
    const due = turn;
    turn = undefined;
    due?.();
    return due !== undefined;
  };
  return { strangers, handled, pass };
}

test("marks tell who comes", (t) => {
  t.deepEqual([0, 1, STRANGER_MARK, AGAIN_MARK].map(standingOf), ["known", "known", "stranger", "again"]);
});

test("one is handled in each turn in which nothing was read, who comes again first", (t) => {
  const { strangers, handled, pass } = room();
  for (const name of ["a", "b"]) strangers.wait(name, "stranger");
  strangers.wait("c", "again");
  strangers.read();
  pass();
  t.deepEqual(handled, []);
  while (pass());
  t.deepEqual(handled, ["c", "a", "b"]);
});

test("while there is always something to read one is handled now and then, more of those who come again", (t) => {
  const { strangers, handled, pass } = room();
  for (const name of ["a", "b"]) strangers.wait(name, "stranger");
  for (const name of ["c", "d", "e"]) strangers.wait(name, "again");
  const read = (turns: number) => {
    for (let i = 0; i < turns; i++) {
      strangers.read();
      pass();
    }
  };
  read(5);
  t.deepEqual(handled, ["c", "d"]);
  read(35);
  t.deepEqual(handled, ["c", "d", "e", "a"]);
});

test("whatever comes and is read, not too many wait, and each is handled once or turned away", (t) => {
  const what = fc.constantFrom("read", "turn", "stranger", "again");
  fc.assert(
    fc.property(fc.array(what, { maxLength: 2000 }), (steps) => {
      const { strangers, handled, pass } = room();
      const taken: string[] = [];
      for (const [i, step] of steps.entries()) {
        if (step === "read") strangers.read();
        else if (step === "turn") pass();
        else if (strangers.wait(String(i), step)) taken.push(String(i));
        const most = MOST_STRANGERS.stranger + MOST_STRANGERS.again;
        if (taken.length - handled.length > most) return false;
      }
      while (pass());
      return handled.toSorted().join() === taken.toSorted().join();
    }),
  );
  t.pass();
});
