/** The node's certificate against the clock. */
import { readText } from "../../authorization/files.js";
import { describeCertificate } from "../../authorization/keys.js";
import type { Config } from "../../config/config.js";
import { formatDuration } from "../../config/quantity.js";
import type { Machine } from "./machine.js";
import { type Check, fail, ok, warn } from "./report.js";

/** No clock that is right is before this version of the program. */
const EARLIEST = Date.UTC(2025, 0, 1);
const SOON = 14 * 86_400_000;

export function checkClock(machine: Machine): Check {
  const now = new Date(machine.wall()).toISOString();
  if (machine.wall() >= EARLIEST) return ok("clock", now);
  return fail("clock", `${now} cannot be right; certificates would be refused`, "set the clock, and use NTP");
}

export function checkCertificate(machine: Machine, { identity }: Config): Check[] {
  return [identity.certificate, ...identity.authorities].map((file) => checkValidity(machine, file));
}

function checkValidity(machine: Machine, file: string): Check {
  const name = `certificate ${file}`;
  try {
    const { subject, notBefore, notAfter } = describeCertificate(readText(file));
    const left = notAfter.getTime() - machine.wall();
    if (machine.wall() < notBefore.getTime())
      return fail(
        name,
        `"${subject}" is not valid before ${notBefore.toISOString()}`,
        "check the clock, or wait",
      );
    if (left <= 0)
      return fail(
        name,
        `"${subject}" expired at ${notAfter.toISOString()}`,
        "issue a new one: pbsctl keys issue",
      );
    const detail = `"${subject}", valid for ${formatDuration(left)} more`;
    return left < SOON ? warn(name, detail, "issue a new one: pbsctl keys issue") : ok(name, detail);
  } catch (error) {
    return fail(
      name,
      `cannot be read: ${(error as Error).message}`,
      "check [identity], and pbsctl keys show",
    );
  }
}
