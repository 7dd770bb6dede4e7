import { lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import test from "ava";
import { silentLogger } from "../base/log.js";
import { FakeTime } from "../base/time.js";
import { bytes, ms } from "../base/units.js";
import { CannotAuthenticate } from "../nslp/view.js";
import type { ErrorBody } from "./error.js";
import type { FlowList } from "./flows.js";
import { ControlServer } from "./server.js";
import { SocketError } from "./socket.js";
import { countOf, FakePbs, FLOW, partsOf, startFixture, viewOf } from "./test-parts.js";

function open(socketPath: string, path: string, body?: string, method?: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const verb = method ?? (body === undefined ? "GET" : "POST");
    request({ socketPath, path, method: verb, headers, agent: false }, resolve)
      .once("error", reject)
      .end(body);
  });
}

async function ask(socket: string, path: string, body?: object): Promise<{ status: number; json: unknown }> {
  const answer = await open(socket, path, body === undefined ? undefined : JSON.stringify(body));
  return { status: answer.statusCode ?? 0, json: JSON.parse(await text(answer)) };
}

async function refused(
  socket: string,
  path: string,
  body?: object,
): Promise<{ status: number } & ErrorBody["error"]> {
  const { status, json } = await ask(socket, path, body);
  return { status, ...(json as ErrorBody).error };
}

test("socket and directory have narrow modes", async (t) => {
  const { socket } = await startFixture((end) => t.teardown(end));
  t.is(lstatSync(socket).mode & 0o777, 0o660);
  t.is(lstatSync(dirname(socket)).mode & 0o777, 0o750);
});

test("status", async (t) => {
  const { socket, time } = await startFixture((end) => t.teardown(end));
  time.advance(ms(500));
  const { status, json } = await ask(socket, "/v1/status");
  t.is(status, 200);
  t.like(json, {
    name: "test",
    version: "1.2.3",
    uptime: 500,
    identity: "00ff",
    pending: 0,
    associations: 1,
    datapath: { engine: "fake", flows: 1 },
    counters: { pbs: { "query.received": 2 }, firewall: { "forward.drop.no-permission": 4 } },
  });
});

test("flows: pages and filters", async (t) => {
  const { socket, pbs } = await startFixture((end) => t.teardown(end));
  pbs.views = Array.from({ length: 2500 }, (_, i) =>
    viewOf(i, { role: i % 2 === 0 ? "sender" : "receiver" }),
  );
  const list = async (query: string) => (await ask(socket, `/v1/flows${query}`)).json as FlowList;
  const first = await list("");
  t.deepEqual([first.flows.length, first.offset, first.total], [1000, 0, 2500]);
  const second = await list("?limit=10&offset=2495");
  t.deepEqual(second.flows, pbs.views.slice(2495));
  t.is((await list("?role=sender&limit=0")).total, 1250);
  t.is((await list("?match=192.168.20.1:1030&limit=5")).flows[0]?.id, viewOf(6).id);
  t.is((await list("?state=idle")).total, 0);
});

test("flows: a long list leaves the event loop its turns", async (t) => {
  const { socket, pbs } = await startFixture((end) => t.teardown(end));
  function* many() {
    for (let i = 0; i < 100_000; i++) yield viewOf(i);
  }
  pbs.flows = many;
  let turns = 0;
  const turn = (): void => {
    turns++;
    next = setImmediate(turn);
  };
  let next = setImmediate(turn);
  const answer = await open(socket, "/v1/flows?limit=100000");
  let length = 0;
  for await (const chunk of answer) length += (chunk as Buffer).length;
  clearImmediate(next);
  t.true(length > 100_000 * 300);
  t.true(turns > 20);
});

test("flows: a reader that leaves stops the list", async (t) => {
  const { socket, pbs } = await startFixture((end) => t.teardown(end));
  let stopped: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (stopped = resolve));
  pbs.flows = function* () {
    try {
      for (let i = 0; ; i++) yield viewOf(i);
    } finally {
      stopped();
    }
  };
  const answer = await open(socket, "/v1/flows?limit=100000000");
  answer.once("data", () => answer.destroy());
  await finished;
  t.pass();
});

