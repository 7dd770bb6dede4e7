import test from "ava";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import { hmacSha256, MAC_BYTES } from "./hmac.js";

const secret = fc.uint8Array({ minLength: 32, maxLength: 32 });

test("it is the beginning of the HMAC that OpenSSL makes, also with a key that was used before", (t) => {
  fc.assert(
    fc.property(secret, fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 4 }), (key, messages) => {
      for (const message of messages) {
        const whole = createHmac("sha256", key).update(message).digest();
        t.deepEqual(Buffer.from(hmacSha256(key, message)), whole.subarray(0, MAC_BYTES));
      }
    }),
  );
});

test("a key of another length is refused", (t) => {
  for (const length of [0, 31, 33, 64]) t.throws(() => hmacSha256(new Uint8Array(length), new Uint8Array(1)));
});
