/** Writes the documents that are drawn from the code: `npm run docs`. Tests check that they are up to date. */
import { writeFileSync } from "node:fs";
import { renderGistTables } from "../src/gist/state-tables.js";
import { renderTables } from "../src/nslp/machines/render.js";

writeFileSync("docs/state-machines.md", renderTables());
writeFileSync("docs/gist-state-machines.md", renderGistTables());
