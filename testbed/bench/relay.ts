/**
 * What a relay costs: one TCP connection through it, against the same by the direct path, in turns, with pbsd on all nodes. What a relay
 * carries is single datagrams, so the direct path is measured without segment offload too.
 */
import { Testbed } from "../lib/testbed.js";
import { DETOUR, flowMatching, GRANT_ALL, iperf3, IPERF_PORT, iperfServer } from "../scenarios/common.js";
import { paired, type Report, report } from "./result.js";

const RELAY_PORT = "6080";
const DEVICE = "pbs-relay1";
const SECONDS = 3;

/** Mb/s. */
interface Run {
  readonly direct: number;
  readonly segments: number;
  readonly relayed: number;
}

/** @param quick one run, to see that all works */
export async function relay(quick: boolean): Promise<Report> {
  const testbed = await Testbed.create(DETOUR);
  try {
    await start(testbed);
    await testbed.serve("receiver", iperfServer(), IPERF_PORT);
    // From then on there are associations, and permissions of the nodes in between.
    await measure(testbed, 1);
    const runs: Run[] = [];
    for (let run = 0; run < (quick ? 1 : 7); run++) runs.push(await measure(testbed, SECONDS));
    const against = (name: string, of: (run: Run) => number) =>
      paired(
        name,
        "Mb/s",
        runs.map((run) => ({ value: run.relayed, baseline: of(run) })),
      );
    return report("relay", [
      against("one TCP connection through a relay, against the direct path", ({ direct }) => direct),
      against("the same, against it without segment offload", ({ segments }) => segments),
    ]);
  } finally {
    testbed.remove();
  }
}

async function start(testbed: Testbed): Promise<void> {
  const address = testbed.address("relay", 4);
  const associations = { name: "associations", protocol: "tcp", ports: "5270", to: address, rate: 1000 };
  const rule = { ...GRANT_ALL, volume: "4GB" };
  await testbed.start({
    sender: { path: [{ to: "192.168.21.0/24", relay: address }], request: { volume: "4GB" } },
    side: { exempt: [associations] },
    relay: { relay: { serve: true }, rule: [{ ...rule, protocol: "udp", ports: RELAY_PORT }] },
    receiver: { rule: [rule] },
  });
}

async function measure(testbed: Testbed, seconds: number): Promise<Run> {
  const [from, to] = [testbed.address("sender", 4), testbed.address("receiver", 4)];
  const megabits = async () => (await iperf3(testbed, "sender", to, ["-t", String(seconds)])).megabits;
  const offload = (how: "on" | "off") =>
    testbed.mustRun("sender", ["ethtool", "-K", "left", "tso", how, "gso", how]);
  const direct = await megabits();
  await offload("off");
  const segments = await megabits();
  await offload("on");
  await testbed.mustRun("sender", ["ip", "route", "add", `${to}/32`, "dev", DEVICE, "src", from]);
  const relayed = await megabits();
  await flowMatching(testbed.daemon("side"), new RegExp(`^udp .*:${RELAY_PORT}$`));
  await testbed.mustRun("sender", ["ip", "route", "del", `${to}/32`]);
  return { direct, segments, relayed };
}
