import { createInterface } from "node:readline";
import type { Lagged } from "../../control/events.js";
import type { PbsEvent } from "../../nslp/view.js";
import type { Command } from "../command.js";
import { printable } from "../table.js";

export const eventsCommand: Command = {
  name: "events",
  usage: "[--follow]",
  summary: "What happened lately, oldest first",
  help: "  --follow  go on with what happens from now on\n\nWith --json each line is a document of its own.",
  options: { follow: { type: "boolean", short: "f" } },
  arguments: { min: 0, max: 0 },
  run: async (context, parsed) => {
    const path = parsed.values["follow"] === true ? "/v1/events?follow=1" : "/v1/events";
    const answer = await context.client.open("GET", path);
    for await (const line of createInterface({ input: answer, crlfDelay: Infinity }))
      if (line !== "") await context.output.write(`${context.json ? line : eventText(line)}\n`);
    return 0;
  },
};

function eventText(line: string): string {
  const event = JSON.parse(line) as PbsEvent | Lagged;
  const time = new Date(event.time).toISOString();
  if (event.type === "lagged") return `${time}  lagged          ${event.missed} events were missed`;
  const { type, role, id, flow, detail } = event;
  const parts = [
    time,
    type.padEnd(14),
    (role ?? "-").padEnd(8),
    id?.slice(0, 8) ?? "-".padEnd(8),
    flow ?? "-",
    detail,
  ];
  return printable(parts.join("  ")).trimEnd();
}
