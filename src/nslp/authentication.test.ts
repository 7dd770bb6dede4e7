/** How the nodes of a path agree on AH: choice, fallback, refusal, change of key and level, restarts. */
import { createPrivateKey, createPublicKey } from "node:crypto";
import test from "ava";
import type { Algorithm } from "../base/algorithm.js";
import type { AuthenticationRule } from "../authorization/algorithm.js";
import { readCertificate } from "../authorization/certificate.js";
import { spkiOf } from "../authorization/key.js";
import type { Signer } from "../authorization/signing.js";
import { flowKey, reverse } from "../base/flow.js";
import { bytes, ms, seconds } from "../base/units.js";
import type { SendMessage } from "../gist/service.js";
import type { Authentication, Installation } from "../traffic/datapath.js";
import { nextSequence } from "./sequence.js";
import { carried, inject, signed } from "./testing/forge.js";
import {
  ask,
  EVERYWHERE,
  FLOW,
  Line,
  makeCredentials,
  permitted,
  type Place,
  traffic,
} from "./testing/line.js";
import { CannotAuthenticate } from "./view.js";
import { decodePbs, encodeNotify } from "./wire/codec.js";
import {
  AUTH_ALGORITHM,
  type Defense,
  INFO_CLASS,
  INFO_CODE,
  OBJECT_TYPE,
  type PbsPermission,
  SOLUTION,
} from "./wire/messages.js";

const credentials = makeCredentials();
const WORN = 3 * 2 ** 30;
const NO_KEY = new Uint8Array();

const grant = { volume: bytes(10_000), lifetime: seconds(600), refresh: seconds(60), extend: true };

function demanding(authentication: AuthenticationRule, line = new Line(credentials)): Line {
  line.decision = { type: "grant", rule: "test", grant: { ...grant, authentication } };
  return line;
}

function at(line: Line, place: Place): Authentication {
  const found = line.datapath(place).entries.get(flowKey(FLOW))?.installation.authentication;
  if (found === undefined) throw new Error(`no association at ${place}`);
  return found;
}

function spis(line: Line): Set<number> {
  return new Set(EVERYWHERE.map((place) => at(line, place).association.spi));
}

function counter(line: Line, place: Place, name: string): number {
  return line.node(place).counters()[name] ?? 0;
}

function idAt(line: Line, place: Place): string {
  return line.flows(place)[0]?.id ?? "";
}

/** Permissions as they leave a node. */
function permissions(line: Line, from: Place): PbsPermission[] {
  const seen: PbsPermission[] = [];
  line.tamper = (message, sender) => {
    const { message: content } = decodePbs(message.data);
    if (sender === from && content.type === "permission") seen.push(content);
    return [message];
  };
  return seen;
}

function events(line: Line, place: Place): string[] {
  return line
    .events(place)
    .filter(({ type }) => type === "authentication")
    .map(({ detail }) => detail);
}

const COMMON = { hmac: { level: "hmac" }, publicKey: { level: "public-key" } } as const;

test("with a shared key every node has its part of the association", async (t) => {
  const line = demanding(COMMON.hmac);
  const sent = permissions(line, "receiver");
  await ask(line);
  const { spi, key } = at(line, "receiver").association;
  t.true(spi >= 256);
  t.is(key.length, 32);
  t.true(key.some((byte) => byte !== 0));
  const parts = [
    ["sender", "insert"],
    ["router", "verify"],
    ["receiver", "strip"],
  ] as const;
  for (const [place, action] of parts) {
    t.deepEqual(at(line, place), {
      action,
      association: { spi, algorithm: "hmac-sha256-128", key },
      overlap: { duration: ms(0), bytes: bytes(0) },
    });
    const [view] = line.flows(place);
    t.like(view?.authentication, { level: "hmac", algorithm: "hmac-sha256-128", spi, sequence: 0 });
    const text = `hmac-sha256-128, SPI 0x${spi.toString(16).padStart(8, "0")}`;
    t.deepEqual(events(line, place), [text]);
    const shown = JSON.stringify([view, line.events(place), line.node(place).counters()]);
    t.false(shown.includes(Buffer.from(key).toString("hex")));
    t.false(shown.includes(JSON.stringify([...key])));
  }
  t.like(sent[0]?.defense, { solution: SOLUTION.symmetricAh, algorithm: AUTH_ALGORITHM.hmacSha256, spi });
});

