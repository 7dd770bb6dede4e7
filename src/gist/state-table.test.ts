import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../base/address.js";
import type { FlowSession } from "./flow-session.js";
import { keyOf, StateTable } from "./state-table.js";
import { mriKey, sameMri } from "./wire/mri.js";
import { newSessionId } from "./wire/session-id.js";
import { seededRandom } from "../base/random.js";
import type { Mri, PathCoupledMri } from "./wire/messages.js";

const addresses = [
  IpAddress.parse("10.0.0.1"),
  IpAddress.parse("10.0.0.2"),
  IpAddress.parse("fd00::1"),
  IpAddress.parse("fd00::2"),
] as const;
const random = seededRandom(1);
const sessions = [newSessionId(random), newSessionId(random)] as const;

const flow: PathCoupledMri = {
  method: "path-coupled",
  direction: "downstream",
  source: addresses[2],
  destination: addresses[3],
  sourcePrefix: 128,
  destinationPrefix: 128,
  protocol: 17,
  sourcePort: 0,
  destinationPort: 0,
};

/** One that differs from the flow in one field for each. */
const OTHERS: readonly Mri[] = [
  { ...flow, direction: "upstream" },
  { ...flow, source: addresses[3] },
  { ...flow, destination: addresses[2] },
  { ...flow, source: addresses[0], destination: addresses[1], sourcePrefix: 32, destinationPrefix: 32 },
  { ...flow, sourcePrefix: 64 },
  { ...flow, destinationPrefix: 64 },
  { ...flow, protocol: 6 },
  { ...flow, sourcePort: 1 },
  { ...flow, destinationPort: 1 },
  { ...flow, dscp: 0 },
  { ...flow, flowLabel: 0 },
  { ...flow, spi: 0 },
  without("sourcePort", "destinationPort"),
  without("sourcePort", "destinationPort", "protocol"),
  { method: "loose-end", direction: "downstream", source: addresses[2], destination: addresses[3] },
];

function without(...fields: readonly (keyof PathCoupledMri)[]): Mri {
  return Object.fromEntries(
    Object.entries(flow).filter(([name]) => !fields.includes(name as keyof PathCoupledMri)),
  ) as unknown as Mri;
}

/** With ends of its own, as after decoding. */
function copyOf(mri: Mri): Mri {
  return { ...mri, source: anew(mri.source), destination: anew(mri.destination) };
}

function anew(address: IpAddress): IpAddress {
  return IpAddress.parse(address.toString());
}

test("MRIs are the same exactly when their keys are", (t) => {
  const all = [flow, ...OTHERS];
  for (const a of all)
    for (const b of all) {
      t.is(sameMri(a, copyOf(b)), a === b);
      t.is(mriKey(a) === mriKey(copyOf(b)), a === b);
    }
});

/** Few, so that steps meet. */
const anySession: fc.Arbitrary<FlowSession> = fc.record({
  nslpId: fc.constantFrom(1, 2),
  sessionId: fc.constantFrom(...sessions),
  mri: fc.constantFrom(flow, ...OTHERS.slice(0, 2)).map(copyOf),
});

test("the table agrees with a map by keys, also where sessions are shared", (t) => {
  let [removed, replaced] = [0, 0];
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), anySession), { minLength: 50, maxLength: 60 }), (steps) => {
      const table = new StateTable<FlowSession>();
      const map = new Map<string, FlowSession>();
      for (const [adds, session] of steps) {
        const known = map.get(keyOf(session));
        t.is(table.get(session), known);
        if (adds) {
          if (known !== undefined) replaced++;
          table.add(session);
          map.set(keyOf(session), session);
        } else if (known !== undefined) {
          removed++;
          table.remove(known);
          map.delete(keyOf(session));
        }
        t.is(table.size, map.size);
      }
      t.deepEqual([...table.values()].map(keyOf).sort(), [...map.keys()].sort());
    }),
  );
  t.true(removed > 100 && replaced > 100, `${removed} removed, ${replaced} replaced`);
});

test("who is not there is not removed, and nobody in its place", (t) => {
  const table = new StateTable<FlowSession>();
  const [a, b] = [1, 2].map((nslpId) => ({
    nslpId,
    sessionId: sessions[0],
    mri: {
      method: "loose-end",
      direction: "downstream",
      source: addresses[0],
      destination: addresses[1],
    },
  })) as [FlowSession, FlowSession];
  table.add(a);
  table.remove({ ...a });
  table.remove(b);
  t.is(table.size, 1);
  table.add(b);
  table.remove({ ...b });
  t.is(table.size, 2);
  table.remove(a);
  t.deepEqual([...table.values()], [b]);
});
