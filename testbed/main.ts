/** `npm run testbed -- …`: networks in namespaces, and scenarios that run in them. */
import { setEngineMode } from "./lib/engine.js";
import { setGistMode } from "./lib/gistd.js";
import { leftovers, findTopology, removeRun, type RunRecord, runs } from "./lib/registry.js";
import { namespaceOf } from "./lib/network.js";
import { Program, run } from "./lib/programs.js";
import { Report } from "./lib/report.js";
import { Testbed } from "./lib/testbed.js";
import { SCENARIOS } from "./scenarios/index.js";
import { TOPOLOGIES } from "./topologies.js";

const USAGE = `usage: testbed [--json] COMMAND

  up TOPOLOGY [--bare] [--gist own|external]   make a network and start pbsd on its nodes (--bare: without pbsd)
  exec [--run ID] NODE COMMAND…   run any program inside a node
  list                        topologies, and networks that are up
  scenario NAME [--gist own|external] [--engine auto|xdp|nfqueue]
                              run one scenario in a network of its own; external: every pbsd uses a gistd;
                              engine: what judges packets in the routers (default: auto)
  scenarios [--stock]         names of the scenarios; --stock: of those that need a distribution's own kernel
  down [ID]                   remove a network, or all that are up
  leftovers                   exit 1 if anything of an ended run is still there
`;

class Usage extends Error {}

interface Command {
  readonly json: boolean;
  readonly args: readonly string[];
}

process.exit(await main(process.argv.slice(2)));

async function main(argv: readonly string[]): Promise<number> {
  const json = argv[0] === "--json";
  const [name = "", ...args] = json ? argv.slice(1) : argv;
  try {
    return await dispatch(name, commandLine(name, args, json));
  } catch (error) {
    process.stderr.write(`testbed: ${text(error)}\n${name === "" ? USAGE : ""}`);
    return error instanceof Usage ? 2 : 1;
  }
}

/** --json may stand anywhere but among the words of a program to run. */
function commandLine(name: string, args: readonly string[], json: boolean): Command {
  if (name === "exec") return args[0] === "--json" ? { json: true, args: args.slice(1) } : { json, args };
  return { json: json || args.includes("--json"), args: args.filter((arg) => arg !== "--json") };
}

function dispatch(name: string, command: Command): Promise<number> {
  switch (name) {
    case "up":
      return up(command);
    case "exec":
      return exec(command);
    case "list":
      return list(command);
    case "scenario":
      return scenario(command);
    case "scenarios":
      return scenarios(command);
    case "down":
      return down(command);
    case "leftovers":
      return findLeftovers(command);
    default:
      throw new Usage(
        name === "" ? "no command" : `unknown command "${name}"; without one, testbed lists them`,
      );
  }
}

async function up({ json, args }: Command): Promise<number> {
  const bare = args.includes("--bare");
  const [name = "", ...more] = chooseGist(args).filter((arg) => arg !== "--bare");
  const topology = findTopology(name);
  if (topology === undefined || more.length > 0)
    throw new Usage(`up needs one of: ${TOPOLOGIES.map((known) => known.name).join(", ")}`);
  const testbed = await Testbed.create(topology, { kept: true });
  if (!bare) await testbed.start(openHouse(testbed));
  testbed.release();
  const { id, directory } = testbed.record;
  const nodes = topology.nodes.map(({ name: node, links }) => ({
    name: node,
    namespace: namespaceOf(id, node),
    addresses: links.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]),
  }));
  const lines = nodes.map((node) => `  ${node.name.padEnd(10)} ${node.addresses.join("  ")}`);
  print(json, { id, topology: name, directory, nodes }, `${id}: ${name} is up\n${lines.join("\n")}\n`);
  return 0;
}

/** Receivers ask a person about everything, so that there is something to try. */
function openHouse(testbed: Testbed): Record<string, object> {
  const hosts = testbed.topology.nodes.filter(({ forwards, pbs }) => !forwards && pbs);
  const rule = [{ name: "ask me", action: "ask", volume: "10MB", lifetime: "10m", timeout: "60s" }];
  return Object.fromEntries(hosts.map(({ name }) => [name, { rule }]));
}

