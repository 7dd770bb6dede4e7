/**
 * Relays: other nodes that pass on what this host sends them, each behind a TUN device of this host, and this host as one.
 * At a relay packets come out of {@link RELAY_DEVICE}, where the kernel's rules let only flows with a permission pass.
 */
import type { IpAddress } from "../base/address.js";
import { RELAY_DEVICE } from "./firewall-rules.js";
import type { RelayHandle } from "./native-handles.js";
import { native, RELAY_VALUES } from "./native.js";

export interface RelaysOptions {
  /** UDP port of all relays, this one included. */
  readonly port: number;
  /** This host passes on what comes to the port. */
  readonly serve: boolean;
  /** Others that this host may send through; the order gives the devices their numbers. */
  readonly relays: readonly IpAddress[];
}

/** What went wrong and what to do about it. */
export class RelayError extends Error {
  override readonly name = "RelayError";
}

interface Relay {
  readonly address: IpAddress;
  readonly device: string;
  readonly handle: RelayHandle;
}

const STATUS_NAMES = ["packets", "malformed", "unsent", "mtu"] as const;
const NOBODY = new Uint8Array();

export class Relays {
  readonly #relays: Relay[] = [];
  #own: RelayHandle | undefined;

  private constructor() {}

  /** Devices are gone when the process is. Throws {@link RelayError}; then none is left. */
  static open({ port, serve, relays }: RelaysOptions): Relays {
    const opened = new Relays();
    try {
      if (serve) opened.#own = native().relayOpen({ device: RELAY_DEVICE, port }, NOBODY);
      for (const address of relays) opened.#add(address, port);
      return opened;
    } catch (error) {
      opened.stop();
      throw new RelayError(textOf(error));
    }
  }

  /** The device whose packets go to this relay; undefined: it is none of those that were named. */
  deviceOf(relay: IpAddress): string | undefined {
    return this.#relays.find(({ address }) => address.equals(relay))?.device;
  }

  /** Packets by relay, and the MTU of its device: "relay.192.0.2.7.packets", "relay.own.malformed". */
  counters(): Record<string, number> {
    const own = this.#own === undefined ? [] : [["own", this.#own] as const];
    const others = this.#relays.map(({ address, handle }) => [address.toString(), handle] as const);
    return Object.fromEntries([...own, ...others].flatMap(([name, handle]) => countersOf(name, handle)));
  }

  stop(): void {
    for (const { handle } of this.#relays.splice(0)) native().relayClose(handle);
    if (this.#own !== undefined) native().relayClose(this.#own);
    this.#own = undefined;
  }

  #add(address: IpAddress, port: number): void {
    if (this.deviceOf(address) !== undefined) return;
    const device = `${RELAY_DEVICE}${this.#relays.length + 1}`;
    this.#relays.push({ address, device, handle: native().relayOpen({ device, port }, address.bytes) });
  }
}

function countersOf(name: string, handle: RelayHandle): (readonly [string, number])[] {
  const values = new Float64Array(RELAY_VALUES);
  native().relayStatus(handle, values);
  return STATUS_NAMES.map((what, i) => [`relay.${name}.${what}`, values[i] ?? 0] as const);
}

function textOf(error: unknown): string {
  const { message, code } = error as { message?: string; code?: string };
  const text = message ?? String(error);
  if (code === "ENOENT" || code === "ENODEV")
    return `${text}: /dev/net/tun is missing; modprobe tun, and let the service have it`;
  if (code === "EADDRINUSE") return `${text}; stop the program that has the port, or change [relay] port`;
  if (code === "EBUSY") return `${text}; another program has a device of this name: take it away`;
  return `${text}; relays need /dev/net/tun and CAP_NET_ADMIN`;
}
