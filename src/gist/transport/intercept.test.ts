import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../../base/address.js";
import { silentLogger } from "../../base/log.js";
import { FakeTime } from "../../base/time.js";
import { Counters } from "./counters.js";
import { Interceptor, LONGEST_WAIT, MOST_WAITING, type Verdict } from "./intercept.js";
import { buildQueryPacket, messageOf, parseUdpPacket } from "./packet.js";
import type { Datagram, Interception } from "./transport.js";

const destination = IpAddress.parse("192.168.21.4");

function queryPacket(flags = 0x80, hops = 9, from = "192.168.20.1", to = destination): Buffer {
  return buildQueryPacket({
    source: IpAddress.parse(from),
    destination: to,
    sourcePort: 270,
    ttl: 63,
    dscp: 0,
    flowLabel: 0,
    routerAlert: 65503,
    message: Uint8Array.of(1, hops, 0, 0, 0x7f, 0x40, flags, 0x60),
  });
}

function judge(
  packet: Uint8Array,
  answer: Interception | Error,
  local = false,
): { verdict: Verdict; seen: Datagram[]; counters: Record<string, number> } {
  const seen: Datagram[] = [];
  const counters = new Counters();
  const interceptor = new Interceptor({
    time: new FakeTime(),
    logger: silentLogger,
    counters,
    interfaceName: (index) => `eth${index}`,
    isLocal: () => local,
    deliver: (datagram) => {
      seen.push(datagram);
      if (answer instanceof Error) throw answer;
      return answer;
    },
  });
  const verdicts: Verdict[] = [];
  interceptor.judge(packet, 3, (verdict) => verdicts.push(verdict));
  const [verdict = "drop", ...more] = verdicts;
  if (verdicts.length === 0 || more.length > 0) throw new Error(`${verdicts.length} verdicts`);
  return { verdict, seen, counters: counters.snapshot() };
}

test("a Query-mode packet is delivered with where it came from", (t) => {
  const { verdict, seen } = judge(queryPacket(), "taken");
  t.is(verdict, "drop");
  const [datagram] = seen;
  t.is(datagram?.source.toString(), "192.168.20.1");
  t.is(datagram?.destination.toString(), "192.168.21.4");
  t.is(datagram?.ipTtl, 63);
  t.is(datagram?.inboundInterface, "eth3");
  t.true(datagram?.intercepted);
  t.is(datagram?.message.length, 8);
});

test("each interception has its verdict", (t) => {
  t.is(judge(queryPacket(), "untouched").verdict, "accept");
  t.is(judge(queryPacket(), "drop").verdict, "drop");
  const packet = queryPacket();
  t.is(judge(packet, "decrement-hops").verdict, "accept-changed");
  t.is(messageOf(parseUdpPacket(packet).payload)?.[1], 8);
  t.is(judge(queryPacket(0x80, 0), "decrement-hops").verdict, "drop");
});

test("what would come back through the own UDP socket ends here", (t) => {
  const { verdict, counters } = judge(queryPacket(), "untouched", true);
  t.is(verdict, "drop");
  t.deepEqual(counters, { "intercept.end-of-path": 1 });
});

test("datagram mode and what is not GIST go on untouched and unseen", (t) => {
  const datagramMode = judge(queryPacket(0x01), "taken");
  t.deepEqual([datagramMode.verdict, datagramMode.seen.length], ["accept", 0]);
  const packet = queryPacket();
  packet.writeUInt16BE(0, 6 + 24); // no UDP checksum
  const inexact = judge(packet, "taken");
  t.deepEqual([inexact.verdict, inexact.seen.length], ["accept", 0]);
  t.deepEqual(inexact.counters, { "intercept.not-exact": 1 });
});

test("hostile bytes never throw and are never taken", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      t.is(judge(bytes, "taken").verdict, "accept");
    }),
  );
});