test("one flow by the beginning of its id", async (t) => {
  const { socket, pbs } = await startFixture((end) => t.teardown(end));
  pbs.views = [viewOf(0xabc)];
  t.deepEqual((await ask(socket, "/v1/flows/00000ABC")).json, pbs.views[0]);
  t.like(await refused(socket, "/v1/flows/ff"), {
    status: 404,
    code: "no-such-flow",
    message: 'no flow "ff"',
  });
  t.like(await refused(socket, "/v1/flows/xyz"), { status: 400, code: "bad-request" });
});

test("pending and peers", async (t) => {
  const { socket } = await startFixture((end) => t.teardown(end));
  t.deepEqual((await ask(socket, "/v1/pending")).json, { pending: [] });
  t.like((await ask(socket, "/v1/peers")).json, {
    identity: "00ff",
    routingStates: { querying: 1 },
  });
  t.like((await ask(socket, "/v1/doctor")).json, { ok: true });
});

test("request", async (t) => {
  const { socket, pbs } = await startFixture((end) => t.teardown(end));
  const { json } = await ask(socket, "/v1/request", {
    flow: "tcp 192.168.20.1:4000 to 192.168.21.4:80",
    volume: "1MB",
  });
  t.like(json, { granted: true, allowedVolume: 10_000_000 });
  t.deepEqual(pbs.calls, [`request ${FLOW} 1000000`]);
});

test("grant, deny, revoke", async (t) => {
  const { socket, pbs } = await startFixture((end) => t.teardown(end));
  pbs.views = [viewOf(0xab)];
  t.deepEqual(
    (await ask(socket, "/v1/flows/000000ab/grant", { volume: 5000, lifetime: "10m" })).json,
    pbs.views[0],
  );
  t.deepEqual((await ask(socket, "/v1/flows/000000ab/grant", {})).json, pbs.views[0]);
  t.deepEqual((await ask(socket, "/v1/flows/000000ab/deny", { reason: "no" })).json, { done: true });
  t.deepEqual((await ask(socket, "/v1/flows/000000ab/revoke", {})).json, { done: true });
  const bare = await open(socket, "/v1/flows/000000ab/revoke", undefined, "POST");
  t.is(bare.statusCode, 200);
  bare.resume();
  t.deepEqual(pbs.calls, [
    'grant 000000ab {"volume":5000,"lifetime":600000}',
    "grant 000000ab {}",
    "deny 000000ab no",
    "revoke 000000ab undefined",
    "revoke 000000ab undefined",
  ]);
});

const BAD: readonly (readonly [path: string, body: object | undefined, status: number, message: string])[] = [
  ["/v1/request", {}, 400, "flow: Invalid input: expected string, received undefined"],
  [
    "/v1/request",
    { flow: "tcp" },
    400,
    '"tcp" is not a flow; write: tcp 192.168.20.1:4000 > 192.168.21.4:80',
  ],
  ["/v1/request", { flow: FLOW, volume: "much" }, 400, 'volume: "much" is not a size'],
  ["/v1/request", { flow: FLOW, speed: 1 }, 400, 'unknown field "speed"'],
  ["/v1/flows/ab/grant", { lifetime: "soon" }, 400, 'lifetime: "soon" is not a duration'],
  ["/v1/flows/ab/deny", { reason: "x".repeat(256) }, 400, "reason: is longer than 255 bytes"],
  ["/v1/flows/ab/deny", { reason: "a\nb" }, 400, "reason: has control characters"],
  ["/v1/flows/ab/authenticate", {}, 400, "level: is missing"],
  ["/v1/flows/ab/authenticate", { level: "md5" }, 400, 'level: "md5" is not one of its values'],
  ["/v1/flows?limit=-1", undefined, 400, "limit: Too small: expected number to be >=0"],
  ["/v1/flows?colour=red", undefined, 400, 'unknown field "colour"'],
  ["/v2/status", undefined, 404, "there is no GET /v2/status"],
];

for (const [path, body, status, message] of BAD)
  test(`refused: ${path} ${JSON.stringify(body)?.slice(0, 60)}`, async (t) => {
    const { socket, pbs } = await startFixture((end) => t.teardown(end));
    t.like(await refused(socket, path, body), { status, message });
    t.deepEqual(pbs.calls, []);
  });

test("refused: a body that is not JSON, and one that is too long", async (t) => {
  const { socket } = await startFixture((end) => t.teardown(end));
  const broken = await open(socket, "/v1/request", "{");
  t.is(broken.statusCode, 400);
  t.is((JSON.parse(await text(broken)) as ErrorBody).error.code, "bad-request");
  const long = await open(socket, "/v1/request", JSON.stringify({ flow: "x".repeat(20_000) }));
  t.is(long.statusCode, 413);
  long.resume();
});

