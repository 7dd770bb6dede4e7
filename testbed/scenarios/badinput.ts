/** Scenario 9: bad configurations and bad commands: one clear error each, status 2, nothing changed. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Outcome } from "../lib/programs.js";
import type { Report, Step } from "../lib/report.js";
import { pbsctl, pbsd } from "../lib/repository.js";
import { type Testbed, withTestbed } from "../lib/testbed.js";
import { comparableRules, THREE_NODE } from "./common.js";
import type { Scenario } from "./scenario.js";

const NODE = "sender1";

interface BadConfig {
  readonly what: string;
  /** Lines to add at the end of a good configuration. */
  readonly lines: string;
  /** What the one error has to name. */
  readonly names: RegExp;
}

const BAD_CONFIGS: readonly BadConfig[] = [
  { what: "not TOML", lines: "[packets", names: /pbsd\.toml:\d+/ },
  { what: "an unknown section", lines: "[packtes]\ncapacity = 5", names: /packtes.*packets/s },
  { what: "an unknown field", lines: "[request]\nvolum = 5000", names: /volum\b.*volume/s },
  {
    what: "a number out of range",
    lines: "[signalling]\ntls_port = 70000",
    names: /pbsd\.toml:\d+.*tls_port.*65535/s,
  },
  { what: "a size that is none", lines: '[request]\nvolume = "ten"', names: /pbsd\.toml:\d+.*volume.*ten/s },
  {
    what: "a duration without unit",
    lines: "[request]\nidle_timeout = 5",
    names: /pbsd\.toml:\d+.*idle_timeout/s,
  },
  {
    what: "a rule with an unknown action",
    lines: '[[rule]]\naction = "alow"',
    names: /pbsd\.toml:\d+.*action/s,
  },
  {
    what: "a prefix that is none",
    lines: '[[rule]]\naction = "deny"\nfrom = "192.168.20.300"',
    names: /from/,
  },
  {
    what: "ports of a protocol without",
    lines: '[[rule]]\naction = "deny"\nprotocol = "icmp"\nports = 5',
    names: /ports/,
  },
];

interface BadCommand {
  readonly args: readonly string[];
  readonly status: number;
}

const BAD_COMMANDS: readonly BadCommand[] = [
  { args: [], status: 2 },
  { args: ["statsu"], status: 2 },
  { args: ["status", "--colour"], status: 2 },
  { args: ["flow"], status: 2 },
  { args: ["grant", "xyz"], status: 2 },
  { args: ["grant", "abc", "--volume", "ten"], status: 2 },
  { args: ["grant", "abc", "--lifetime", "5"], status: 2 },
  { args: ["request", "tcp", "192.168.20.1"], status: 2 },
  { args: ["explain", "smtp 1.2.3.4:5 > 6.7.8.9:10"], status: 2 },
  { args: ["keys", "make"], status: 2 },
  { args: ["revoke", "0123456789"], status: 1 },
  { args: ["deny", "0123456789"], status: 1 },
];

export const badinput: Scenario = {
  name: "badinput",
  summary: "bad configurations and bad commands: one clear error each, exit status 2, nothing changed",
  run: (report) => withTestbed(THREE_NODE, (testbed) => show(report, testbed)),
};

async function show(report: Report, testbed: Testbed): Promise<void> {
  const good = readFileSync(testbed.daemon(NODE).configFile, "utf8");
  const before = await kernelState(testbed);
  for (const bad of BAD_CONFIGS)
    await report.step(`configuration with ${bad.what}`, async (step) => {
      const file = join(testbed.daemon(NODE).directory, "bad", "pbsd.toml");
      await testbed.mustRun(NODE, ["mkdir", "-p", join(testbed.daemon(NODE).directory, "bad")]);
      writeFileSync(file, `${good}\n${bad.lines}\n`);
      // Not only --check: a daemon that is started with it must not touch anything either.
      for (const options of [["--check"], []])
        oneError(step, await testbed.run(NODE, pbsd("--config", file, ...options)), 2, bad.names);
    });
  await report.step("files that are not there, options that do not exist", async (step) => {
    const missing = join(testbed.daemon(NODE).directory, "missing.toml");
    oneError(step, await testbed.run(NODE, pbsd("--config", missing, "--check")), 2, /missing\.toml/);
    oneError(step, await testbed.run(NODE, pbsd("--cofnig", missing)), 2, /cofnig/);
  });
  await report.step("none of them has changed anything in the kernel", async (step) => {
    step.expect("as before", step.measure("unchanged", (await kernelState(testbed)) === before));
  });
  await report.step("a good configuration passes --check and changes nothing", async (step) => {
    const { status } = await testbed.run(NODE, pbsd("--config", testbed.daemon(NODE).configFile, "--check"));
    step.expect("exit status 0", step.measure("exit status", status) === 0);
    step.expect("as before", (await kernelState(testbed)) === before);
  });
  await report.step("pbsctl without a daemon fails and says so", async (step) => {
    oneError(step, await testbed.daemon(NODE).ctl("status"), 1, /pbsd/);
  });
  await commands(report, testbed);
}

async function commands(report: Report, testbed: Testbed): Promise<void> {
  await testbed.start({}, [NODE]);
  const before = await kernelState(testbed);
  for (const { args, status } of BAD_COMMANDS)
    await report.step(`pbsctl ${args.join(" ")}`.trim(), async (step) => {
      const command = pbsctl("--socket", testbed.daemon(NODE).socket, ...args);
      oneError(step, await testbed.run(NODE, command), status, /./);
    });
  await report.step("none of them has changed anything", async (step) => {
    step.expect("as before", step.measure("unchanged", (await kernelState(testbed)) === before));
  });
}

/** One error: a line that names the culprit, and the status. */
function oneError(step: Step, outcome: Outcome, status: number, names: RegExp): void {
  const said = outcome.stderr.trim();
  step.measure("says", said.split("\n").slice(0, 3).join(" / "));
  step.expect(`exit status ${status}, not ${outcome.status}`, outcome.status === status);
  step.expect(`names ${names.source}`, names.test(said));
  step.expect("no stack trace", !/\n\s+at /.test(said));
  step.expect("nothing on stdout", outcome.stdout === "");
}

async function kernelState(testbed: Testbed): Promise<string> {
  const tools = [
    ["iptables-save"],
    ["ip6tables-save"],
    ["ipset", "list", "-t"],
    ["ip", "rule"],
    ["ip", "route"],
  ];
  const states = await Promise.all(tools.map((tool) => testbed.mustRun(NODE, tool)));
  return comparableRules(states.join("\n"));
}
