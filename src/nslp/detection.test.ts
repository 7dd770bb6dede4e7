/** Attacks on the path of a line in memory: found, placed, answered; and what is not taken for one. */
import test from "ava";
import type { AuthenticationRule } from "../authorization/algorithm.js";
import { DEFAULT_DETECTION, DEFAULT_MOVES, type DetectionPolicy } from "../authorization/reaction.js";
import { flowKey } from "../base/flow.js";
import { bytes, ms, seconds } from "../base/units.js";
import type { SendMessage } from "../gist/service.js";
import { makeReport } from "./hops.js";
import type { PbsOptions } from "./options.js";
import { nextSequence } from "./sequence.js";
import { carried, inject, signed } from "./testing/forge.js";
import {
  ADDRESSES,
  ask,
  EVERYWHERE,
  FLOW,
  Line,
  makeCredentials,
  permitted,
  type Place,
  traffic,
} from "./testing/line.js";
import type { PbsEvent } from "./view.js";
import { decodePbs, encodeNotify, withReport } from "./wire/codec.js";
import { INFO_CODE } from "./wire/messages.js";

const credentials = makeCredentials();
const MB = 1_000_000;
const SIGNED: AuthenticationRule = { level: "public-key" };

interface Setup {
  readonly authentication?: AuthenticationRule;
  readonly detection?: Partial<DetectionPolicy>;
  readonly paths?: readonly string[];
  readonly options?: Partial<PbsOptions>;
  readonly numbers?: boolean;
  /** Seconds. */
  readonly refresh?: number;
  /** Who has other paths. */
  readonly mover?: Place;
}

/** Slide 18's grant: 10 MB, refreshed every 10 s unless told otherwise. */
async function granted(setup: Setup = {}): Promise<Line> {
  const line = new Line(credentials, setup.options, setup.paths, setup.mover);
  line.decision = {
    type: "grant",
    rule: "slides",
    grant: {
      volume: bytes(10 * MB),
      lifetime: seconds(600),
      refresh: seconds(setup.refresh ?? 10),
      extend: true,
      ...(setup.authentication && { authentication: setup.authentication }),
      ...(setup.detection && { detection: { ...DEFAULT_DETECTION, ...setup.detection } }),
    },
  };
  for (const place of EVERYWHERE) line.datapath(place).numbers = setup.numbers ?? false;
  await ask(line);
  return line;
}

function said(line: Line, place: Place, type: PbsEvent["type"]): string[] {
  return line
    .events(place)
    .filter((event) => event.type === type)
    .map(({ detail }) => detail);
}

function evidence(line: Line): PbsEvent["evidence"] {
  return line.events("receiver").find(({ type }) => type === "attack")?.evidence;
}

function level(line: Line, place: Place): string {
  return (
    line.datapath(place).entries.get(flowKey(FLOW))?.installation.authentication?.association.algorithm ??
    "none"
  );
}

function counted(line: Line): number[] {
  return EVERYWHERE.map((place) => line.datapath(place).entries.get(flowKey(FLOW))?.count ?? -1);
}

const SPOOFED: readonly (readonly [string, Setup])[] = [
  ["with a shared key, counted by number", { authentication: { level: "hmac" }, numbers: true }],
  ["with a shared key", { authentication: { level: "hmac" } }],
  ["without AH", {}],
];

for (const [what, setup] of SPOOFED) {
  test(`slide 18: 1 MB sent, 2 MB injected, ${what}: public key, and the sender keeps its own 10 MB`, async (t) => {
    const line = await granted(setup);
    traffic(line, MB);
    line.datapath("receiver").pass(FLOW, 2 * MB);
    await line.pass(seconds(20));
    const [attack] = said(line, "receiver", "attack");
    t.truthy(attack, JSON.stringify(line.flows("receiver")));
    t.is(said(line, "receiver", "attack").length, 1);
    t.like(evidence(line), {
      kind: setup.numbers === true ? "forged-sequence" : "excess",
      amount: setup.numbers === true ? 2000 : 2 * MB,
      sent: MB,
      received: 3 * MB,
      allowed: 10 * MB,
      rule: "slides",
      epoch: 0,
      reaction: "public-key",
      where: { from: "router", to: "receiver", change: 2 * MB },
    });
    t.deepEqual(said(line, "receiver", "reaction"), [
      "ask for packets signed with the sender's key: somebody else sends as this sender",
    ]);
    for (const place of EVERYWHERE) t.is(level(line, place), "tree-ecdsa-p256");
    t.deepEqual(counted(line), [MB, MB, MB]);
    // Nothing of the old association passes once the new one is there.
    t.like(line.datapath("router").entries.get(flowKey(FLOW))?.installation.authentication?.overlap, {
      duration: 0,
      bytes: 0,
    });
    t.is(traffic(line, 9 * MB), 9 * MB);
    await line.pass(seconds(60));
    t.is(said(line, "receiver", "attack").length, 1);
  });
}

