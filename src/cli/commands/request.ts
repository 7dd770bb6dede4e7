import { AddressError } from "../../base/address.js";
import { flowKey, parseFlow } from "../../base/flow.js";
import { formatSize } from "../../config/quantity.js";
import type { RequestOutcome } from "../../nslp/view.js";
import { type Command, show } from "../command.js";
import { EXIT, type Parsed, UsageError } from "../errors.js";
import { printable } from "../table.js";
import { volumeOf } from "./decide.js";

export const FLOW_HELP =
  '  FLOW  such as "tcp 192.168.20.1:4000 > 192.168.21.4:80", "icmp 192.168.20.1 to 192.168.21.4"';

export const requestCommand: Command = {
  name: "request",
  usage: "FLOW [--volume V]",
  summary: "Asks for a flow of this host, as its first packet would, and waits for the answer",
  help: `${FLOW_HELP}\n  --volume V  such as 10MB; default: [request] volume of the configuration`,
  options: { volume: { type: "string" } },
  arguments: { min: 1, max: 4 },
  run: async (context, parsed) => {
    const body = { flow: flowOf(parsed), ...volumeOf(parsed) };
    const outcome = await context.client.post<RequestOutcome>("/v1/request", body);
    await show(context, outcome, () => outcomeText(outcome));
    return outcome.granted ? EXIT.done : EXIT.failed;
  },
};

/** The flow that the arguments are; "to" spares the shell's ">" its quotes. Throws UsageError. */
export function flowOf(parsed: Parsed): string {
  try {
    return flowKey(parseFlow(parsed.positionals.join(" ")));
  } catch (error) {
    if (error instanceof AddressError) throw new UsageError(error.message);
    throw error;
  }
}

function outcomeText({ granted, id, allowedVolume, reason }: RequestOutcome): string {
  if (granted) return `granted ${formatSize(allowedVolume)}, id ${id.slice(0, 8)}\n`;
  return `refused: ${printable(reason ?? "no reason given")}\n`;
}
