import test from "ava";
import { generateKeyPairSync } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { buildAuthority, buildHost } from "../authorization/issue.js";
import { toPem } from "../authorization/pem.js";
import { Signer } from "../authorization/signing.js";
import { Trust } from "../authorization/trust.js";
import { seededRandom } from "../base/random.js";
import { FakeTime } from "../base/time.js";
import { ms, seconds } from "../base/units.js";
import type { GistService, MessageStatus, Nslp, SendMessage } from "../gist/service.js";
import { flipMri } from "../gist/wire/codec.js";
import { SEAL_BYTES } from "../nslp/admission/tickets.js";
import { decodePbs, encodeNotify } from "../nslp/wire/codec.js";
import { INFO_CLASS, INFO_CODE, PBS_NSLP_ID } from "../nslp/wire/messages.js";
import { Driver } from "./driver.js";
import type { ReceiverBehaviour, SenderBehaviour } from "./options.js";
import { STILL } from "./plan.js";
import { ReceiverSide } from "./receiver.js";
import { SenderSide } from "./sender.js";
import { FlowSpace } from "./space.js";

const RUN = "00112233445566aa";
const FLOWS = 12;
const DAY = 24 * 3600 * 1000;

const key = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const space = new FlowSpace({
  flows: FLOWS,
  senders: { first: "10.64.0.1", count: 2 },
  receivers: { first: "10.128.0.1", count: 2 },
});
const validity = { notBefore: Date.UTC(2025, 11, 1), notAfter: Date.UTC(2025, 11, 1) + 365 * DAY };
const authority = buildAuthority(key.privateKey, "test", validity);
const signerFor = (index: number, addresses: FlowSpace["senders"]): Signer => {
  const host = {
    commonName: `host ${index}`,
    publicKey: key.publicKey,
    addresses: addresses.slice(index, index + 1),
    ...validity,
  };
  return new Signer(key.privateKey, buildHost(host, authority, key.privateKey));
};

/** Both sides, joined by a GIST that hands messages over at once, or loses them. */
class Line {
  readonly time = new FakeTime();
  readonly sender: SenderSide;
  readonly receiver: ReceiverSide;
  readonly driver: Driver;
  /** Whether a message goes on. */
  passes: (send: SendMessage) => boolean = () => true;
  /** Whether GIST keeps it, as it knows no way so far. */
  holds: (send: SendMessage) => boolean = () => false;
  /** Turns of the event loop that are taken by hand; undefined: each comes at once. */
  turns: (() => void)[] | undefined;
  readonly sessions = new Set<string>();

  constructor(sending: Partial<SenderBehaviour> = {}, receiving: Partial<ReceiverBehaviour> = {}) {
    const { time } = this;
    const random = seededRandom(7);
    const trust = new Trust([toPem("CERTIFICATE", authority)]);
    const later = (turn: () => void): void => {
      if (this.turns === undefined) time.after(ms(0), turn);
      else this.turns.push(turn);
    };
    const common = { space, trust, time, random, verifiedShare: 0, later };
    const side = (addresses: FlowSpace["senders"], own: () => Nslp, other: () => Nslp) => ({
      ...common,
      signers: addresses.map((_, i) => signerFor(i, addresses)),
      gist: this.#gist(own, other),
    });
    const sender = () => this.sender;
    const receiver = () => this.receiver;
    const sends = side(space.senders, sender, receiver);
    const receives = side(space.receivers, receiver, sender);
    this.sender = new SenderSide(sends, { ...STILL.sending, refreshes: true, ...sending }, RUN);
    this.receiver = new ReceiverSide(receives, { ...STILL.receiving, refresh: 60_000, ...receiving });
    this.driver = new Driver(this.sender, time, random);
  }

  pass(duration: number): void {
    for (let passed = 0; passed < duration; passed += 50) {
      this.time.advance(ms(50));
      this.sender.advance();
      this.receiver.advance();
      this.driver.advance();
    }
  }

  count(name: string): number {
    return this.sender.counters()[name] ?? 0;
  }

  deliver(nslp: Nslp, { data, sessionId, mri }: Pick<SendMessage, "data" | "sessionId" | "mri">): void {
    this.sessions.add(sessionId);
    void nslp.recvMessage({
      data,
      nslpId: PBS_NSLP_ID,
      sessionId,
      mri,
      routingStateCheck: false,
      siiHandle: "peer",
      transfer: {
        reliable: true,
        secure: true,
        explicitlyRouted: false,
        returnRoutable: true,
        lastNode: true,
      },
      ipTtl: 64,
      ipDistance: 1,
      hopCount: 31,
      inboundInterface: "net0",
    });
  }