test("with the sender's own key, verifiers have the public half and the Permission has none", async (t) => {
  const cases: readonly (readonly [Signer, Algorithm, number])[] = [
    [credentials.signers.sender, "tree-ecdsa-p256", AUTH_ALGORITHM.treeEcdsaP256],
    [credentials.signers.edwards, "tree-ed25519", AUTH_ALGORITHM.treeEd25519],
  ];
  for (const [signer, algorithm, code] of cases) {
    const line = demanding(COMMON.publicKey);
    line.boot("sender", signer);
    const sent = permissions(line, "receiver");
    await ask(line);
    const publicKey = new Uint8Array(spkiOf(readCertificate(signer.certificate).publicKey));
    for (const place of ["router", "receiver"] as const)
      t.deepEqual(new Uint8Array(at(line, place).association.key), publicKey);
    const { key } = at(line, "sender").association;
    const own = createPrivateKey({ key: Buffer.from(key), format: "der", type: "pkcs8" });
    t.deepEqual(new Uint8Array(spkiOf(createPublicKey(own))), publicKey);
    for (const place of EVERYWHERE) t.is(at(line, place).association.algorithm, algorithm);
    t.like(sent[0]?.defense, { solution: SOLUTION.publicKeyAh, algorithm: code });
    t.is(sent[0]?.defense.key.length, 0);
  }
});

test("a signature for each packet goes by the code that every node knows", async (t) => {
  const line = demanding({ level: "public-key", algorithms: ["ecdsa-p256"] });
  const sent = permissions(line, "receiver");
  await ask(line);
  t.is(sent[0]?.defense.algorithm, AUTH_ALGORITHM.certificateKey);
  for (const place of EVERYWHERE) t.is(at(line, place).association.algorithm, "ecdsa-p256");
});

test("the receiver's first choice that the sender can do is taken", async (t) => {
  const line = new Line(credentials);
  line.own.sender = { accepts: ["aes-cmac-96", "hmac-sha256-128"] };
  line.boot("sender");
  demanding({ level: "hmac", algorithms: ["hmac-sha384-192", "aes-cmac-96", "hmac-sha256-128"] }, line);
  await ask(line);
  for (const place of EVERYWHERE) t.is(at(line, place).association.algorithm, "aes-cmac-96");
  t.is(at(line, "router").association.key.length, 16);
  t.is(counter(line, "receiver", "permission.sent"), 1);
});

test("a sender that lists nothing gets an algorithm of the draft", async (t) => {
  const line = demanding(COMMON.publicKey);
  const id = "ab".repeat(16);
  const sent = permissions(line, "router");
  const query = signed(credentials.signers.sender, id, {
    type: "query",
    flow: FLOW,
    sequence: nextSequence(undefined, line.time.wall()),
    requestedVolume: bytes(1),
    sentVolume: bytes(0),
  });
  inject(line, query, "sender", "router");
  await line.until(() => sent.length === 1, "a Permission");
  t.like(sent[0]?.defense, { solution: SOLUTION.publicKeyAh, algorithm: AUTH_ALGORITHM.certificateKey });
});

test("a flow whose sender can do nothing that is allowed is refused with the reason", async (t) => {
  const rules: readonly AuthenticationRule[] = [
    { level: "hmac", algorithms: ["hmac-sha1-96"] },
    { level: "public-key", algorithms: ["rsa-2048", "tree-rsa-2048"] },
  ];
  for (const rule of rules) {
    const line = demanding(rule);
    const outcome = await line.node("sender").request(flowKey(FLOW), undefined);
    t.false(outcome.granted);
    t.regex(outcome.reason ?? "", /the sender can do none of the algorithms that are allowed/);
    for (const place of EVERYWHERE) t.false(permitted(line, place));
  }
});

test("SHA-1 is used where everybody concerned has it configured", async (t) => {
  const line = new Line(credentials);
  for (const place of ["sender", "router"] as const) {
    line.own[place] = { accepts: ["hmac-sha1-96"] };
    line.boot(place);
  }
  demanding({ level: "hmac", algorithms: ["hmac-sha1-96"] }, line);
  await ask(line);
  t.is(at(line, "router").association.algorithm, "hmac-sha1-96");
  t.is(at(line, "router").association.key.length, 20);
});

