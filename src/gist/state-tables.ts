/** The tables as Markdown, for docs/gist-state-machines.md. */
import { renderTable } from "../base/machine-table.js";
import { ASSOCIATION_MACHINE } from "./association.js";
import { NODE_MACHINE } from "./node-rules.js";
import { QUERYING_MACHINE } from "./querying-rules.js";
import { RESPONDING_MACHINE } from "./responding-rules.js";

const INTRODUCTION = `# State machines of GIST

Drawn from the tables in \`src/gist\` by \`npm run docs\`: those of RFC 5971 section 6, with the arcs that it leaves to the
implementation. The first row that fits is taken; where no row fits, the event means nothing in that state. A state that
reaches "gone" is removed.
`;

export function renderGistTables(): string {
  return [
    INTRODUCTION,
    renderTable("Node (section 6.1)", NODE_MACHINE),
    renderTable("Querying (section 6.2)", QUERYING_MACHINE),
    renderTable("Responding (section 6.3)", RESPONDING_MACHINE),
    renderTable("Messaging association (section 6.4)", ASSOCIATION_MACHINE),
  ].join("\n");
}
