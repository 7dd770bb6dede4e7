/** The tables as Markdown, for docs/state-machines.md. */
import { renderTable } from "../../base/machine-table.js";
import { RECEIVER_MACHINE } from "./receiver.js";
import { ROUTER_MACHINE } from "./router.js";
import { SENDER_MACHINE } from "./sender.js";

const TABLES = [
  renderTable("Sender", SENDER_MACHINE),
  renderTable("Router", ROUTER_MACHINE),
  renderTable("Receiver", RECEIVER_MACHINE),
];

const INTRODUCTION = `# State machines of PBS

Drawn from the tables in \`src/nslp/machines\` by \`npm run docs\`. The first row that fits is taken; where no row fits, the
event means nothing in that state. States 4 and 5 of the slides (verify, compare with AV) are not here: the packet path
does that work for each packet, and reports only \`threshold\`, \`exhausted\` and that an association needs a new key.
States 6 and 7 of the receiver (compare with SV, policy) are the guard \`reaction-due\`.
`;

export function renderTables(): string {
  return [INTRODUCTION, ...TABLES].join("\n");
}
