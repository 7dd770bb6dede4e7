import { createHmac } from "node:crypto";
import test from "ava";
import fc from "fast-check";
import { hmacSha256 } from "./hmac.js";

test("it is the HMAC that OpenSSL makes, however the message is cut", (t) => {
  const key = fc.uint8Array({ maxLength: 64 });
  const parts = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 4 });
  fc.assert(
    fc.property(key, parts, (secret, message) => {
      const expected = createHmac("sha256", secret).update(Buffer.concat(message)).digest();
      t.deepEqual(Buffer.from(hmacSha256(secret, ...message)), expected);
    }),
  );
});

test("a key that would have to be hashed first is refused", (t) => {
  t.throws(() => hmacSha256(new Uint8Array(65)), { instanceOf: RangeError });
});
