/** Scenario: GIST as a service of its own. Two signalling applications share it, and survive its end. */
import { gistMode, setGistMode } from "../lib/gistd.js";
import type { Report } from "../lib/report.js";
import { helper } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import {
  CHAIN,
  curl,
  firstSeen,
  flowMatching,
  GRANT_ALL,
  matches,
  udpSender,
  wallClock,
  WEB_PORT,
  webServer,
} from "./common.js";
import type { Scenario } from "./scenario.js";

const FILE_BYTES = 2_000_000;
const REFRESH_MS = 2000;
const STREAM_PORT = 9000;
/** Nodes that answer, in the order of the path; the router between the two has no GIST. */
const ANSWERING = ["first", "last", "receiver"] as const;
const PATH = ANSWERING.join(" ");
/** What a signalling application waits at most for a service that is back. */
const BACK_MS = 15_000;

interface PathPingResult {
  readonly complete: boolean;
  readonly hops: readonly {
    readonly name: string;
    readonly identity: string;
    readonly roundTrips: readonly (number | null)[];
  }[];
  readonly failures: readonly string[];
}

export const service: Scenario = {
  name: "service",
  summary:
    "pbsd and a path ping share each node's gistd; killing one and starting it again loses no permission",
  run: async (report) => {
    const before = gistMode();
    setGistMode("external");
    await withTestbed(CHAIN, (testbed) => show(report, testbed)).finally(() => setGistMode(before));
  },
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  await testbed.start({ receiver: { rule: [{ ...GRANT_ALL, refresh: `${REFRESH_MS}ms` }] } });
  await testbed.serve("receiver", webServer(), WEB_PORT);
  for (const node of ANSWERING) await answerAt(testbed, node);

  for (const family of [4, 6] as const) await findPath(report, testbed, family);
  await sideBySide(report, testbed);
  const to = testbed.address("receiver", 4);
  testbed.spawn("sender", udpSender({ from: 4000, to, port: STREAM_PORT, count: 0, size: 200, rate: 200 }));
  for (const node of ["last", "sender", "receiver"] as const) await killed(report, testbed, node);
  await findPath(report, testbed, 4);
}

async function answerAt(testbed: Testbed, node: string): Promise<void> {
  const { socket } = testbed.daemon(node).gistd;
  const program = testbed.spawn(
    node,
    helper("programs/path-ping", "answer", "--socket", socket, "--name", node),
  );
  await program.says("ready");
}

function pathPing(testbed: Testbed, family: 4 | 6, ...more: string[]): string[] {
  const { socket } = testbed.daemon("sender").gistd;
  const ends = ["--from", testbed.address("sender", family), "--to", testbed.address("receiver", family)];
  return helper("programs/path-ping", "send", "--socket", socket, ...ends, "--json", ...more);
}

async function findPath(report: Report, testbed: Testbed, family: 4 | 6): Promise<void> {
  for (const transfer of [[], ["--reliable"]])
    await report.step(
      `IPv${family}: a path ping${transfer.length > 0 ? " over associations" : ""} finds every node with a gistd, in order`,
      async (step) => {
        const { stdout, stderr } = await testbed.run("sender", pathPing(testbed, family, ...transfer));
        if (stdout === "") throw new Error(stderr);
        const { hops, complete, failures } = JSON.parse(stdout) as PathPingResult;
        const names = hops.map((hop) => hop.name).join(" ");
        step.expect("the whole path in order", step.measure("hops", names) === PATH);
        step.expect("the end of the path was told", step.measure("complete", complete));
        for (const { name, roundTrips } of hops)
          step.measure(`round trips to ${name} ms`, roundTrips.map(String).join(" "));
        if (failures.length > 0) step.measure("failures", failures.join("; "));
      },
    );
}

async function sideBySide(report: Report, testbed: Testbed): Promise<void> {
  await report.step("pbsd on the same services asks, and curl gets its file", async (step) => {
    const { stdout, stderr } = await testbed.run(
      "sender",
      curl(testbed.address("receiver", 4), `/${FILE_BYTES}`),
    );
    const [code, bytes] = stdout.split(" ").map(Number);
    step.measure("curl says", stderr.trim());
    step.expect("HTTP 200", step.measure("status", code ?? 0) === 200);
    step.expect("the whole file", step.measure("bytes", bytes ?? 0) === FILE_BYTES);
    for (const node of ["sender", ...ANSWERING]) {
      const { stdout: text } = await testbed.daemon(node).gistd.ctl("--json", "status");
      const { clients } = JSON.parse(text) as { clients: readonly { nslpIds: readonly number[] }[] };
      const ids = clients.flatMap(({ nslpIds }) => nslpIds).sort((a, b) => a - b);
      step.measure(`NSLPs at ${node}`, ids.join(" "));
      if (node !== "sender") step.expect(`two NSLPs at ${node}`, ids.length === 2);
    }
  });
}

async function killed(report: Report, testbed: Testbed, node: "last" | "sender" | "receiver"): Promise<void> {
  await report.step(
    `gistd of ${node} is killed and started again: the permitted flow goes on and is refreshed`,
    async (step) => {
      const wire = await testbed.captureTowards("receiver");
      const data = matches({ protocol: 17, destinationPort: STREAM_PORT });
      const pattern = new RegExp(`:${STREAM_PORT}$`);
      await firstSeen(wire, data);
      const view = () => flowMatching(testbed.daemon("receiver"), pattern);
      const before = await view();
      const began = wallClock();
      await testbed.daemon(node).gistd.kill();
      await testbed.daemon(node).gistd.start();
      const back = wallClock();
      const { refreshes } = await view();
      await until(
        "a refresh over the new service",
        BACK_MS,
        async () => (await view()).refreshes > refreshes,
      );
      step.measure("milliseconds without the service", Math.round(back - began));
      step.measure("milliseconds until the next refresh", Math.round(wallClock() - back));
      const after = await view();
      step.expect("the session stayed", step.measure("session", after.id) === before.id);
      const packets = (await wire.stop()).filter(data).filter(({ time }) => time > began);
      const gaps = packets.slice(1).map((packet, i) => packet.time - (packets[i]?.time ?? 0));
      const longest = step.measure("longest gap ms", Math.round(Math.max(0, ...gaps)));
      step.expect("packets went on", step.measure("packets meanwhile", packets.length) > 0);
      step.expect("no gap of a refresh period", longest < REFRESH_MS);
    },
  );
}