test("a handler that fails costs the packet, not the program", (t) => {
  const { verdict, counters } = judge(queryPacket(), new Error("broken"));
  t.is(verdict, "drop");
  t.deepEqual(counters, { "intercept.error": 1 });
});

test("who has a link-local address alone cannot be answered", (t) => {
  const to = IpAddress.parse("2001:db8::1");
  const { verdict, seen, counters } = judge(queryPacket(0x80, 9, "fe80::1", to), "taken");
  t.is(verdict, "drop");
  t.deepEqual(seen, []);
  t.deepEqual(counters, { "intercept.link-local": 1 });
});

/** An interceptor whose NSLP takes its time. */
class Slow {
  readonly time = new FakeTime();
  readonly counters = new Counters();
  readonly decide: ((interception: Interception | Error) => void)[] = [];
  /** Number of the packet, and its verdict, in the order in which they were given. */
  readonly given: [number, Verdict][] = [];
  readonly interceptor = new Interceptor({
    time: this.time,
    logger: silentLogger,
    counters: this.counters,
    interfaceName: () => "",
    isLocal: () => false,
    deliver: () =>
      new Promise((resolve, reject) =>
        this.decide.push((answer) => (answer instanceof Error ? reject(answer) : resolve(answer))),
      ),
  });
  #packets = 0;

  come(packet = queryPacket()): Buffer {
    const number = this.#packets++;
    this.interceptor.judge(packet, 1, (verdict) => this.given.push([number, verdict]));
    return packet;
  }

  async answer(number: number, interception: Interception | Error): Promise<void> {
    this.decide[number]?.(interception);
    await settled();
  }
}

async function settled(): Promise<void> {
  for (let i = 0; i < 4; i++) await Promise.resolve();
}

test("an NSLP may decide later and in another order; each packet has its own verdict", async (t) => {
  const slow = new Slow();
  const [first, second] = [slow.come(), slow.come(), slow.come()];
  t.deepEqual(slow.given, []);
  t.is(slow.interceptor.waiting, 3);
  await slow.answer(1, "decrement-hops");
  await slow.answer(2, "taken");
  await slow.answer(0, "untouched");
  t.deepEqual(slow.given, [
    [1, "accept-changed"],
    [2, "drop"],
    [0, "accept"],
  ]);
  t.is(messageOf(parseUdpPacket(second).payload)?.[1], 8);
  t.is(messageOf(parseUdpPacket(first).payload)?.[1], 9);
  t.is(slow.interceptor.waiting, 0);
  t.is(slow.time.pending, 0);
});

test("a decision that fails or never comes costs the packet", async (t) => {
  const slow = new Slow();
  slow.come();
  slow.come();
  await slow.answer(0, new Error("broken"));
  slow.time.advance(LONGEST_WAIT);
  t.deepEqual(slow.given, [
    [0, "drop"],
    [1, "drop"],
  ]);
  await slow.answer(1, "untouched");
  t.is(slow.given.length, 2);
  t.like(slow.counters.snapshot(), { "intercept.error": 1, "intercept.too-late": 1 });
});

test("packets that wait are bounded", async (t) => {
  const slow = new Slow();
  for (let i = 0; i <= MOST_WAITING; i++) slow.come();
  t.deepEqual(slow.given, [[MOST_WAITING, "drop"]]);
  t.is(slow.counters.get("intercept.overload"), 1);
  await slow.answer(MOST_WAITING, new Error("nobody waits for it"));
  await slow.answer(0, "untouched");
  slow.come();
  t.is(slow.interceptor.waiting, MOST_WAITING);
});

test("stopping drops what waits, and what comes after", async (t) => {
  const slow = new Slow();
  slow.come();
  slow.interceptor.stop();
  slow.come();
  t.deepEqual(slow.given, [
    [0, "drop"],
    [1, "drop"],
  ]);
  await slow.answer(0, "untouched");
  t.is(slow.given.length, 2);
  t.is(slow.time.pending, 0);
});