test("a router that cannot do an algorithm makes the receiver take its next", async (t) => {
  const line = new Line(credentials);
  line.own.router = { accepts: ["hmac-sha256-128"] };
  line.boot("router");
  demanding({ level: "hmac", algorithms: ["hmac-sha384-192", "aes-cmac-96", "hmac-sha256-128"] }, line);
  const passed = permissions(line, "router");
  await ask(line);
  t.is(spis(line).size, 1);
  for (const place of EVERYWHERE) t.is(at(line, place).association.algorithm, "hmac-sha256-128");
  t.is(passed.length, 1, "the sender never hears of the others");
  t.is(counter(line, "router", "notify.sent"), 2);
  t.is(counter(line, "receiver", "permission.sent"), 3);
  t.regex(events(line, "receiver")[1] ?? "", /^aes-cmac-96, .*hmac-sha384-192 cannot be used on the path/);
  t.is(traffic(line, 500), 500);
});

test("when the last algorithm is refused the flow is, and the sender learns why", async (t) => {
  const line = new Line(credentials);
  line.own.router = { accepts: ["aes-cmac-96"] };
  line.boot("router");
  demanding(COMMON.hmac, line);
  const outcome = await line.node("sender").request(flowKey(FLOW), undefined);
  t.false(outcome.granted);
  t.regex(outcome.reason ?? "", /hmac-sha256-128 cannot be used on the path.*not supported by a router/);
  await line.settle();
  for (const place of EVERYWHERE) {
    t.false(permitted(line, place));
    t.is(line.flows(place).length, 0);
  }
});

function forged(line: Line, defense: Defense, sequence: number): SendMessage {
  return signed(credentials.signers.receiver, idAt(line, "sender"), {
    type: "permission",
    flow: FLOW,
    sequence,
    allowedVolume: bytes(50_000),
    ttl: seconds(600),
    refresh: seconds(60),
    defense,
  });
}

const key = (length: number) => new Uint8Array(length).fill(7);
const REFUSED: readonly (readonly [string, Defense])[] = [
  ["solution 0", { solution: 0, algorithm: 2, spi: 999, key: key(32) }],
  ["solution 5", { solution: 5, algorithm: 2, spi: 999, key: key(32) }],
  ...[1, 3, 4, 6, 7, 8, 9, 11, 127, 135, 255].map(
    (algorithm) => [`algorithm ${algorithm}`, { solution: 2, algorithm, spi: 999, key: key(20) }] as const,
  ),
  ["SHA-256 with a short key", { solution: 2, algorithm: 2, spi: 999, key: key(31) }],
  ["SHA-256 without a key", { solution: 2, algorithm: 2, spi: 999, key: NO_KEY }],
  ["SHA-256 as a public key", { solution: 3, algorithm: 2, spi: 999, key: NO_KEY }],
  ["a signature as a shared key", { solution: 2, algorithm: 10, spi: 999, key: key(32) }],
  ["a signature with a key", { solution: 3, algorithm: 10, spi: 999, key: key(32) }],
  ["a signature of another kind of key", { solution: 3, algorithm: 5, spi: 999, key: NO_KEY }],
  [
    "a tree of another kind of key",
    { solution: 3, algorithm: AUTH_ALGORITHM.treeEd25519, spi: 999, key: NO_KEY },
  ],
];

test("what cannot be done is refused at sender and router, told to the receiver, and changes nothing", async (t) => {
  const line = demanding(COMMON.hmac);
  await ask(line);
  const before = at(line, "sender").association;
  const notified: Defense[] = [];
  line.tamper = (message) => {
    const { message: content } = decodePbs(message.data);
    if (content.type === "notify" && content.defense !== undefined) notified.push(content.defense);
    return [message];
  };
  const [first] = line.flows("sender");
  let sequence = nextSequence(undefined, line.time.wall()) + 1000;
  for (const [what, defense] of REFUSED) {
    for (const [from, to, hops] of [
      ["receiver", "router", 1],
      ["router", "sender", 2],
    ] as const) {
      notified.length = 0;
      inject(line, forged(line, defense, ++sequence), from, to);
      await line.until(() => notified.length === hops, `${what}: a Notify from ${to} on each hop`);
      for (const told of notified) t.deepEqual(told, { ...defense, key: NO_KEY }, what);
    }
  }
  for (const place of EVERYWHERE) t.deepEqual(at(line, place).association, before);
  t.is(line.flows("sender")[0]?.allowedVolume, first?.allowedVolume);
  t.is(counter(line, "receiver", "dropped.notify-out-of-date"), 2 * REFUSED.length);
});

