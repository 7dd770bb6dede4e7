import test from "ava";
import { parseFlow } from "../../base/flow.js";
import { seededRandom } from "../../base/random.js";
import { FakeTime } from "../../base/time.js";
import { ms, seconds } from "../../base/units.js";
import type { SessionId } from "../../gist/wire/messages.js";
import type { Ticket } from "../wire/messages.js";
import { PuzzleSolver } from "./solver.js";
import { isSolved, Tickets } from "./tickets.js";

const SUBJECT = { id: "ab".repeat(16) as SessionId, flow: parseFlow("udp 10.0.0.1:1 > 10.0.1.1:2") };
const OTHER_FLOW = { ...SUBJECT, flow: parseFlow("udp 10.0.0.2:1 > 10.0.1.1:2") };
const OTHER_SESSION = { ...SUBJECT, id: "cd".repeat(16) as SessionId };

function node(time: FakeTime, seed = 1): Tickets {
  return new Tickets(time, seededRandom(seed), new Uint8Array(16).fill(seed));
}

test("a ticket is good from its time on, for a minute, and for its session and flow alone", (t) => {
  const time = new FakeTime();
  const tickets = node(time);
  const ticket = tickets.make(SUBJECT, seconds(5), 0);
  t.is(tickets.check(ticket, SUBJECT), "early");
  time.advance(seconds(5));
  t.is(tickets.check(ticket, SUBJECT), "good");
  t.is(tickets.check(ticket, OTHER_FLOW), "forged");
  t.is(tickets.check(ticket, OTHER_SESSION), "forged");
  time.advance(seconds(60));
  t.is(tickets.check(ticket, SUBJECT), "good");
  time.advance(ms(20));
  t.is(tickets.check(ticket, SUBJECT), "late");
});

test("nothing of a ticket can be changed", (t) => {
  const time = new FakeTime();
  const tickets = node(time);
  const ticket = tickets.make(SUBJECT, ms(0), 12);
  const seal = (at: number) => ticket.seal.map((byte, i) => (i === at ? byte ^ 1 : byte));
  const forged: Ticket[] = [
    { ...ticket, due: ticket.due + 1 },
    { ...ticket, bits: 0 },
    { ...ticket, seal: ticket.seal.subarray(0, 19) },
    { ...ticket, seal: new Uint8Array() },
    ...[...ticket.seal.keys()].map((at) => ({ ...ticket, seal: seal(at) })),
  ];
  for (const one of forged) t.is(tickets.check(one, SUBJECT), "forged");
  t.is(tickets.check(ticket, SUBJECT), "unsolved");
});

test("a node knows its own among others, however long ago it last made one", (t) => {
  const time = new FakeTime();
  const [a, b] = [node(time, 1), node(time, 2)];
  const [ofA, ofB] = [a.make(SUBJECT, ms(0), 0), b.make(SUBJECT, ms(0), 0)];
  t.is(a.own([ofB, ofA]), ofA);
  t.is(a.own([ofB]), undefined);
  t.is(a.own(undefined), undefined);
  t.is(a.check({ ...ofB, node: ofA.node }, SUBJECT), "forged");
  t.is(node(time, 3).check(ofA, SUBJECT), "forged");
  time.advance(seconds(2000));
  t.is(a.check(ofA, SUBJECT), "forged");
});

test("the longest wait that is told is within the life of the secret", (t) => {
  const time = new FakeTime();
  const tickets = node(time);
  tickets.make(SUBJECT, ms(0), 0);
  time.advance(seconds(659));
  const ticket = tickets.make(SUBJECT, seconds(600), 0);
  time.advance(seconds(600));
  t.is(tickets.check(ticket, SUBJECT), "good");
});

test("a puzzle is solved piece by piece, and its solution fits no other ticket", async (t) => {
  const time = new FakeTime();
  const tickets = node(time);
  const solver = new PuzzleSolver(time);
  const ticket = tickets.make(SUBJECT, ms(0), 12);
  const solving = solver.solve(ticket, () => true);
  for (let i = 0; i < 100 && time.pending > 0; i++) time.advance(ms(10));
  const solved = await solving;
  if (solved === undefined) return t.fail("not solved");
  t.is(tickets.check(solved, SUBJECT), "good");
  const other = tickets.make(OTHER_FLOW, ms(0), 12);
  t.false(isSolved(other, solved.nonce));
});

test("a puzzle that nobody wants any more, or one too many, is given up", async (t) => {
  const time = new FakeTime();
  const solver = new PuzzleSolver(time);
  const ticket = node(time).make(SUBJECT, ms(0), 24);
  let wanted = true;
  const first = solver.solve(ticket, () => wanted);
  const waiting = Array.from({ length: 9_999 }, () => solver.solve(ticket, () => wanted));
  t.is(await solver.solve(ticket, () => true), undefined);
  wanted = false;
  time.advance(ms(200));
  t.deepEqual(new Set(await Promise.all([first, ...waiting])), new Set([undefined]));
  t.is(time.pending, 0);
});

test("without a puzzle there is nothing to solve", async (t) => {
  const time = new FakeTime();
  const ticket = node(time).make(SUBJECT, ms(0), 0);
  t.is(await new PuzzleSolver(time).solve(ticket, () => true), ticket);
});
