import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../../base/address.js";
import type { Mri, PathCoupledMri } from "../wire/messages.js";
import { decodeAnswer, encodeQuestion } from "./route-question.js";
import { attribute, u32 } from "./rtnetlink.js";
import { questionOf, wayKey } from "./way.js";

const A = IpAddress.parse("192.0.2.1");
const B = IpAddress.parse("198.51.100.2");
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const flow: PathCoupledMri = {
  method: "path-coupled",
  direction: "downstream",
  source: A,
  destination: B,
  sourcePrefix: 32,
  destinationPrefix: 32,
  protocol: 17,
  dscp: 46,
  sourcePort: 4000,
  destinationPort: 9000,
};

test("a flow is asked for with all that can choose its way", (t) => {
  t.deepEqual(questionOf(flow), {
    target: B,
    source: A,
    dscp: 46,
    protocol: 17,
    sourcePort: 4000,
    destinationPort: 9000,
  });
});

test("upstream the return traffic is asked for", (t) => {
  t.deepEqual(questionOf({ ...flow, direction: "upstream" }), {
    target: A,
    source: B,
    dscp: 46,
    protocol: 17,
    sourcePort: 9000,
    destinationPort: 4000,
  });
});

test("what is not known, or not taken by the kernel, is left out", (t) => {
  const { sourcePort, destinationPort } = questionOf({ ...flow, sourcePort: 0, destinationPort: 0 });
  t.deepEqual([sourcePort, destinationPort], [undefined, undefined]);
  const { protocol: _any, ...anyProtocol } = flow;
  t.deepEqual(questionOf(anyProtocol), { target: B, source: A, dscp: 46 });
  t.deepEqual(questionOf({ ...flow, protocol: 132 }), { target: B, source: A, dscp: 46 });
  t.is(questionOf({ ...flow, protocol: 1 }).protocol, 1);
  t.is(questionOf({ ...flow, protocol: 58 }).protocol, undefined);
  const nobody = IpAddress.parse("0.0.0.0");
  const loose: Mri = { method: "loose-end", direction: "downstream", source: nobody, destination: B };
  t.deepEqual(questionOf(loose), { target: B, source: undefined });
});

test("flows that may go different ways have different keys, others the same", (t) => {
  const others: PathCoupledMri[] = [
    { ...flow, source: B },
    { ...flow, destination: A },
    { ...flow, protocol: 6 },
    { ...flow, dscp: 0 },
    { ...flow, sourcePort: 4001 },
    { ...flow, destinationPort: 9001 },
    { ...flow, direction: "upstream" },
  ];
  t.is(new Set([flow, ...others].map(wayKey)).size, others.length + 1);
  t.is(wayKey(flow), wayKey({ ...flow, sourcePrefix: 24, spi: 7 }));
});

test("a question in bytes, as linux/rtnetlink.h has it", (t) => {
  const little = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
  if (!little) {
    t.pass("the bytes below are those of a little-endian machine");
    return;
  }
  const bytes = encodeQuestion({ ...questionOf(flow), inbound: 3 });
  t.is(
    hex(bytes),
    "022020b8" +
      "0000000000000000" +
      "08000100c6336402" +
      "08000200c0000201" +
      "0800030003000000" +
      "05001b0011000000" +
      "06001c000fa00000" +
      "06001d0023280000",
  );
  const marked = encodeQuestion({ target: B, mark: 0x0180_0000 });
  t.is(hex(marked), "022000000000000000000000" + "08000100c6336402" + "0800100000008001");
});

function answer(type: number, ...attributes: Buffer[]): Buffer {
  const header = Buffer.alloc(12);
  header[7] = type;
  return Buffer.concat([header, ...attributes]);
}

test("an answer is read with its gateway and MTU", (t) => {
  const metrics = attribute(8, attribute(2, u32(1400)));
  const read = decodeAnswer(
    answer(1, attribute(4, u32(7)), attribute(5, A.bytes), attribute(7, B.bytes), metrics),
  );
  t.is(read?.outbound, 7);
  t.is(read?.gateway?.toString(), A.toString());
  t.is(read?.preferred?.toString(), B.toString());
  t.is(read?.mtu, 1400);
  t.deepEqual(decodeAnswer(answer(2, attribute(4, u32(1)))), {
    outbound: 1,
    gateway: undefined,
    preferred: undefined,
    mtu: undefined,
  });
});

test("an IPv4 route may have an IPv6 gateway", (t) => {
  const gateway = IpAddress.parse("fe80::1");
  const family = Buffer.from(Uint16Array.of(10).buffer);
  const via = attribute(18, Buffer.concat([family, gateway.bytes]));
  t.is(decodeAnswer(answer(1, attribute(4, u32(7)), via))?.gateway?.toString(), "fe80::1");
});

test("what is no way for packets is none", (t) => {
  for (const type of [3, 5, 6, 7, 8]) t.is(decodeAnswer(answer(type, attribute(4, u32(1)))), undefined);
  t.is(decodeAnswer(answer(1)), undefined);
});

test("any bytes are read or refused", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      try {
        decodeAnswer(Buffer.from(bytes));
      } catch (error) {
        t.true(error instanceof Error);
      }
    }),
  );
  t.pass();
});
