/**
 * Gateways in use, and what the kernel tells of them as its neighbours. One that no longer answers, or that answers from
 * another machine, can mean another path though no route has changed. Other neighbours come and go without meaning
 * anything here, and whoever scans the link could make them do so at any rate.
 */
import { IpAddress } from "../../base/address.js";
import { attributesOf, readU16 } from "./rtnetlink.js";

const NDMSG_BYTES = 12;
const STATE_AT = 8;
const NUD_FAILED = 0x20;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const MOST_GATEWAYS = 1024;

type Health = "unknown" | "failed" | { readonly linkAddress: string };

export class Gateways {
  readonly #known = new Map<string, Health>();

  /** This gateway is in use. */
  add(gateway: IpAddress): void {
    const key = gateway.toString();
    if (this.#known.has(key)) return;
    if (this.#known.size >= MOST_GATEWAYS) this.#known.clear();
    this.#known.set(key, "unknown");
  }

  /**
   * Takes note of an RTM_NEWNEIGH message.
   * @returns whether a gateway failed, came back, or became another machine
   */
  changedBy(message: Buffer): boolean {
    if (message.length < NDMSG_BYTES) return false;
    const attributes = attributesOf(message.subarray(NDMSG_BYTES));
    const destination = attributes.get(NDA_DST);
    if (destination?.length !== 4 && destination?.length !== 16) return false;
    const key = IpAddress.fromBytes(destination).toString();
    const before = this.#known.get(key);
    if (before === undefined) return false;
    const now = healthIn(readU16(message, STATE_AT), attributes.get(NDA_LLADDR));
    if (now === undefined || same(before, now)) return false;
    this.#known.set(key, now);
    return before !== "unknown" || now === "failed";
  }
}

/** Undefined while the kernel is still looking for it. */
function healthIn(state: number, linkAddress: Buffer | undefined): Health | undefined {
  if ((state & NUD_FAILED) !== 0) return "failed";
  return linkAddress === undefined ? undefined : { linkAddress: linkAddress.toString("hex") };
}

function same(a: Health, b: Health): boolean {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return a.linkAddress === b.linkAddress;
}
