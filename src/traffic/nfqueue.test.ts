import { setImmediate } from "node:timers/promises";
import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../base/address.js";
import { type Flow, flowKey, parseFlow, reverse, sameFlow } from "../base/flow.js";
import { silentLogger } from "../base/log.js";
import { bytes, ms, seconds } from "../base/units.js";
import type { Installation } from "./datapath.js";
import {
  DECISION,
  decodeFlow,
  encodeFlow,
  encodeFlows,
  KEY_BYTES,
  native,
  PERMIT_VALUES,
  PROBLEM,
  READ_VALUES,
} from "./native.js";
import { NfqueueDatapath, NfqueueError, type NfqueueOptions } from "./nfqueue.js";
import { BARE_ENGINE } from "./testdata/bare-engine.js";

/** The table without queues: what it decides is the same, and no privileges are needed. */
const OPTIONS: NfqueueOptions = {
  queueBase: 0,
  capacity: 1000,
  holdPacketsPerFlow: 4,
  holdPackets: 16,
  holdTime: seconds(1),
  refuseMark: 1,
  enforce: true,
  logger: silentLogger,
  kernel: false,
};

const FLOW = parseFlow("udp 10.0.0.1:4000 > 10.0.0.2:80");
const SIX = parseFlow("tcp [fd00::1]:4000 > [fd00::2]:80");

function permission(flow: Flow, changes: Partial<Installation> = {}): Installation {
  return { flow, allowedVolume: bytes(1000), lifetime: seconds(60), ...changes };
}

const address = (family: 4 | 6): fc.Arbitrary<IpAddress> =>
  fc
    .uint8Array({ minLength: family === 4 ? 4 : 16, maxLength: family === 4 ? 4 : 16 })
    .map((b) => IpAddress.fromBytes(b));

const anyFlow: fc.Arbitrary<Flow> = fc
  .record({ family: fc.constantFrom<4 | 6>(4, 6), protocol: fc.integer({ min: 0, max: 255 }) })
  .chain(({ family, protocol }) => {
    const port = protocol === 6 || protocol === 17 ? fc.integer({ min: 0, max: 65535 }) : fc.constant(0);
    return fc.record({
      protocol: fc.constant(protocol),
      source: address(family),
      destination: address(family),
      sourcePort: port,
      destinationPort: port,
    });
  });

test("keys of flows are read back as they were written", (t) => {
  fc.assert(
    fc.property(fc.array(anyFlow, { maxLength: 5 }), (flows) => {
      const keys = encodeFlows(flows);
      return flows.every((flow, i) => sameFlow(flow, decodeFlow(keys, i)));
    }),
  );
  t.throws(() => encodeFlow({ ...FLOW, source: SIX.source }, new Uint8Array(KEY_BYTES), 0), {
    message: /one family/,
  });
});

test("flows are installed, read, changed and removed", async (t) => {
  const datapath = NfqueueDatapath.open(OPTIONS);
  await datapath.install([permission(FLOW), permission(SIX, { countedAtLeast: bytes(70) })]);
  t.deepEqual(datapath.read([SIX, reverse(FLOW), FLOW]), [
    { bytes: bytes(70), packets: 0, overVolume: 0, expired: 0, idle: undefined },
    undefined,
    { bytes: bytes(0), packets: 0, overVolume: 0, expired: 0, idle: undefined },
  ]);
  await datapath.install([permission(SIX, { countedAtLeast: bytes(50) })]);
  t.is(datapath.read([SIX])[0]?.bytes, bytes(70));
  t.is(datapath.status().flows, 2);
  await datapath.remove([SIX, reverse(SIX)]);
  t.is(datapath.read([SIX])[0], undefined);
  t.is(datapath.status().flows, 1);
  await datapath.stop();
});

test("a new epoch sets the count, up or down, and then it goes on", async (t) => {
  const datapath = NfqueueDatapath.open(OPTIONS);
  await datapath.install([permission(FLOW, { countedAtLeast: bytes(900) })]);
  await datapath.install([permission(FLOW, { countFrom: bytes(300), countedAtLeast: bytes(500) })]);
  t.is(datapath.read([FLOW])[0]?.bytes, bytes(300));
  await datapath.install([permission(FLOW)]);
  t.is(datapath.read([FLOW])[0]?.bytes, bytes(300));
  await datapath.install([permission(FLOW, { countFrom: bytes(0) })]);
  t.is(datapath.read([FLOW])[0]?.bytes, bytes(0));
  await datapath.stop();
});

