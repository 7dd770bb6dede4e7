/**
 * What a flow costs at a router: memory by where it is, and processor time. A process of its own holds the router and
 * flows by the hundred thousand; no kernel and no sockets are in it, so that all that grows is the router's. The kernel's
 * share, the set of permitted flows, is asked of the kernel.
 */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Crowd, CrowdOptions } from "./crowd.js";
import { type Case, type Report, report, single } from "./result.js";

const FLOWS = 200_000;
const FLOWS_QUICK = 20_000;
/** For the costs of a refresh by kind of key; a few flows show them. */
const FLOWS_OF_KEY = 5000;
const LIMIT_MS = 1_800_000;
const SET_MEMBERS = 65_536;
const SET = "permitted";

const run = promisify(execFile);

async function crowd(options: CrowdOptions): Promise<Crowd> {
  const program = fileURLToPath(new URL("crowd.js", import.meta.url));
  const command = ["--expose-gc", program, JSON.stringify(options)];
  const { stdout } = await run(process.execPath, command, { timeout: LIMIT_MS });
  return JSON.parse(stdout) as Crowd;
}

/** Bytes of an element of a set like the one of permitted flows (firewall-rules.ts), as ipset tells it. */
async function kernelBytes(): Promise<number> {
  const members = Array.from(
    { length: SET_MEMBERS },
    (_, i) => `add ${SET} 10.1.${i >> 8}.${i & 0xff},udp:${5000 + (i % 64)},10.2.0.2`,
  );
  const made = `create ${SET} hash:ip,port,ip timeout 600 maxelem ${SET_MEMBERS}`;
  // In a namespace of its own the set is gone with the command.
  const child = run("unshare", ["--net", "sh", "-c", `ipset restore && ipset list -t ${SET}`]);
  child.child.stdin?.end(`${[made, ...members].join("\n")}\n`);
  const { stdout } = await child;
  return Number(/^Size in memory: (\d+)/m.exec(stdout)?.[1] ?? 0) / SET_MEMBERS;
}

/** @param quick fewer flows, to see that all works */
export async function memory(quick: boolean): Promise<Report> {
  const flows = quick ? FLOWS_QUICK : FLOWS;
  const many = await crowd({ flows, keys: "p256" });
  const ofKeys: Case[] = [];
  for (const [keys, name] of [
    ["p256", "P-256"],
    ["rsa2048", "RSA-2048"],
  ] as const) {
    const { refresh, signatures } = await crowd({ flows: FLOWS_OF_KEY, keys });
    ofKeys.push({
      case: `refresh without sockets, against its two signatures alone, ${name}`,
      value: refresh,
      unit: "CPU us",
      baseline: signatures,
      ratio: Number((refresh / signatures).toPrecision(4)),
      runs: 1,
    });
  }
  return report("memory", [
    single(`JavaScript heap for each of ${flows} flows`, "bytes", [many.heap]),
    single("records of GIST and PBS", "bytes", [many.arrays]),
    single("flow table of the packet path", "bytes", [many.table]),
    single("resident in all", "bytes", [many.resident]),
    single("the kernel's set of permitted flows", "bytes", [await kernelBytes()]),
    single("the whole process", "bytes", [many.process]),
    ...ofKeys,
  ]);
}
