/** Client and server of the service socket, joined in memory, under a fake clock. */
import { once } from "node:events";
import { type Duplex, duplexPair } from "node:stream";
import { setImmediate } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import fc from "fast-check";
import { IpAddress } from "../../base/address.js";
import { silentLogger } from "../../base/log.js";
import { seededRandom } from "../../base/random.js";
import { FakeTime } from "../../base/time.js";
import { type Milliseconds, ms, seconds } from "../../base/units.js";
import type {
  MessageStatus,
  NetworkNotification,
  Nslp,
  PeerDecision,
  ReceivedMessage,
  SendMessage,
} from "../service.js";
import type { Mri, SessionId } from "../wire/messages.js";
import { GistClient } from "./client.js";
import { decodeServerFrame, encodeClientFrame } from "./codec.js";
import { type ClientFrame, PROTOCOL_VERSION, type ServerFrame } from "./frames.js";
import { framed, FrameReader } from "./framing.js";
import type { ClientOptions, ServerOptions } from "./options.js";
import { type ServiceHost, ServiceServer } from "./server.js";

const NSLP = 7;
const SESSION = "00112233445566778899aabbccddeeff" as SessionId;
const MRI: Mri = {
  method: "path-coupled",
  direction: "downstream",
  source: IpAddress.parse("192.168.20.1"),
  destination: IpAddress.parse("192.168.21.4"),
  sourcePrefix: 32,
  destinationPrefix: 32,
};
const TRANSFER = { reliable: true, secure: true };

function message(more: Partial<SendMessage> = {}): SendMessage {
  return {
    data: Uint8Array.of(1, 2, 3, 4),
    nslpId: NSLP,
    sessionId: SESSION,
    mri: MRI,
    transfer: TRANSFER,
    ...more,
  };
}

function received(routingStateCheck: boolean): ReceivedMessage {
  return {
    data: Uint8Array.of(9, 8, 7, 6),
    nslpId: NSLP,
    sessionId: SESSION,
    mri: MRI,
    routingStateCheck,
    siiHandle: "abc@192.168.20.3",
    transfer: { ...TRANSFER, explicitlyRouted: true, returnRoutable: true, lastNode: true },
    ipTtl: 63,
    ipDistance: 1,
    hopCount: 30,
    inboundInterface: "left",
  };
}

/** A GIST node that only remembers what it was asked to do. */
class FakeHost implements ServiceHost {
  readonly nslps = new Map<number, Nslp>();
  readonly sent: SendMessage[] = [];
  readonly calls: unknown[][] = [];

  register(nslpId: number, nslp: Nslp): void {
    this.nslps.set(nslpId, nslp);
  }

  unregister(nslpId: number): void {
    this.nslps.delete(nslpId);
  }

  sendMessage(send: SendMessage): void {
    this.sent.push(send);
  }

  setStateLifetime(...call: unknown[]): void {
    this.calls.push(["lifetime", ...call]);
  }

  invalidateRoutingState(...call: unknown[]): void {
    this.calls.push(["invalidate", ...call]);
  }

  /** What the node says of a message that was sent. */
  report(send: SendMessage, error: MessageStatus["error"], detail = ""): void {
    const { handle, nslpId, sessionId, mri, transfer } = send;
    this.nslps.get(nslpId)?.messageStatus({ handle, nslpId, sessionId, mri, transfer, error, detail });
  }
}

class FakeNslp implements Nslp {
  readonly received: ReceivedMessage[] = [];
  readonly statuses: MessageStatus[] = [];
  readonly notifications: NetworkNotification[] = [];
  decide: (message: ReceivedMessage) => PeerDecision | Promise<PeerDecision> = () => ({ peer: true });

  recvMessage(given: ReceivedMessage): PeerDecision | Promise<PeerDecision> {
    this.received.push(given);
    return this.decide(given);
  }

  messageStatus(status: MessageStatus): void {
    this.statuses.push(status);
  }

  networkNotification(notification: NetworkNotification): void {
    this.notifications.push(notification);
  }
}

/** Both ends of a connection; like a socket's they end together. */
function connection(): readonly [near: Duplex, far: Duplex] {
  const [near, far] = duplexPair();
  near.on("error", () => undefined).once("close", () => far.destroy());
  far.once("close", () => near.destroy());
  return [near, far];
}

