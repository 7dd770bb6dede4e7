/**
 * Loaded into a pbsd whose memory is looked at (node --import): at SIGUSR2 it collects its garbage and adds a line with what is left,
 * in bytes, to the file that COLLECTED names. What lies between two collections says more of the collector than of the daemon.
 */
import { appendFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const file = process.env["COLLECTED"] ?? "/dev/null";
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

process.on("SIGUSR2", () => {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  appendFileSync(file, `${heapUsed + external}\n`);
});
