/** The load tool from one host against a receiver that runs pbsd, through a router that does too. */
import type { FlowList } from "../../src/control/flows.js";
import type { LoadReport } from "../../src/load/run.js";
import type { Step } from "../lib/report.js";
import { pbsctl } from "../lib/repository.js";
import { Testbed } from "../lib/testbed.js";
import { GRANT_ALL, THREE_NODE } from "./common.js";
import type { Scenario } from "./scenario.js";

const FLOWS = 100;
const LIMIT_MS = 60_000;

export const load: Scenario = {
  name: "load",
  summary:
    "pbsctl load asks a real receiver for many flows, and only when it is told that it may leave its host",
  run: async (report) => {
    const testbed = await Testbed.create(THREE_NODE);
    try {
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