  #gist(own: () => Nslp, other: () => Nslp): GistService {
    return {
      register: () => undefined,
      sendMessage: (send) => {
        if (this.holds(send)) return;
        if (this.passes(send)) this.deliver(other(), send);
        if (send.handle !== undefined) own().messageStatus(statusOf(send));
      },
      setStateLifetime: () => undefined,
      invalidateRoutingState: () => undefined,
    };
  }
}

function statusOf(send: SendMessage): MessageStatus {
  const { nslpId, sessionId, mri, transfer } = send;
  return { handle: send.handle, nslpId, sessionId, mri, transfer, error: "no-error", detail: "" };
}

const bytesOf = (length: number): Uint8Array => new Uint8Array(length).fill(9);

const isPermission = (send: SendMessage): boolean => send.data[0] === 2;

test("flows are granted, refresh in their own time, and none is missed", (t) => {
  const line = new Line();
  for (let index = 0; index < FLOWS; index++) t.true(line.sender.start(index));
  t.is(line.sender.live, FLOWS);
  t.is(line.sender.underWay, 0);
  line.pass(seconds(600));
  t.is(line.sender.live, FLOWS);
  const refreshed = line.count("flow.refreshed");
  t.true(refreshed > FLOWS * 8 && refreshed < FLOWS * 13, `${refreshed} refreshes`);
  t.is(line.count("retransmissions"), 0);
  t.is(line.count("refresh.missed"), 0);
  t.is(line.sender.refreshed.count, refreshed);
});

test("a Query without an answer is sent again; latency counts from the first", (t) => {
  const line = new Line();
  let lost = 0;
  line.passes = (send) => isPermission(send) || ++lost > 1;
  line.sender.start(0);
  line.pass(1900);
  t.is(line.sender.live, 0);
  line.pass(200);
  t.is(line.sender.live, 1);
  t.is(line.count("retransmissions"), 1);
  t.true(line.sender.setUp.summary().max >= 2000);
});

test("without any answer an asking fails, and begins again where it is told to", (t) => {
  const silent = new Line();
  silent.passes = () => false;
  silent.sender.start(0);
  silent.pass(20_000);
  t.is(silent.count("flow.failed"), 1);
  t.is(silent.count("query.sent"), 2);

  const stubborn = new Line({ retryAfter: 5000 });
  stubborn.passes = () => false;
  stubborn.sender.start(0);
  stubborn.pass(20_000);
  t.true(stubborn.count("flow.failed") >= 1);
  stubborn.passes = () => true;
  stubborn.pass(20_000);
  t.is(stubborn.sender.live, 1);
  t.is(stubborn.sender.underWay, 0);
});

test("a flow whose refreshes get no answer is lost when its permission ends, not before", (t) => {
  const line = new Line();
  line.sender.start(0);
  line.passes = (send) => !isPermission(send);
  line.pass(300_000);
  t.is(line.sender.live, 1);
  t.true(line.count("refresh.missed") > 0);
  line.pass(30_000);
  t.is(line.sender.live, 0);
  t.is(line.count("flow.lost"), 1);
});

test("refreshes without an answer come no more often than two for each refresh time, and go on when answers come", (t) => {
  const line = new Line();
  line.sender.start(0);
  const before = line.count("query.sent");
  line.passes = (send) => !isPermission(send);
  line.pass(150_000);
  const sent = line.count("query.sent") - before;
  t.true(sent >= 2 && sent <= 10, `${sent} Queries`);
  line.passes = () => true;
  line.pass(90_000);
  t.is(line.sender.live, 1);
  t.is(line.count("flow.lost"), 0);
  t.is(line.sender.underWay, 0);
});

test("who gets no permission time and again asks ever more seldom", (t) => {
  const line = new Line({ retryAfter: 5000 });
  line.passes = () => false;
  line.sender.start(0);
  line.pass(60_000);
  const first = line.count("query.sent");
  line.pass(240_000);
  t.true(line.count("query.sent") - first < 2 * first, "four times as long, and not twice as many");
  line.passes = () => true;
  line.pass(150_000);
  t.is(line.sender.live, 1);
});

test("receivers refuse and revoke the shares that they are told", (t) => {
  const refusing = new Line({}, { refusedShare: 1 });
  refusing.sender.start(0);
  t.is(refusing.sender.live, 0);
  t.is(refusing.count("flow.refused"), 1);

  const revoking = new Line({ replace: true }, { revokedShare: 1, revokeWithin: 1000 });
  revoking.sender.start(0);
  revoking.pass(10_000);
  t.is(revoking.sender.live, 1);
  t.true(revoking.count("flow.revoked") > 5);
  t.is(revoking.sessions.size, revoking.count("flow.revoked") + 1);
  revoking.sender.windDown();
  revoking.pass(2000);
  t.is(revoking.sender.live, 0);
});

