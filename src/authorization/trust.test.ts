import { generateKeyPairSync, type KeyObject } from "node:crypto";
import test from "ava";
import fc from "fast-check";
import { IpAddress } from "../base/address.js";
import {
  bits,
  boolean,
  child,
  children,
  context,
  contextBytes,
  integer,
  octets,
  oid,
  parseDer,
  sequence,
  text,
  time,
  toDer,
} from "./asn1.js";
import { fingerprintOf, OID } from "./certificate.js";
import { buildAuthority, buildHost } from "./issue.js";
import { keyIdentity } from "./key.js";
import { toPem } from "./pem.js";
import { algorithmIdentifier, nameOf, signStructure } from "./request.js";
import { Trust, TrustError } from "./trust.js";

const START = Date.UTC(2026, 0);
const END = Date.UTC(2027, 0);
const NOW = Date.UTC(2026, 5);
const validity = { notBefore: START, notAfter: END };
const home = IpAddress.parse("192.168.20.1");
const home6 = IpAddress.parse("2001:db8::1");

const newKey = (): KeyObject => generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
const authorityKey = newKey();
const authority = buildAuthority(authorityKey, "Test CA", validity);
const hostKeys = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const host = { commonName: "alice", publicKey: hostKeys.publicKey, addresses: [home, home6], ...validity };
const certificate = buildHost(host, authority, authorityKey);

function trust(...authorities: Uint8Array[]): Trust {
  return new Trust(authorities.map((der) => toPem("CERTIFICATE", der)));
}

const trusting = trust(authority);

/** Why `der` is refused; undefined when it is not. */
function reason(der: Uint8Array, address = home, now = NOW, using = trusting): string | undefined {
  const result = using.check(der, address, now);
  return result.type === "refused" ? result.reason : undefined;
}

interface Custom {
  readonly key?: KeyObject;
  readonly extensions?: readonly ReturnType<typeof sequence>[];
  readonly subject?: ReturnType<typeof sequence>;
}

/** A certificate of the authority in which some part is not as this project would make it. */
function custom({ key = hostKeys.publicKey, extensions = [], subject = nameOf("odd") }: Custom): Uint8Array {
  const info = sequence(
    context(0, integer(Uint8Array.of(2))),
    integer(Uint8Array.of(7)),
    algorithmIdentifier(authorityKey),
    nameOf("Test CA"),
    sequence(time(START), time(END)),
    subject,
    parseDer(key.export({ type: "spki", format: "der" })),
    ...(extensions.length === 0 ? [] : [context(3, sequence(...extensions))]),
  );
  return signStructure(info, authorityKey);
}

function extension(id: string, critical: boolean, value: ReturnType<typeof sequence>) {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octets(toDer(value)));
}

const names = extension(OID.subjectAltName, false, sequence(contextBytes(7, home.bytes)));

test("a certificate of the authority is believed for each of its addresses", (t) => {
  for (const address of [home, home6]) {
    const result = trusting.check(certificate, address, NOW);
    if (result.type === "refused") return t.fail(result.detail);
    t.is(result.subject, "alice");
    t.is(result.keyType, "p256");
    t.is(result.fingerprint, fingerprintOf(certificate));
    t.deepEqual(result.addresses.map(String), ["192.168.20.1", "2001:db8::1"]);
    t.deepEqual(keyIdentity(result.publicKey), keyIdentity(hostKeys.privateKey));
    t.true(result === trusting.check(certificate, address, NOW), "it is examined once");
  }
  return undefined;
});

test("time and address are checked every time", (t) => {
  t.is(reason(certificate, IpAddress.parse("192.168.20.2")), "wrong-address");
  t.is(reason(certificate, home, START - 1), "not-yet-valid");
  t.is(reason(certificate, home, START), undefined);
  t.is(reason(certificate, home, END + 999), undefined);
  t.is(reason(certificate, home, END + 1000), "expired");
  t.is(reason(certificate, home, NOW), undefined);
});

test("an authority whose own certificate has expired vouches for nobody", (t) => {
  const brief = buildAuthority(authorityKey, "Test CA", { notBefore: START, notAfter: NOW });
  const result = trust(brief).check(certificate, home, NOW + 1000);
  t.is(
    result.type === "refused" ? result.detail : "",
    'the certificate of authority "Test CA" expired at 2026-06-01T00:00:00Z',
  );
});

test("certificates of others are refused", (t) => {
  const namesake = buildAuthority(newKey(), "Test CA", validity);
  const stranger = newKey();
  t.is(reason(certificate, home, NOW, trust(namesake)), "wrong-issuer");
  t.is(reason(certificate, home, NOW, trust()), "wrong-issuer");
  t.is(reason(buildHost(host, authority, stranger)), "wrong-issuer");
  t.is(reason(certificate, home, NOW, trust(namesake, authority)), undefined, "one of several is enough");
  const altered = Uint8Array.from(certificate);
  altered[altered.length - 1] = (altered[altered.length - 1] ?? 0) ^ 1;
  t.is(reason(altered), "wrong-issuer");
});