test("a refusal takes the permission's place, and a permission the refusal's", async (t) => {
  const datapath = NfqueueDatapath.open(OPTIONS);
  await datapath.install([permission(FLOW, { countedAtLeast: bytes(10) })]);
  datapath.refuse(FLOW, seconds(10));
  t.is(datapath.read([FLOW])[0], undefined);
  t.is(datapath.status().flows, 0);
  await datapath.install([permission(FLOW)]);
  t.is(datapath.read([FLOW])[0]?.bytes, bytes(0));
  await datapath.stop();
});

test("a full table refuses the whole batch and keeps what it has", async (t) => {
  const datapath = NfqueueDatapath.open({ ...OPTIONS, capacity: 2 });
  await datapath.install([permission(FLOW)]);
  await datapath.install([permission(FLOW)]);
  const error = await t.throwsAsync(datapath.install([permission(SIX), permission(reverse(SIX))]), {
    instanceOf: NfqueueError,
  });
  t.is(error?.code, "EFULL");
  t.deepEqual(datapath.read([SIX, reverse(SIX)]), [undefined, undefined]);
  await datapath.install([permission(FLOW), permission(SIX)]);
  await datapath.install([permission(SIX), permission(FLOW)]);
  t.is(datapath.status().flows, 2);
  await datapath.stop();
});

test("in a full table the oldest that nobody uses gives way to what is new, and never one that is renewed with it", async (t) => {
  const datapath = NfqueueDatapath.open({ ...OPTIONS, capacity: 2 });
  const evicted: string[] = [];
  datapath.listen((events) => evicted.push(...events.map(({ type, flow }) => `${type} ${flowKey(flow)}`)));
  await datapath.install([permission(FLOW)]);
  await datapath.install([permission(SIX)]);
  await datapath.install([permission(reverse(SIX))]);
  t.deepEqual(
    datapath.read([FLOW, SIX, reverse(SIX)]).map((count) => count !== undefined),
    [false, true, true],
  );
  await datapath.install([permission(SIX), permission(FLOW)]);
  t.deepEqual(
    datapath.read([FLOW, SIX, reverse(SIX)]).map((count) => count !== undefined),
    [true, true, false],
  );
  for (let turn = 0; turn < 1000 && evicted.length < 2; turn++) await setImmediate();
  t.deepEqual(evicted, [`evicted ${flowKey(FLOW)}`, `evicted ${flowKey(reverse(SIX))}`]);
  await datapath.stop();
});

test("after stop every call is refused, and stopping twice is fine", async (t) => {
  const datapath = NfqueueDatapath.open(OPTIONS);
  await datapath.stop();
  await datapath.stop();
  await t.throwsAsync(datapath.install([permission(FLOW)]), { instanceOf: NfqueueError, message: /stopped/ });
  await t.throwsAsync(datapath.remove([FLOW]), { message: /stopped/ });
  t.throws(() => datapath.read([FLOW]), { message: /stopped/ });
  t.throws(() => datapath.status(), { message: /stopped/ });
  t.notThrows(() => datapath.refuse(FLOW, seconds(1)));
});

test("a million flows", async (t) => {
  const count = 1_000_000;
  const datapath = NfqueueDatapath.open({ ...OPTIONS, capacity: count });
  const keys = new Uint8Array(count * KEY_BYTES);
  const values = new Float64Array(count * PERMIT_VALUES);
  for (let i = 0; i < count; i++) {
    const source = IpAddress.fromBytes(Uint8Array.of(10, i >> 16, i >> 8, i));
    encodeFlow({ ...FLOW, source }, keys, i);
    values.set([1000, 60_000, -1, i, -1, 0], i * PERMIT_VALUES);
  }
  const started = performance.now();
  await datapath.installEncoded(keys, values);
  const inserted = performance.now();
  await datapath.installEncoded(keys, values);
  const changed = performance.now();
  t.log(
    `installed ${Math.round(count / (inserted - started))} and changed ${Math.round(count / (changed - inserted))} a ms`,
  );
  t.log(`${(datapath.tableBytes() / count).toFixed(1)} bytes a flow`);
  t.is(datapath.status().flows, count);
  const source = IpAddress.parse("10.9.12.34");
  t.is(datapath.read([{ ...FLOW, source }])[0]?.bytes, bytes((9 << 16) + (12 << 8) + 34));
  await datapath.remove(Array.from({ length: 1000 }, (_, i) => decodeFlow(keys, i * 7)));
  t.is(datapath.status().flows, count - 1000);
  await datapath.stop();
});

