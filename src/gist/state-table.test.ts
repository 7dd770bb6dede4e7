import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../base/address.js";
import { stateKey } from "./context.js";
import type { FlowSession } from "./flow-session.js";
import { StateTable } from "./state-table.js";
import { mriKey, sameMri } from "./wire/mri.js";
import { newSessionId } from "./wire/session-id.js";
import { seededRandom } from "../base/random.js";
import type { Mri } from "./wire/messages.js";

const addresses = ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"].map((text) => IpAddress.parse(text));
const random = seededRandom(1);
const sessions = [newSessionId(random), newSessionId(random)] as const;

const few = fc.constantFrom(0, 1);
const optional = fc.option(few, { nil: undefined });

/** Few enough that two are often alike but for one field. */
const anyMri: fc.Arbitrary<Mri> = fc
  .record({
    loose: few.map((value) => value === 0),
    up: few.map((value) => value === 1),
    family: few,
    source: few,
    destination: few,
    prefix: few,
    protocol: optional,
    dscp: optional,
    flowLabel: optional,
    ports: fc.option(fc.tuple(few, few), { nil: undefined }),
    spi: optional,
  })
  .map(({ loose, up, family, source, destination, prefix, protocol, dscp, flowLabel, ports, spi }) => {
    const ends = {
      direction: up ? ("upstream" as const) : ("downstream" as const),
      source: addresses[2 * family + source] as IpAddress,
      destination: addresses[2 * family + destination] as IpAddress,
    };
    if (loose) return { method: "loose-end", ...ends };
    return {
      method: "path-coupled",
      ...ends,
      sourcePrefix: 32 - prefix,
      destinationPrefix: 32,
      ...(protocol !== undefined && { protocol }),
      ...(dscp !== undefined && { dscp }),
      ...(flowLabel !== undefined && family === 1 && { flowLabel }),
      ...(protocol !== undefined &&
        ports !== undefined && { sourcePort: ports[0], destinationPort: ports[1] }),
      ...(protocol !== undefined && spi !== undefined && { spi }),
    };
  });

const anySession: fc.Arbitrary<FlowSession> = fc
  .record({ nslpId: few, session: few, mri: anyMri })
  .map(({ nslpId, session, mri }) => ({ nslpId, sessionId: sessions[session === 0 ? 0 : 1], mri }));

const keyOf = ({ mri, sessionId, nslpId }: FlowSession): string => stateKey(mri, sessionId, nslpId);

test("MRIs are the same exactly when their keys are", (t) => {
  fc.assert(
    fc.property(anyMri, anyMri, (a, b) => {
      t.is(sameMri(a, b), mriKey(a) === mriKey(b));
      t.true(sameMri(a, { ...a }));
    }),
    { numRuns: 2000 },
  );
});

test("the table agrees with a map by keys, also where sessions are shared", (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), anySession), { maxLength: 60 }), (steps) => {
      const table = new StateTable<FlowSession>();
      const map = new Map<string, FlowSession>();
      for (const [adds, session] of steps) {
        const known = map.get(keyOf(session));
        t.is(table.get(session), known);
        if (adds) {
          table.add(session);
          map.set(keyOf(session), session);
        } else if (known !== undefined) {
          table.remove(known);
          map.delete(keyOf(session));
        }
        t.is(table.size, map.size);
      }
      t.deepEqual([...table.values()].map(keyOf).sort(), [...map.keys()].sort());
    }),
  );
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
    } as Mri,
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