test("a flow that has sent most of its volume asks for more", (t) => {
  const line = new Line({ volume: 1_000_000, reportedRate: 10_000 });
  line.sender.start(0);
  line.pass(600_000);
  t.true((line.receiver.counters()["flow.extended"] ?? 0) >= 2);
  t.is(line.sender.live, 1);
});

test("a flow that is told to wait asks again then", (t) => {
  const line = new Line();
  line.passes = () => false;
  line.sender.start(0);
  const place = { index: 0, generation: 0 };
  const info = {
    class: INFO_CLASS.transientFailure,
    code: INFO_CODE.rateLimited,
    objectType: 0,
    retryAfter: ms(10_000),
    text: "busy",
  };
  const flow = space.flow(place);
  line.deliver(line.sender, {
    data: encodeNotify({ type: "notify", flow, info }),
    sessionId: space.sessionId(RUN, place),
    mri: { method: "loose-end", direction: "upstream", source: flow.source, destination: flow.destination },
  });
  line.passes = () => true;
  line.pass(9900);
  t.is(line.count("query.sent"), 1);
  line.pass(3000);
  t.is(line.sender.live, 1);
  t.is(line.count("flow.told-to-wait"), 1);
});

test("while GIST looks for the next node nothing is signed a second time, and its answer counts when it comes", (t) => {
  const line = new Line({ retryAfter: 5000 });
  const held: SendMessage[] = [];
  line.holds = (send) => !isPermission(send) && held.push(send) > 0;
  line.sender.start(0);
  line.pass(20_000);
  t.is(line.count("query.sent"), 1);
  t.true(line.count("query.still-held") > 1);
  line.holds = () => false;
  const [query] = held;
  if (query === undefined) return t.fail();
  line.deliver(line.receiver, query);
  line.sender.messageStatus(statusOf(query));
  t.is(line.sender.live, 1);
  t.is(line.sender.underWay, 0);
  t.true(line.sender.refresh(0));
  t.is(line.count("flow.refreshed"), 1);
});

test("however long GIST looks for the next node, the flow asks again soon after it has given up", (t) => {
  const line = new Line({ retryAfter: 5000 });
  const held: SendMessage[] = [];
  line.holds = (send) => !isPermission(send) && held.push(send) > 0;
  line.sender.start(0);
  line.pass(60_000);
  const [query] = held;
  if (query === undefined) return t.fail();
  line.holds = () => false;
  line.sender.messageStatus({ ...statusOf(query), error: "no-response" });
  line.pass(14_000);
  t.is(line.sender.live, 1);
  t.is(line.count("query.sent"), 2);
});

test("a Query that GIST gives up is signed anew", (t) => {
  const line = new Line({ retryAfter: 5000 });
  line.holds = (send) => {
    line.sender.messageStatus({ ...statusOf(send), error: "no-response" });
    return true;
  };
  line.sender.start(0);
  line.pass(2500);
  t.is(line.count("query.sent"), 2);
  line.holds = () => false;
  line.pass(20_000);
  t.is(line.sender.live, 1);
});

test("of a crowd that waits for its signatures nobody's time runs", (t) => {
  const line = new Line({ retryAfter: 5000 });
  const turns: (() => void)[] = [];
  line.turns = turns;
  // A turn is over after each signature.
  line.holds = (send) => {
    if (!isPermission(send)) line.time.advance(ms(20));
    return false;
  };
  for (let index = 0; index < FLOWS; index++) line.sender.start(index);
  t.is(line.sender.inLine, FLOWS - 1);
  line.pass(10_000);
  t.is(line.count("query.sent"), 1);
  t.is(line.count("flow.failed"), 0);
  for (let turn = turns.shift(); turn !== undefined; turn = turns.shift()) turn();
  t.is(line.sender.inLine, 0);
  t.is(line.sender.live, FLOWS);
  t.is(line.count("query.sent"), FLOWS);
  t.is(line.count("query.first"), FLOWS);
});

