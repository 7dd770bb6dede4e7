import test from "ava";
import { IpPrefix } from "../base/address.js";
import { type Flow, parseFlow } from "../base/flow.js";
import { encodeFlows, KEY_BYTES } from "./native.js";
import { encodeExempts } from "./xdp-exempt.js";
import { EXEMPT_BYTES } from "./xdp-native.js";

/** As the program does it. */
function matches(patterns: Uint8Array, flow: Flow): boolean {
  const key = encodeFlows([flow]);
  for (let at = 0; at < patterns.length; at += EXEMPT_BYTES) {
    const pattern = patterns.subarray(at, at + EXEMPT_BYTES);
    const same = key.every((byte, i) => (byte & (pattern[i] ?? 0)) === pattern[KEY_BYTES + i]);
    const [fromLow = 0, fromHigh = 0, toLow = 0, toHigh = 0] = new Uint16Array(
      pattern.slice(2 * KEY_BYTES).buffer,
    );
    const { sourcePort, destinationPort } = flow;
    const inRange =
      sourcePort >= fromLow &&
      sourcePort <= fromHigh &&
      destinationPort >= toLow &&
      destinationPort <= toHigh;
    if (same && inRange) return true;
  }
  return false;
}

test("a class with ports and a network is matched in both directions, and nothing beside it", (t) => {
  const patterns = encodeExempts([
    {
      name: "ssh",
      protocol: 6,
      ports: [{ from: 22, to: 23 }],
      from: IpPrefix.parse("10.1.128.0/17"),
      rate: 1,
    },
  ]);
  t.is(patterns.length, 2 * EXEMPT_BYTES);
  const matched = (text: string): boolean => matches(patterns, parseFlow(text));
  t.true(matched("tcp 10.1.128.1:4000 > 10.2.0.2:22"));
  t.true(matched("tcp 10.1.255.1:4000 > 10.2.0.2:23"));
  t.true(matched("tcp 10.2.0.2:22 > 10.1.200.1:4000"));
  t.false(matched("tcp 10.1.127.1:4000 > 10.2.0.2:22"));
  t.false(matched("tcp 10.1.128.1:4000 > 10.2.0.2:24"));
  t.false(matched("udp 10.1.128.1:4000 > 10.2.0.2:22"));
  t.false(matched("tcp 10.1.128.1:22 > 10.2.0.2:4000"));
  t.false(matched("tcp [fd00::1]:4000 > [fd00::2]:22"));
});

test("ports without a protocol are those of TCP and UDP; without anything a class is everything", (t) => {
  const dns = encodeExempts([{ name: "dns", ports: [{ from: 53, to: 53 }], rate: 1 }]);
  t.is(dns.length, 4 * EXEMPT_BYTES);
  t.true(matches(dns, parseFlow("udp [fd00::1]:4000 > [fd00::2]:53")));
  t.true(matches(dns, parseFlow("tcp 10.0.0.1:53 > 10.0.0.2:4000")));
  t.false(matches(dns, parseFlow("icmp 10.0.0.1 > 10.0.0.2")));
  const all = encodeExempts([{ name: "all", rate: 1 }]);
  t.true(matches(all, parseFlow("47 10.0.0.1 > 10.0.0.2")));
  t.is(encodeExempts([]).length, 0);
});

test("hosts that need no permission are matched as source and as destination, apart from the classes", (t) => {
  const patterns = encodeExempts([{ name: "all", rate: 1 }], [IpPrefix.parse("fd00::/64")]);
  const legacy = patterns.subarray(2 * EXEMPT_BYTES);
  t.true(matches(legacy, parseFlow("tcp [fd00::1]:4000 > [fd01::1]:80")));
  t.true(matches(legacy, parseFlow("tcp [fd01::1]:80 > [fd00::1]:4000")));
  t.false(matches(legacy, parseFlow("tcp [fd01::1]:80 > [fd02::1]:4000")));
  const classOf = (pattern: Uint8Array) => Number(new BigUint64Array(pattern.slice(88, 96).buffer)[0]);
  t.deepEqual(
    [patterns, patterns.subarray(EXEMPT_BYTES), legacy, legacy.subarray(EXEMPT_BYTES)].map(classOf),
    [0, 0, 257, 257],
  );
});