/** A UDP datagram of FLOW; `length` with the IP header. */
function datagram(length: number): Uint8Array {
  const packet = new Uint8Array(length);
  packet.set([0x45, 0, length >> 8, length & 0xff]);
  packet.set([64, 17], 8);
  packet.set([10, 0, 0, 1, 10, 0, 0, 2, 4000 >> 8, 4000 & 0xff, 0, 80], 12);
  return packet;
}

function openNative(capacity: number, wake: () => void) {
  return native().open(
    {
      capacity,
      ...BARE_ENGINE,
    },
    wake,
  );
}

test("packets are judged by the table", (t) => {
  const addon = native();
  const engine = openNative(10, () => undefined);
  const judge = (packet: Uint8Array): number => addon.probe(engine, packet, packet.length, 0);
  const keys = encodeFlows([FLOW]);
  t.is(judge(datagram(100)), DECISION.unknown);
  addon.permit(engine, keys, Float64Array.of(250, 60_000, -1, 0, -1, 0), new Uint8Array(1), undefined);
  t.deepEqual(
    [100, 100, 100, 50, 28].map((length) => judge(datagram(length))),
    [DECISION.accept, DECISION.accept, DECISION.drop, DECISION.accept, DECISION.drop],
  );
  const counts = new Float64Array(READ_VALUES);
  addon.read(engine, keys, counts);
  t.deepEqual([...counts.subarray(0, 5)], [1, 250, 3, 2, 0]);
  t.true((counts[5] ?? -1) >= 0);
  addon.refuse(engine, keys, 60_000, 0);
  t.is(judge(datagram(100)), DECISION.refuse);
  addon.refuse(engine, keys, 0, 0);
  t.is(judge(datagram(100)), DECISION.unknown);
  t.is(judge(Uint8Array.of(0x45)), -PROBLEM.malformed);
  t.is(addon.probe(engine, datagram(28).subarray(0, 27), 28, 0), -PROBLEM.headersTooLong);
  addon.close(engine);
});

test("events come in a batch, and are taken once", async (t) => {
  const addon = native();
  const flows = [FLOW, SIX];
  const keys = encodeFlows(flows);
  let woken: () => void = () => undefined;
  const wake = new Promise<void>((resolve) => (woken = resolve));
  const engine = openNative(10, () => woken());
  addon.permit(
    engine,
    keys,
    Float64Array.of(250, 60_000, 200, 0, -1, 0, 1, 1, -1, 0, -1, 0),
    new Uint8Array(2),
    undefined,
  );
  for (let i = 0; i < 3; i++) addon.probe(engine, datagram(100), 100, 0);
  // The engine has no queues, so it does not keep the process alive by itself.
  const alive = setInterval(() => undefined, 1000);
  await wake;
  clearInterval(alive);
  const eventKeys = new Uint8Array(8 * KEY_BYTES);
  const eventValues = new Float64Array(16);
  t.is(addon.takeEvents(engine, eventKeys, eventValues), 2);
  t.deepEqual([...eventValues.subarray(0, 4)], [1, 200, 2, 200]);
  t.true(sameFlow(decodeFlow(eventKeys, 1), FLOW));
  t.is(addon.takeEvents(engine, eventKeys, eventValues), 0);
  addon.close(engine);
});

const OVERLAP = { duration: seconds(1), bytes: bytes(1000) };
const association = (spi: number, keyBytes = 32) =>
  ({ spi, algorithm: "hmac-sha256-128", key: new Uint8Array(keyBytes) }) as const;