test("who was turned away with a ticket brings it", (t) => {
  const line = new Line();
  line.passes = () => false;
  line.sender.start(0);
  const flow = space.flow({ index: 0, generation: 0 });
  const ticket = { node: bytesOf(16), due: 7, bits: 0, seal: bytesOf(SEAL_BYTES), nonce: bytesOf(8) };
  const code = INFO_CODE.busy;
  const info = { class: INFO_CLASS.transientFailure, code, objectType: 0, retryAfter: ms(1000), text: "" };
  line.deliver(line.sender, {
    data: encodeNotify({ type: "notify", flow, info, ticket }),
    sessionId: space.sessionId(RUN, { index: 0, generation: 0 }),
    mri: { method: "loose-end", direction: "upstream", source: flow.source, destination: flow.destination },
  });
  const brought: unknown[] = [];
  line.passes = (send) => {
    const { message } = decodePbs(send.data);
    if (message.type === "query") brought.push(message.tickets);
    return true;
  };
  line.pass(2000);
  t.is(line.sender.live, 1);
  t.true(line.sender.refresh(0));
  t.deepEqual(brought, [[ticket], undefined]);
});

test("a batch keeps so many under way and says what came of them", async (t) => {
  const line = new Line({}, { refusedShare: 0.5 });
  const result = await line.driver.carryOut({
    do: "batch",
    deed: "start",
    first: 0,
    count: FLOWS,
    window: 3,
    limit: 1000,
  });
  t.like(result, { failed: 0 });
  const { granted, refused } = result as { granted: number; refused: number };
  t.is(granted + refused, FLOWS);
  t.true(granted > 0 && refused > 0);
});

test("a batch ends at its limit", async (t) => {
  const line = new Line();
  line.passes = () => false;
  const ended = line.driver.carryOut({
    do: "batch",
    deed: "start",
    first: 0,
    count: 4,
    window: 2,
    limit: 1000,
  });
  line.pass(1200);
  t.like(await ended, { granted: 0, failed: 4 });
});

test("a pace replaces flows at its rate", async (t) => {
  const line = new Line();
  for (let index = 0; index < FLOWS; index++) line.sender.start(index);
  const paced = line.driver.carryOut({
    do: "pace",
    deed: "leave",
    first: 0,
    among: FLOWS,
    rate: 10,
    arrival: "constant",
    choose: "at-random",
    name: "churn",
  });
  line.pass(10_000);
  await line.driver.carryOut({ do: "stop-pace", name: "churn" });
  const { done } = (await paced) as { done: number };
  t.true(Math.abs(done - 100) <= 1, `${done} replaced`);
  t.is(line.count("flow.left"), done);
  t.is(line.sender.live, FLOWS);
  t.is(line.sessions.size, FLOWS + done);
});

/** What is signed together goes at the end of a turn of the event loop, and so does its answer. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await setImmediate();
}

test("flows of a pair refresh by one message, and meet again", async (t) => {
  const line = new Line({ saving: "summaries" });
  for (let index = 0; index < FLOWS; index++) line.sender.start(index);
  await turns();
  t.is(line.sender.live, FLOWS);
  const sent = line.count("query.sent");
  line.pass(6 * 60_000);
  t.is(line.sender.live, FLOWS);
  t.is(line.count("flow.lost"), 0);
  t.is(line.count("refresh.missed"), 0);
  // Three flows of each pair.
  t.true(line.count("flow.refreshed") >= 2.5 * (line.count("query.sent") - sent));
});

test("messages of one host that fall due together have one signature", async (t) => {
  const line = new Line({ saving: "trees" });
  for (let index = 0; index < FLOWS; index++) line.sender.start(index);
  await turns();
  const made = line.count("signature.made");
  for (let index = 0; index < FLOWS; index++) t.true(line.sender.refresh(index));
  await turns();
  t.is(line.count("flow.refreshed"), FLOWS);
  t.is(line.count("signature.made") - made, 2);
});

test("a summary that a node cannot take is asked for flow by flow", async (t) => {
  const line = new Line({ saving: "summaries" });
  for (let index = 0; index < FLOWS; index++) line.sender.start(index);
  await turns();
  const lost: SendMessage[] = [];
  line.passes = (send) => {
    const { message } = decodePbs(send.data);
    if (message.type !== "query" || message.summary === undefined) return true;
    lost.push(send);
    return false;
  };
  t.true(line.sender.refresh(0));
  await turns();
  const [summary] = lost;
  if (summary === undefined) return t.fail();
  const { message } = decodePbs(summary.data);
  if (message.type !== "query") return t.fail();
  const listed = [summary.sessionId, ...(message.summary ?? []).map(({ id }) => id)];
  const info = {
    class: INFO_CLASS.transientFailure,
    code: INFO_CODE.refreshSingly,
    objectType: 0,
    retryAfter: ms(0),
    text: "",
  };
  const data = encodeNotify({ type: "notify", flow: message.flow, info, listed });
  line.deliver(line.sender, { data, sessionId: summary.sessionId, mri: flipMri(summary.mri) });
  await turns();
  t.is(line.count("flow.refreshed"), listed.length);
  t.is(listed.length, 3);
});