test("a failure inside shows nothing of the inside", async (t) => {
  const { socket, pbs } = await startFixture((end) => t.teardown(end));
  pbs.failure = new Error("secret");
  const error = await refused(socket, "/v1/request", { flow: FLOW });
  t.deepEqual(error, {
    status: 500,
    code: "internal",
    message: "pbsd failed to do that",
    remedy: "see the log of pbsd",
  });
});

test("events: those of late, and then those to come", async (t) => {
  const { socket, pbs } = await startFixture((end) => t.teardown(end));
  for (let i = 0; i < 1005; i++) pbs.emit(`event ${i}`);
  const recent = (await text(await open(socket, "/v1/events"))).trimEnd().split("\n");
  t.is(recent.length, 1000);
  t.is((JSON.parse(recent[0] ?? "") as { detail: string }).detail, "event 5");
  const following = await open(socket, "/v1/events?follow=1");
  following.setEncoding("utf8");
  let seen = "";
  const arrived = new Promise<void>((resolve) =>
    following.on("data", (chunk: string) => {
      seen += chunk;
      if (seen.includes('"last"')) resolve();
    }),
  );
  pbs.emit("last");
  await arrived;
  t.is(seen.trimEnd().split("\n").length, 1001);
  following.destroy();
});

test("explain: a permission, with counters and the rule that gave it", async (t) => {
  const { socket, pbs, counts } = await startFixture((end) => t.teardown(end));
  pbs.views = [viewOf(1, { flow: FLOW })];
  counts.set(FLOW, countOf(5000));
  t.like((await ask(socket, "/v1/explain", { flow: FLOW })).json, {
    flow: FLOW,
    role: "receiver",
    verdict: "passes",
    because: ['it has a permission: 5 kB of 10 MB used, 1m40s left, granted by rule "web"'],
    engine: "fake",
    counters: { bytes: 5000 },
    policy: { decision: { type: "grant", rule: "web" }, steps: [{ rule: "web", matched: true }] },
    change: ["pbsctl revoke 00000001"],
  });
});

test("explain: a permission for packets that prove where they come from", async (t) => {
  const { socket, pbs, counts } = await startFixture((end) => t.teardown(end));
  const failures = { missing: 1, malformed: 2, unknownSpi: 3, replayed: 4, badIcv: 5 };
  const authentication = {
    level: "hmac",
    algorithm: "aes-cmac-96",
    spi: 256,
    sequence: 9,
    failures,
  } as const;
  pbs.views = [viewOf(1, { flow: FLOW, authentication })];
  counts.set(FLOW, { ...countOf(5000), authentication });
  t.like((await ask(socket, "/v1/explain", { flow: FLOW })).json, {
    because: [
      'it has a permission: 5 kB of 10 MB used, 1m40s left, granted by rule "web"',
      "its packets carry AH with aes-cmac-96; 15 packets without a good one were dropped",
    ],
    counters: { authentication: { spi: 256, sequence: 9, failures } },
  });
});

test("authenticate", async (t) => {
  const { socket, pbs } = await startFixture((end) => t.teardown(end));
  pbs.views = [viewOf(0xab)];
  const path = "/v1/flows/000000ab/authenticate";
  t.deepEqual((await ask(socket, path, { level: "public-key" })).json, pbs.views[0]);
  t.deepEqual(pbs.calls, ["authenticate 000000ab public-key"]);
  pbs.failure = new CannotAuthenticate("the sender cannot", "choose another");
  t.like(await refused(socket, path, { level: "hmac" }), { status: 409, message: "the sender cannot" });
});

test("explain: volume used up, lifetime over", async (t) => {
  const { socket, pbs, counts } = await startFixture((end) => t.teardown(end));
  counts.set(FLOW, countOf(10_000_000));
  pbs.views = [viewOf(1, { flow: FLOW })];
  t.like((await ask(socket, "/v1/explain", { flow: FLOW })).json, {
    verdict: "dropped",
    because: ['the granted volume is used up: 10 MB of 10 MB used, granted by rule "web"'],
    change: ["at the receiver: pbsctl grant 00000001 --volume 20MB"],
  });
  pbs.views = [viewOf(1, { flow: FLOW, remaining: ms(0), allowedVolume: bytes(1e9) })];
  t.like((await ask(socket, "/v1/explain", { flow: FLOW })).json, {
    verdict: "dropped",
    because: ['the permission\'s lifetime is over, granted by rule "web"'],
  });
});

