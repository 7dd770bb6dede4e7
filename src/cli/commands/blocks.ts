import { formatDuration } from "../../config/quantity.js";
import type { BlockView } from "../../traffic/blocks.js";
import { type Command, show } from "../command.js";
import { UsageError } from "../errors.js";
import { type Column, table } from "../table.js";

export const blocksCommand: Command = {
  name: "blocks",
  usage: "",
  summary: "What is dropped here because of an attack, and for how long yet",
  help: "",
  options: {},
  arguments: { min: 0, max: 0 },
  run: async (context) => {
    const answer = await context.client.get<{ blocks: readonly BlockView[] }>("/v1/blocks");
    await show(context, answer, () => blocksText(answer.blocks));
    return 0;
  },
};

export const unblockCommand: Command = {
  name: "unblock",
  usage: "ID",
  summary: "Ends a block before its time",
  help: "  ID  as pbsctl blocks shows it: an address, or p and a number",
  options: {},
  arguments: { min: 1, max: 1 },
  run: async (context, parsed) => {
    const id = parsed.positionals[0]?.toLowerCase() ?? "";
    if (!/^[0-9a-fp.:]{1,45}$/.test(id)) throw new UsageError(`"${id}" is not the id of a block`);
    const answer = await context.client.post<unknown>(`/v1/blocks/${encodeURIComponent(id)}/remove`, {});
    await show(context, answer, () => "passes again\n");
    return 0;
  },
};

const COLUMNS: readonly Column<BlockView>[] = [
  { title: "ID", value: ({ id }) => id },
  { title: "LEFT", right: true, value: ({ remaining }) => formatDuration(remaining) },
  { title: "WHAT", value: ({ flow, source }) => flow ?? `all packets from ${source}` },
  {
    title: "WHERE",
    value: ({ interface: name, address }) =>
      [address, name].filter((part) => part !== null).join(" on ") || "-",
  },
];

function blocksText(blocks: readonly BlockView[]): string {
  return blocks.length === 0 ? "nothing is blocked\n" : table(COLUMNS, blocks);
}
