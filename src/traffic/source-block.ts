/**
 * Drops everything from single sources that were proven to attack from off the path, for a time. The rule that does it is
 * the firewall's ({@link BLOCKED_SET}); the kernel ends each block by itself, and `pbsd --cleanup` ends all.
 */
import { IpAddress } from "../base/address.js";
import { type Milliseconds, seconds as fromSeconds } from "../base/units.js";
import { run } from "./command.js";
import type { Datapath } from "./datapath.js";
import { BLOCKED_SET } from "./firewall-rules.js";

/** What the kernel takes: 24 days. */
const MAX_SECONDS = 2_147_483;

export interface BlockedSource {
  readonly source: IpAddress;
  readonly remaining: Milliseconds;
}

export class SourceBlocker {
  readonly #engine: Datapath | undefined;

  /** @param engine that may judge packets before they come to the rule */
  constructor(engine?: Datapath) {
    this.#engine = engine;
  }

  /**
   * Drops all packets from this address, signalling too, for so long from now; a block that is there already gets the new end.
   * Rejects with a FirewallError: without the firewall's sets, and when {@link BLOCKED_SIZE} sources are blocked.
   */
  async block(source: IpAddress, duration: Milliseconds): Promise<void> {
    const seconds = Math.min(MAX_SECONDS, Math.max(1, Math.ceil(duration / 1000)));
    const set = BLOCKED_SET[source.family];
    await run("ipset", ["add", set, source.toString(), "timeout", String(seconds), "-exist"]);
    this.#engine?.block?.(source, fromSeconds(seconds));
  }

  /** Lets packets from this address come again. Rejects with a FirewallError. */
  async unblock(source: IpAddress): Promise<void> {
    this.#engine?.unblock?.(source);
    await run("ipset", ["del", BLOCKED_SET[source.family], source.toString(), "-exist"]);
  }

  /** Tells the engine of what is blocked already. Rejects with a FirewallError. */
  async restore(): Promise<void> {
    for (const { source, remaining } of await this.list()) this.#engine?.block?.(source, remaining);
  }

  /** Rejects with a FirewallError. */
  async list(): Promise<readonly BlockedSource[]> {
    const present = (await run("ipset", ["list", "-n"])).split("\n");
    const blocked: BlockedSource[] = [];
    for (const set of Object.values(BLOCKED_SET)) {
      if (!present.includes(set)) continue;
      const saved = await run("ipset", ["save", set]);
      for (const [, address = "", left = ""] of saved.matchAll(/^add \S+ (\S+) timeout (\d+)/gm))
        blocked.push({ source: IpAddress.parse(address), remaining: fromSeconds(Number(left)) });
    }
    return blocked;
  }
}
