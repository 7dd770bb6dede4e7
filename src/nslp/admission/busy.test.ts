/** A busy node on the path, as the others see it. */
import test from "ava";
import { DEFAULT_ADMISSION } from "../../authorization/admission.js";
import { Counters } from "../../base/counters.js";
import { FakeTime } from "../../base/time.js";
import { bytes, ms, seconds } from "../../base/units.js";
import type { SendMessage } from "../../gist/service.js";
import { graceFor } from "../grace.js";
import { DEFAULT_PBS_OPTIONS } from "../options.js";
import { carried, inject } from "../testing/forge.js";
import {
  ask,
  EVERYWHERE,
  FLOW,
  Line,
  makeCredentials,
  permitted,
  type Place,
  traffic,
} from "../testing/line.js";
import { decodePbs, encodeNotify } from "../wire/codec.js";
import { INFO_CLASS, INFO_CODE, type PbsQuery, type Ticket } from "../wire/messages.js";

const credentials = makeCredentials();

/** What a busy router says, on behalf of which the test answers each Query that it takes away. */
function busyNotify(id: string, retryAfter: number, ticket?: Ticket): SendMessage {
  const info = {
    class: INFO_CLASS.transientFailure,
    code: INFO_CODE.busy,
    objectType: 0,
    retryAfter: ms(retryAfter),
    text: "this node is busy",
  };
  const data = encodeNotify({ type: "notify", flow: FLOW, info, ...(ticket && { ticket }) });
  return carried(id, FLOW, "upstream", data);
}

function ticketOf(bits: number): Ticket {
  return {
    node: new Uint8Array(16).fill(7),
    due: 99,
    bits,
    seal: new Uint8Array(20).fill(bits),
    nonce: new Uint8Array(8),
  };
}

/** The first so many Queries of the sender are turned away by the router. */
function turnAway(line: Line, count: number, retryAfter: number, bits?: number): PbsQuery[] {
  const seen: PbsQuery[] = [];
  line.tamper = (message, from) => {
    const { message: pbs } = decodePbs(message.data);
    if (from !== "sender" || pbs.type !== "query") return [message];
    seen.push(pbs);
    if (seen.length > count) return [message];
    const ticket = bits === undefined ? undefined : ticketOf(bits);
    queueMicrotask(() => inject(line, busyNotify(message.sessionId, retryAfter, ticket), "router", "sender"));
    return [];
  };
  return seen;
}

function counter(line: Line, place: Place, name: string): number {
  return line.node(place).counters()[name] ?? 0;
}

function allPermitted(line: Line): boolean {
  return EVERYWHERE.every((place) => permitted(line, place));
}

test("a sender comes again when it was told to, and not before", async (t) => {
  const line = new Line(credentials);
  const seen = turnAway(line, 1, 5000);
  line.datapath("sender").want(FLOW);
  await line.pass(ms(4900), ms(100));
  t.is(seen.length, 1);
  t.deepEqual(line.datapath("sender").refused, []);
  t.is(line.events("sender").filter(({ type }) => type === "busy").length, 1);
  await line.pass(ms(1400), ms(100));
  t.is(seen.length, 2);
  t.true(allPermitted(line));
});

test("it brings the ticket that it was given, its puzzle solved, until it has its permission", async (t) => {
  const line = new Line(credentials);
  const seen = turnAway(line, 1, 1000, 10);
  line.datapath("sender").want(FLOW);
  await line.pass(seconds(4), ms(100));
  const [, second] = seen;
  const [ticket] = second?.tickets ?? [];
  t.like(ticket, { bits: 10, due: 99 });
  t.notDeepEqual(ticket?.nonce, new Uint8Array(8));
  t.true(allPermitted(line));
  turnAway(line, 0, 0);
  line.loseAssociation("sender");
  await line.pass(seconds(1), ms(100));
  t.true(allPermitted(line));
});

test("a puzzle that is too hard is not begun: the application hears of it", async (t) => {
  const line = new Line(credentials);
  const seen = turnAway(line, 1, 1000, 19);
  line.datapath("sender").want(FLOW);
  await line.settle();
  t.is(seen.length, 1);
  t.is(line.datapath("sender").refused.length, 1);
  const refused = line.events("sender").find(({ type }) => type === "refused");
  t.regex(refused?.detail ?? "", /puzzle of 19 bits; puzzle_effort allows 18/);
  t.is(counter(line, "sender", "puzzle.too-hard"), 1);
});

test("a node that stays busy is waited for as long as the configuration says", async (t) => {
  const line = new Line(credentials, { admission: { ...DEFAULT_ADMISSION, endurance: seconds(30) } });
  const seen = turnAway(line, 1000, 1000);
  line.datapath("sender").want(FLOW);
  await line.pass(seconds(20));
  t.deepEqual(line.datapath("sender").refused, []);
  await line.pass(seconds(20));
  t.is(line.datapath("sender").refused.length, 1);
  // Without a ticket each wait is twice the one before.
  t.true(seen.length <= 6, `${seen.length}`);
});

