#!/usr/bin/env node
/** GIST alone, as a service for signalling applications of this machine. */
import { gistd } from "./gistd-run.js";

await gistd(process.argv.slice(2));
