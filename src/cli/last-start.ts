/**
 * The configuration with which pbsd started last. A machine that boots with one that is wrong is closed as it was before,
 * and not left open until somebody has found the mistake.
 */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { writeFiles } from "../authorization/files.js";
import type { Config } from "../config/config.js";
import { parseConfig, readConfig } from "../config/load.js";
import { Firewall } from "../traffic/firewall.js";
import { firewallOptions } from "./parts.js";

/** As the package's unit has it (StateDirectory=pbsd). */
const SERVICE_DIRECTORY = "/var/lib/pbsd";

/** Only a service has a place for it; elsewhere nothing is kept. Throws KeysError when it cannot be written. */
export function rememberStart(text: string): void {
  const directory = process.env["STATE_DIRECTORY"];
  if (directory !== undefined) writeFiles([{ file: fileIn(directory), content: text, private: true }], true);
}

/**
 * Puts the rules of the service's last start in place if there are none now.
 * @returns whether it did
 * Throws ConfigError or FirewallError.
 */
export async function closeAsLastStarted(): Promise<boolean> {
  const directory = process.env["STATE_DIRECTORY"];
  if (directory === undefined) return false;
  const file = fileIn(directory);
  const last = lastStart(file, file);
  if (last === undefined) return false;
  const firewall = await Firewall.probe(firewallOptions(last));
  if (await firewall.installed()) return false;
  await firewall.install();
  return true;
}

/**
 * After a clean-up the machine is meant to be open. Another daemon's memory, by its control socket, stays.
 * @param as configuration by whose directory names are relative
 */
export function forgetStart(as: string, socket: string): void {
  const file = fileIn(process.env["STATE_DIRECTORY"] ?? SERVICE_DIRECTORY);
  try {
    const last = lastStart(file, as);
    if (last !== undefined && last.control.socket !== socket) return;
  } catch {
    // Whatever it is, nothing can be started with it.
  }
  rmSync(file, { force: true });
}

function lastStart(file: string, as: string): Config | undefined {
  if (!existsSync(file)) return undefined;
  return parseConfig(readConfig(file), as);
}

function fileIn(directory: string): string {
  return join(directory, "started.toml");
}
