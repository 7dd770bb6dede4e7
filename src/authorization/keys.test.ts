import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { IpAddress } from "../base/address.js";
import {
  describeCertificate,
  describeRequest,
  importCertificate,
  issueCertificate,
  KEY_CHOICES,
  type KeyChoice,
  KeysError,
  loadIdentity,
  makeAuthority,
  makeHostKey,
} from "./keys.js";
import { toPem } from "./pem.js";
import { Signer, verifySignature } from "./signing.js";
import { Trust } from "./trust.js";

const addresses = [IpAddress.parse("192.168.20.1"), IpAddress.parse("2001:db8::1")];
const DAY = 24 * 60 * 60 * 1000;

function workplace(t: ExecutionContext): (name: string) => string {
  const directory = mkdtempSync(join(tmpdir(), "pbs-keys-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return (name) => join(directory, name);
}

/** A CA and a host with its certificate, all made by the functions under test. */
function makeAll(t: ExecutionContext, authorityType: KeyChoice = "p256", type: KeyChoice = "p256") {
  const at = workplace(t);
  const authority = makeAuthority({ directory: at("ca"), name: "Test CA", type: authorityType });
  const { keyFile, requestFile } = makeHostKey({ prefix: at("host"), commonName: "alice", addresses, type });
  const issued = issueCertificate({
    authorityDirectory: at("ca"),
    csrFile: requestFile,
    outFile: at("host.pem"),
  });
  const files = { certificateFile: at("host.pem"), keyFile, authorityFiles: [authority.certificateFile] };
  return { at, authority, requestFile, issued, files };
}

function openssl(...arguments_: string[]): string {
  return execFileSync("openssl", arguments_, { stdio: ["ignore", "pipe", "pipe"] }).toString();
}

for (const authorityType of KEY_CHOICES)
  for (const type of KEY_CHOICES)
    test(`a ${type} host of a ${authorityType} authority: openssl and we agree`, async (t) => {
      const { files, requestFile, issued, authority } = makeAll(t, authorityType, type);
      t.regex(openssl("req", "-in", requestFile, "-noout", "-verify", "-text"), /IP Address:192.168.20.1/);
      const chain = ["-x509_strict", "-CAfile", authority.certificateFile, files.certificateFile];
      t.regex(openssl("verify", ...chain), /: OK/);
      const identity = loadIdentity(files);
      const result = new Trust(identity.authoritiesPem).check(
        identity.certificateDer,
        addresses[1],
        Date.now(),
      );
      if (result.type === "refused") return t.fail(result.detail);
      t.is(issued.description.fingerprint, result.fingerprint);
      const signer = new Signer(identity.privateKey, identity.certificateDer);
      t.is(Buffer.from(signer.identity).toString("hex"), issued.description.identity);
      t.true(await verifySignature(result, Uint8Array.of(1), await signer.sign(Uint8Array.of(1))));
      return undefined;
    });

test("descriptions say what is in a certificate and a request", (t) => {
  const { issued, requestFile, authority } = makeAll(t, "rsa2048", "ed25519");
  const { description } = issued;
  t.is(description.subject, "alice");
  t.is(description.issuer, "Test CA");
  t.is(description.keyType, "Ed25519");
  t.false(description.authority);
  t.deepEqual(description.addresses.map(String), ["192.168.20.1", "2001:db8::1"]);
  t.regex(description.serial, /^[0-9a-f]{32}$/);
  t.deepEqual(describeCertificate(issued.certificatePem), description);
  t.true(authority.description.authority);
  const request = describeRequest(readFileSync(requestFile, "utf8"));
  t.deepEqual([request.commonName, request.keyType, request.addresses.length], ["alice", "Ed25519", 2]);
});

test("a certificate can be issued for the past, the future and other addresses", (t) => {
  const { at, requestFile, files } = makeAll(t);
  const identity = loadIdentity(files);
  const trust = new Trust(identity.authoritiesPem);
  const now = Date.now();
  const issue = (name: string, start: number, own = addresses) =>
    issueCertificate({
      authorityDirectory: at("ca"),
      csrFile: requestFile,
      outFile: at(name),
      days: 10,
      now: start,
      addresses: own,
    });
  const check = (name: string) => {
    const files_ = { ...files, certificateFile: at(name) };
    const result = trust.check(loadIdentity(files_).certificateDer, addresses[0], now);
    return result.type === "refused" ? result.reason : "trusted";
  };
  issue("old.pem", now - 20 * DAY);
  issue("new.pem", now + 5 * DAY);
  const elsewhere = issue("elsewhere.pem", now, [IpAddress.parse("10.0.0.1")]);
  t.is(check("old.pem"), "expired");
  t.is(check("new.pem"), "not-yet-valid");
  t.is(check("elsewhere.pem"), "wrong-address");
  t.deepEqual(elsewhere.description.addresses.map(String), ["10.0.0.1"]);
  const far = issueCertificate({
    authorityDirectory: at("ca"),
    csrFile: requestFile,
    outFile: at("far.pem"),
    days: 36500,
  });
  t.true(far.description.notAfter.getTime() > Date.UTC(2100, 0));
});

test("private keys are for their owner only, and nothing is overwritten or left over", (t) => {
  const { at, files, authority } = makeAll(t);
  for (const file of [files.keyFile, authority.keyFile]) t.is(statSync(file).mode & 0o777, 0o600);
  t.is(statSync(at("ca")).mode & 0o777, 0o700);
  const before = readFileSync(files.keyFile, "utf8");
  const again = { prefix: at("host"), commonName: "alice", addresses };
  t.throws(() => makeHostKey(again), { instanceOf: KeysError, message: /host\.key exists already/ });
  t.throws(() => makeAuthority({ directory: at("ca"), name: "B" }), { instanceOf: KeysError });
  t.is(readFileSync(files.keyFile, "utf8"), before);
  makeHostKey({ ...again, force: true });
  t.not(readFileSync(files.keyFile, "utf8"), before);
  t.is(statSync(files.keyFile).mode & 0o777, 0o600);
  t.deepEqual(readdirSync(at(".")).sort(), ["ca", "host.csr", "host.key", "host.pem"]);
});

test("a private key that others can read, or that is another user's, is not loaded", (t) => {
  const { files } = makeAll(t);
  chmodSync(files.keyFile, 0o640);
  t.throws(() => loadIdentity(files), { instanceOf: KeysError, message: /mode 640.*chmod 600 .*host\.key/ });
  chmodSync(files.keyFile, 0o600);
  t.notThrows(() => loadIdentity(files));
  if (process.geteuid?.() !== 0) return;
  chownSync(files.keyFile, 65534, 65534);
  t.throws(() => loadIdentity(files), { instanceOf: KeysError, message: /belongs to user 65534/ });
});

test("each thing that can be wrong with an identity has an error of its own", (t) => {
  const { at, files } = makeAll(t);
  const refused = (change: Partial<typeof files>, message: RegExp): void => {
    t.throws(() => loadIdentity({ ...files, ...change }), { instanceOf: KeysError, message });
  };
  refused({ certificateFile: at("none.pem") }, /none\.pem cannot be read: ENOENT/);
  refused({ certificateFile: at("ca") }, /ca cannot be read: .*not a file|EISDIR/);
  refused({ certificateFile: files.keyFile }, /host\.key holds no PEM certificate/);
  const privately = (name: string, content: string): string => {
    writeFileSync(at(name), content, { mode: 0o600 });
    return at(name);
  };
  refused({ keyFile: privately("bad.key", "nothing") }, /bad\.key holds no unencrypted PEM private key/);
  refused(
    { keyFile: makeHostKey({ prefix: at("other"), commonName: "b", addresses }).keyFile },
    /other\.key is not the key of .*host\.pem/,
  );
  refused({ authorityFiles: [files.certificateFile] }, /host\.pem.*basicConstraints/);
  refused({ authorityFiles: [privately("empty.pem", "")] }, /empty\.pem: there is no certificate/);
  const stranger = makeAuthority({ directory: at("ca2"), name: "Test CA" });
  refused(
    { authorityFiles: [stranger.certificateFile] },
    /host\.pem is not accepted: .*not issued by a trusted authority/,
  );
  refused(
    {
      keyFile: privately(
        "curve.key",
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp384r1"),
      ),
    },
    /EC secp384r1/,
  );
});

test("a request that is not signed by its own key is not certified", (t) => {
  const { at, requestFile } = makeAll(t);
  const lines = readFileSync(requestFile, "utf8").split("\n");
  const body = Buffer.from(lines.slice(1, -2).join(""), "base64");
  body[30] = (body[30] ?? 0) ^ 1;
  writeFileSync(at("bad.csr"), `${lines[0]}\n${body.toString("base64")}\n${lines.at(-2)}\n`);
  const issue = (csrFile: string) =>
    issueCertificate({ authorityDirectory: at("ca"), csrFile, outFile: at("bad.pem") });
  t.throws(() => issue(at("bad.csr")), { instanceOf: KeysError, message: /bad\.csr/ });
  t.throws(() => issue(at("host.key")), {
    instanceOf: KeysError,
    message: /holds no PEM certificate request/,
  });
  t.false(existsSync(at("bad.pem")));
});

test("a request with any byte changed is refused with an error that says so, or reads as before", (t) => {
  const { requestFile } = makeAll(t);
  const pem = readFileSync(requestFile, "utf8");
  const body = Buffer.from(pem.split("\n").slice(1, -2).join(""), "base64");
  let refused = 0;
  for (let at = 0; at < body.length; at++) {
    const altered = Uint8Array.from(body);
    altered[at] = (altered[at] ?? 0) ^ (1 << (at % 8));
    try {
      // Only what the signature does not cover, such as the outermost tag, can change without notice.
      t.deepEqual(describeRequest(toPem("CERTIFICATE REQUEST", altered)), describeRequest(pem));
    } catch (error) {
      t.true(error instanceof KeysError);
      refused++;
    }
  }
  t.true(refused > body.length - 8, `${refused} of ${body.length}`);
});

test("a request made by openssl is certified", (t) => {
  const { at } = makeAll(t);
  for (const [name, ...options] of [
    ["rsa", "rsa:2048", "-sha384"],
    ["ec", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-sha512"],
    ["ed", "ed25519"],
  ] as const) {
    const names = ["-subj", `/O=Example/CN=${name}`, "-addext", "subjectAltName=DNS:x.example,IP:10.1.2.3"];
    openssl(
      "req",
      "-new",
      "-nodes",
      "-newkey",
      ...options,
      ...names,
      "-keyout",
      at(`${name}.key`),
      "-out",
      at(`${name}.csr`),
    );
    const { description } = issueCertificate({
      authorityDirectory: at("ca"),
      csrFile: at(`${name}.csr`),
      outFile: at(`${name}.pem`),
    });
    t.is(description.subject, name);
    t.deepEqual(description.addresses.map(String), ["10.1.2.3"]);
  }
});

test("a request without addresses needs them at issue", (t) => {
  const { at } = makeAll(t);
  openssl(
    "req",
    "-new",
    "-nodes",
    "-newkey",
    "ed25519",
    "-subj",
    "/CN=x",
    "-keyout",
    at("x.key"),
    "-out",
    at("x.csr"),
  );
  const options = { authorityDirectory: at("ca"), csrFile: at("x.csr"), outFile: at("x.pem") };
  t.throws(() => issueCertificate(options), {
    instanceOf: KeysError,
    message: /x\.csr lists no address.*--address/,
  });
  t.is(issueCertificate({ ...options, addresses }).description.addresses.length, 2);
});

test("what was made elsewhere is imported, with its key for its owner only", (t) => {
  const { at, files, authority } = makeAll(t);
  openssl(
    "req",
    "-x509",
    "-nodes",
    "-newkey",
    "rsa:2048",
    "-subj",
    "/CN=Other CA",
    "-keyout",
    at("o.key"),
    "-out",
    at("o.pem"),
  );
  openssl(
    "req",
    "-new",
    "-nodes",
    "-newkey",
    "rsa:2048",
    "-subj",
    "/CN=carol",
    "-addext",
    "subjectAltName=IP:10.1.2.3",
    "-keyout",
    at("c.key"),
    "-out",
    at("c.csr"),
  );
  openssl(
    "x509",
    "-req",
    "-in",
    at("c.csr"),
    "-CA",
    at("o.pem"),
    "-CAkey",
    at("o.key"),
    "-CAcreateserial",
    "-copy_extensions",
    "copy",
    "-out",
    at("c.pem"),
  );
  chmodSync(at("c.key"), 0o644);
  const source = { certificateFile: at("c.pem"), keyFile: at("c.key"), authorityFiles: [at("o.pem")] };
  const imported = importCertificate({ ...source, prefix: at("carol") });
  t.is(imported.description.subject, "carol");
  t.is(statSync(imported.keyFile).mode & 0o777, 0o600);
  const { certificateFile, keyFile } = imported;
  t.notThrows(() => loadIdentity({ certificateFile, keyFile, authorityFiles: [at("o.pem")] }));
  t.throws(() => importCertificate({ ...source, prefix: at("carol") }), { message: /exists already/ });
  const wrong = { ...source, authorityFiles: [authority.certificateFile], prefix: at("wrong") };
  t.throws(() => importCertificate(wrong), {
    instanceOf: KeysError,
    message: /not issued by a trusted authority/,
  });
  t.throws(() => importCertificate({ ...source, keyFile: files.keyFile, prefix: at("wrong") }), {
    message: /is not the key of/,
  });
  t.false(existsSync(at("wrong.key")));
});

test("names, addresses and days have limits", (t) => {
  const at = workplace(t);
  const host = { prefix: at("h"), commonName: "h", addresses };
  t.throws(() => makeHostKey({ ...host, addresses: [] }), { message: /lists no address/ });
  t.throws(
    () => makeHostKey({ ...host, addresses: Array.from({ length: 129 }, () => addresses[0] as IpAddress) }),
    { message: /too many/ },
  );
  for (const commonName of ["", "a\nb", "x".repeat(65)])
    t.throws(() => makeHostKey({ ...host, commonName }), { message: /common name/ });
  for (const days of [0, -1, Number.NaN, 1e9])
    t.throws(() => makeAuthority({ directory: at("ca"), name: "x", days }), { message: /cannot be valid/ });
  t.throws(() => makeAuthority({ directory: "/dev/null/ca", name: "x" }), {
    instanceOf: KeysError,
    message: /\/dev\/null/,
  });
  t.throws(() => describeCertificate("nothing"), { instanceOf: KeysError });
  t.throws(() => describeCertificate(Uint8Array.of(1)), { instanceOf: KeysError });
  t.deepEqual(readdirSync(at(".")), []);
});

test("an authority's directory is checked before it issues", (t) => {
  const { at, requestFile, authority } = makeAll(t);
  const issue = () =>
    issueCertificate({ authorityDirectory: at("ca"), csrFile: requestFile, outFile: at("new.pem") });
  chmodSync(authority.keyFile, 0o644);
  t.throws(issue, { message: /ca\.key can be read or changed by others/ });
  writeFileSync(authority.keyFile, readFileSync(at("host.key")));
  chmodSync(authority.keyFile, 0o600);
  t.throws(issue, { message: /ca\.key is not the key of .*ca\.pem/ });
  writeFileSync(authority.certificateFile, readFileSync(at("host.pem")));
  t.throws(issue, { message: /is not an authority's certificate/ });
});