test("bytes that appear before the router are placed there, and forgotten there too", async (t) => {
  const line = await granted();
  traffic(line, MB);
  line.datapath("router").pass(FLOW, 2 * MB);
  line.datapath("receiver").pass(FLOW, 2 * MB);
  await line.pass(seconds(20));
  t.like(evidence(line)?.where, { from: "sender", to: "router" });
  t.deepEqual(counted(line), [MB, MB, MB]);
});

test("a volume thief is found when nothing is left, without waiting for the refresh", async (t) => {
  const line = await granted();
  traffic(line, MB);
  line.datapath("receiver").pass(FLOW, 20 * MB);
  await line.pass(seconds(3));
  t.is(evidence(line)?.kind, "excess");
  t.deepEqual(counted(line), [MB, MB, MB]);
  t.is(traffic(line, 9 * MB), 9 * MB);
});

test("a sender that signs less than it sends loses its permission", async (t) => {
  const line = await granted({ authentication: SIGNED, detection: { onSender: "block" } });
  traffic(line, MB);
  line.datapath("receiver").pass(FLOW, 2 * MB);
  await line.pass(seconds(20));
  t.is(evidence(line)?.reaction, "block");
  for (const place of EVERYWHERE) t.false(permitted(line, place));
  t.deepEqual(line.paths.calls, [`block ${ADDRESSES.sender} 600000`]);
});

test("bytes of before packets were signed convict nobody: a new epoch begins", async (t) => {
  for (const level of ["none", "hmac"] as const) {
    const line = await granted({ authentication: { level }, detection: { onSender: "block" } });
    traffic(line, MB);
    line.datapath("receiver").pass(FLOW, 2 * MB);
    const id = line.flows("receiver")[0]?.id ?? "";
    await line.node("receiver").authenticate(id, "public-key");
    await line.pass(seconds(20));
    t.is(evidence(line)?.reaction, "public-key");
    for (const place of EVERYWHERE) t.true(permitted(line, place));
    t.deepEqual(counted(line), [MB, MB, MB]);
    t.is(traffic(line, 5 * MB), 5 * MB);
    // From then on it can only be the sender.
    line.datapath("receiver").pass(FLOW, MB);
    await line.pass(seconds(20));
    t.deepEqual(line.paths.calls, [`block ${ADDRESSES.sender} 600000`]);
  }
});

test("an answer to an earlier Query does not end a flow that asks for more", async (t) => {
  const line = await granted();
  const id = line.flows("sender")[0]?.id ?? "";
  let lost = true;
  line.tamper = (message, from) => (lost && from === "sender" ? [] : [message]);
  traffic(line, 11 * MB);
  // The second try says that it needs more.
  await line.pass(seconds(3));
  const earlier = {
    type: "permission",
    flow: FLOW,
    sequence: nextSequence(undefined, line.time.wall()),
    allowedVolume: bytes(10 * MB),
    ttl: seconds(600),
    refresh: seconds(10),
    defense: { solution: 1, algorithm: 0, key: new Uint8Array() },
  } as const;
  inject(line, signed(credentials.signers.receiver, id, earlier), "router", "sender");
  lost = false;
  await line.pass(seconds(1));
  t.true(permitted(line, "sender"));
  line.datapath("sender").pass(FLOW, MB);
  await line.pass(seconds(5));
  t.true((line.flows("sender")[0]?.allowedVolume ?? 0) > 10 * MB);
});

