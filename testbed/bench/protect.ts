/** The command "protect" of the engines that the benchmarks run: a flow whose packets have AH. */
import type { Algorithm } from "../../src/base/algorithm.js";
import { parseFlow } from "../../src/base/flow.js";
import { bytes, seconds } from "../../src/base/units.js";
import type { Authentication, Installation } from "../../src/traffic/datapath.js";

export const FOREVER = { allowedVolume: bytes(2 ** 50), lifetime: seconds(3600) };

/** Of the command "protect". */
export interface Protected {
  readonly flow: string;
  readonly action: Authentication["action"];
  readonly algorithm: Algorithm;
  readonly spi: number;
  /** Base64. */
  readonly key: string;
}

export function protectedInstallation({ flow, action, algorithm, spi, key }: Protected): Installation {
  return {
    flow: parseFlow(flow),
    ...FOREVER,
    authentication: {
      action,
      association: { spi, algorithm, key: Buffer.from(key, "base64") },
      overlap: { duration: seconds(1), bytes: bytes(2 ** 24) },
    },
  };
}
