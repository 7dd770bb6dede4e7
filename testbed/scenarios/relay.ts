/** The only router on the path drops data: the sender's flows go through a relay at another place, and come back. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { BY_THE_STACK, OnPath } from "../attackers/on-path.js";
import type { Outcome } from "../lib/programs.js";
import type { Report, Step } from "../lib/report.js";
import { pythonHelper } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { eventAfter, showEvent, Stream } from "./attack.js";
import {
  curl,
  DETOUR,
  eventsOf,
  flowMatching,
  flowsOf,
  GRANT_ALL,
  matches,
  statusOf,
  wallClock,
  WEB_PORT,
  webServer,
} from "./common.js";
import type { Scenario } from "./scenario.js";

const SIZE = 972;
const RATE = 500;
const UPLOAD_RATE = 1_000_000;
const UPLOAD = 15 * UPLOAD_RATE;
const RELAY_PORT = 6080;
/** Of the link to the relay. */
const NARROW = 1400;
/** IP and UDP. */
const WRAPPING = { 4: 28, 6: 48 } as const;
const STRANGE_PORT = 7777;
const WRAPPED = 20;
const QUICK = { spread: "100ms", hold: "2s", return_after: "15s", settle: "200ms" };
const UPLOADED = /^tcp .*:80$/;
const CARRIER = /^udp .*:6080$/;

export const relay: Scenario = {
  name: "relay",
  summary:
    "the only router drops data: the flows go through a relay, within its path's MTU, and come back; nobody else is relayed",
  run: async (report) => {
    await withTestbed(DETOUR, (testbed) => show(report, testbed));
    await withTestbed(DETOUR, (testbed) => overIpv6(report, testbed));
  },
};

const SUBNETS = {
  4: { senders: "192.168.20.0/24", receivers: "192.168.21.0/24" },
  6: { senders: "fd20::/64", receivers: "fd21::/64" },
} as const;

async function start(testbed: Testbed, family: 4 | 6): Promise<{ readonly relay: string }> {
  const address = testbed.address("relay", family);
  const { senders, receivers } = SUBNETS[family];
  // Associations between sender and relay cross this router, which has no part in them.
  const associations = { name: "associations", protocol: "tcp", ports: "5270", to: address, rate: 1000 };
  const carriers = {
    ...GRANT_ALL,
    name: "who may send through here",
    protocol: "udp",
    ports: String(RELAY_PORT),
  };
  for (const node of ["side", "relay"])
    await testbed.mustRun(node, ["ip", "link", "set", "back", "mtu", String(NARROW)]);
  await testbed.start({
    sender: { path: [{ to: receivers, relay: address }], detection: QUICK },
    upper: BY_THE_STACK,
    side: { exempt: [associations] },
    relay: { relay: { serve: true }, rule: [{ ...carriers, from: senders }] },
    receiver: { rule: [{ ...GRANT_ALL, refresh: "500ms" }], detection: QUICK },
  });
  return { relay: address };
}

async function show(report: Report, testbed: Testbed): Promise<void> {
  const { relay: address } = await start(testbed, 4);
  const [sender, receiver] = [testbed.daemon("sender"), testbed.daemon("receiver")];
  await testbed.serve("receiver", webServer(), WEB_PORT);
  const stream = await Stream.listen(testbed, "sender", "receiver");
  const file = join(testbed.record.directory, "upload");
  writeFileSync(file, Buffer.alloc(UPLOAD));
  const to = testbed.address("receiver", 4);
  const uploading = testbed.run(
    "sender",
    curl(to, "/", "-T", file, "--limit-rate", String(UPLOAD_RATE), "--max-time", "60"),
  );
  stream.send({ count: 0, size: SIZE, rate: RATE });
  await report.step("at first the relay is not used", async (step) => {
    await until("the stream to flow", 20_000, () => stream.received.length > RATE);
    await flowMatching(receiver, UPLOADED);
    step.expect("no flow at the relay", (await flowsOf(testbed.daemon("relay"))).length === 0);
  });
  const trouble = await OnPath.start(testbed, "upper", { what: "data", device: "right", loss: 1 });
  await report.step(
    "data dropped on the only path: found, and the flows go through the relay",
    async (step) => {
      showEvent(step, "attack", await eventAfter(receiver, "attack", trouble.began), trouble.began);
      for (const flow of [stream.flow, UPLOADED]) {
        const { id } = await flowMatching(sender, flow);
        const moved = await eventAfter(sender, "path", trouble.began, 30_000, (event) => event.id === id);
        showEvent(step, "path", moved, trouble.began);
        step.expect("through the relay", moved.detail.startsWith(`relay ${address}`));
      }
      const before = stream.received.length;
      await until("the stream by the relay", 20_000, () => stream.received.length > before + RATE);
      step.measure("ms until the stream flowed again", Math.round(wallClock() - trouble.began));
    },
  );
  await report.step("permitted where it passes now, and wrapped where it is only carried", async (step) => {
    await until("both flows at the relay", 10_000, async () => {
      const there = (await flowsOf(testbed.daemon("relay"))).map(({ flow }) => flow);
      return [stream.flow, UPLOADED, CARRIER].every((flow) => there.some((one) => flow.test(one)));
    });
    const carried = await flowMatching(testbed.daemon("side"), CARRIER);
    step.measure("the carrier at the router in between", carried.flow);
    const others = (await flowsOf(testbed.daemon("side"))).filter(({ flow }) => !CARRIER.test(flow));
    step.expect("and no other flow there", others.length === 0);
  });
  await report.step("nobody else is relayed", (step) => nobodyElse(step, testbed, address));
  await report.step("TCP goes on within the narrower path, and ends without an error", async (step) => {
    await arrives(step, uploading);
    await fits(step, testbed, address, 4);
  });
  await report.step("the first path is good again: back to it", async (step) => {
    const damage = await trouble.stop();
    step.measure("packets swallowed", damage.dropped);
    const good = wallClock();
    await until("the stream on its first path", 60_000, async () => {
      const { path } = await flowMatching(sender, stream.flow);
      return path === null;
    });
    step.measure("ms after the path was good", Math.round(wallClock() - good));
    const wire = await testbed.captureTowards("side");
    const before = stream.received.length;
    await until("the stream to flow", 20_000, () => stream.received.length > before + RATE);
    const wrapped = wire.packets().filter(matches({ protocol: 17, destinationPort: RELAY_PORT })).length;
    await wire.stop();
    step.expect("nothing is wrapped any more", step.measure("datagrams to the relay", wrapped) === 0);
    const late = (await eventsOf(receiver)).filter(
      ({ type, time }) => type === "attack" && time > good + 2000,
    );
    step.expect("no new finding", late.length === 0);
  });
  await report.step("a clean end leaves no device, no rule and no route", async (step) => {
    await sender.stop();
    const left = await Promise.all(
      [["link"], ["rule"], ["route", "show", "table", "all"]].map((what) =>
        testbed.mustRun("sender", ["ip", ...what]),
      ),
    );
    step.expect("nothing of ours", !/pbs-relay|\b270\d\d\b/.test(left.join("")));
  });
}

