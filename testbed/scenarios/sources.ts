/** A host with two addresses, each behind a provider of its own: when one path is bad, what is opened anew has the other address. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PbsEvent } from "../../src/nslp/view.js";
import { OnPath } from "../attackers/on-path.js";
import type { Outcome } from "../lib/programs.js";
import type { Report, Step } from "../lib/report.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { eventAfter, showEvent, Stream } from "./attack.js";
import {
  curl,
  eventsOf,
  flowMatching,
  flowsOf,
  GRANT_ALL,
  MULTIHOMED,
  statusOf,
  wallClock,
  WEB_PORT,
  webServer,
} from "./common.js";
import type { Scenario } from "./scenario.js";

const SIZE = 972;
const RATE = 500;
const UPLOAD_RATE = 1_000_000;
const UPLOAD = 8 * UPLOAD_RATE;
const FIRST = "192.168.20.1";
const SECOND = "192.168.25.1";
const GATEWAY = "192.168.25.6";
const REFRESH = "500ms";
const QUICK = { spread: "100ms", hold: "2s", return_after: "20s", settle: "200ms" };
const RETRY = ["--retry", "3", "--retry-all-errors", "--retry-delay", "1", "--max-time", "60"];

export const sources: Scenario = {
  name: "sources",
  summary:
    "the path of one of a host's addresses drops data: connections are opened anew with the other address, within the providers' filters",
  run: async (report) => {
    await withTestbed(MULTIHOMED, (testbed) => show(report, testbed));
    await withTestbed(MULTIHOMED, (testbed) => authenticated(report, testbed));
  },
};

const PROVIDERS = [
  { node: "upper", wire: "left", prefixes: { iptables: "192.168.20.0/24", ip6tables: "fd20::/64" } },
  { node: "lower", wire: "other", prefixes: { iptables: "192.168.25.0/24", ip6tables: "fd25::/64" } },
] as const;
const TOOLS = ["iptables", "ip6tables"] as const;

/** Providers take only the addresses that they gave. */
async function filterSources(testbed: Testbed): Promise<void> {
  for (const { node, wire, prefixes } of PROVIDERS)
    for (const tool of TOOLS)
      await testbed.mustRun(node, [
        tool,
        "-I",
        "FORWARD",
        "-i",
        wire,
        "!",
        "-s",
        prefixes[tool],
        "-j",
        "DROP",
      ]);
}

async function expectNoWrongSources(step: Step, testbed: Testbed): Promise<void> {
  for (const { node } of PROVIDERS)
    for (const tool of TOOLS) {
      const listing = await testbed.mustRun(node, [tool, "-nvxL", "FORWARD"]);
      const dropped = Number(/^\s*(\d+)\s+\d+\s+DROP\b/m.exec(listing)?.[1] ?? Number.NaN);
      const wrong = step.measure(`packets with the other provider's address at ${node}, ${tool}`, dropped);
      step.expect("none", wrong === 0);
    }
}

/** To the receiver, until it is complete: a try that fails is followed by another. */
async function upload(testbed: Testbed, family: 4 | 6 = 4): Promise<Outcome> {
  const file = join(testbed.record.directory, "upload");
  writeFileSync(file, Buffer.alloc(UPLOAD));
  const options = ["-T", file, "--limit-rate", String(UPLOAD_RATE), ...RETRY];
  return testbed.run("sender", curl(testbed.address("receiver", family), "/", ...options));
}

async function expectUploaded(step: Step, uploading: Promise<Outcome> | undefined): Promise<void> {
  const { status = 1, stdout = "", stderr = "" } = (await uploading) ?? {};
  step.measure("curl says", stderr.trim().split("\n")[0] ?? "");
  step.expect("the whole file", status === 0 && stdout.split(" ")[2] === String(UPLOAD));
}

