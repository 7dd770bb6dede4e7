/** What a node that was killed may have left in the kernel. */
import netlink from "netlink";
import { removeLeftExits } from "./exits.js";

const ROUTE_PROTOCOL = 0;

/**
 * Removes rules and routes for Query-mode packets, of whichever process; no node may be running. Resolves with how many
 * there were. Rejects with one clear error.
 */
export async function cleanUpExits(): Promise<number> {
  const kernel = netlink.createNetlink(ROUTE_PROTOCOL);
  try {
    return await removeLeftExits(kernel);
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    throw new Error(`routes that signalling left cannot be removed: ${detail}`);
  } finally {
    kernel.close();
  }
}
