/** The load tool in a network of its own, and from one host against a receiver that runs pbsd. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { FlowList } from "../../src/control/flows.js";
import type { LoadReport } from "../../src/load/run.js";
import type { Step } from "../lib/report.js";
import { Program, run } from "../lib/programs.js";
import { pbsctl } from "../lib/repository.js";
import { Testbed } from "../lib/testbed.js";
import { until } from "../lib/wait.js";
import { GRANT_ALL, THREE_NODE } from "./common.js";
import type { Scenario } from "./scenario.js";

const FLOWS = 100;
const LIMIT_MS = 120_000;
const SOME_TIME_MS = 3000;

export const load: Scenario = {
  name: "load",
  summary:
    "pbsctl load sets up, keeps and revokes many flows, and leaves its host only when it is told that it may",
  run: async (report) => {
    const testbed = await Testbed.create(THREE_NODE);
    try {
      await report.step("in a network of its own", (step) => ownNetwork(testbed, step));
      await report.step("ended early it cleans up", (step) => endedEarly(step));
      await testbed.start({ receiver1: { rule: [{ ...GRANT_ALL, refresh: "2s" }] } }, [
        "router",
        "receiver1",
      ]);
      await report.step("a receiver outside the host is refused", (step) => refused(testbed, step));
      await report.step("with --outside it is loaded", (step) => loaded(testbed, step));
    } finally {
      testbed.remove();
    }
  },
};

async function ownNetwork(testbed: Testbed, step: Step): Promise<void> {
  const plot = join(testbed.record.directory, "load.svg");
  const mix = ["--churn", "20", "--refused", "5", "--revoked", "5", "--sends", "50kB", "--revoke", "200"];
  const size = ["--flows", "200", "--rate", "50", "--arrival", "poisson", "--refresh", "4s", "--hold", "6s"];
  const tool = pbsctl("load", "--json", "--keys", "p256", ...size, ...mix, "--plot", plot);
  const { status, stdout } = await run(tool, { limit: LIMIT_MS });
  step.expect("exit status 0", status === 0);
  const { phases, samples } = JSON.parse(stdout) as LoadReport;
  step.expect("three phases", phases.map(({ name }) => name).join(" ") === "set-up live revoke");
  const [setUp, live, revoke] = phases;
  step.expect("all are set up", step.measure("flows granted", setUp?.flows.granted ?? 0) >= 200);
  step.expect("they refresh", step.measure("refreshes", live?.refreshes.done ?? 0) > 100);
  step.expect("some are replaced", step.measure("replaced", live?.flows.left ?? 0) > 0);
  step.expect("none is left", step.measure("flows at the end", revoke?.flows.live ?? -1) === 0);
  step.expect(
    "every signature that was looked at was good",
    phases.every((p) => p.signatures.badHere === 0),
  );
  step.expect("the router's processor time was measured", (live?.router.cpuSeconds ?? 0) > 0);
  step.expect("a plot was made", samples.length > 5 && readFileSync(plot, "utf8").startsWith("<svg "));
}

async function endedEarly(step: Step): Promise<void> {
  const tool = new Program(pbsctl("load", "--json", "--keys", "p256", "--flows", "5000", "--rate", "20"), {});
  const spaces = `pbsload${tool.pid}-`;
  await until("its network is there", LIMIT_MS, async () => (await namespaces()).includes(`${spaces}s0`));
  await sleep(SOME_TIME_MS);
  tool.signal("SIGINT");
  step.expect("exit status 1", (await tool.exited) === 1);
  step.expect("it says that it was stopped", (JSON.parse(tool.stdout) as LoadReport).stopped);
  step.expect("no namespace is left", !(await namespaces()).includes(spaces));
  step.expect("no process is left", !existsSync(`/proc/${tool.pid}`));
}

async function namespaces(): Promise<string> {
  return (await run(["ip", "netns", "list"])).stdout;
}

async function refused(testbed: Testbed, step: Step): Promise<void> {
  const { status, stderr } = await testbed.run("sender1", command(testbed), { limit: LIMIT_MS });
  step.expect("exit status 1", status === 1);
  step.expect("it says why", stderr.includes("is outside this machine"));
}

async function loaded(testbed: Testbed, step: Step): Promise<void> {
  const outcome = await testbed.run("sender1", command(testbed, "--outside", "--json"), { limit: LIMIT_MS });
  step.expect("exit status 0", outcome.status === 0);
  const { phases } = JSON.parse(outcome.stdout) as LoadReport;
  const [setUp, live] = phases;
  step.expect("all are granted", step.measure("flows with permission", live?.flows.live ?? 0) === FLOWS);
  step.expect("they refresh", step.measure("refreshes", live?.refreshes.done ?? 0) >= FLOWS);
  step.expect("no answer is missing", (setUp?.flows.failed ?? 1) + (live?.refreshes.missed ?? 1) === 0);
  for (const name of ["router", "receiver1"]) {
    const { total } = await testbed.daemon(name).client.get<FlowList>("/v1/flows?limit=1");
    step.expect(`${name} has them all`, step.measure(`flows at ${name}`, total) === FLOWS);
  }
}

function command(testbed: Testbed, ...more: string[]): string[] {
  const { certificate, key, authorities } = testbed.daemon("sender1").keys;
  const identity = ["--identity", certificate, "--key", key, "--authority", authorities[0] ?? ""];
  const size = ["--flows", String(FLOWS), "--window", "20", "--hold", "5s", "--refresh", "2s"];
  return pbsctl("load", "--to", testbed.address("receiver1", 4), ...identity, ...size, ...more);
}
