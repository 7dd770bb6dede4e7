import test from "ava";
import { IpAddress } from "../../base/address.js";
import { Gateways } from "./gateways.js";
import { attribute } from "./rtnetlink.js";

const GATEWAY = IpAddress.parse("192.0.2.1");
const REACHABLE = 0x02;
const STALE = 0x04;
const PROBE = 0x10;
const FAILED = 0x20;

function neighbour(address: IpAddress, state: number, linkAddress?: string): Buffer {
  const header = Buffer.alloc(12);
  Buffer.from(Uint16Array.of(state).buffer).copy(header, 8);
  const parts = [header, attribute(1, address.bytes)];
  if (linkAddress !== undefined) parts.push(attribute(2, Buffer.from(linkAddress, "hex")));
  return Buffer.concat(parts);
}

test("a gateway that fails, comes back or becomes another machine is a change", (t) => {
  const gateways = new Gateways();
  gateways.add(GATEWAY);
  const notices = (state: number, linkAddress?: string): boolean =>
    gateways.changedBy(neighbour(GATEWAY, state, linkAddress));
  t.false(notices(REACHABLE, "020000000001"), "first heard of");
  t.false(notices(STALE, "020000000001"));
  t.false(notices(PROBE, "020000000001"));
  t.true(notices(FAILED));
  t.false(notices(FAILED));
  t.true(notices(REACHABLE, "020000000001"));
  t.true(notices(REACHABLE, "020000000002"));
});

test("other neighbours mean nothing, malformed messages neither", (t) => {
  const gateways = new Gateways();
  gateways.add(GATEWAY);
  t.false(gateways.changedBy(neighbour(IpAddress.parse("192.0.2.77"), FAILED)));
  t.false(gateways.changedBy(Buffer.alloc(3)));
  t.false(gateways.changedBy(Buffer.alloc(12)));
});

test("gateways are bounded", (t) => {
  const gateways = new Gateways();
  gateways.add(GATEWAY);
  for (let i = 0; i < 1024; i++) gateways.add(IpAddress.parse(`10.0.${i >> 8}.${i & 255}`));
  t.false(gateways.changedBy(neighbour(GATEWAY, FAILED)));
});
