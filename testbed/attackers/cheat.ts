/**
 * Loaded into the pbsd of a node that lies about what it has counted (node --import): Send-vol of a sender, the report of a
 * router. CHEAT is the share that it owns up to.
 */
import { type Native, READ_VALUES } from "../../src/traffic/native.js";

const share = Number(process.env["CHEAT"] ?? "1");
/** Places of the bytes in what the addon reads of a flow: all, and those under its association. */
const BYTES = [1, 9];
const load = process.dlopen.bind(process);

process.dlopen = (module: object, filename: string, flags?: number): void => {
  if (flags === undefined) load(module, filename);
  else load(module, filename, flags);
  if (filename.endsWith("pbs_native.node")) tap(module as { exports: Native });
};

function tap(module: { exports: Native }): void {
  const addon = module.exports;
  const read: Native["read"] = (engine, keys, out) => {
    addon.read(engine, keys, out);
    for (let at = 0; at < out.length; at += READ_VALUES)
      for (const place of BYTES) out[at + place] = Math.floor((out[at + place] ?? 0) * share);
  };
  module.exports = { ...addon, read };
}
