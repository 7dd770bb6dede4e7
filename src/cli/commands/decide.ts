import {
  formatDuration,
  formatSize,
  parseDuration,
  parseSize,
  QuantityError,
} from "../../config/quantity.js";
import type { FlowView, PendingView } from "../../nslp/view.js";
import { type Command, show } from "../command.js";
import { type Parsed, textOf, UsageError } from "../errors.js";
import { type Column, table } from "../table.js";
import { flowText, idOf } from "./flows.js";

const COLUMNS: readonly Column<PendingView>[] = [
  { title: "ID", value: ({ id }) => id.slice(0, 8) },
  { title: "FLOW", value: ({ flow }) => flow },
  { title: "REQUESTER", value: ({ requester }) => requester },
  { title: "ASKED", right: true, value: ({ requestedVolume }) => formatSize(requestedVolume) },
  { title: "RULE", value: ({ rule }) => rule },
  { title: "EXPIRES IN", right: true, value: ({ expiresIn }) => formatDuration(Math.max(0, expiresIn)) },
];

export const pendingCommand: Command = {
  name: "pending",
  usage: "",
  summary: "Flows that wait for a person's yes or no",
  help: 'They are those that a [[rule]] with action = "ask" has met.',
  options: {},
  arguments: { min: 0, max: 0 },
  run: async (context) => {
    const answer = await context.client.get<{ pending: readonly PendingView[] }>("/v1/pending");
    await show(context, answer, () =>
      answer.pending.length === 0 ? "none\n" : table(COLUMNS, answer.pending),
    );
    return 0;
  },
};

export const grantCommand: Command = {
  name: "grant",
  usage: "ID [--volume V] [--lifetime D]",
  summary: "Says yes to a pending flow, or changes the grant of one that has a permission",
  help: "  --volume V    such as 10MB, in place of the rule's\n  --lifetime D  such as 10m, in place of the rule's",
  options: { volume: { type: "string" }, lifetime: { type: "string" } },
  arguments: { min: 1, max: 1 },
  run: async (context, parsed) => {
    const path = `/v1/flows/${idOf(parsed)}/grant`;
    const view = await context.client.post<FlowView>(path, { ...volumeOf(parsed), ...lifetimeOf(parsed) });
    await show(context, view, () => `granted\n${flowText(view)}`);
    return 0;
  },
};

export const denyCommand = endCommand("deny", "Says no to a pending flow", "denied");
export const revokeCommand = endCommand(
  "revoke",
  "Takes a permission back; the flow stops on the whole path",
  "revoked",
);

function endCommand(name: string, summary: string, done: string): Command {
  return {
    name,
    usage: "ID [--reason TEXT]",
    summary,
    help: "  --reason TEXT  one sentence that the asking host gets to see",
    options: { reason: { type: "string" } },
    arguments: { min: 1, max: 1 },
    run: async (context, parsed) => {
      const answer = await context.client.post<unknown>(
        `/v1/flows/${idOf(parsed)}/${name}`,
        reasonOf(parsed),
      );
      await show(context, answer, () => `${done}\n`);
      return 0;
    },
  };
}

const MAX_REASON = 255;

function reasonOf(parsed: Parsed): { reason?: string } {
  const reason = textOf(parsed, "reason");
  if (reason === undefined) return {};
  if (reason === "" || Buffer.byteLength(reason) > MAX_REASON)
    throw new UsageError(`--reason is not a text of 1 to ${MAX_REASON} bytes`);
  return { reason };
}

/** --volume in bytes. Throws UsageError. */
export function volumeOf(parsed: Parsed): { volume?: number } {
  const text = textOf(parsed, "volume");
  return text === undefined ? {} : { volume: quantity("volume", () => parseSize(text)) };
}

function lifetimeOf(parsed: Parsed): { lifetime?: string } {
  const text = textOf(parsed, "lifetime");
  return text === undefined ? {} : { lifetime: `${quantity("lifetime", () => parseDuration(text))}ms` };
}

function quantity<T>(option: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof QuantityError)
      throw new UsageError(`--${option}: ${error.message}; ${error.remedy}`);
    throw error;
  }
}
