/** The dissector on what real daemons say to each other. */
import { join } from "node:path";
import test from "ava";
import { Program } from "../lib/programs.js";
import { Testbed } from "../lib/testbed.js";
import { curl, flowMatching, GRANT_ALL, THREE_NODE, WEB_PORT, webServer } from "../scenarios/common.js";
import { dissectFile } from "./tshark.js";

const rootTest = process.getuid?.() === 0 ? test : test.skip;
/** Node writes the keys of its TLS connections there; the daemons inherit it. */
const withKeyLog = (file: string): string => `--tls-keylog=${file}`;

rootTest("all that three daemons say is dissected in full", async (t) => {
  const testbed = await Testbed.create(THREE_NODE);
  const before = process.env["NODE_OPTIONS"];
  t.teardown(() => {
    if (before === undefined) delete process.env["NODE_OPTIONS"];
    else process.env["NODE_OPTIONS"] = before;
    testbed.remove();
  });
  const keys = join(testbed.record.directory, "keys");
  const file = join(testbed.record.directory, "whole.pcap");
  // The testbed's own captures keep the start of each packet only.
  const options = ["-i", "any", "-nn", "-U", "--immediate-mode", "-s", "0", "-Z", "root"];
  const filter = "udp port 270 or tcp port 5270";
  const tcpdump = new Program(["tcpdump", ...options, "-w", file, filter], {
    namespace: testbed.namespace("router"),
  });
  await tcpdump.says("listening on");
  process.env["NODE_OPTIONS"] = [before ?? "", withKeyLog(keys)].join(" ").trim();
  await testbed.start({ receiver1: { rule: [GRANT_ALL] } });
  await testbed.serve("receiver1", webServer(), WEB_PORT);
  for (const family of [4, 6] as const) {
    const web = await testbed.run("sender1", curl(testbed.address("receiver1", family), "/"));
    t.regex(web.stdout, /^200 /);
  }
  await flowMatching(testbed.daemon("router"), /192\.168\.21\.4/);
  await tcpdump.stop("SIGINT");

  const datagrams = await dissectFile(file, "-Y", "udp.port == 270");
  t.true(datagrams.length >= 4);
  for (const { protocols, complaints } of datagrams) {
    t.is(protocols.at(-1), "gist");
    t.deepEqual(complaints, []);
  }
  const inside = await dissectFile(file, "-o", `tls.keylog_file:${keys}`, "-Y", "gist && tls");
  const types = new Set(inside.flatMap(({ fields }) => fields.get("pbs.type") ?? []));
  t.deepEqual([...types].sort().slice(0, 2), ["1", "2"]);
  t.deepEqual(
    inside.flatMap(({ complaints }) => complaints),
    [],
  );
});
