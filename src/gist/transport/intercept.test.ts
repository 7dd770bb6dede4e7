import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../../base/address.js";
import { silentLogger } from "../../base/log.js";
import { Counters } from "./counters.js";
import { Interceptor, type Verdict } from "./intercept.js";
import { buildQueryPacket, messageOf, parseUdpPacket } from "./packet.js";
import type { Datagram, Interception } from "./transport.js";

const destination = IpAddress.parse("192.168.21.4");

function queryPacket(flags = 0x80, hops = 9): Buffer {
  return buildQueryPacket({
    source: IpAddress.parse("192.168.20.1"),
    destination,
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
  return { verdict: interceptor.judge(packet, 3), seen, counters: counters.snapshot() };
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
