import { formatDuration } from "../../config/quantity.js";
import type { GistdStatus } from "../../control/gist-server.js";
import { type Command, show } from "../command.js";
import { counterLines } from "../counter-lines.js";
import { fields } from "../table.js";

export const gistStatusCommand: Command = {
  name: "status",
  usage: "",
  summary: "What gistd is, who uses it, and what it has counted, by message and error",
  help: "",
  options: {},
  arguments: { min: 0, max: 0 },
  run: async (context) => {
    const status = await context.client.get<GistdStatus>("/v1/status");
    await show(context, status, () => statusText(status));
    return 0;
  },
};

function statusText(status: GistdStatus): string {
  const { querying, responding } = status.routingStates;
  return fields([
    ["gistd", `${status.version}, process ${status.pid}, up ${formatDuration(status.uptime)}`],
    ["configuration", status.config],
    ["identity", status.identity],
    ["service", status.service],
    ...status.clients.map(
      ({ name, nslpIds }) =>
        ["client", `${name || "not greeted yet"}: NSLPID ${nslpIds.join(", ") || "none"}`] as const,
    ),
    ["associations", String(status.associations)],
    ["routing states", `${querying} towards receivers, ${responding} towards senders`],
    ...counterLines("", status.counters),
  ]);
}