/** Turns of the event loop that in-memory streams need at most for what is under way. */
const TURNS = 500;

async function eventually(t: ExecutionContext, holds: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) {
    if (holds()) return;
    await setImmediate();
  }
  t.fail(what);
}

async function calm(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate();
}

class World {
  readonly time = new FakeTime();
  readonly host = new FakeHost();
  readonly nslp = new FakeNslp();
  readonly client: GistClient;
  server: ServiceServer;
  /** Whether a service answers connections. */
  up = true;
  connections = 0;
  /** The service's end of the last connection. */
  socket: Duplex | undefined;
  readonly #options: Partial<ServerOptions>;

  constructor(options: { client?: Partial<ClientOptions>; server?: Partial<ServerOptions> } = {}) {
    this.#options = options.server ?? {};
    this.server = this.makeServer();
    this.client = new GistClient({
      path: "/run/gistd/gist.sock",
      name: "test",
      time: this.time,
      random: seededRandom(1),
      log: silentLogger,
      ...(options.client && { options: options.client }),
      connect: () => this.#connect(),
    });
  }

  makeServer(): ServiceServer {
    return new ServiceServer({
      host: this.host,
      identity: "00ff",
      time: this.time,
      log: silentLogger,
      objection: () => undefined,
      options: this.#options,
    });
  }

  #connect(): Duplex {
    this.connections++;
    const [near, far] = connection();
    this.socket = far;
    if (this.up) this.server.serve(far);
    else process.nextTick(() => near.destroy(new Error("connect ENOENT")));
    return near;
  }

  /** Registered and welcomed. */
  static async ready(t: ExecutionContext, ...options: ConstructorParameters<typeof World>): Promise<World> {
    const world = new World(...options);
    world.client.register(NSLP, world.nslp);
    world.client.start();
    await eventually(t, () => world.client.ready, "the service answers");
    return world;
  }

  /** The service ends without a word, and is there again with nothing in it. */
  async crash(t: ExecutionContext): Promise<void> {
    this.up = false;
    this.socket?.destroy();
    await eventually(t, () => !this.client.ready, "the client notices");
    this.host.nslps.clear();
    this.server = this.makeServer();
  }

  advance(duration: Milliseconds): Promise<void> {
    this.time.advance(duration);
    return calm();
  }
}

test("all six primitives, with all that belongs to them", async (t) => {
  const { client, host, nslp, time } = await World.ready(t);
  t.is(client.view().identity, "00ff");

  const full = message({
    transfer: { reliable: false, secure: false, establishState: false },
    handle: 5,
    siiHandle: "abc@192.168.20.3",
    timeout: ms(1500),
    ipTtl: 3,
    hopCount: 4,
  });
  client.sendMessage(full);
  client.setStateLifetime(NSLP, SESSION, MRI, seconds(9));
  client.invalidateRoutingState(NSLP, SESSION, MRI, "tentative", true, Uint8Array.of(1));
  await eventually(t, () => host.calls.length === 2, "all calls arrive");
  const [sent] = host.sent;
  const { data: _, mri: __, handle: ___, ...fields } = full;
  t.like(sent, fields);
  t.deepEqual(Uint8Array.from(sent?.data ?? []), full.data);
  t.true(sent?.mri.source.equals(MRI.source));
  t.like(host.calls[0], ["lifetime", NSLP, SESSION] as never);
  t.is(host.calls[0]?.[4], 9000);
  t.deepEqual(host.calls[1]?.slice(4, 6), ["tentative", true]);
  t.deepEqual([...(host.calls[1]?.[6] as Uint8Array)], [1]);

  const hosted = host.nslps.get(NSLP);
  void hosted?.recvMessage(received(false));
  host.report(sent as SendMessage, "transport-failed", "gone");
  hosted?.networkNotification({
    nslpId: NSLP,
    sessionId: SESSION,
    mri: MRI,
    type: "last-node",
    detail: "it is",
  });
  await eventually(t, () => nslp.notifications.length === 1, "all reports arrive");
  const { data, mri, ...rest } = received(false);
  t.like(nslp.received[0], rest);
  t.deepEqual(nslp.received[0]?.data, data);
  t.true(nslp.received[0]?.mri.destination.equals(mri.destination));
  t.like(nslp.statuses[0], {
    handle: 5,
    error: "transport-failed",
    detail: "gone",
    transfer: { reliable: false, secure: false },
  });
  t.like(nslp.notifications[0], { type: "last-node", detail: "it is", sessionId: SESSION });
  t.is(time.pending, 0);
});

