import { existsSync } from "node:fs";
import test from "ava";
import {
  curl,
  matches,
  THREE_NODE,
  udpListener,
  udpSender,
  WEB_PORT,
  webServer,
} from "../scenarios/common.js";
import { TOPOLOGIES } from "../topologies.js";
import { bytesOf } from "./capture.js";
import { namespacesOf } from "./network.js";
import { Testbed } from "./testbed.js";

const rootTest = process.getuid?.() === 0 ? test : test.skip;
const MTU = 1500;

rootTest("every topology carries packets from end to end, and leaves nothing behind", async (t) => {
  const all = [...TOPOLOGIES, THREE_NODE];
  // Side by side, so that they would get in each other's way if they could.
  const testbeds = await Promise.all(all.map((topology) => Testbed.create(topology)));
  t.teardown(() => {
    for (const testbed of testbeds) testbed.remove();
  });
  for (const testbed of testbeds) {
    const names = testbed.topology.nodes.map(({ name }) => name);
    const [first = "", last = ""] = [names[0], names.at(-1)];
    for (const family of [4, 6] as const) {
      const ping = await testbed.run(first, ["ping", "-c", "1", "-W", "2", testbed.address(last, family)]);
      t.is(ping.status, 0, `${testbed.topology.name} IPv${family}: ${ping.stdout}`);
    }
  }
  for (const testbed of testbeds) {
    testbed.remove();
    t.deepEqual(namespacesOf(testbed.record.id), []);
    t.false(existsSync(testbed.record.directory));
  }
});

rootTest("a capture counts what goes over the wire, packet by packet", async (t) => {
  const testbed = await Testbed.create(THREE_NODE);
  t.teardown(() => testbed.remove());
  const wire = await testbed.captureTowards("receiver1");
  const to = testbed.address("receiver1", 6);
  const listener = testbed.spawn("receiver1", udpListener(9000));
  await listener.says("listening");
  await testbed.run("sender1", udpSender({ from: 4000, to, port: 9000, count: 100, size: 500, rate: 1000 }));
  await listener.says("\n99\n");
  await testbed.serve("receiver1", webServer(), WEB_PORT);
  const web = await testbed.run("sender1", curl(to, "/", "-d", "x".repeat(100_000)));
  t.regex(web.stdout, /^200 \d+ 100000 /);
  const datagrams = matches({ protocol: 17, destination: to, destinationPort: 9000 });
  const packets = await wire.quiet();
  await wire.stop();
  t.is(bytesOf(packets.filter(datagrams)), 100 * (500 + 8 + 40));
  const segments = packets.filter(matches({ protocol: 6, destination: to, destinationPort: WEB_PORT }));
  t.true(bytesOf(segments) > 100_000);
  t.true(segments.every(({ length }) => length <= MTU));
});
