/** This host's own addresses, for a daemon whose signalling is done by another process. */
import type { IpAddress } from "../base/address.js";
import type { Logger } from "../base/log.js";
import type { Time } from "../base/time.js";
import { ms } from "../base/units.js";
import { Counters } from "../gist/transport/counters.js";
import { RouteTable } from "../gist/transport/route.js";

/** Kept up to date by the kernel's notifications. */
export class OwnAddresses {
  readonly #table: RouteTable;

  constructor(time: Time, logger: Logger) {
    // It is asked for no routes.
    const none = { lifetime: ms(0), capacity: 0, pending: 0 };
    this.#table = new RouteTable({ time, logger, counters: new Counters(), ...none });
  }

  /** Rejects when the kernel does not tell. */
  start(): Promise<void> {
    return this.#table.start();
  }

  has(address: IpAddress): boolean {
    return this.#table.isLocal(address);
  }

  stop(): Promise<void> {
    return this.#table.stop();
  }
}