function refusal(line: Line, spi: number): SendMessage {
  const data = encodeNotify({
    type: "notify",
    flow: FLOW,
    info: {
      class: INFO_CLASS.permanentFailure,
      code: INFO_CODE.unsupportedAlgorithm,
      objectType: OBJECT_TYPE.defense,
      retryAfter: ms(0),
      text: "\u202eno",
    },
    defense: { solution: SOLUTION.symmetricAh, algorithm: AUTH_ALGORITHM.hmacSha256, spi, key: NO_KEY },
  });
  return carried(idAt(line, "sender"), FLOW, "downstream", data);
}

test("an algorithm that packets have come with is not given up for a Notify", async (t) => {
  const line = demanding({ level: "hmac", algorithms: ["hmac-sha256-128", "aes-cmac-96"] });
  await ask(line);
  const { spi } = at(line, "receiver").association;
  line.datapath("receiver").reach(FLOW, 1);
  line.deliver(refusal(line, spi), "sender");
  await line.settle();
  t.is(counter(line, "router", "notify.forwarded"), 1);
  t.is(counter(line, "receiver", "rejected.notify-against-packets"), 1);
  t.is(at(line, "receiver").association.spi, spi);
});

test("a Notify about a Defense goes downstream only, and the others upstream only", async (t) => {
  const line = demanding(COMMON.hmac);
  await ask(line);
  const { data } = refusal(line, 999);
  inject(line, carried(idAt(line, "sender"), FLOW, "upstream", data), "receiver", "router");
  const plain = encodeNotify({
    type: "notify",
    flow: FLOW,
    info: { class: 3, code: INFO_CODE.tableFull, objectType: 0, retryAfter: ms(0), text: "" },
  });
  inject(line, carried(idAt(line, "sender"), FLOW, "downstream", plain), "sender", "router");
  await line.settle();
  t.is(counter(line, "router", "rejected.wrong-direction"), 2);
});

test("a refresh repeats the Defense and changes no association", async (t) => {
  const line = demanding(COMMON.hmac);
  const sent = permissions(line, "receiver");
  await ask(line);
  for (let period = 0; period < 3; period++) {
    traffic(line, 100);
    await line.pass(seconds(60));
  }
  t.true(sent.length >= 3);
  for (const { defense } of sent) t.deepEqual(defense, sent[0]?.defense);
  for (const place of EVERYWHERE) t.is(line.datapath(place).associations.length, 1);
});

test("near the end of the sequence numbers there is a new key, and counts go on", async (t) => {
  const line = demanding(COMMON.hmac);
  await ask(line);
  traffic(line, 700);
  const before = at(line, "receiver").association;
  let early = 0;
  line.tamper = (message, from) => {
    const { message: content } = decodePbs(message.data);
    if (from === "receiver" && content.type === "permission")
      early += at(line, "receiver").association.spi === content.defense.spi ? 0 : 1;
    if (from === "router" && content.type === "permission")
      early += at(line, "router").association.spi === content.defense.spi ? 0 : 1;
    return [message];
  };
  line.datapath("receiver").reach(FLOW, WORN);
  await line.until(() => at(line, "sender").association.spi !== before.spi, "the sender has another SPI");
  t.is(early, 0, "whoever checks has the key before it goes on");
  t.is(spis(line).size, 1);
  const { association, overlap } = at(line, "receiver");
  t.is(association.algorithm, before.algorithm);
  t.notDeepEqual(association.key, before.key);
  t.deepEqual(overlap, { duration: seconds(2), bytes: bytes(16 * 2 ** 20) });
  t.deepEqual(at(line, "router").overlap, overlap);
  t.is(at(line, "sender").overlap.duration, ms(0));
  for (const place of EVERYWHERE) t.is(line.datapath(place).entries.get(flowKey(FLOW))?.count, 700);
  t.is(events(line, "router").length, 2);
});

