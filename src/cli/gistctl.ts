#!/usr/bin/env node
/** The control program of gistd. */
import { gistctl } from "./gistctl-run.js";
import { processOutput } from "./output.js";

process.exitCode = await gistctl(process.argv.slice(2), processOutput());