test("a path that goes dark is found long before the refresh", async (t) => {
  const line = await granted({ paths: ["via 10.0.0.2"], refresh: 60 });
  const second = async (): Promise<void> => {
    const passed = line.datapath("router").pass(FLOW, line.datapath("sender").pass(FLOW, 100_000));
    if (!dark || line.paths.at > 0) line.datapath("receiver").pass(FLOW, passed);
    await line.pass(seconds(1));
  };
  let dark = false;
  for (let i = 0; i < 95; i++) await second();
  t.deepEqual(said(line, "receiver", "attack"), []);
  const began = line.time.wall();
  dark = true;
  for (let i = 0; i < 12; i++) await second();
  const found = line.events("receiver").find(({ type }) => type === "attack");
  t.is(found?.evidence?.kind, "black-hole");
  t.true((found?.time ?? 0) - began <= 8000, String((found?.time ?? 0) - began));
  t.deepEqual(line.paths.calls, ["next via 10.0.0.2"]);
});

test("a stream that ends costs two Queries, and no more", async (t) => {
  const line = await granted({ refresh: 60 });
  for (let i = 0; i < 95; i++) {
    traffic(line, 100_000);
    await line.pass(seconds(1));
  }
  const before = line.node("sender").counters()["query.sent"] ?? 0;
  await line.pass(seconds(25));
  t.true((line.node("sender").counters()["query.sent"] ?? 0) - before <= 2);
  t.deepEqual(said(line, "receiver", "attack"), []);
});

test("slide 20: 1 MB sent, none received: another path, with permission and volume", async (t) => {
  const line = await granted({ paths: ["via 10.0.0.2"], authentication: { level: "hmac" } });
  // The router passes signalling and drops data; on the other path there is no such router.
  const send = (volume: number): number => {
    const passed = line.datapath("sender").pass(FLOW, volume);
    if (line.paths.at === 0) return 0;
    line.datapath("router").pass(FLOW, passed);
    return line.datapath("receiver").pass(FLOW, passed);
  };
  send(MB);
  for (let i = 0; i < 20; i++) {
    await line.pass(seconds(1));
    if (line.paths.at === 0) send(1500);
  }
  const found = evidence(line);
  t.like(found, { kind: "black-hole", received: 0, reaction: "change-path" });
  t.like(found?.where, { from: "sender", to: "router" });
  t.deepEqual(line.paths.calls, ["next via 10.0.0.2"]);
  t.deepEqual(line.invalidated, ["sender"]);
  t.is(line.flows("sender")[0]?.path, "via 10.0.0.2");
  const [sent = 0, atRouter, atReceiver] = counted(line);
  t.is(atRouter, sent);
  t.is(atReceiver, found?.sent);
  t.is(level(line, "router"), "hmac-sha256-128");
  t.is(send(5 * MB), 5 * MB);
  await line.pass(seconds(100));
  t.is(said(line, "receiver", "attack").length, 1);
});

test("a router moves the flow when bytes vanish behind it, and the sender stays where it is", async (t) => {
  const line = await granted({ paths: ["via 10.0.0.9"], mover: "router", authentication: { level: "hmac" } });
  for (let i = 0; i < 40; i++) {
    const passed = line.datapath("router").pass(FLOW, line.datapath("sender").pass(FLOW, 50_000));
    if (line.paths.at > 0) line.datapath("receiver").pass(FLOW, passed);
    await line.pass(seconds(1));
  }
  t.like(evidence(line)?.where, { from: "router", to: "receiver" });
  t.deepEqual(line.paths.calls, ["next via 10.0.0.9"]);
  t.deepEqual(line.invalidated, ["router"]);
  t.is(line.flows("router")[0]?.path, "via 10.0.0.9");
  t.is(said(line, "receiver", "attack").length, 1);
  t.deepEqual(said(line, "sender", "path"), []);
  t.true(EVERYWHERE.every((place) => permitted(line, place)));
});

