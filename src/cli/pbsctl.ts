#!/usr/bin/env node
/** Shows and steers a running pbsd. */
import { pbsctl } from "./ctl.js";
import { processOutput } from "./output.js";

process.exitCode = await pbsctl(process.argv.slice(2), processOutput());
