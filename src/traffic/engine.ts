/** Which engine a node has: the best that the machine allows, or what the configuration says. */
import type { Logger } from "../base/log.js";
import { NfqueueDatapath } from "./nfqueue.js";
import { SourceBlocker } from "./source-block.js";
import { readInterfaces } from "./xdp-interfaces.js";
import { XdpDatapath, XdpError, type XdpOptions } from "./xdp.js";

export const ENGINES = ["auto", "xdp", "nfqueue"] as const;
export type EngineChoice = (typeof ENGINES)[number];

/**
 * Starts an engine. Rejects with XdpError when "xdp" was asked for and cannot be had, and with NfqueueError.
 * @param obstacle why packets must not go past this machine's stack, if so
 */
export async function openEngine(
  choice: EngineChoice,
  options: XdpOptions,
  obstacle?: string,
): Promise<NfqueueDatapath | XdpDatapath> {
  const { logger } = options;
  if (choice === "nfqueue") return byQueues(options, "the configuration says so");
  if (choice === "auto" && obstacle !== undefined) return byQueues(options, obstacle);
  try {
    return await withPrograms(options);
  } catch (error) {
    if (choice === "xdp") throw error;
    logger.debug({ error }, "no XDP programs");
    return byQueues(options, error instanceof Error ? error.message : String(error));
  }
}

async function withPrograms(options: XdpOptions): Promise<XdpDatapath> {
  // The tables take all their memory at once: not where nobody would look into them.
  const { candidates, unfit } = readInterfaces();
  if (candidates.length === 0) throw noProgram(unfit);
  const datapath = XdpDatapath.open(options);
  const { interfaces } = datapath.status();
  if (interfaces.every(({ engine }) => engine === "nfqueue")) {
    await datapath.stop();
    throw noProgram(interfaces);
  }
  options.logger.info({ engine: datapath.engine }, "packet engine");
  await new SourceBlocker(datapath).restore();
  // The sets of the rules were made anew; the table may still be full.
  if (datapath.adopted) await datapath.refillSets();
  return datapath;
}

function noProgram(interfaces: readonly { readonly name: string; readonly reason?: string }[]): XdpError {
  const reasons = interfaces.map(({ name, reason = "" }) => `${name}: ${reason}`);
  const why = reasons.length === 0 ? "there is none but loopback" : reasons.join(", ");
  return new XdpError("ENODEV", `no interface has an XDP program (${why})`);
}

/** Programs of an earlier process would go on by its table. */
function byQueues(options: XdpOptions, reason: string): NfqueueDatapath {
  const datapath = NfqueueDatapath.open({ ...options, reason });
  const detached = detachQuietly(options.logger);
  options.logger.info({ engine: datapath.engine, reason, detached }, "packet engine");
  return datapath;
}

function detachQuietly(logger: Logger): readonly string[] {
  try {
    return XdpDatapath.detach();
  } catch (error) {
    logger.warn(
      { error },
      "XDP programs of an earlier run may be left, which judge by what it knew; pbsd --cleanup takes them off, run by root while pbsd is stopped",
    );
    return [];
  }
}