test("what a router cannot mend is the sender's to mend, at once", async (t) => {
  const line = await granted({ paths: ["via 10.0.0.2"] });
  for (let i = 0; i < 60; i++) {
    const passed = line.datapath("router").pass(FLOW, line.datapath("sender").pass(FLOW, 50_000));
    if (line.paths.at > 0) line.datapath("receiver").pass(FLOW, passed);
    await line.pass(seconds(1));
  }
  t.deepEqual(line.paths.calls, ["next via 10.0.0.2"]);
  t.is(said(line, "receiver", "reaction").length, 1);
  t.is(line.node("router").counters()["notify.sent"], 1);
});

test("nobody is moved by a router's word that it cannot, without the receiver's that it should", async (t) => {
  const line = await granted({ paths: ["via 10.0.0.2"] });
  const id = line.flows("sender")[0]?.id ?? "";
  const info = { class: 0, code: INFO_CODE.noOtherPath, objectType: 0, retryAfter: ms(0), text: "" };
  inject(
    line,
    carried(id, FLOW, "upstream", encodeNotify({ type: "notify", flow: FLOW, info })),
    "router",
    "sender",
  );
  await line.pass(seconds(5));
  t.deepEqual(line.paths.calls, []);
  t.true(permitted(line, "sender"));
});

test("slide 19: Queries vanish before there is a permission: another path after two tries", async (t) => {
  const line = new Line(credentials, {}, ["via 10.0.0.2", "via 10.0.0.3"]);
  line.tamper = (message, from) => (from === "sender" && line.paths.at < 2 ? [] : [message]);
  line.datapath("sender").want(FLOW);
  await line.pass(seconds(16));
  t.true(EVERYWHERE.every((place) => permitted(line, place)));
  t.deepEqual(line.paths.calls, ["next via 10.0.0.2", "next via 10.0.0.3"]);
  t.deepEqual(said(line, "sender", "attack"), [
    "black hole on the path: 2 Queries without an answer",
    "black hole on the path: 2 Queries without an answer",
  ]);
});

test("when no path answers the application is told, and the route is taken out", async (t) => {
  const line = new Line(credentials, {}, ["via 10.0.0.2"]);
  line.tamper = (message, from) => (from === "sender" ? [] : [message]);
  line.datapath("sender").want(FLOW);
  await line.pass(seconds(20));
  t.is(line.flows("sender").length, 0);
  t.is(line.datapath("sender").refused.length, 1);
  t.deepEqual(line.paths.calls, ["next via 10.0.0.2", "undo"]);
});

test("a path that goes silent under a permission is left, and what was permitted goes on", async (t) => {
  const line = await granted({ paths: ["via 10.0.0.2"] });
  line.tamper = (message, from) => (from === "sender" && line.paths.at === 0 ? [] : [message]);
  traffic(line, MB);
  await line.pass(seconds(40));
  t.deepEqual(line.paths.calls, ["next via 10.0.0.2"]);
  t.true(permitted(line, "receiver"));
  t.is(line.flows("receiver")[0]?.sentVolume, bytes(MB));
});

test("without complaints the flow goes back to its first path", async (t) => {
  const moves = { ...DEFAULT_MOVES, returnAfter: seconds(60) };
  const line = await granted({ paths: ["via 10.0.0.2"], options: { moves } });
  traffic(line, MB);
  let silent = true;
  line.tamper = (message, from) => (from === "sender" && silent && line.paths.at === 0 ? [] : [message]);
  await line.pass(seconds(40));
  t.is(line.paths.at, 1);
  silent = false;
  await line.pass(seconds(60));
  t.deepEqual(line.paths.calls, ["next via 10.0.0.2", "undo"]);
  t.is(line.flows("sender")[0]?.path, null);
  t.true(permitted(line, "receiver"));
});

test("a dry run says what it would do, and does nothing", async (t) => {
  const line = await granted({ detection: { mode: "dry-run" } });
  traffic(line, MB);
  line.datapath("receiver").pass(FLOW, 2 * MB);
  await line.pass(seconds(20));
  t.is(evidence(line)?.kind, "excess");
  t.regex(said(line, "receiver", "reaction")[0] ?? "", /^dry run: would ask for packets signed/);
  for (const place of EVERYWHERE) t.is(level(line, place), "none");
  t.true(permitted(line, "sender"));
});

