import test from "ava";
import fc from "fast-check";
import { AddressError, IpAddress } from "./address.js";
import {
  type Flow,
  flowKey,
  hasPorts,
  parseFlow,
  parseProtocol,
  PROTOCOL,
  protocolName,
  reverse,
  sameFlow,
} from "./flow.js";

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

const anyFlow: fc.Arbitrary<Flow> = fc
  .record({ protocol: fc.nat(255), length: fc.constantFrom(4, 16) })
  .chain(({ protocol, length }) => {
    const port = hasPorts(protocol) ? fc.integer({ min: 1, max: 65535 }) : fc.constant(0);
    const address = bytesOf(length).map((bytes) => IpAddress.fromBytes(bytes));
    return fc.record({
      protocol: fc.constant(protocol),
      source: address,
      destination: address,
      sourcePort: port,
      destinationPort: port,
    });
  });

test("the key of a flow reads back as the flow", (t) => {
  fc.assert(fc.property(anyFlow, (flow) => t.true(sameFlow(parseFlow(flowKey(flow)), flow))));
});

test("keys are equal exactly for equal flows", (t) => {
  fc.assert(
    fc.property(anyFlow, anyFlow, (a, b) => {
      t.is(flowKey(a) === flowKey(b), sameFlow(a, b));
      t.is(flowKey({ ...a, source: IpAddress.fromBytes(a.source.bytes) }), flowKey(a));
    }),
  );
});

test("the reverse of the reverse is the flow itself", (t) => {
  fc.assert(
    fc.property(anyFlow, (flow) => {
      t.true(sameFlow(reverse(reverse(flow)), flow));
      t.true(reverse(flow).source.equals(flow.destination));
      t.is(reverse(flow).sourcePort, flow.destinationPort);
    }),
  );
});

test("keys are readable", (t) => {
  t.is(
    flowKey(parseFlow("tcp 192.168.20.1:4000 > 192.168.21.4:80")),
    "tcp 192.168.20.1:4000 > 192.168.21.4:80",
  );
  t.is(
    flowKey(parseFlow(" 17 [2001:db8::1]:53 to [2001:db8::2]:5353 ")),
    "udp [2001:db8::1]:53 > [2001:db8::2]:5353",
  );
  t.is(flowKey(parseFlow("icmpv6 ::1 > ::2")), "icmpv6 ::1 > ::2");
  t.is(flowKey(parseFlow("132 10.0.0.1 > 10.0.0.2")), "132 10.0.0.1 > 10.0.0.2");
});

test("flows that make no sense are refused with a reason", (t) => {
  const cases: [string, RegExp][] = [
    ["", /is not a flow/],
    ["tcp 10.0.0.1:1", /is not a flow/],
    ["tcp 10.0.0.1 > 10.0.0.2:80", /needs a port/],
    ["tcp 10.0.0.1:0 > 10.0.0.2:80", /needs a port/],
    ["icmp 10.0.0.1:1 > 10.0.0.2", /has a port/],
    ["udp 10.0.0.1:65536 > 10.0.0.2:80", /above 65535/],
    ["udp 10.0.0.1:1 > [::1]:80", /mixes IPv4 and IPv6/],
    ["udp 10.0.0.1:x > 10.0.0.2:80", /is not an IP address/],
    ["udp [::1:80 > [::1]:80", /is not an IP address/],
    ["gre 10.0.0.1 > 10.0.0.2", /is not a protocol/],
  ];
  for (const [text, message] of cases)
    t.throws(() => parseFlow(text), { instanceOf: AddressError, message }, text);
});

test("protocols have names and numbers", (t) => {
  t.is(parseProtocol("tcp"), PROTOCOL.tcp);
  t.is(parseProtocol("255"), 255);
  t.is(protocolName(58), "icmpv6");
  t.is(protocolName(47), "47");
  for (const text of ["256", "-1", "", "TCP", "1.5", "constructor", "toString", "__proto__"])
    t.throws(() => parseProtocol(text), { instanceOf: AddressError }, text);
});

test("any text is a flow or an AddressError", (t) => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.stringMatching(/^(tcp|icmp|9) [0-9a-f:.[\]]{0,20} (>|to) [0-9a-f:.[\]]{0,20}$/),
      ),
      (text) => {
        try {
          parseFlow(text);
        } catch (error) {
          t.true(error instanceof AddressError);
        }
      },
    ),
  );
  t.pass();
});
