import { formatDuration } from "../../config/quantity.js";
import type { StatusView } from "../../control/status.js";
import { type Command, show } from "../command.js";
import { counterLines } from "../counter-lines.js";
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
  const { datapath } = status;
  return fields([
    ["node", `${status.name}, ${status.mode} network`],
    ["pbsd", `${status.version}, process ${status.pid}, up ${formatDuration(status.uptime)}`],
    ["configuration", status.config],
    ["identity", status.identity],
    [
      "engine",
      `${datapath.engine}, ${datapath.flows} of ${datapath.capacity} flows, ${datapath.held} packets held`,
    ],
    ...(datapath.reason === undefined ? [] : [["not xdp", datapath.reason] as const]),
    ...signallingLines(status),
    ["load", loadText(status.admission)],
    ["pending", status.pending === 0 ? "none" : `${status.pending}: see pbsctl pending`],
    ...datapath.queues.map(
      ({ number, purpose, packets, dropped }) =>
        [`queue ${number}`, `${purpose}: ${packets} packets, ${dropped} dropped`] as const,
    ),
    ...(datapath.interfaces ?? []).map(
      ({ name, engine, authenticates, reason }) =>
        [
          `interface ${name}`,
          `${engine}${engine === "nfqueue" ? "" : `, AH by ${authenticates}`}${reason === undefined ? "" : `: ${reason}`}`,
        ] as const,
    ),
    ...counterLines("packets", datapath.counters),
    ...counterLines("pbs", status.counters.pbs),
    ...counterLines("gist", status.counters.gist),
    ...counterLines("firewall", status.counters.firewall),
  ]);
}

function loadText({ waiting, busy, wait, puzzle }: StatusView["admission"]): string {
  const queued = `${waiting.kept} refreshes and answers, ${waiting.returning + waiting.new} requests wait`;
  if (!busy) return queued;
  return `busy: ${queued}, ${formatDuration(wait)} each${puzzle > 0 ? `, puzzles of ${puzzle} bits` : ""}`;
}

function signallingLines({
  service,
  associations,
  routingStates,
}: StatusView): (readonly [string, string])[] {
  if (service !== null) return [["signalling", `by gistd on ${service}; see: gistctl status`]];
  const { querying, responding } = routingStates;
  return [
    ["associations", String(associations)],
    ["routing states", `${querying} towards receivers, ${responding} towards senders`],
  ];
}