test("switched off, nothing is compared", async (t) => {
  const line = await granted({ detection: { mode: "off" } });
  traffic(line, MB);
  line.datapath("receiver").pass(FLOW, 2 * MB);
  await line.pass(seconds(30));
  t.deepEqual(said(line, "receiver", "attack"), []);
  t.is(line.flows("receiver")[0]?.detection, null);
});

test("many packets that fail authentication are an event", async (t) => {
  const line = await granted({ authentication: SIGNED });
  traffic(line, MB);
  await line.pass(seconds(20));
  const entry = line.datapath("receiver").entries.get(flowKey(FLOW));
  if (entry !== undefined) entry.failures += 1_000_000;
  await line.pass(seconds(20));
  t.is(evidence(line)?.kind, "failures");
  t.true(permitted(line, "sender"));
});

test("routers report what they counted, with their certificate at first, and receivers check it on a finding", async (t) => {
  const line = await granted();
  const sizes: number[] = [];
  line.tamper = (message, from) => {
    const { message: content } = decodePbs(message.data);
    if (from === "router" && content.type === "query") {
      t.is(content.reports?.length, 1);
      sizes.push(content.reports?.[0]?.certificate?.length ?? 0);
    }
    return [message];
  };
  traffic(line, MB);
  await line.pass(seconds(60));
  t.true((sizes[0] ?? 0) > 0 && (sizes[1] ?? 0) > 0 && sizes[2] === 0);
  const [view] = line.flows("receiver");
  t.deepEqual(view?.detection?.hops, [{ node: "router", counted: bytes(MB), verified: false }]);
  t.like(view?.detection?.last, { sent: MB, received: MB, verdict: "fits" });
});

test("a report that somebody changed places nobody", async (t) => {
  const line = await granted();
  line.tamper = (message, from) => {
    if (from !== "router" || message.mri.direction !== "downstream") return [message];
    const data = Uint8Array.from(message.data);
    // In the signature; the last bytes may be padding.
    data[data.length - 20] = (data[data.length - 20] ?? 0) ^ 1;
    return [{ ...message, data }];
  };
  traffic(line, MB);
  line.datapath("receiver").pass(FLOW, 2 * MB);
  await line.pass(seconds(20));
  t.is(evidence(line)?.kind, "excess");
  t.deepEqual(evidence(line)?.hops, []);
  // Sender and receiver alone are left.
  t.like(evidence(line)?.where, { from: "sender", to: "receiver" });
});

test("honest traffic raises nothing, refreshes and extensions included", async (t) => {
  for (const authentication of [undefined, { level: "hmac" }, SIGNED] as const) {
    const line = await granted({ ...(authentication && { authentication }), numbers: true });
    let sent = 0;
    for (let i = 0; i < 60; i++) {
      sent += traffic(line, 700_000);
      await line.pass(seconds(1));
    }
    t.is(sent, 60 * 700_000);
    for (const place of EVERYWHERE) t.deepEqual(said(line, place, "attack"), []);
  }
});

test("a receiver that restarts goes on in the epoch of the others, and a second attack is found", async (t) => {
  const line = await granted({ authentication: { level: "hmac" } });
  traffic(line, MB);
  line.datapath("receiver").pass(FLOW, 2 * MB);
  await line.pass(seconds(20));
  t.is(line.flows("receiver")[0]?.detection?.epoch, 1);
  line.boot("receiver");
  await line.pass(seconds(20));
  t.is(line.flows("receiver")[0]?.detection?.epoch, 1);
  line.datapath("receiver").pass(FLOW, 2 * MB);
  await line.pass(seconds(30));
  t.like(evidence(line), { kind: "excess", epoch: 1, amount: 2 * MB });
  t.deepEqual(counted(line), [MB, MB, MB]);
});

test("a router that restarts in a later epoch counts from what the sender signed", async (t) => {
  const line = await granted();
  traffic(line, MB);
  line.datapath("receiver").pass(FLOW, 2 * MB);
  await line.pass(seconds(20));
  traffic(line, MB);
  line.boot("router");
  await line.pass(seconds(20));
  t.deepEqual(counted(line), [2 * MB, 2 * MB, 2 * MB]);
});

