import { formatDuration } from "../../config/quantity.js";
import type { StatusView } from "../../control/status.js";
import { type Command, show } from "../command.js";
import { fields } from "../table.js";

export const statusCommand: Command = {
  name: "status",
  usage: "",
  summary: "What the daemon is and how it is",
  help: "",
  options: {},
  arguments: { min: 0, max: 0 },
  run: async (context) => {
    const status = await context.client.get<StatusView>("/v1/status");
    await show(context, status, () => statusText(status));
    return 0;
  },
};

function statusText(status: StatusView): string {
  const { datapath, routingStates } = status;
  return fields([
    ["node", `${status.name}, ${status.mode} network`],
    ["pbsd", `${status.version}, process ${status.pid}, up ${formatDuration(status.uptime)}`],
    ["configuration", status.config],
    ["identity", status.identity],
    [
      "engine",
      `${datapath.engine}, ${datapath.flows} of ${datapath.capacity} flows, ${datapath.held} packets held`,
    ],
    ["associations", String(status.associations)],
    [
      "routing states",
      `${routingStates.querying} towards receivers, ${routingStates.responding} towards senders`,
    ],
    ["pending", status.pending === 0 ? "none" : `${status.pending}: see pbsctl pending`],
    ...datapath.queues.map(
      ({ number, purpose, packets, dropped }) =>
        [`queue ${number}`, `${purpose}: ${packets} packets, ${dropped} dropped`] as const,
    ),
    ...counterLines("packets", datapath.counters),
    ...counterLines("pbs", status.counters.pbs),
    ...counterLines("gist", status.counters.gist),
    ...counterLines("firewall", status.counters.firewall),
  ]);
}

/** Those that have counted anything. */
function counterLines(
  group: string,
  counters: Readonly<Record<string, number>>,
): (readonly [string, string])[] {
  return Object.entries(counters)
    .filter(([, value]) => value !== 0)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => [`${group} ${name}`, String(value)] as const);
}
