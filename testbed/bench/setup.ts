/**
 * What an application waits for: the time of a TCP connect through the three-node testbed, where pbsd has to ask for
 * both directions first, against the same connect in the same network with no pbsd running.
 */
import { Testbed } from "../lib/testbed.js";
import { GRANT_ALL, THREE_NODE, WEB_PORT, webServer } from "../scenarios/common.js";
import { median } from "./lab.js";
import { LineProgram } from "./lines.js";
import { paired, type Report, report } from "./result.js";

const NODES = ["sender1", "router", "receiver1"] as const;
const CONNECTS = 20;
const CONNECT_LIMIT_MS = 30_000;
const FIRST_PORT = 20_000;

interface Run {
  /** Medians in milliseconds, except for the first contact, of which there is one. */
  readonly plain: number;
  readonly firstContact: number;
  readonly newFlow: number;
  readonly permitted: number;
}

/** @param quick one run, to see that all works */
export async function setup(quick: boolean): Promise<Report> {
  const runs = quick ? 1 : 9;
  const testbed = await Testbed.create(THREE_NODE);
  try {
    await testbed.serve("receiver1", webServer(), WEB_PORT);
    const measured: Run[] = [];
    for (let run = 0; run < runs; run++) measured.push(await measure(testbed));
    const against = (name: string, of: (run: Run) => number) =>
      paired(
        name,
        "ms",
        measured.map((run) => ({ value: of(run), baseline: run.plain })),
      );
    return report("setup", [
      against("connect, first contact: no associations", ({ firstContact }) => firstContact),
      against("connect, new flow: associations in place", ({ newFlow }) => newFlow),
      against("connect, permission in place", ({ permitted }) => permitted),
    ]);
  } finally {
    testbed.remove();
  }
}

async function measure(testbed: Testbed): Promise<Run> {
  const connector = await LineProgram.start(testbed.namespace("sender1"), "connector", {
    to: testbed.address("receiver1", 4),
    port: WEB_PORT,
  });
  try {
    // Neighbours are looked up, and the program is warm.
    await connects(connector, newPorts(FIRST_PORT));
    const plain = median(await connects(connector, newPorts(FIRST_PORT + CONNECTS)));
    await testbed.start({ receiver1: { rule: [GRANT_ALL] } }, NODES);
    const [firstContact = Number.NaN] = await connects(connector, [FIRST_PORT]);
    const newFlow = median(await connects(connector, newPorts(FIRST_PORT + 1)));
    const permitted = median(await connects(connector, newPorts(FIRST_PORT + 1)));
    return { plain, firstContact, newFlow, permitted };
  } finally {
    await connector.stop();
    await open(testbed);
  }
}

function newPorts(first: number): number[] {
  return Array.from({ length: CONNECTS }, (_, index) => first + index);
}

async function connects(connector: LineProgram, localPorts: readonly number[]): Promise<number[]> {
  const times: number[] = [];
  for (const port of localPorts) {
    const { milliseconds, failed } = await connector.ask(String(port), CONNECT_LIMIT_MS);
    if (typeof milliseconds !== "number") throw new Error(`a connect failed: ${String(failed)}`);
    times.push(milliseconds);
  }
  return times;
}

/** Daemons end, and their rules go, so that the network is the plain one again. */
async function open(testbed: Testbed): Promise<void> {
  await Promise.all(
    NODES.map(async (name) => {
      const daemon = testbed.daemon(name);
      await daemon.stop();
      const { status, stderr } = await daemon.cleanup();
      if (status !== 0) throw new Error(`cleaning up ${name} failed: ${stderr}`);
    }),
  );
}