async function exec({ json, args }: Command): Promise<number> {
  const chosen = args[0] === "--run";
  const record = oneRun(chosen ? args[1] : undefined);
  const [node, ...command] = chosen ? args.slice(2) : args;
  if (node === undefined || command.length === 0) throw new Usage("exec needs a node and a command");
  const topology = findTopology(record.topology);
  if (!topology?.nodes.some(({ name }) => name === node))
    throw new Usage(`${record.topology} has no node "${node}"`);
  const namespace = namespaceOf(record.id, node);
  if (!json) return attached(["ip", "netns", "exec", namespace, ...command]);
  const { status, stdout, stderr } = await run(command, { namespace });
  print(true, { status, stdout, stderr }, "");
  return status;
}

async function attached(command: readonly string[]): Promise<number> {
  const program = new Program(command, { inherit: true });
  process.removeAllListeners("SIGINT").on("SIGINT", () => undefined);
  return program.exited;
}

function oneRun(id: string | undefined): RunRecord {
  const all = runs().filter((record) => (id === undefined ? record.kept : record.id === id));
  const [record, ...others] = all;
  if (record === undefined) throw new Usage(id === undefined ? "no network is up" : `there is no run ${id}`);
  if (others.length > 0)
    throw new Usage(`several are up; choose with --run: ${all.map((r) => r.id).join(", ")}`);
  return record;
}

async function list({ json }: Command): Promise<number> {
  const up = runs();
  const topologies = TOPOLOGIES.map(({ name, summary }) => ({ name, summary }));
  const lines = [
    ...topologies.map(({ name, summary }) => `${name.padEnd(12)} ${summary}`),
    ...up.map(({ id, topology, directory }) => `up: ${id}  ${topology}  ${directory}`),
  ];
  print(json, { topologies, runs: up }, `${lines.join("\n")}\n`);
  return 0;
}

/** Takes --gist out of the arguments, and does what it says. */
function chooseGist(args: readonly string[]): readonly string[] {
  const at = args.indexOf("--gist");
  if (at < 0) return args;
  const mode = args[at + 1];
  if (mode !== "own" && mode !== "external") throw new Usage("--gist is own or external");
  setGistMode(mode);
  return args.toSpliced(at, 2);
}

/** Takes --engine out of the arguments, and does what it says. */
function chooseEngine(args: readonly string[]): readonly string[] {
  const at = args.indexOf("--engine");
  if (at < 0) return args;
  const mode = args[at + 1];
  if (mode !== "auto" && mode !== "xdp" && mode !== "nfqueue")
    throw new Usage("--engine is auto, xdp or nfqueue");
  setEngineMode(mode);
  return args.toSpliced(at, 2);
}

async function scenario({ json, args: all }: Command): Promise<number> {
  const args = chooseEngine(chooseGist(all));
  const found = SCENARIOS.find(({ name }) => name === args[0]);
  if (found === undefined || args.length > 1)
    throw new Usage(`scenario needs one of: ${SCENARIOS.map(({ name }) => name).join(", ")}`);
  const report = new Report(found.name, (line) => {
    if (!json) process.stdout.write(`${line}\n`);
  });
  report.note(found.summary);
  await found.run(report).catch((error: unknown) =>
    report.step("the scenario runs to its end", async () => {
      throw error;
    }),
  );
  const { passed } = report.result;
  print(json, report.result, `${passed ? "passed" : "FAILED"}: ${found.name}\n`);
  return passed ? 0 : 1;
}

async function scenarios({ json, args }: Command): Promise<number> {
  const stock = args.includes("--stock");
  const names = SCENARIOS.filter(({ stockKernel = false }) => stockKernel === stock).map(({ name }) => name);
  print(json, { scenarios: names }, `${names.join("\n")}\n`);
  return 0;
}

async function down({ json, args }: Command): Promise<number> {
  const [id, ...more] = args;
  if (more.length > 0) throw new Usage("down takes one run, or none for all");
  const chosen = id === undefined ? runs().filter(({ kept }) => kept) : [oneRun(id)];
  for (const record of chosen) removeRun(record);
  const removed = chosen.map((record) => record.id);
  print(json, { removed }, removed.length === 0 ? "nothing was up\n" : `removed: ${removed.join(", ")}\n`);
  return 0;
}

async function findLeftovers({ json }: Command): Promise<number> {
  const found = leftovers();
  print(json, { leftovers: found }, found.map((line) => `left behind: ${line}\n`).join(""));
  return found.length === 0 ? 0 : 1;
}

function print(json: boolean, document: unknown, people: string): void {
  process.stdout.write(json ? `${JSON.stringify(document)}\n` : people);
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