test("the sender's own warning makes it ask, and the receiver sees what is due", async (t) => {
  const line = demanding(COMMON.hmac);
  await ask(line);
  const { spi } = at(line, "receiver").association;
  const entry = line.datapath("receiver").entries.get(flowKey(FLOW));
  if (entry === undefined) return t.fail();
  // Its own event was lost, with a restart of the packet path for instance.
  entry.sequence = WORN;
  line.datapath("sender").reach(FLOW, WORN);
  await line.until(() => at(line, "sender").association.spi !== spi, "the sender has another SPI");
  await line.settle();
  t.is(spis(line).size, 1);
  for (const place of EVERYWHERE) t.is(line.datapath(place).associations.length, 2);
});

test("a new key that the packet path has no room for is made up for at the next refresh", async (t) => {
  const line = demanding(COMMON.hmac);
  await ask(line);
  traffic(line, 100);
  const sent = permissions(line, "receiver");
  const { spi } = at(line, "receiver").association;
  const datapath = line.datapath("receiver");
  const install = datapath.install.bind(datapath);
  datapath.install = () => Promise.reject(new Error("full"));
  datapath.reach(FLOW, WORN);
  await line.settle();
  t.is(sent.length, 0);
  t.is(at(line, "sender").association.spi, spi);
  datapath.install = install;
  await line.pass(seconds(91));
  t.is(spis(line).size, 1);
  t.false(spis(line).has(spi));
});

test("a person raises and lowers the level of a flow that goes on", async (t) => {
  const line = demanding(COMMON.hmac);
  await ask(line);
  const id = idAt(line, "receiver");
  const raised = await line.node("receiver").authenticate(id, "public-key");
  t.is(raised.authentication?.level, "public-key");
  await line.until(
    () => EVERYWHERE.every((place) => at(line, place).association.algorithm === "tree-ecdsa-p256"),
    "signatures everywhere",
  );
  t.is(spis(line).size, 1);
  await line.node("receiver").authenticate(id, "public-key");
  await line.settle();
  for (const place of EVERYWHERE) t.is(line.datapath(place).associations.length, 2);
  await line.node("receiver").authenticate(id, "none");
  await line.settle();
  for (const place of EVERYWHERE) {
    t.is(line.datapath(place).associations.at(-1)?.authentication, undefined);
    t.is(line.flows(place)[0]?.authentication, null);
    t.is(events(line, place).at(-1), "none");
  }
  t.is(traffic(line, 500), 500);
});

test("the rule's own list goes for a level that is raised", async (t) => {
  const line = demanding({ level: "none", algorithms: ["aes-cmac-96", "ecdsa-p256"] });
  await ask(line);
  t.is(line.flows("sender")[0]?.authentication, null);
  for (const [level, algorithm] of [
    ["hmac", "aes-cmac-96"],
    ["public-key", "ecdsa-p256"],
  ] as const) {
    await line.node("receiver").authenticate(idAt(line, "receiver"), level);
    await line.settle();
    for (const place of EVERYWHERE) t.is(at(line, place).association.algorithm, algorithm);
  }
});

test("a level that the sender cannot do is not taken up, and the flow goes on", async (t) => {
  const line = new Line(credentials);
  line.own.sender = { accepts: ["hmac-sha256-128"] };
  line.boot("sender");
  demanding(COMMON.hmac, line);
  await ask(line);
  const { spi } = at(line, "receiver").association;
  await t.throwsAsync(line.node("receiver").authenticate(idAt(line, "receiver"), "public-key"), {
    instanceOf: CannotAuthenticate,
  });
  await line.settle();
  t.deepEqual([...spis(line)], [spi]);
});

test("a raise that a router cannot do ends the flow rather than the level", async (t) => {
  const line = new Line(credentials);
  line.own.router = { accepts: ["hmac-sha256-128"] };
  line.boot("router");
  demanding(COMMON.hmac, line);
  await ask(line);
  await line.node("receiver").authenticate(idAt(line, "receiver"), "public-key");
  await line.settle();
  for (const place of EVERYWHERE) t.false(permitted(line, place));
  t.regex(line.events("sender").at(-1)?.detail ?? "", /ecdsa-p256 cannot be used on the path/);
});

test("a restarted receiver makes a new key, which the others take up", async (t) => {
  const line = demanding(COMMON.hmac);
  await ask(line);
  traffic(line, 300);
  const { spi } = at(line, "sender").association;
  line.boot("receiver");
  await line.pass(seconds(91));
  t.is(spis(line).size, 1);
  t.false(spis(line).has(spi));
  t.is(at(line, "receiver").overlap.duration, ms(0));
  t.is(line.datapath("receiver").entries.get(flowKey(FLOW))?.count, 300);
});