test("what goes on and is left alone is told once a minute", async (t) => {
  const line = await granted({ detection: { onExcess: "alarm" } });
  traffic(line, MB);
  line.datapath("receiver").pass(FLOW, 2 * MB);
  for (let i = 0; i < 60; i++) {
    await line.pass(seconds(1));
    traffic(line, 1000);
  }
  t.is(said(line, "receiver", "attack").length, 1);
  t.true((line.flows("receiver")[0]?.detection?.findings ?? 0) > 2);
});

test("a router that the path leaves forgets the flow soon, unless it is on the new path too", async (t) => {
  for (const both of [true, false]) {
    const line = await granted({ paths: ["via 10.0.0.2"] });
    if (!both)
      line.tamper = (message, from) => {
        // On the new path there are no PBS routers: what leaves one end arrives at the other.
        if (line.paths.at === 0) return [message];
        if (from === "router") return [];
        const to = from === "sender" ? "receiver" : "sender";
        inject(line, message, from, to);
        return [];
      };
    for (let i = 0; i < 40; i++) {
      const passed = line.datapath("sender").pass(FLOW, 50_000);
      if (line.paths.at > 0) line.datapath("receiver").pass(FLOW, passed);
      if (line.paths.at > 0 && both) line.datapath("router").pass(FLOW, passed);
      await line.pass(seconds(1));
    }
    t.deepEqual(line.paths.calls, ["next via 10.0.0.2"]);
    t.is(permitted(line, "router"), both);
    t.true(permitted(line, "sender") && permitted(line, "receiver"));
  }
});

test("a sender that was moved a short while ago stays, and one without other paths stays for good", async (t) => {
  for (const paths of [[], ["via 10.0.0.2", "via 10.0.0.3"]]) {
    const options = { moves: { ...DEFAULT_MOVES, hold: seconds(300), spread: seconds(0) } };
    const line = await granted({ paths, options });
    for (let i = 0; i < 60; i++) {
      line.datapath("sender").pass(FLOW, 50_000);
      await line.pass(seconds(1));
    }
    t.deepEqual(
      line.paths.calls,
      paths.slice(0, 1).map((name) => `next ${name}`),
    );
    t.true(permitted(line, "sender"));
    if (paths.length === 0) t.regex(said(line, "sender", "path")[0] ?? "", /no other path is configured/);
  }
});

test("an epoch that a sender invents cannot keep the receiver from speaking", async (t) => {
  const line = await granted();
  const id = line.flows("sender")[0]?.id ?? "";
  const content = {
    type: "query",
    flow: FLOW,
    sequence: nextSequence(undefined, line.time.wall()) + 1000,
    requestedVolume: bytes(10 * MB),
    sentVolume: bytes(MB),
    mark: { epoch: 2 ** 32 - 1 },
  } as const;
  line.boot("receiver");
  inject(line, signed(credentials.signers.sender, id, content), "router", "receiver");
  await line.until(() => permitted(line, "receiver"), "permission");
  t.is(line.flows("receiver")[0]?.detection?.epoch, 2 ** 31);
  await line.node("receiver").revoke(id, "over");
  await line.settle();
  t.false(permitted(line, "sender"));
});

test("a Query has room for sixteen reports, and one that is full goes on as it is", async (t) => {
  const line = await granted();
  traffic(line, MB);
  let query: SendMessage | undefined;
  line.tamper = (message, from) => {
    if (from === "sender") query ??= message;
    return [];
  };
  await line.pass(seconds(20));
  if (query === undefined) return t.fail();
  let { data } = query;
  const report = makeReport(credentials.signers.router, query.sessionId, 5, {
    epoch: 0,
    counted: bytes(1),
    sequence: 1,
  });
  for (let i = 0; i < 20; i++) data = withReport(data, report) ?? data;
  const { message: read } = decodePbs(data);
  t.is(read.type === "query" ? read.reports?.length : 0, 16);
  const sent: number[] = [];
  line.tamper = (message, from) => {
    if (from === "router" && message.mri.direction === "downstream") sent.push(message.data.length);
    return [];
  };
  inject(line, { ...query, data }, "sender", "router");
  await line.until(() => sent.length > 0, "the Query goes on");
  t.deepEqual(sent, [data.length]);
});