async function show(report: Report, testbed: Testbed): Promise<void> {
  await filterSources(testbed);
  await testbed.start({
    sender: { path: [{ source: SECOND, via: GATEWAY }], detection: QUICK },
    receiver: { rule: [{ ...GRANT_ALL, refresh: REFRESH }], detection: QUICK },
  });
  const [sender, receiver] = [testbed.daemon("sender"), testbed.daemon("receiver")];
  await testbed.serve("receiver", webServer(), WEB_PORT);
  const stream = await Stream.listen(testbed, "sender", "receiver");
  stream.send({ count: 0, size: SIZE, rate: RATE });
  await until("the stream to flow", 20_000, () => stream.received.length > RATE);
  const uploading = upload(testbed);
  await report.step("at first all flows have the first address", async (step) => {
    await flowMatching(receiver, new RegExp(`^tcp ${FIRST}:.*:80$`));
    const flows = (await flowsOf(receiver)).filter(({ role }) => role === "receiver");
    step.expect(
      "no other source",
      flows.every(({ flow }) => flow.includes(` ${FIRST}:`)),
    );
  });
  const trouble = await OnPath.start(testbed, "upper", { what: "data", device: "right", loss: 1 });
  await report.step(
    "data dropped on its path: the flows give way to new ones with the other address",
    async (step) => {
      showEvent(step, "attack", await eventAfter(receiver, "attack", trouble.began), trouble.began);
      for (const what of ["udp", "tcp"]) {
        const gone = (event: PbsEvent): boolean => event.flow?.startsWith(`${what} ${FIRST}`) === true;
        const left = await eventAfter(sender, "path", trouble.began, 40_000, gone);
        showEvent(step, `${what} path`, left, trouble.began);
        step.expect(
          `${what} gives way`,
          left.detail.startsWith(`gives way to new flows by source ${SECOND}`),
        );
        await flowMatching(receiver, new RegExp(`^${what} ${SECOND}:.*`), 20_000);
      }
      const before = stream.received.length;
      await until("the stream with the other address", 20_000, () => stream.received.length > before + RATE);
      await flowMatching(testbed.daemon("lower"), new RegExp(`^udp ${SECOND}:4000 `));
    },
  );
  await report.step(
    "the receiver knows that a new one takes an old one's place; no old one stays",
    async (step) => {
      await until("the old flows to be gone", 20_000, async () =>
        (await flowsOf(receiver)).every(
          ({ role, flow }) => role !== "receiver" || !flow.includes(` ${FIRST}:`),
        ),
      );
      const { pbs } = (await statusOf(receiver)).counters;
      step.measure("not known any more", pbs["succession.unknown"] ?? 0);
      // That of the upload may be over by the time that TCP's next try to send is refused.
      step.expect("one at least", step.measure("taken over", pbs["succession.taken"] ?? 0) >= 1);
    },
  );
  await report.step("the program opened its connection anew, and its transfer completed", async (step) => {
    await expectUploaded(step, uploading);
    await expectNoWrongSources(step, testbed);
  });
  await report.step(
    "the path is good again: new connections have the first address, running flows keep theirs",
    (step) => comeBack(step, testbed, trouble, stream),
  );
  await report.step("a clean end leaves no rule and no route", async (step) => {
    await sender.stop();
    const rules = await testbed.mustRun("sender", ["ip", "rule"]);
    const routes = await testbed.mustRun("sender", ["ip", "route", "show", "table", "all"]);
    step.expect("nothing of ours", !/\b270\d\d\b/.test(rules + routes));
  });
}

/** Of the second provider's link: packets with AH that are made to fit leave by a socket of pbsd's own. */
const NARROW = "1300";
const BOTH = [
  { family: 4, first: /^tcp 192\.168\.20\.1:.*:80$/, second: /^tcp 192\.168\.25\.1:.*:80$/ },
  { family: 6, first: /^tcp \[fd20::1\]:.*:80$/, second: /^tcp \[fd25::1\]:.*:80$/ },
] as const;

async function authenticated(report: Report, testbed: Testbed): Promise<void> {
  await filterSources(testbed);
  await testbed.mustRun("lower", ["ip", "link", "set", "right", "mtu", NARROW]);
  const path = [
    { source: SECOND, via: GATEWAY },
    { source: "fd25::1", via: "fd25::6" },
  ];
  await testbed.start({
    sender: { path, detection: QUICK },
    receiver: { rule: [{ ...GRANT_ALL, refresh: REFRESH, authentication: "hmac" }], detection: QUICK },
  });
  const [sender, receiver] = [testbed.daemon("sender"), testbed.daemon("receiver")];
  await testbed.serve("receiver", webServer(), WEB_PORT);
  const uploading = BOTH.map(({ family }) => upload(testbed, family));
  for (const { first } of BOTH) await flowMatching(receiver, first);
  const trouble = await OnPath.start(testbed, "upper", { what: "data", device: "right", loss: 1 });
  for (const [i, { family, first, second }] of BOTH.entries())
    await report.step(`IPv${family} with AH, and a narrow link on the other way: likewise`, async (step) => {
      const gone = (event: PbsEvent): boolean => first.test(event.flow ?? "");
      showEvent(
        step,
        "tcp path",
        await eventAfter(sender, "path", trouble.began, 40_000, gone),
        trouble.began,
      );
      await flowMatching(receiver, second, 20_000);
      await expectUploaded(step, uploading[i]);
    });
  await report.step("packets that were made to fit went that way too", async (step) => {
    const { counters } = (await statusOf(sender)).datapath;
    step.expect(
      "many",
      step.measure("sent by pbsd's own socket", counters["ah.emitted"] ?? 0) > UPLOAD / 1500,
    );
    await expectNoWrongSources(step, testbed);
  });
  await trouble.stop();
}

async function comeBack(step: Step, testbed: Testbed, trouble: OnPath, stream: Stream): Promise<void> {
  const sender = testbed.daemon("sender");
  const damage = await trouble.stop();
  step.measure("packets swallowed", damage.dropped);
  const good = wallClock();
  await until(
    "the way back",
    60_000,
    async () =>
      (await eventsOf(sender)).filter(({ detail }) => detail.startsWith("new flows like it")).length >= 2,
  );
  step.measure("ms after the path was good", Math.round(wallClock() - good));
  const { status } = await testbed.run("sender", curl(testbed.address("receiver", 4), "/"));
  step.expect("curl", status === 0);
  await flowMatching(sender, new RegExp(`^tcp ${FIRST}:.*:80$`));
  const before = stream.received.length;
  await until("the stream to flow on", 20_000, () => stream.received.length > before + RATE);
}
