/** Whether a load would leave this machine, and how it would leave. */
import { execFileSync } from "node:child_process";
import { IpAddress } from "../base/address.js";
import { addressesOf, type AddressBlock } from "./space.js";

export interface WayTo {
  /** The target is an address of this host. */
  readonly local: boolean;
  readonly interface: string;
  /** Own address on that way. */
  readonly address: string;
}

/** Asks the kernel. Throws with one clear line when there is no way. */
export function wayTo(target: string): WayTo {
  const address = IpAddress.parse(target).toString();
  let answer: string;
  try {
    answer = execFileSync("ip", ["-j", "route", "get", address], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (error) {
    const stderr = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : String(error);
    throw new Error(`there is no route to ${address}: ${stderr}`);
  }
  return readRoute(answer, address);
}

/** @param answer of ip -j route get */
export function readRoute(answer: string, target: string): WayTo {
  const [route] = JSON.parse(answer) as { type?: string; dev?: string; prefsrc?: string }[];
  if (route?.dev === undefined || route.prefsrc === undefined)
    throw new Error(`the kernel names no interface and address towards ${target}`);
  return {
    local: route.type === "local" || route.dev === "lo",
    interface: route.dev,
    address: route.prefsrc,
  };
}

/** The first target that is not this machine's; undefined: all are. */
export function outsideOf(targets: AddressBlock): string | undefined {
  return addressesOf(targets)
    .map((address) => address.toString())
    .find((target) => !wayTo(target).local);
}
