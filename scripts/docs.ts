/** Writes the documents that are drawn from the code: `npm run docs`. A test checks that they are up to date. */
import { writeFileSync } from "node:fs";
import { renderTables } from "../src/nslp/machines/render.js";

writeFileSync("docs/state-machines.md", renderTables());
