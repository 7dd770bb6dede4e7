/** Much more than a router can do at once. STORM=36000 takes some minutes, and shows the same as the tenth of it. */
import test from "ava";
import { DEFAULT_ADMISSION } from "../../authorization/admission.js";
import type { Flow } from "../../base/flow.js";
import { seededRandom } from "../../base/random.js";
import { bytes, ms, seconds } from "../../base/units.js";
import { newSessionId } from "../../gist/wire/codec.js";
import { nextSequence } from "../sequence.js";
import { Crowd } from "../testing/crowd.js";
import { carried } from "../testing/forge.js";
import { encodeUnsigned, withSignature } from "../wire/codec.js";

const SENDERS = Number(process.env["STORM"] ?? 3600);
const PEERS = 36;
/** 36,000 flows refreshed once a minute are 1200 messages a second: 60 % of what the router can check. */
const CHECK = (0.5 * 36_000) / SENDERS;
/** Puzzles are tested elsewhere; this host would solve those of all senders. */
const NO_PUZZLES = { admission: { ...DEFAULT_ADMISSION, puzzle: 0 } };

test(`${SENDERS} senders that restart at once are all back within two refresh periods`, async (t) => {
  t.timeout(600_000);
  const crowd = new Crowd({ senders: SENDERS, peers: PEERS, check: CHECK, router: NO_PUZZLES });
  crowd.want(crowd.flows);
  const curve: number[] = [];
  for (let second = 1; second <= 120; second++) {
    await crowd.pass(seconds(1));
    curve.push(crowd.permitted(crowd.flows));
  }
  t.log(`permitted each 5 s: ${curve.filter((_, i) => i % 5 === 4).join(" ")}`);
  t.log(JSON.stringify(crowd.node("router").counters()));
  const back = curve.findIndex((count) => count === SENDERS) + 1;
  t.log(`all back after ${back} s`);
  t.true(back > 0 && back <= 120);
  t.is(crowd.refused, 0);
  // And all stay, with refreshes at 60 % of what the router can do.
  await crowd.pass(seconds(60));
  t.is(crowd.permitted(crowd.flows), SENDERS);
  crowd.stop();
});

test("a crowd that is turned away pays with puzzles, and comes back all the same", async (t) => {
  const admission = { ...DEFAULT_ADMISSION, puzzle: 4 };
  const crowd = new Crowd({ senders: 200, peers: 4, check: 50, router: { admission } });
  crowd.want(crowd.flows);
  await crowd.pass(seconds(60));
  t.is(crowd.permitted(crowd.flows), 200);
  const counters = crowd.node("router").counters();
  t.true((counters["ticket.good"] ?? 0) > 100, JSON.stringify(counters));
  t.is(counters["ticket.unsolved"], undefined);
  crowd.stop();
});

/** Valid Queries of one sender, each of a session and flow of its own. */
function flood(crowd: Crowd, of: Flow, peer: number, count: number, from: number): void {
  const random = seededRandom(from);
  for (let i = 0; i < count; i++) {
    const flow = { ...of, sourcePort: 5000 + ((from + i) % 60_000) };
    const id = newSessionId(random);
    const unsigned = encodeUnsigned({
      type: "query",
      flow,
      sequence: nextSequence(undefined, crowd.time.wall()),
      requestedVolume: bytes(1e6),
      sentVolume: bytes(0),
      certificate: Uint8Array.of(1, 2, 3),
    });
    crowd.inject(carried(id, flow, "downstream", withSignature(unsigned, new Uint8Array(64).fill(1))), peer);
  }
}

test("a sender that floods valid requests takes nothing from others, behind the same neighbour or another", async (t) => {
  t.timeout(600_000);
  const senders = 72;
  const crowd = new Crowd({ senders, peers: 12, check: 2, router: NO_PUZZLES });
  const [flooder] = crowd.flows.slice(-1);
  if (flooder === undefined) return t.fail();
  const honest = crowd.flows.slice(0, senders / 2);
  crowd.want(honest);
  await crowd.pass(seconds(5));
  t.is(crowd.permitted(honest), honest.length);
  // Four times what the router can do, for five refresh times; newcomers one by one, each behind another neighbour.
  const newcomers = crowd.flows.slice(senders / 2, senders - 1);
  const waits: number[] = [];
  for (let i = 0; i < newcomers.length; i++) {
    const newcomer = newcomers.slice(i, i + 1);
    crowd.want(newcomer);
    let waited = 0;
    while (crowd.permitted(newcomer) === 0 && waited < 10_000) {
      flood(crowd, flooder, (senders - 1) % 12, 10, i * 1000 + waited);
      await crowd.pass(ms(10));
      waited += 10;
    }
    waits.push(waited);
    for (let rest = waited; rest < 500; rest += 10) {
      flood(crowd, flooder, (senders - 1) % 12, 10, i * 1000 + rest + 500_000);
      await crowd.pass(ms(10));
    }
  }
  t.log(
    `longest wait of a newcomer ${Math.max(...waits)} ms; ${JSON.stringify(crowd.node("router").counters())}`,
  );
  t.true(Math.max(...waits) <= 1000);
  t.is(crowd.permitted(honest), honest.length);
  t.is(crowd.permitted(newcomers), newcomers.length);
  crowd.stop();
});