test("success is told of each message over the socket, and to the NSLP only where it gave a handle", async (t) => {
  const { client, host, nslp } = await World.ready(t);
  client.sendMessage(message());
  client.sendMessage(message({ handle: 77 }));
  await eventually(t, () => host.sent.length === 2, "both arrive");
  for (const sent of host.sent) host.report(sent, "no-error");
  await eventually(t, () => nslp.statuses.length === 1, "one is told");
  await calm();
  t.deepEqual(
    nslp.statuses.map(({ handle, error }) => [handle, error]),
    [[77, "no-error"]],
  );
});

test("a question is answered by the NSLP, at once or later, and by nobody after a while", async (t) => {
  const { host, nslp, time, server } = await World.ready(t);
  const ask = () => host.nslps.get(NSLP)?.recvMessage(received(true));
  nslp.decide = () => ({ peer: true, payload: Uint8Array.of(5) });
  const first = await ask();
  t.true(first?.peer);
  t.deepEqual([...(first?.payload ?? [])], [5]);
  nslp.decide = () => Promise.resolve({ peer: false });
  t.deepEqual(await ask(), { peer: false });
  nslp.decide = () => {
    throw new Error("no");
  };
  t.deepEqual(await ask(), { peer: false });

  let answer = (_: PeerDecision): void => undefined;
  nslp.decide = () => new Promise((resolve) => (answer = resolve));
  const pending = ask();
  await eventually(t, () => nslp.received.length === 4, "it is asked");
  time.advance(seconds(4));
  t.deepEqual(await pending, { peer: false });
  answer({ peer: true });
  await eventually(t, () => server.counters()["service.late-answer"] === 1, "too late");
  t.is(server.counters()["service.question-timeout"], 1);
});

test("questions are bounded, and end with the client", async (t) => {
  const { host, nslp, client, server } = await World.ready(t, { server: { maxQuestions: 2 } });
  nslp.decide = () => new Promise(() => undefined);
  const hosted = host.nslps.get(NSLP);
  const ask = async () => hosted?.recvMessage(received(true));
  const waiting = [ask(), ask()];
  t.deepEqual(hosted?.recvMessage(received(true)), { peer: false });
  client.close();
  t.deepEqual(await Promise.all(waiting), [{ peer: false }, { peer: false }]);
  await eventually(t, () => host.nslps.size === 0, "its NSLP is unregistered");
  t.deepEqual(server.clients, []);
});

test("a client that does not read is cut off, and its NSLPs are unregistered", async (t) => {
  const { host, time, server } = new World({ server: { queueBytes: 10_000 } });
  const [near, far] = connection();
  server.serve(far);
  near.write(framed(encodeClientFrame({ type: "hello", version: PROTOCOL_VERSION, name: "slow" })));
  near.write(framed(encodeClientFrame({ type: "register", nslpId: NSLP })));
  await eventually(t, () => host.nslps.has(NSLP), "it registers");
  const hosted = host.nslps.get(NSLP);
  for (let i = 0; i < 1000; i++) void hosted?.recvMessage(received(false));
  await eventually(t, () => !host.nslps.has(NSLP), "it is cut off");
  t.is(server.counters()["service.slow-client"], 1);
  t.true(far.destroyed);
  t.is(time.pending, 0);
});

interface Answers {
  readonly frames: ServerFrame[];
  readonly ended: Promise<unknown>;
}

/** A client of raw bytes, and what it is told. */
function raw(server: ServiceServer, bytes: Uint8Array): Answers {
  const [near, far] = connection();
  server.serve(far);
  const reader = new FrameReader();
  const frames: ServerFrame[] = [];
  near.on("data", (chunk: Uint8Array) => {
    for (const frame of reader.push(chunk)) frames.push(decodeServerFrame(frame));
  });
  near.once("end", () => near.end());
  near.write(bytes);
  return { frames, ended: once(near, "end") };
}