async function arrives(step: Step, uploading: Promise<Outcome>): Promise<void> {
  const { status, stdout, stderr } = await uploading;
  if (stderr !== "") step.measure("curl says", stderr.trim());
  step.expect("the whole file", status === 0 && stdout.split(" ")[2] === String(UPLOAD));
  step.measure("seconds", Number(stdout.split(" ")[3]));
}

async function fits(step: Step, testbed: Testbed, address: string, family: 4 | 6): Promise<void> {
  const mtu = step.measure("MTU of the relay's device", await deviceMtu(testbed, address));
  step.expect("as the path has it", mtu === NARROW - WRAPPING[family]);
}

/** The relay is reached by IPv6, and what goes through it is IPv6. */
async function overIpv6(report: Report, testbed: Testbed): Promise<void> {
  const { relay: address } = await start(testbed, 6);
  const [sender, receiver] = [testbed.daemon("sender"), testbed.daemon("receiver")];
  await testbed.serve("receiver", webServer(), WEB_PORT);
  const file = join(testbed.record.directory, "upload");
  writeFileSync(file, Buffer.alloc(UPLOAD));
  const options = ["-T", file, "--limit-rate", String(UPLOAD_RATE), "--max-time", "60"];
  const uploading = testbed.run("sender", curl(testbed.address("receiver", 6), "/", ...options));
  await flowMatching(receiver, UPLOADED);
  const trouble = await OnPath.start(testbed, "upper", { what: "data", device: "right", loss: 1 });
  await report.step(
    "IPv6: data dropped on the only path, and an upload goes through the relay",
    async (step) => {
      const moved = await eventAfter(sender, "path", trouble.began, 30_000);
      showEvent(step, "path", moved, trouble.began);
      step.expect("through the relay", moved.detail.startsWith(`relay ${address}`));
      await flowMatching(testbed.daemon("relay"), UPLOADED);
      const carried = await flowMatching(testbed.daemon("side"), CARRIER);
      step.measure("the carrier at the router in between", carried.flow);
      await arrives(step, uploading);
      await fits(step, testbed, address, 6);
    },
  );
  await trouble.stop();
}

/** With a permission for the carrier but none for what is inside; and from where the relay's rules permit no carrier. */
async function nobodyElse(step: Step, testbed: Testbed, address: string): Promise<void> {
  const wire = await testbed.captureTowards("receiver");
  const strange = matches({ protocol: 17, destinationPort: STRANGE_PORT });
  const [from, to] = [testbed.address("sender", 4), testbed.address("receiver", 4)];
  const wrap = (source: string, destination: string) =>
    pythonHelper(
      "programs/wrap.py",
      address,
      String(RELAY_PORT),
      source,
      destination,
      String(STRANGE_PORT),
      String(WRAPPED),
    );
  await testbed.mustRun("sender", wrap(from, to));
  const dropped = await until("the relay to drop them", 20_000, async () => {
    const { firewall } = (await statusOf(testbed.daemon("relay"))).counters;
    const count = firewall["forward.drop.relayed"] ?? 0;
    return count > 0 ? count : undefined;
  });
  step.measure("dropped at the relay: no permission inside", dropped);
  await testbed.mustRun("receiver", wrap(to, from));
  const refused = await eventAfter(testbed.daemon("receiver"), "refused", 0, 20_000, ({ flow }) =>
    CARRIER.test(flow ?? ""),
  );
  step.measure("the relay refuses the receiver", refused.detail);
  const passed = (await wire.quiet(strange)).filter(strange).length;
  await wire.stop();
  step.expect("none passed", step.measure("packets behind the relay", passed) === 0);
}

async function deviceMtu(testbed: Testbed, address: string): Promise<number> {
  const { firewall } = (await statusOf(testbed.daemon("sender"))).counters;
  return firewall[`relay.${address}.mtu`] ?? 0;
}
