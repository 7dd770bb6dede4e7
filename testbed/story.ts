/** The first README command: three machines, told step by step. --keep leaves them up. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Explanation } from "../src/control/explain.js";
import { bytesOf } from "./lib/capture.js";
import type { Daemon, NodeConfig } from "./lib/daemon.js";
import type { Outcome } from "./lib/programs.js";
import { Testbed } from "./lib/testbed.js";
import { until } from "./lib/wait.js";
import {
  curl,
  firstSeen,
  flowMatching,
  GRANT_ALL,
  matches,
  THREE_NODE,
  udpSender,
  wallClock,
  WEB_PORT,
  webServer,
} from "./scenarios/common.js";

const FILE_BYTES = 10_000_000;
const GRANTED = 2_000_000;
const UPLOAD_BYTES = 5_000_000;
const STREAM_PORT = 9000;

const PICTURE = `
   sender1  192.168.20.1 ──┐                        ┌── 192.168.21.4  receiver1
                           ├── 20.3  router  21.3 ──┤
   sender2  192.168.20.2 ──┘                        └── 192.168.21.5  receiver2
`;

class StoryBroke extends Error {}

process.exit(await main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  const keep = args.includes("--keep");
  if (args.some((arg) => arg !== "--keep")) {
    process.stderr.write("usage: scripts/run [--keep]\n");
    return 2;
  }
  const testbed = await Testbed.create(THREE_NODE, { kept: keep });
  try {
    await tell(testbed);
    if (keep) stay(testbed);
    return 0;
  } catch (error) {
    process.stderr.write(`\nThe story broke: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    if (!keep) testbed.remove();
  }
}

async function tell(testbed: Testbed): Promise<void> {
  say("Three machines, each a network namespace of its own, joined by two wires:");
  process.stdout.write(PICTURE);
  say("pbsd starts on all of them. The network is closed: nobody may send to a host that has not said yes.");
  await testbed.start();
  await testbed.serve("receiver1", webServer(), WEB_PORT);
  await refusal(testbed);
  await permission(testbed);
  await cutOff(testbed);
  await revocation(testbed);
  chapter("The end");
  say("Nothing of what you saw needed a change in curl, in the web server or in the kernel.");
}

async function refusal(testbed: Testbed): Promise<void> {
  chapter("1. Nobody has said yes");
  say("receiver1 runs a web server, but its policy has no rule. sender1 tries all the same:");
  const wire = await testbed.captureTowards("receiver1");
  const to = testbed.address("receiver1", 4);
  const web = await shown(testbed, "sender1", curl(to, `/${FILE_BYTES}`), `curl http://${to}/file`);
  check("curl is refused", web.status !== 0);
  const http = matches({ protocol: 6, destinationPort: WEB_PORT });
  const packets = (await wire.quiet(http)).filter(http);
  await wire.stop();
  say(
    `tcpdump on receiver1's wire has seen ${packets.length} packets of that connection: it was held at sender1,`,
  );
  say("which asked along the path, got a signed no, and told curl at once. The reason, as sender1 knows it:");
  await ctl(testbed.daemon("sender1"), "events");
  check("nothing on the wire", packets.length === 0);
}

async function permission(testbed: Testbed): Promise<void> {
  chapter("2. The receiver says yes");
  say("receiver1 gets a rule and reads its configuration again (SIGHUP):");
  const rule = {
    ...GRANT_ALL,
    name: "the web for sender1",
    from: testbed.address("sender1", 4),
    ports: "80",
    protocol: "tcp",
  };
  await newPolicy(testbed, { rule: [rule] });
  const to = testbed.address("receiver1", 4);
  const web = await shown(testbed, "sender1", curl(to, `/${FILE_BYTES}`), `curl http://${to}/file`);
  check("curl succeeds", web.status === 0);
  say("The router between them has learned of the permission on the way of the answer, and counts:");
  await ctl(testbed.daemon("router"), "flows");
}

async function cutOff(testbed: Testbed): Promise<void> {
  chapter(`3. A yes has a size: ${GRANTED} bytes`);
  const rule = {
    ...GRANT_ALL,
    name: "a little",
    from: testbed.address("sender1", 4),
    volume: GRANTED,
    extend: false,
  };
  await newPolicy(testbed, { rule: [rule] });
  say(`sender1 uploads ${UPLOAD_BYTES} bytes:`);
  const file = join(testbed.record.directory, "upload");
  writeFileSync(file, Buffer.alloc(UPLOAD_BYTES));
  const wire = await testbed.captureTowards("receiver1");
  const to = testbed.address("receiver1", 4);
  const upload = curl(to, "/", "-T", file, "--max-time", "6");
  await shown(testbed, "sender1", upload, `curl --upload-file five-megabytes http://${to}/`);
  const http = matches({ protocol: 6, destination: to, destinationPort: WEB_PORT });
  const seen = bytesOf((await wire.quiet(http)).filter(http));
  await wire.stop();
  say(
    `tcpdump on receiver1's wire counts ${seen} bytes of ${GRANTED} granted. The router let no more through.`,
  );
  check("cut off at the volume", seen <= GRANTED && seen > GRANTED / 2);
}

async function revocation(testbed: Testbed): Promise<void> {
  chapter("4. A yes can be taken back");
  await newPolicy(testbed, { rule: [{ ...GRANT_ALL, name: "a stream" }] });
  const wire = await testbed.captureTowards("receiver1");
  const to = testbed.address("receiver1", 4);
  const stream = { from: 4000, to, port: STREAM_PORT, count: 0, size: 200, rate: 500 };
  const sender = testbed.spawn("sender1", udpSender(stream));
  const data = matches({ protocol: 17, destinationPort: STREAM_PORT });
  await firstSeen(wire, data);
  say("A stream of datagrams runs from sender1 to receiver1. receiver1 revokes it:");
  const { id } = await flowMatching(testbed.daemon("receiver1"), new RegExp(`:${STREAM_PORT}$`));
  await ctl(testbed.daemon("receiver1"), "revoke", id.slice(0, 8), "--reason", "that is enough");
  const revoked = wallClock();
  const before = (await wire.quiet(data)).filter(data);
  await sender.stop();
  await wire.stop();
  const late = before.filter((packet) => packet.time > revoked);
  say(`After pbsctl had answered, ${late.length} packets of the stream came to receiver1's wire.`);
  check("the stream has stopped", late.length === 0);
}

/** Gives receiver1 other rules, and waits until it decides by them. */
async function newPolicy(testbed: Testbed, config: NodeConfig): Promise<void> {
  const receiver = testbed.daemon("receiver1");
  receiver.configure(config);
  receiver.reload();
  const [rule = {}] = config.rule ?? [];
  const flow = `tcp ${testbed.address("sender1", 4)}:1 > ${testbed.address("receiver1", 4)}:${WEB_PORT}`;
  await until("the new policy", 5000, async () => {
    const { policy } = await receiver.client.post<Explanation>("/v1/explain", { flow });
    return policy?.decision.rule === rule["name"];
  });
  const words = Object.entries(rule).map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
  process.stdout.write(["[[rule]]", ...words].map((line) => `      ${line}\n`).join(""));
}

