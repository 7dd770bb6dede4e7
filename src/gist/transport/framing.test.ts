import test from "ava";
import fc from "fast-check";
import { FramingError, MessageFramer } from "./framing.js";

function gistMessage(words: number, fill: number): Uint8Array {
  const message = new Uint8Array(8 + 4 * words).fill(fill);
  message[2] = words >> 8;
  message[3] = words & 0xff;
  return message;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

test("however the stream is cut, the same messages come out", (t) => {
  const messages = fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 8 });
  fc.assert(
    fc.property(messages, fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }), (sizes, cuts) => {
      const sent = sizes.map(([words, fill]) => gistMessage(words, fill));
      const stream = Buffer.concat(sent);
      const framer = new MessageFramer(1000);
      const received: string[] = [];
      for (let at = 0, i = 0; at < stream.length; i++) {
        const next = at + (cuts[i % cuts.length] ?? 1);
        for (const message of framer.push(stream.subarray(at, next))) received.push(hex(message));
        at = next;
      }
      t.deepEqual(received, sent.map(hex));
    }),
  );
});

test("a message that waits for its rest does not change with the receive buffer", (t) => {
  const framer = new MessageFramer(1000);
  const message = gistMessage(4, 7);
  const chunk = Uint8Array.from(message.subarray(0, 12));
  t.deepEqual([...framer.push(chunk)], []);
  chunk.fill(0xff);
  const [whole] = [...framer.push(message.subarray(12))];
  t.is(hex(whole ?? new Uint8Array()), hex(message));
});

test("too long a message is refused by its header alone, whole or in pieces", (t) => {
  const atLimit = gistMessage(2, 1);
  t.is([...new MessageFramer(16).push(atLimit)].length, 1);
  const above = gistMessage(3, 1);
  t.throws(() => [...new MessageFramer(16).push(above.subarray(0, 8))], { instanceOf: FramingError });
  const framer = new MessageFramer(16);
  t.deepEqual([...framer.push(above.subarray(0, 3))], []);
  t.throws(() => [...framer.push(above.subarray(3, 8))], { instanceOf: FramingError });
});

test("messages before a bad one are delivered", (t) => {
  const received: Uint8Array[] = [];
  const framer = new MessageFramer(16);
  t.throws(
    () => {
      for (const message of framer.push(Buffer.concat([gistMessage(1, 1), gistMessage(9, 2)])))
        received.push(message);
    },
    { instanceOf: FramingError },
  );
  t.is(received.length, 1);
});
