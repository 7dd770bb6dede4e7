import { LEVELS } from "../../authorization/algorithm.js";
import type { FlowView } from "../../nslp/view.js";
import { type Command, show } from "../command.js";
import { UsageError } from "../errors.js";
import { flowText, idOf } from "./flows.js";

export const authenticateCommand: Command = {
  name: "authenticate",
  usage: "ID LEVEL",
  summary: "How packets of a flow to this host have to prove where they come from, from now on",
  help: `  LEVEL  none, hmac (a key that every PBS node on the path knows) or public-key (the sender's signature)

The flow goes on: packets of the old way pass for two seconds yet.`,
  options: {},
  arguments: { min: 2, max: 2 },
  run: async (context, parsed) => {
    const path = `/v1/flows/${idOf(parsed)}/authenticate`;
    const level = parsed.positionals[1] ?? "";
    if (!(LEVELS as readonly string[]).includes(level))
      throw new UsageError(`"${level}" is not a level; write ${LEVELS.join(", ")}`);
    const view = await context.client.post<FlowView>(path, { level });
    await show(context, view, () => flowText(view));
    return 0;
  },
};