test("a refresh that is turned away is no silence: no other path, and it comes again", async (t) => {
  const line = new Line(credentials, {}, ["via 10.0.0.2"]);
  await ask(line);
  const seen = turnAway(line, 3, 3000);
  for (let i = 0; i < 120; i++) {
    traffic(line, 10);
    await line.pass(seconds(1));
  }
  t.true(seen.length > 3);
  t.deepEqual(line.paths.calls, []);
  t.is(counter(line, "sender", "finding.silence"), 0);
  t.true(allPermitted(line));
});

test("a router passes the ticket of a node behind it on", async (t) => {
  const line = new Line(credentials);
  const seen: PbsQuery[] = [];
  let turned = 0;
  line.tamper = (message, from) => {
    const { message: pbs } = decodePbs(message.data);
    if (pbs.type === "query" && from === "sender") seen.push(pbs);
    if (pbs.type !== "query" || from !== "router" || turned++ > 0) return [message];
    queueMicrotask(() =>
      inject(line, busyNotify(message.sessionId, 1000, ticketOf(0)), "receiver", "router"),
    );
    return [];
  };
  line.datapath("sender").want(FLOW);
  await line.pass(seconds(3), ms(100));
  t.is(seen[1]?.tickets?.length, 1);
  t.true(allPermitted(line));
});

const GRANT = { volume: bytes(10_000), lifetime: seconds(600), refresh: seconds(10), extend: true };
const SHORT = { type: "grant", rule: "short", grant: GRANT } as const;

/** Until this node takes the permission out. */
async function timeLeft(line: Line, place: Place): Promise<number> {
  const start = line.time.now();
  while (permitted(line, place) && line.flows(place).length > 0) await line.pass(seconds(1));
  return line.time.now() - start;
}

for (const place of ["router", "receiver"] as const) {
  test(`at a ${place} that does its work a permission ends when its refreshes stay away`, async (t) => {
    const line = new Line(credentials);
    line.decision = SHORT;
    await ask(line);
    line.tamper = () => [];
    const left = await timeLeft(line, place);
    t.true(left >= 52_000 && left <= 54_000, `${left}`);
  });

  test(`at a ${place} that does not get to look at refreshes it lives longer, and not for ever`, async (t) => {
    const line = new Line(credentials, { maxVerifying: 1 });
    line.decision = SHORT;
    await ask(line);
    line.stuck = place;
    for (let i = 0; i < 30; i++) {
      traffic(line, 10);
      await line.pass(seconds(1));
    }
    const left = 30_000 + (await timeLeft(line, place));
    t.true(left >= 71_000 && left <= 74_000, `${left}`);
    t.true(counter(line, place, "state.grace") >= 1);
  });
}

test("a router's flow that went to rest is not given precedence anew", async (t) => {
  const line = new Line(credentials, { maxVerifying: 1 });
  line.decision = SHORT;
  await ask(line);
  line.stuck = "router";
  const load = () => line.node("router").admission();
  while (load().running === 0) {
    traffic(line, 10);
    await line.pass(ms(500), ms(100));
  }
  // The second try comes after 2 s.
  await line.pass(seconds(3), ms(100));
  t.deepEqual(load().waiting, { kept: 0, returning: 0, new: 1 });
});

test("a sender keeps what it has while nodes on the path are too busy for its refreshes", async (t) => {
  const line = new Line(credentials);
  line.decision = SHORT;
  await ask(line);
  turnAway(line, 1000, 5000);
  const start = line.time.now();
  while (permitted(line, "sender")) {
    line.datapath("sender").pass(FLOW, 1);
    await line.pass(seconds(1));
  }
  const left = line.time.now() - start;
  t.true(left >= 71_000 && left <= 75_000, `${left}`);
});

interface GraceCase {
  readonly title: string;
  readonly ttl?: number;
  /** Now, in seconds since the last refresh; the timer was due at 52.5 s. */
  readonly now: number;
  readonly due?: number;
  readonly late?: boolean;
  readonly gaveUp?: boolean;
  readonly more: number | undefined;
}

const GRACE: readonly GraceCase[] = [
  { title: "a node that was in time", now: 52.5, more: undefined },
  { title: "a node that gave refreshes up", now: 52.5, gaveUp: true, more: 10 },
  { title: "a node that waits for a busy one", now: 52.5, late: true, more: 10 },
  { title: "a process that stood still", now: 54, more: 10 },
  { title: "the rest of the grace", now: 65, due: 65, gaveUp: true, more: 7.5 },
  { title: "no more grace", now: 72.5, due: 72.5, gaveUp: true, more: undefined },
  { title: "nothing above what was granted", ttl: 55, now: 52.5, gaveUp: true, more: 2.5 },
  { title: "the end of what was granted", ttl: 52.5, now: 52.5, gaveUp: true, more: undefined },
];

for (const { title, ttl = 600, now, due = 52.5, late = false, gaveUp = false, more } of GRACE)
  test(`grace: ${title}`, (t) => {
    const time = new FakeTime();
    time.advance(seconds(now));
    const admission = { lateSince: () => gaveUp };
    const context = { time, admission, counters: new Counters(), options: DEFAULT_PBS_OPTIONS };
    const granted = { ttl: seconds(ttl), refresh: seconds(10) };
    const given = graceFor(context, granted, { since: 0, due: seconds(due), late });
    t.is(given, more === undefined ? undefined : seconds(more));
  });
