/** Whose summaries count for a flow at rest; and what becomes of one that changes while the packet path takes its renewal. */
import test from "ava";
import { type Flow, parseFlow } from "../base/flow.js";
import { FakeTime } from "../base/time.js";
import { bytes, ms, seconds } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { PbsContext } from "./context.js";
import type { RouterRest } from "./resting.js";
import {
  claimAtRest,
  extendAtRest,
  isClaimedAtRest,
  isGrantedAtRest,
  type RestingTable,
} from "./resting-summaries.js";
import type { RouterSession } from "./router-session.js";

const flow = parseFlow("udp 192.0.2.1:1 > 192.0.2.2:2");
const id = "00112233445566778899aabbccddeeff" as SessionId;
const grant = {
  id,
  sequence: 5,
  allowedVolume: bytes(1000),
  ttl: seconds(600),
  refresh: seconds(60),
  epoch: 0,
};
const rest = { id, flow, sentVolume: bytes(0), routeUntil: ms(0) } as RouterRest;

interface Seen {
  readonly released: Flow[];
  readonly renewed: SessionId[];
  readonly routed: number[];
}

function contextWith(seen: Seen): PbsContext {
  const parts = {
    time: new FakeTime(),
    options: { admission: { grace: 2 } },
    crossing: { told: () => undefined },
    installer: { install: () => Promise.resolve(true) },
    gist: {
      setStateLifetime: (_nslp: number, _id: SessionId, _mri: unknown, lifetime: number) =>
        seen.routed.push(lifetime),
    },
    release: ({ flow: left }: { flow: Flow }) => seen.released.push(left),
  };
  return parts as unknown as PbsContext;
}

function tableWith(seen: Seen, atRest: boolean, session?: RouterSession): RestingTable {
  return {
    atRest: () => undefined,
    queryAtRest: () => true,
    permissionAtRest: () => true,
    renewAtRest: (one) => {
      if (atRest) seen.renewed.push(one);
      return atRest;
    },
    byId: () => session,
  };
}

test("a flow that stays at rest is renewed there, and its route is kept", async (t) => {
  const seen: Seen = { released: [], renewed: [], routed: [] };
  t.true(extendAtRest(contextWith(seen), tableWith(seen, true), rest, grant));
  await Promise.resolve();
  await Promise.resolve();
  t.deepEqual(seen.renewed, [id]);
  t.is(seen.routed.length, 1);
  t.deepEqual(seen.released, []);
});

test("one that was woken meanwhile takes the grant itself", async (t) => {
  const seen: Seen = { released: [], renewed: [], routed: [] };
  const extended: unknown[] = [];
  const session = { role: "router", extendable: () => true, extended: (by: unknown) => extended.push(by) };
  const table = tableWith(seen, false, session as unknown as RouterSession);
  t.true(extendAtRest(contextWith(seen), table, rest, grant));
  await Promise.resolve();
  await Promise.resolve();
  t.deepEqual(extended, [grant]);
  t.deepEqual(seen.released, []);
});

test("one that is over leaves the packet path again", async (t) => {
  const seen: Seen = { released: [], renewed: [], routed: [] };
  t.true(extendAtRest(contextWith(seen), tableWith(seen, false), rest, grant));
  await Promise.resolve();
  await Promise.resolve();
  t.deepEqual(seen.released, [flow]);
});

const other = parseFlow("udp 192.0.2.3:1 > 192.0.2.2:2");
const asked = {
  ...rest,
  asker: { querySigner: "sender" },
  permissionSigner: "receiver",
  way: { previousPeer: "before", nextPeer: "behind" },
  association: undefined,
  epoch: 0,
} as RouterRest;
const own = { flow, previousPeer: "before", nextPeer: "behind" };
const byQuery = { signer: "sender", peer: "before", own };
const byPermission = { signer: "receiver", peer: "behind", own };
const PROTECTED = { ...asked, association: { spi: 300, algorithm: "hmac-sha256-128" } } as RouterRest;

test("a Query's list counts from the flow's own sender, by its own way, and without AH", (t) => {
  t.true(isClaimedAtRest(asked, byQuery));
  for (const [what, origin] of Object.entries({
    "another key": { ...byQuery, signer: "receiver" },
    "another neighbour": { ...byQuery, peer: "behind" },
    "another way on": { ...byQuery, own: { ...own, nextPeer: "elsewhere" } },
    "other hosts": { ...byQuery, own: { ...own, flow: other } },
  }))
    t.false(isClaimedAtRest(asked, origin), what);
  const lost = { ...asked, way: { previousPeer: "before", nextPeer: undefined } } as RouterRest;
  t.false(isClaimedAtRest(lost, { ...byQuery, own: { flow, previousPeer: "before", nextPeer: undefined } }));
  t.false(isClaimedAtRest(PROTECTED, byQuery));
});

test("a Permission's list counts from the flow's own receiver, by its own way, in its epoch, and without AH", (t) => {
  t.true(isGrantedAtRest(asked, byPermission, grant));
  for (const [what, origin] of Object.entries({
    "another key": { ...byPermission, signer: "sender" },
    "another neighbour": { ...byPermission, peer: "before" },
    "another way back": { ...byPermission, own: { ...own, previousPeer: "elsewhere" } },
    "other hosts": { ...byPermission, own: { ...own, flow: other } },
  }))
    t.false(isGrantedAtRest(asked, origin, grant), what);
  t.false(isGrantedAtRest(asked, byPermission, { ...grant, epoch: 1 }));
  t.false(isGrantedAtRest(PROTECTED, byPermission, grant));
});

test("what is not newer than the last word changes nothing", async (t) => {
  const seen: Seen = { released: [], renewed: [], routed: [] };
  const stale = { ...tableWith(seen, true), queryAtRest: () => false, permissionAtRest: () => false };
  const compared: unknown[] = [];
  const crossing = {
    told: (one: unknown) => compared.push(one),
    query: (one: unknown) => compared.push(one),
  };
  const context = { ...contextWith(seen), crossing } as unknown as PbsContext;
  t.false(extendAtRest(context, stale, asked, grant));
  claimAtRest(context, stale, asked, { id, sequence: 5, sentVolume: bytes(1), epoch: 0, heard: 4 });
  await Promise.resolve();
  await Promise.resolve();
  t.deepEqual(seen, { released: [], renewed: [], routed: [] });
  t.deepEqual(compared, []);
});