async function shown(
  testbed: Testbed,
  node: string,
  command: readonly string[],
  text: string,
): Promise<Outcome> {
  process.stdout.write(`\n    ${node}$ ${text}\n`);
  const outcome = await testbed.run(node, command);
  const [code, down, up, seconds] = outcome.stdout.split(" ");
  const numbers =
    code === "000" || code === undefined ? "" : `HTTP ${code}: ${down} bytes down, ${up} up, ${seconds} s`;
  for (const line of [outcome.stderr.trim(), numbers])
    if (line !== "") process.stdout.write(`      ${line}\n`);
  process.stdout.write(`      (exit status ${outcome.status})\n\n`);
  return outcome;
}

async function ctl(daemon: Daemon, ...args: string[]): Promise<void> {
  process.stdout.write(`\n    ${daemon.name}$ pbsctl ${args.join(" ")}\n`);
  const { stdout, stderr } = await daemon.ctl(...args);
  const lines = `${stdout}${stderr}`.trimEnd().split("\n").slice(-8);
  process.stdout.write(`${lines.map((line) => `      ${line}`).join("\n")}\n\n`);
}

function stay(testbed: Testbed): void {
  const { id } = testbed.record;
  const exec = `npm run testbed -- exec --run ${id}`;
  testbed.release();
  chapter("Look around");
  process.stdout.write(`  It stays up. Things to try:
    ${exec} sender1 ping 192.168.21.4
    ${exec} router iptables -t mangle -L PBS-FORWARD -v -n
    ${testbed.daemons.map((daemon) => `node dist/src/cli/pbsctl.js --socket ${daemon.socket} flows`).join("\n    ")}
  Logs and configurations: ${testbed.record.directory}
  To remove it: npm run testbed -- down ${id}
`);
}

function chapter(title: string): void {
  process.stdout.write(`\n${title}\n${"─".repeat(title.length)}\n`);
}

function say(text: string): void {
  process.stdout.write(`  ${text}\n`);
}

function check(what: string, holds: boolean): void {
  if (!holds) throw new StoryBroke(`expected: ${what}`);
}