test("a flow with AH tells its association, and keeps its counts through a change of it", async (t) => {
  const datapath = NfqueueDatapath.open(OPTIONS);
  const protect = (spi: number) =>
    datapath.install([
      permission(FLOW, {
        authentication: { action: "verify", association: association(spi), overlap: OVERLAP },
      }),
    ]);
  await datapath.install([permission(FLOW)]);
  t.is(datapath.read([FLOW])[0]?.authentication, undefined);
  await protect(300);
  await protect(301);
  t.deepEqual(datapath.read([FLOW])[0]?.authentication, {
    spi: 301,
    algorithm: "hmac-sha256-128",
    sequence: 0,
    bytes: bytes(0),
    failures: { missing: 0, malformed: 0, unknownSpi: 0, replayed: 0, badIcv: 0 },
  });
  t.is(datapath.countUpTo(FLOW, 301, 5), bytes(0));
  t.is(datapath.countUpTo(FLOW, 300, 5), bytes(0), "the one before is still there");
  t.is(datapath.countUpTo(FLOW, 299, 5), undefined);
  t.is(datapath.countUpTo(SIX, 301, 5), undefined);
  await datapath.install([permission(FLOW)]);
  t.is(datapath.read([FLOW])[0]?.authentication, undefined);
  await protect(302);
  await datapath.remove([FLOW]);
  t.is(datapath.read([FLOW])[0], undefined);
  await datapath.stop();
});

test("a key that does not fit its algorithm installs nothing", async (t) => {
  const datapath = NfqueueDatapath.open(OPTIONS);
  const authentication = { action: "strip", association: association(300, 31), overlap: OVERLAP } as const;
  await t.throwsAsync(datapath.install([permission(SIX), permission(FLOW, { authentication })]), {
    instanceOf: NfqueueError,
    message: /key/,
  });
  t.is(datapath.status().flows, 0);
  await datapath.stop();
});

test("associations come and go without a trace in the table", async (t) => {
  const datapath = NfqueueDatapath.open({ ...OPTIONS, capacity: 4 });
  for (let round = 0; round < 20_000; round++) {
    const authentication = {
      action: "insert",
      association: association(256 + round),
      overlap: OVERLAP,
    } as const;
    await datapath.install([permission(FLOW, { authentication })]);
    if (round % 3 === 0) await datapath.remove([FLOW]);
    if (round % 5 === 0) datapath.refuse(FLOW, ms(1));
  }
  t.true(datapath.status().flows <= 1);
  await datapath.stop();
});

test("wrong arguments are errors, not accidents", (t) => {
  const addon = native();
  const engine = openNative(10, () => undefined);
  const one = Float64Array.of(1, 1, 1, 1, 1, 0);
  const flag = new Uint8Array(1);
  const key = encodeFlows([FLOW]);
  t.throws(() => addon.permit(engine, key.subarray(1), one, flag, undefined), { code: "EINVAL" });
  t.throws(() => addon.permit(engine, key, one.subarray(1), flag, undefined), { code: "EINVAL" });
  t.throws(() => addon.permit(engine, key, one, flag.subarray(1), undefined), { code: "EINVAL" });
  t.throws(() => addon.read(engine, key, new Float64Array(READ_VALUES - 1)), { code: "EINVAL" });
  t.throws(() => addon.addToSets(engine, key, 0, 2), { code: "EINVAL" });
  t.throws(() => addon.status(engine, new Float64Array(3)), { code: "EINVAL" });
  t.throws(() => addon.read({} as typeof engine, key, new Float64Array(6)), { code: "EINVAL" });
  addon.close(engine);
  addon.close(engine);
  t.throws(() => addon.read(engine, key, new Float64Array(6)), { code: "ECLOSED" });
});

test("a queue that cannot be bound is an error with a remedy", (t) => {
  const first = { ...OPTIONS, queueBase: 40_000 + (process.pid % 20_000), kernel: true };
  if (process.getuid?.() !== 0) {
    t.throws(() => NfqueueDatapath.open(first), { message: /CAP_NET_ADMIN/ });
    return;
  }
  const datapath = NfqueueDatapath.open(first);
  t.throws(() => NfqueueDatapath.open(first), { message: /another process has queue/ });
  return datapath.stop();
});

test("empty batches and permissions that are over at once are fine", async (t) => {
  const datapath = NfqueueDatapath.open(OPTIONS);
  await datapath.remove([]);
  await datapath.install([]);
  await datapath.install([permission(FLOW, { lifetime: ms(0) })]);
  t.is(datapath.status().flows, 1);
  await datapath.stop();
});