test("a host's certificate issues nothing", (t) => {
  const forged = buildHost(host, certificate, hostKeys.privateKey);
  t.is(reason(forged), "wrong-issuer");
  t.throws(() => trust(certificate), { instanceOf: TrustError, message: /basicConstraints/ });
});

test("an authority's certificate is not a host's", (t) => {
  t.is(reason(authority), "wrong-usage");
});

test("keys that are too weak, too slow or unknown are refused", (t) => {
  const rsa = (modulusLength: number, publicExponent = 65537) =>
    generateKeyPairSync("rsa", { modulusLength, publicExponent }).publicKey;
  t.is(reason(custom({ key: rsa(1024), extensions: [names] })), "unsupported-key");
  t.is(reason(custom({ key: rsa(2048, 3), extensions: [names] })), undefined);
  const other = generateKeyPairSync("ec", { namedCurve: "secp384r1" }).publicKey;
  t.is(reason(custom({ key: other, extensions: [names] })), "unsupported-key");
  t.is(
    reason(custom({ key: generateKeyPairSync("ed448").publicKey, extensions: [names] })),
    "unsupported-key",
  );
  t.is(reason(custom({ key: generateKeyPairSync("ed25519").publicKey, extensions: [names] })), undefined);
});

test("extensions are obeyed", (t) => {
  const usage = (value: number) => extension(OID.keyUsage, true, bits(Uint8Array.of(value)));
  t.is(reason(custom({})), "wrong-address");
  t.is(reason(custom({ extensions: [names] })), undefined);
  t.is(reason(custom({ extensions: [names, usage(0x80)] })), undefined);
  t.is(reason(custom({ extensions: [names, usage(0x20)] })), "wrong-usage");
  t.is(reason(custom({ extensions: [names, extension("1.2.3.4", true, sequence())] })), "wrong-usage");
  t.is(reason(custom({ extensions: [names, extension("1.2.3.4", false, sequence())] })), undefined);
  t.is(reason(custom({ extensions: [names, names] })), "malformed");
  const short = extension(OID.subjectAltName, false, sequence(contextBytes(7, Uint8Array.of(1, 2, 3))));
  t.is(reason(custom({ extensions: [short] })), "malformed");
  t.is(reason(custom({ extensions: [extension(OID.keyUsage, true, text("x")), names] })), "malformed");
});

test("a name that would act on a terminal is refused", (t) => {
  t.is(reason(custom({ subject: nameOf("a\u001b[2Jb"), extensions: [names] })), "malformed");
});

test("a certificate without a common name has an empty subject", (t) => {
  const result = trusting.check(custom({ subject: sequence(), extensions: [names] }), home, NOW);
  t.is(result.type === "trusted" ? result.subject : undefined, "");
});

test("only the DER of one certificate is read", (t) => {
  const pem = new TextEncoder().encode(toPem("CERTIFICATE", certificate));
  const trailing = Uint8Array.of(...certificate, 0);
  for (const odd of [new Uint8Array(), Uint8Array.of(0x30, 0x80), pem, trailing, certificate.subarray(1)])
    t.is(reason(odd), "malformed");
  t.is(reason(new Uint8Array(4097)), "malformed");
});

test("authorities are checked when they are given", (t) => {
  t.throws(() => new Trust(["nothing"]), { instanceOf: TrustError });
  t.throws(() => trust(Uint8Array.of(1, 2, 3)), { instanceOf: TrustError });
  const both =
    toPem("CERTIFICATE", authority) + toPem("CERTIFICATE", buildAuthority(newKey(), "B", validity));
  t.is(reason(certificate, home, NOW, new Trust([both])), undefined, "a file may hold several");
});

test("a flood of bad certificates does not push out a good one, and the cache is bounded", (t) => {
  const small = new Trust([toPem("CERTIFICATE", authority)], { capacity: 1 });
  const good = small.check(certificate, home, NOW);
  for (let i = 0; i < 2000; i++) small.check(Uint8Array.of(i >> 8, i & 0xff), home, NOW);
  t.is(small.check(certificate, home, NOW), good);
  small.check(buildHost(host, authority, authorityKey), home, NOW);
  t.not(small.check(certificate, home, NOW), good, "the oldest made room");
});

test("any change of a certificate is refused without an exception", (t) => {
  fc.assert(
    fc.property(fc.nat(certificate.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const altered = Uint8Array.from(certificate);
      altered[at] = (altered[at] ?? 0) ^ change;
      return reason(altered) !== undefined;
    }),
    { numRuns: 500 },
  );
  t.pass();
});

test("the parts of a made certificate are where X.509 has them", (t) => {
  const info = child(parseDer(certificate), 0);
  t.is(children(info).length, 8);
  t.deepEqual(toDer(parseDer(certificate)), Uint8Array.from(certificate));
});