const hello: ClientFrame = { type: "hello", version: PROTOCOL_VERSION, name: "x" };
const bytesOf = (...frames: readonly ClientFrame[]): Uint8Array =>
  Buffer.concat(frames.map((frame) => framed(encodeClientFrame(frame))));

const REFUSED: readonly (readonly [name: string, bytes: Uint8Array, code: string])[] = [
  ["no greeting", bytesOf({ type: "register", nslpId: 1 }), "malformed"],
  ["two greetings", bytesOf(hello, hello), "malformed"],
  ["another version", bytesOf({ ...hello, version: 99 }), "version"],
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n"), "malformed"],
  ["a frame of another side", Buffer.concat([bytesOf(hello), framed(Uint8Array.of(129, 0, 1))]), "malformed"],
  ["a frame cut short", Buffer.concat([bytesOf(hello), framed(Uint8Array.of(2, 0))]), "malformed"],
  ["a call for another's NSLP", bytesOf(hello, { type: "send", message: message() }), "not-registered"],
  [
    "an NSLPID twice",
    bytesOf(hello, { type: "register", nslpId: NSLP }, { type: "register", nslpId: NSLP }),
    "nslpid-taken",
  ],
  [
    "too many NSLPs",
    bytesOf(hello, ...[1, 2, 3].map((nslpId) => ({ type: "register" as const, nslpId }))),
    "too-many",
  ],
];

for (const [name, bytes, code] of REFUSED)
  test(`refused with one clear error: ${name}`, async (t) => {
    const { server, host } = new World({ server: { maxNslpsPerClient: 2 } });
    const { frames, ended } = raw(server, bytes);
    await ended;
    t.like(frames.at(-1), { type: "error", code });
    t.is(frames.filter(({ type }) => type === "error").length, 1);
    await eventually(t, () => server.clients.length === 0, "it is forgotten");
    t.is(host.nslps.size, 0);
    t.is(server.counters()[`service.closed.${code}`], 1);
  });

test("any bytes: the server lives, answers at most one error, and forgets the client", async (t) => {
  const { server, host, time } = new World();
  const start = fc.constantFrom(
    new Uint8Array(),
    bytesOf(hello),
    bytesOf(hello, { type: "register", nslpId: NSLP }),
  );
  const noise = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.uint8Array({ minLength: 1, maxLength: 100 }).map(framed),
  );
  await fc.assert(
    fc.asyncProperty(start, noise, async (before, bytes) => {
      const [near, far] = connection();
      server.serve(far);
      near.resume();
      near.write(Buffer.concat([before, bytes]));
      near.end();
      await eventually(t, () => far.destroyed || far.writableFinished, "the server ends it too");
      time.advance(seconds(10));
      await eventually(t, () => server.clients.length === 0, "it is forgotten");
      t.is(host.nslps.size, 0);
    }),
    { numRuns: 200 },
  );
});

test("a client that does not greet is closed", async (t) => {
  const { server, time } = new World();
  const { frames, ended } = raw(server, new Uint8Array());
  time.advance(seconds(5));
  await ended;
  t.like(frames[0], { type: "error", code: "malformed" });
});

test("the service ends: clients hear of it", async (t) => {
  const { server } = new World();
  const { frames, ended } = raw(server, bytesOf(hello));
  await eventually(t, () => frames.length === 1, "it is welcome");
  server.close();
  await ended;
  t.like(frames[1], { type: "error", code: "stopping" });
});

test("a service that is lost: messages of unknown fate have failed, and it is found again", async (t) => {
  const world = await World.ready(t);
  const { client, host, nslp } = world;
  client.sendMessage(message({ handle: 1 }));
  client.sendMessage(message());
  client.sendMessage(message({ handle: 3 }));
  await eventually(t, () => host.sent.length === 3, "all arrive");
  host.report(host.sent[0] as SendMessage, "no-error");
  await eventually(t, () => nslp.statuses.length === 1, "the first is reported");
  await world.crash(t);
  await world.advance(ms(10));
  t.deepEqual(
    nslp.statuses.slice(1).map(({ handle, error }) => [handle, error]),
    [
      [undefined, "transport-failed"],
      [3, "transport-failed"],
    ],
  );

  for (let second = 0; second < 20; second++) await world.advance(seconds(1));
  const tries = world.connections;
  t.true(tries > 3 && tries < 20, `${tries} tries`);
  t.deepEqual(nslp.notifications, []);
  world.up = true;
  for (let second = 0; second < 3; second++) await world.advance(seconds(1));
  t.true(client.ready);
  t.true(host.nslps.has(NSLP));
  t.deepEqual(
    nslp.notifications.map(({ type, sessionId }) => [type, sessionId]),
    [["communication-failure", SESSION]],
  );
  client.sendMessage(message());
  await eventually(t, () => host.sent.length === 4, "messages go through again");
});

