/** New certificates for a daemon that runs, and what a killed one left in the kernel. */
import { readFileSync, writeFileSync } from "node:fs";
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import test from "ava";
import { issueCertificate, makeHostKey } from "../authorization/keys.js";
import { IpAddress } from "../base/address.js";
import { ended, type Host, makeHost, Running } from "./root-test-host.js";

const asRoot = process.getuid?.() === 0 ? test.serial : test.skip;

const PROGRAMS = ["pbsd", "gistd"] as const;

/** Fingerprint of the certificate that the daemon shows on its TLS port. */
function shown(host: Host): string {
  const program = `const s = require("tls").connect({ port: 5270, rejectUnauthorized: false }, () => {
    console.log(s.getPeerX509Certificate().fingerprint256); process.exit(0); });`;
  return host.exec(process.execPath, "-e", program).trim();
}

/** Another certificate for the same key, or for another one. */
function renew(host: Host, key: "same" | "other"): string {
  const prefix = join(host.directory, key === "same" ? "host" : "other");
  if (key === "other")
    makeHostKey({ prefix, commonName: "other", addresses: [IpAddress.parse("192.0.2.1")] });
  const outFile = `${prefix}-new.crt`;
  issueCertificate({ authorityDirectory: join(host.directory, "ca"), csrFile: `${prefix}.csr`, outFile });
  return outFile;
}

for (const name of PROGRAMS)
  asRoot(`${name}: SIGHUP takes over a renewed certificate, and nothing that is wrong`, async (t) => {
    const host = makeHost(t, name);
    const more = name === "gistd" ? '[service]\nsocket = "gist.sock"\n' : "";
    host.configure(more);
    const running = new Running(t, host.spawn());
    await running.line('"msg":"ready"');
    const before = shown(host);
    const file = join(host.directory, "host.crt");
    t.is(before, new X509Certificate(readFileSync(file)).fingerprint256);

    const old = readFileSync(file);
    writeFileSync(file, "no certificate");
    running.child.kill("SIGHUP");
    t.regex(await running.line("the old one stays in force"), /holds no PEM certificate/);
    t.is(shown(host), before);

    const renewed = renew(host, "same");
    writeFileSync(file, readFileSync(renewed));
    running.child.kill("SIGHUP");
    await running.line("configuration read again");
    const after = shown(host);
    t.is(after, new X509Certificate(readFileSync(renewed)).fingerprint256);
    t.not(after, before);

    renew(host, "other");
    const key = join(host.directory, "host.key");
    const oldKey = readFileSync(key);
    writeFileSync(key, readFileSync(join(host.directory, "other.key")));
    writeFileSync(file, readFileSync(join(host.directory, "other-new.crt")));
    running.child.kill("SIGHUP");
    await running.line("is another key than the one in use; a new key needs a restart");
    t.is(shown(host), after);
    writeFileSync(key, oldKey);
    writeFileSync(file, old);

    running.child.kill("SIGTERM");
    t.is(await ended(running.child), 0);
  });

for (const name of PROGRAMS)
  asRoot(`${name} --cleanup removes the rules and routes of a killed one, and no others`, async (t) => {
    const host = makeHost(t, name);
    const left = (family: string, mark: number): void => {
      const table = `${mark}`;
      host.exec("ip", family, "route", "add", "default", "dev", "lo", "table", table, "proto", "static");
      host.exec("ip", family, "rule", "add", "priority", "270", "fwmark", table, "table", table);
    };
    for (const family of ["-4", "-6"]) for (const mark of [0x20242a01, 0x20242a20, 77]) left(family, mark);
    const cleaned = await host.run("--cleanup");
    t.is(cleaned.status, 0, cleaned.stderr);
    for (const family of ["-4", "-6"]) {
      const rules = host.exec("ip", family, "rule");
      t.false(rules.includes("0x20242a"), rules);
      t.true(rules.includes("fwmark 0x4d"), rules);
      const routes = host.exec("ip", family, "route", "show", "table", "all");
      t.notRegex(routes, /table 5392409/);
      t.regex(routes, /table 77/);
    }
    t.is((await host.run("--cleanup")).status, 0, "nothing is left, which is no fault");
  });
