#!/usr/bin/env node
/** The daemon. */
import { pbsd } from "./run.js";

await pbsd(process.argv.slice(2));