test("a session that is over is not told of; many are told with pauses", async (t) => {
  const world = await World.ready(t);
  const { client, nslp } = world;
  const id = (number: number) => number.toString(16).padStart(32, "0") as SessionId;
  for (let i = 0; i < 1200; i++) client.setStateLifetime(NSLP, id(i), MRI, seconds(60));
  client.setStateLifetime(NSLP, id(0), MRI, ms(0));
  await world.crash(t);
  world.up = true;
  world.time.advance(ms(50));
  await eventually(t, () => client.ready, "it is back");
  t.is(nslp.notifications.length, 500);
  await world.advance(ms(50));
  t.is(nslp.notifications.length, 1199);
});

test("without a service a message fails after the call, never within it", async (t) => {
  const world = new World();
  world.up = false;
  const { client, nslp } = world;
  client.register(NSLP, nslp);
  client.start();
  client.sendMessage(message({ handle: 4 }));
  t.deepEqual(nslp.statuses, []);
  await world.advance(ms(10));
  t.like(nslp.statuses[0], { handle: 4, error: "transport-failed" });
  t.throws(() => client.register(NSLP, nslp), { message: /already registered/ });
  client.close();
  await world.advance(seconds(60));
  t.is(world.connections, 1);
});

test("a service that takes too slowly: messages are refused as overloaded", async (t) => {
  const world = await World.ready(t, { client: { maxInFlight: 3 } });
  for (let i = 0; i < 5; i++) world.client.sendMessage(message({ handle: i }));
  await world.advance(ms(10));
  t.deepEqual(
    world.nslp.statuses.map(({ handle, error }) => [handle, error]),
    [
      [3, "overloaded"],
      [4, "overloaded"],
    ],
  );
  // Of a service that never reports, messages are forgotten after a long while.
  await world.advance(seconds(601));
  world.client.sendMessage(message({ handle: 9 }));
  await eventually(t, () => world.host.sent.length === 4, "there is room again");
});

test("what cannot stand on the wire fails, and the connection stays", async (t) => {
  const world = await World.ready(t);
  world.client.sendMessage(message({ handle: 1, data: new Uint8Array(60_000) }));
  world.client.sendMessage(message({ handle: 2, hopCount: 1000 }));
  await world.advance(ms(10));
  t.deepEqual(
    world.nslp.statuses.map(({ handle, error }) => [handle, error]),
    [
      [1, "too-large"],
      [2, "transport-failed"],
    ],
  );
  t.true(world.client.ready);
});

test("a second client cannot take an NSLPID, and gets it when the first has gone", async (t) => {
  const world = await World.ready(t);
  const other = raw(world.server, bytesOf(hello, { type: "register", nslpId: NSLP }));
  await other.ended;
  t.like(other.frames.at(-1), { type: "error", code: "nslpid-taken" });
  t.true(world.host.nslps.has(NSLP));
  world.client.close();
  await eventually(t, () => !world.host.nslps.has(NSLP), "it is free");
  const third = raw(world.server, bytesOf(hello, { type: "register", nslpId: NSLP }));
  await eventually(t, () => third.frames.at(-1)?.type === "registered", "it is taken");
  t.deepEqual(world.server.clients, [{ name: "x", nslpIds: [NSLP] }]);
});

test("a service that says nonsense is left, and tried again", async (t) => {
  const world = await World.ready(t);
  world.socket?.write(framed(Uint8Array.of(1, 2, 3)));
  await eventually(t, () => !world.client.ready, "it is left");
  t.is(world.client.view().counters["client.malformed"], 1);
  await world.advance(ms(100));
  t.true(world.client.ready);
});
