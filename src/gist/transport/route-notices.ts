/**
 * What rtnetlink says by itself: that routes, rules, links, addresses or neighbours have changed. Read by the native
 * addon, because the netlink package ends the process when a socket is overrun, and whoever sends many routes to this
 * host could bring that about.
 */
import { addon } from "../../base/addon.js";
import { readU16, readU32 } from "./rtnetlink.js";

declare const opaque: unique symbol;

interface Watch {
  readonly [opaque]: "route-notices";
}

/** Of the addon (native/addon-notices.c). */
interface NativeNotices {
  watchRoutes(groups: Uint32Array, callback: (datagram: Buffer | null) => void): Watch;
  unwatchRoutes(watch: Watch): void;
}

export interface Notice {
  /** RTM_*. */
  readonly type: number;
  /** Netlink port of who asked for the change; 0: the kernel itself. */
  readonly port: number;
  readonly data: Buffer;
}

export interface NoticeListener {
  notices(notices: readonly Notice[]): void;
  /** Some were lost. */
  lost(): void;
}

const HEADER_BYTES = 16;

export class RouteNotices {
  readonly #native: NativeNotices;
  readonly #watch: Watch;

  /** Throws when the kernel does not let this process listen. */
  constructor(groups: readonly number[], listener: NoticeListener) {
    this.#native = addon() as NativeNotices;
    this.#watch = this.#native.watchRoutes(Uint32Array.from(groups), (datagram) => {
      if (datagram === null) listener.lost();
      else listener.notices(parseNotices(datagram));
    });
  }

  /** Twice does nothing. */
  close(): void {
    this.#native.unwatchRoutes(this.#watch);
  }
}

/** The messages of one datagram; what is cut short at its end is left out. */
export function parseNotices(datagram: Buffer): Notice[] {
  const notices: Notice[] = [];
  let at = 0;
  while (at + HEADER_BYTES <= datagram.length) {
    const length = readU32(datagram, at);
    if (length < HEADER_BYTES || at + length > datagram.length) break;
    notices.push({
      type: readU16(datagram, at + 4),
      port: readU32(datagram, at + 12),
      data: datagram.subarray(at + HEADER_BYTES, at + length),
    });
    at += (length + 3) & ~3;
  }
  return notices;
}
