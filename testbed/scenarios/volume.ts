/** Scenario 3: a grant of N bytes lets at most N through, and at least N minus one packet. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { bytesOf } from "../lib/capture.js";
import type { Report } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { PATIENCE } from "../lib/wait.js";
import {
  curl,
  firstSeen,
  GRANT_ALL,
  matches,
  THREE_NODE,
  udpListener,
  udpSender,
  WEB_PORT,
  webServer,
} from "./common.js";
import type { Scenario } from "./scenario.js";

const GRANTED = 1_000_000;
const PORT = 9000;
const PAYLOAD = 1000;
/** IPv4 and UDP headers. */
const PACKET = PAYLOAD + 28;
const STREAM = { from: 4000, port: PORT, count: 2000, size: PAYLOAD, rate: 2000 / PATIENCE };
const UPLOAD = 3_000_000;
/** With segmentation offload, what the sending kernel calls one packet stands for many on the wire. */
const OFFLOADED_PACKET = 65_535;

export const volume: Scenario = {
  name: "volume",
  summary:
    "a grant of N bytes lets at most N bytes through and at least N minus one packet, whoever enforces it",
  run: async (report) => {
    await withTestbed(THREE_NODE, (testbed) => everybodyEnforces(report, testbed));
    await withTestbed(THREE_NODE, (testbed) => routerAlone(report, testbed));
    await withTestbed(THREE_NODE, (testbed) => receiverAlone(report, testbed));
  },
};

const LAX = { packets: { enforce: false } };
const rule = [{ ...GRANT_ALL, name: "once", volume: GRANTED, extend: false }];

async function everybodyEnforces(report: Report, testbed: Testbed): Promise<void> {
  await testbed.start({ receiver1: { rule } });
  await testbed.serve("receiver1", webServer(), WEB_PORT);
  await report.step("UDP: the wire sees N bytes at most, N minus one packet at least", async (step) => {
    const bytes = step.measure("bytes on the wire", await udpOnWire(testbed));
    step.expect("at most N", bytes <= GRANTED);
    step.expect("at least N minus one packet", bytes > GRANTED - PACKET);
  });
  await report.step("TCP: an upload larger than the grant is cut off at it", async (step) => {
    const file = join(testbed.record.directory, "upload");
    writeFileSync(file, Buffer.alloc(UPLOAD));
    const wire = await testbed.captureTowards("receiver1");
    const to = testbed.address("receiver1", 4);
    const upload = await testbed.run("sender1", curl(to, "/", "-T", file, "--max-time", "15"));
    const data = matches({ protocol: 6, destination: to, destinationPort: WEB_PORT });
    const bytes = step.measure("bytes on the wire", bytesOf((await wire.quiet(data)).filter(data)));
    await wire.stop();
    step.expect("curl fails", step.measure("curl exit status", upload.status) !== 0);
    step.expect("at most N", bytes <= GRANTED);
    step.expect("at least N minus one packet", bytes > GRANTED - OFFLOADED_PACKET);
  });
}

async function routerAlone(report: Report, testbed: Testbed): Promise<void> {
  await testbed.start({ sender1: LAX, receiver1: { ...LAX, rule } });
  await report.step("the router alone: sender and receiver let everything pass", async (step) => {
    const before = await testbed.captureTowards("router");
    const bytes = step.measure("bytes on the wire", await udpOnWire(testbed));
    const offered = bytesOf(before.packets().filter(matches({ protocol: 17, destinationPort: PORT })));
    await before.stop();
    step.expect(
      "the router had more to drop",
      step.measure("bytes offered to the router", offered) > GRANTED,
    );
    step.expect("at most N", bytes <= GRANTED);
    step.expect("at least N minus one packet", bytes > GRANTED - PACKET);
  });
}

async function receiverAlone(report: Report, testbed: Testbed): Promise<void> {
  await testbed.start({ sender1: LAX, router: LAX, receiver1: { rule } });
  await report.step("the receiver alone: sender and router let everything pass", async (step) => {
    const listener = testbed.spawn("receiver1", udpListener(PORT));
    await listener.says("listening");
    const offered = step.measure("bytes on the wire", await udpOnWire(testbed));
    step.expect("the receiver had more to drop", offered > GRANTED);
    await listener.stop();
    const received = listener.stdout.split("\n").filter((line) => /^\d+$/.test(line)).length * PACKET;
    step.expect("at most N", step.measure("bytes that the program got", received) <= GRANTED);
    step.expect("at least N minus one packet", received > GRANTED - PACKET);
  });
}

async function udpOnWire(testbed: Testbed): Promise<number> {
  const wire = await testbed.captureTowards("receiver1");
  const to = testbed.address("receiver1", 4);
  const data = matches({ protocol: 17, destination: to, destinationPort: PORT });
  const sending = testbed.run("sender1", udpSender({ ...STREAM, to }));
  await firstSeen(wire, data);
  await sending;
  const packets = (await wire.quiet(data)).filter(data);
  await wire.stop();
  return bytesOf(packets);
}