test("explain: no permission, by role", async (t) => {
  const { socket } = await startFixture((end) => t.teardown(end));
  const explain = async (flow: string) => (await ask(socket, "/v1/explain", { flow })).json as object;
  t.like(await explain("tcp 192.168.21.4:4000 > 192.0.2.1:80"), {
    role: "sender",
    verdict: "held",
    policy: null,
  });
  t.like(await explain("tcp 192.0.2.1:4000 > 192.0.2.2:80"), {
    role: "router",
    verdict: "dropped",
    policy: null,
  });
  t.like(await explain("udp 192.0.2.1:4000 > 192.168.21.4:80"), {
    role: "receiver",
    verdict: "dropped",
    because: ["it has no permission here", 'a Query would be denied by "rest": no'],
    change: ['a [[rule]] with action "grant" before "rest", then SIGHUP to pbsd'],
  });
});

test("explain: return traffic", async (t) => {
  const { socket, pbs } = await startFixture((end) => t.teardown(end));
  pbs.views = [viewOf(1, { flow: "udp 192.168.21.4:80 > 192.0.2.1:4000", role: "sender" })];
  t.like((await ask(socket, "/v1/explain", { flow: "udp 192.0.2.1:4000 > 192.168.21.4:80" })).json, {
    verdict: "dropped",
    because: [
      "it has no permission here",
      "a Query would be granted as return traffic: this host asked for the other direction",
    ],
  });
});

test("explain: an exempt class, in both directions", async (t) => {
  const { socket } = await startFixture((end) => t.teardown(end));
  for (const flow of ["tcp 192.0.2.1:4000 > 192.0.2.2:22", "tcp 192.0.2.2:22 > 192.0.2.1:4000"])
    t.like((await ask(socket, "/v1/explain", { flow })).json, {
      verdict: "passes",
      because: ['it belongs to the exempt class "ssh", up to 100 packets a second'],
    });
});

test("a socket that nobody answers on is replaced, one that somebody answers on is not", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "pbs-socket-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const socket = join(directory, "s");
  const start = () =>
    ControlServer.start(
      partsOf(new FakePbs(), new FakeTime(), new Map()),
      { socket, group: null },
      silentLogger,
    );
  const first = await start();
  const error = await t.throwsAsync(start, { instanceOf: SocketError });
  t.is(error?.message, `another pbsd answers on ${socket}`);
  t.is((await ask(socket, "/v1/pending")).status, 200);
  await first.close();
  t.is(lstatSync(socket, { throwIfNoEntry: false }), undefined);

  const stale = await staleSocket(directory);
  t.true(lstatSync(stale).isSocket());
  const second = await start();
  t.is((await ask(socket, "/v1/pending")).status, 200);
  await second.close();
});

/** A socket file whose server is gone. */
async function staleSocket(directory: string): Promise<string> {
  const { link, unlink } = await import("node:fs/promises");
  const server = createServer();
  const path = join(directory, "other");
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await link(path, join(directory, "s"));
  await new Promise((resolve) => server.close(resolve));
  await unlink(path).catch(() => undefined);
  return join(directory, "s");
}

test("what is not a socket stays", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "pbs-socket-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const socket = join(directory, "s");
  writeFileSync(socket, "precious");
  const start = (path: string, group: string | null) =>
    ControlServer.start(
      partsOf(new FakePbs(), new FakeTime(), new Map()),
      { socket: path, group },
      silentLogger,
    );
  t.is(
    (await t.throwsAsync(() => start(socket, null), { instanceOf: SocketError }))?.message,
    `${socket} is there and is not a socket`,
  );
  t.is(
    (await t.throwsAsync(() => start(join(directory, "t"), "no-such-group"), { instanceOf: SocketError }))
      ?.message,
    'there is no group "no-such-group"',
  );
  mkdirSync(join(directory, "d"));
  t.regex(
    (await t.throwsAsync(() => start(join(socket, "t"), null), { instanceOf: SocketError }))?.message ?? "",
    /cannot be made|ENOTDIR/,
  );
});
