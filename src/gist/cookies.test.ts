import test from "ava";
import { IpAddress } from "../base/address.js";
import { seededRandom } from "../base/random.js";
import { FakeTime } from "../base/time.js";
import { seconds } from "../base/units.js";
import { type CookieSubject, type Kept, newQueryCookie, ResponderCookies, sameBytes } from "./cookies.js";

const subject: CookieSubject = {
  identity: "0102",
  interfaceAddress: IpAddress.parse("10.0.0.1"),
  flow: "session 32704 mri",
};

function kept(inboundInterface: string): Kept {
  return { inboundInterface, validity: seconds(40) };
}

function cookies(): { time: FakeTime; jar: ResponderCookies } {
  const time = new FakeTime();
  return { time, jar: new ResponderCookies(time, seededRandom(1), seconds(150)) };
}

test("a cookie gives back the interface and the validity, and is of whole words", (t) => {
  const { jar } = cookies();
  for (const name of ["", "eth0", "a-name-of-15-ch", "x".repeat(200)]) {
    const cookie = jar.make(subject, kept(name));
    t.is(cookie.length % 4, 0);
    t.deepEqual(jar.check(cookie, subject), kept(name.slice(0, 64)));
  }
});

test("any other subject, and any changed bit, is refused", (t) => {
  const { jar } = cookies();
  const cookie = jar.make(subject, kept("eth0"));
  t.is(jar.check(cookie, { ...subject, identity: "0103" }), undefined);
  t.is(jar.check(cookie, { ...subject, interfaceAddress: IpAddress.parse("10.0.0.2") }), undefined);
  t.is(jar.check(cookie, { ...subject, flow: "other" }), undefined);
  // The last bytes are padding, which says nothing.
  for (let bit = 0; bit < (4 + 16 + 4 + 1 + 4) * 8; bit++) {
    const changed = cookie.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
    t.is(jar.check(changed, subject), undefined, `bit ${bit}`);
  }
  for (let length = 0; length < 29; length++) t.is(jar.check(cookie.slice(0, length), subject), undefined);
});

test("a cookie is good for one lifetime of its secret at least, and for two at most", (t) => {
  const { time, jar } = cookies();
  time.advance(seconds(149));
  const cookie = jar.make(subject, kept("eth0"));
  time.advance(seconds(150));
  t.deepEqual(jar.check(cookie, subject), kept("eth0"));
  time.advance(seconds(152));
  t.is(jar.check(cookie, subject), undefined);
});

test("after a long silence no old secret is accepted", (t) => {
  const { time, jar } = cookies();
  const cookie = jar.make(subject, kept("eth0"));
  time.advance(seconds(301));
  t.is(jar.check(cookie, subject), undefined);
});

test("another node's cookie is refused", (t) => {
  const time = new FakeTime();
  const other = new ResponderCookies(time, seededRandom(2), seconds(150));
  t.is(cookies().jar.check(other.make(subject, kept("eth0")), subject), undefined);
});

test("Query-Cookies differ and are 16 bytes", (t) => {
  const random = seededRandom(3);
  const [a, b] = [newQueryCookie(random), newQueryCookie(random)];
  t.is(a.length, 16);
  t.false(sameBytes(a, b));
  t.true(sameBytes(a, Uint8Array.from(a)));
});
