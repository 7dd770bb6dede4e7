import test from "ava";
import fc from "fast-check";
import { GIST_PORT } from "./wire/messages.js";
import { talking } from "./testing/pair.js";

/** One of the messages seen, with some of its bytes changed, cut or lengthened. */
const mutation = fc.record({
  which: fc.nat(),
  changes: fc.array(fc.record({ at: fc.nat(), to: fc.integer({ min: 0, max: 255 }) }), { maxLength: 6 }),
  length: fc.option(fc.nat({ max: 300 }), { nil: undefined }),
  way: fc.constantFrom("query", "datagram", "association"),
  ttl: fc.integer({ min: 0, max: 255 }),
});

for (const stacks of ["tls", "tls-and-tcp"] as const)
  test(`messages changed on their way are refused or mean what they say, nothing breaks (${stacks})`, async (t) => {
    const { network, a, b } = await talking({ stacks, ingressFilter: "strict" }, { tcp: true });
    const seen = network.sent.map((sent) => sent.bytes);
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 20 }), async (mutations) => {
        for (const { which, changes, length, way, ttl } of mutations) {
          const whole = seen[which % seen.length] ?? new Uint8Array(8);
          const message = new Uint8Array(length ?? whole.length);
          message.set(whole.subarray(0, message.length));
          for (const { at, to } of changes) if (message.length > 0) message[at % message.length] = to;
          const [connection] = b.connections;
          if (way === "association") {
            if (connection !== undefined) b.gist.message(connection, message);
            continue;
          }
          await b.gist.datagram({
            message,
            source: a.address,
            sourcePort: GIST_PORT,
            destination: b.address,
            ipTtl: ttl,
            inboundInterface: "left",
            intercepted: way === "query",
          });
        }
        await network.run(20);
        return b.counter("internal-error") === 0 && a.counter("internal-error") === 0;
      }),
      { numRuns: 150 },
    );
    t.true(b.gist.view().routingStates.responding <= 30);
    t.is(b.counter("nslp.threw"), 0);
  });