test("a restarted router gets the association that there is", async (t) => {
  const line = demanding(COMMON.publicKey);
  await ask(line);
  traffic(line, 300);
  const { spi } = at(line, "sender").association;
  line.boot("router");
  await line.pass(seconds(91));
  t.deepEqual([...spis(line)], [spi]);
  t.is(at(line, "router").overlap.duration, ms(0));
});

test("return traffic is authenticated as its own section says", async (t) => {
  const returns = {
    policy: "auto",
    volume: bytes(10_000),
    lifetime: seconds(600),
    refresh: seconds(60),
  } as const;
  const line = new Line(credentials, { returns: { ...returns, authentication: { level: "hmac" } } });
  await ask(line);
  const back = reverse(FLOW);
  line.datapath("receiver").want(back);
  await line.until(() => EVERYWHERE.every((place) => permitted(line, place, back)), "the way back");
  const entry = line.datapath("sender").entries.get(flowKey(back));
  t.is(entry?.installation.authentication?.action, "strip");
  t.is(line.flows("sender").find(({ role }) => role === "sender")?.authentication, null);
});

test("no key is left with what was handed to the packet path", async (t) => {
  for (const rule of [COMMON.hmac, COMMON.publicKey]) {
    const line = demanding(rule);
    const given: Installation[] = [];
    for (const place of EVERYWHERE) {
      const datapath = line.datapath(place);
      const install = datapath.install.bind(datapath);
      datapath.install = (permissions) => {
        given.push(...permissions);
        return install(permissions);
      };
    }
    await ask(line);
    t.is(given.length, 3);
    for (const { authentication } of given)
      t.true(authentication?.association.key.every((byte) => byte === 0));
    for (const place of EVERYWHERE) t.true(at(line, place).association.key.some((byte) => byte !== 0));
  }
});

test("no key is left with what the packet path refused either", async (t) => {
  const line = demanding(COMMON.hmac);
  const given: Installation[] = [];
  line.datapath("sender").install = (permissions) => {
    given.push(...permissions);
    return Promise.reject(new Error("full"));
  };
  const { granted } = await line.node("sender").request(flowKey(FLOW), undefined);
  t.false(granted);
  t.is(given.length, 1);
  t.true(given[0]?.authentication?.association.key.every((byte) => byte === 0));
});

test("a key that another has replaced on its way is never announced", async (t) => {
  const line = new Line(credentials);
  const asked = { ...grant, authentication: COMMON.hmac };
  line.decision = { type: "ask", rule: "test", grant: asked, timeout: seconds(60) };
  const sent = permissions(line, "receiver");
  line.datapath("sender").want(FLOW);
  await line.until(() => line.node("receiver").pending().length === 1, "pending");
  const id = line.node("receiver").pending()[0]?.id ?? "";
  await Promise.all([line.node("receiver").grant(id, {}), line.node("receiver").grant(id, {})]);
  await line.until(() => EVERYWHERE.every((place) => permitted(line, place)), "permission everywhere");
  await line.settle();
  t.is(spis(line).size, 1);
  for (const { defense } of sent) t.is(defense.spi, at(line, "receiver").association.spi);
});

test("a sender that is asked for what it cannot do says so where nobody asks for less", async (t) => {
  const line = demanding(COMMON.hmac);
  line.tamper = (message, from) =>
    from === "router" && message.mri.direction === "upstream" ? [] : [message];
  const outcome = line.node("sender").request(flowKey(FLOW), undefined);
  await line.until(() => line.flows("router")[0]?.state === "3 permission", "a Permission at the router");
  const md5 = { solution: SOLUTION.symmetricAh, algorithm: AUTH_ALGORITHM.hmacMd5, spi: 999, key: key(16) };
  inject(line, forged(line, md5, nextSequence(undefined, line.time.wall())), "router", "sender");
  await line.settle();
  t.is(line.flows("sender")[0]?.state, "2 wait for P");
  await line.pass(seconds(7));
  t.regex((await outcome).reason ?? "", /asks for AH of a kind that this host cannot do: algorithm 3/);
});
