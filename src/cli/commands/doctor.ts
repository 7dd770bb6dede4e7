import { existsSync } from "node:fs";
import { type Config, DEFAULT_CONFIG_FILE } from "../../config/config.js";
import { ConfigError } from "../../config/error.js";
import { loadConfig } from "../../config/load.js";
import { examine } from "../../control/doctor/doctor.js";
import { thisMachine } from "../../control/doctor/machine.js";
import type { Check, DoctorReport } from "../../control/doctor/report.js";
import { type Command, type Context, show } from "../command.js";
import { CommandError, EXIT, type Parsed, textOf } from "../errors.js";
import { type Column, table } from "../table.js";

const COLUMNS: readonly Column<Check>[] = [
  { title: "", value: ({ result }) => result },
  { title: "CHECK", value: ({ name }) => name },
  { title: "FOUND", value: ({ detail, remedy }) => (remedy === null ? detail : `${detail} (${remedy})`) },
];

export const doctorCommand: Command = {
  name: "doctor",
  usage: "[--config FILE]",
  summary: "What this machine can and cannot do for pbsd, and the remedy",
  help: `Asks the daemon if it runs; looks itself otherwise. Exit status 1 when a check failed.

  --config FILE  look itself, with this configuration`,
  options: { config: { type: "string" } },
  arguments: { min: 0, max: 0 },
  run: async (context, parsed) => {
    const report = await reportFor(context, parsed);
    await show(context, report, () => table(COLUMNS, report.checks));
    return report.ok ? EXIT.done : EXIT.failed;
  },
};

async function reportFor({ client }: Context, parsed: Parsed): Promise<DoctorReport> {
  const file = textOf(parsed, "config");
  if (file !== undefined) return lookHere(file);
  try {
    return await client.get<DoctorReport>("/v1/doctor");
  } catch (error) {
    if (!(error instanceof CommandError) || (error.code !== "no-daemon" && error.code !== "no-access"))
      throw error;
    return lookHere(existsSync(DEFAULT_CONFIG_FILE) ? DEFAULT_CONFIG_FILE : undefined);
  }
}

function lookHere(file: string | undefined): Promise<DoctorReport> {
  if (file === undefined) return examine(thisMachine, { config: undefined, daemon: false });
  return examine(thisMachine, { ...tryConfig(file), daemon: false });
}

function tryConfig(file: string): { config: Config | undefined; configError?: string } {
  try {
    return { config: loadConfig(file) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { config: undefined, configError: error.message.split("\n")[0] ?? "" };
  }
}
