/** What a relay costs: one TCP connection through it, against the same by the direct path, in turns, with pbsd on all nodes. */
import { Testbed } from "../lib/testbed.js";
import { DETOUR, flowMatching, GRANT_ALL, iperf3, IPERF_PORT, iperfServer } from "../scenarios/common.js";
import { paired, type Report, report } from "./result.js";

const RELAY_PORT = "6080";
const DEVICE = "pbs-relay1";
const SECONDS = 3;
const BY = ["direct", "relay"] as const;

/** @param quick one pair, to see that all works */
export async function relay(quick: boolean): Promise<Report> {
  const testbed = await Testbed.create(DETOUR);
  try {
    await start(testbed);
    await testbed.serve("receiver", iperfServer(), IPERF_PORT);
    // Associations and permissions of nodes in between are there from then on.
    for (const by of BY) await megabits(testbed, by, 1);
    const pairs: { value: number; baseline: number }[] = [];
    for (let run = 0; run < (quick ? 1 : 9); run++) {
      const baseline = await megabits(testbed, "direct", SECONDS);
      pairs.push({ value: await megabits(testbed, "relay", SECONDS), baseline });
    }
    return report("relay", [
      paired("one TCP connection through a relay, against the direct path", "Mb/s", pairs),
    ]);
  } finally {
    testbed.remove();
  }
}

async function start(testbed: Testbed): Promise<void> {
  const address = testbed.address("relay", 4);
  const associations = { name: "associations", protocol: "tcp", ports: "5270", to: address, rate: 1000 };
  const rule = [{ ...GRANT_ALL, volume: "4GB" }];
  await testbed.start({
    sender: { path: [{ to: "192.168.21.0/24", relay: address }], request: { volume: "4GB" } },
    side: { exempt: [associations] },
    relay: { relay: { serve: true }, rule: [{ ...rule[0], protocol: "udp", ports: RELAY_PORT }] },
    receiver: { rule },
  });
}

async function megabits(testbed: Testbed, by: (typeof BY)[number], seconds: number): Promise<number> {
  const to = testbed.address("receiver", 4);
  const route = ["ip", "route", by === "relay" ? "replace" : "flush", `${to}/32`];
  const ends = by === "relay" ? ["dev", DEVICE, "src", testbed.address("sender", 4)] : [];
  await testbed.mustRun("sender", [...route, ...ends]);
  const { megabits: rate } = await iperf3(testbed, "sender", to, ["-t", String(seconds)]);
  if (by === "relay") await flowMatching(testbed.daemon("side"), new RegExp(`^udp .*:${RELAY_PORT}$`));
  return rate;
}
