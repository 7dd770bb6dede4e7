/** pbsd as a process, in a network namespace of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import type { DoctorReport } from "../control/doctor/report.js";
import type { StatusView } from "../control/status.js";
import { Client } from "./client.js";
import { ended, type Host, makeHost, Running } from "./root-test-host.js";

const asRoot = process.getuid?.() === 0 ? test.serial : test.skip;

asRoot("start, status, reload, end, clean-up", async (t) => {
  const host = makeHost(t, "pbsd");
  const running = new Running(t, host.spawn());
  await running.line('"msg":"ready"');
  const closed = host.rules();
  t.true(closed.includes("PBS-FORWARD"));

  const client = new Client(host.socket);
  const status = await client.get<StatusView>("/v1/status");
  t.is(status.datapath.engine, "nfqueue");
  t.is(status.config, host.config);
  t.true((await client.get<DoctorReport>("/v1/doctor")).checks.some(({ name }) => name === "udp 270"));
  t.deepEqual((await client.get<{ flows: unknown[] }>("/v1/flows")).flows, []);

  host.configure('[[rule]]\naction = "perhaps"\n');
  running.child.kill("SIGHUP");
  t.regex(await running.line("the old one stays in force"), /pbsd\.toml:\d+: rule\[0\]\.action/);
  host.configure('[packets]\ncapacity = 5000\n[[rule]]\naction = "grant"\nname = "new"\n');
  running.child.kill("SIGHUP");
  t.regex(await running.line("needs a restart"), /"\[packets\]"/);
  await running.line("configuration read again");
  const flow = { flow: "tcp 192.0.2.9:1 > 127.0.0.1:80" };
  t.like(await client.post("/v1/explain", flow), { role: "receiver", policy: { decision: { rule: "new" } } });

  const second = await host.run();
  t.is(second.status, 1);
  t.is(
    second.stderr,
    `pbsd: another pbsd answers on ${host.socket} (stop it first, or set another [control] socket)\n`,
  );
  const refused = await host.run("--cleanup");
  t.is(refused.status, 1);
  t.is(host.rules(), closed);

  running.child.kill("SIGTERM");
  t.is(await ended(running.child), 0);
  t.is(host.rules(), closed);
  t.false(existsSync(host.socket));

  const cleaned = await host.run("--cleanup");
  t.is(cleaned.status, 0, cleaned.stderr);
  t.false(host.rules().includes("PBS"));
});

asRoot("what prevents a start is one line, and changes nothing", async (t) => {
  const host = makeHost(t, "pbsd");
  const before = host.rules();
  const taken = new Running(t, spawnListener(host, 5270));
  await taken.line("listening");
  const busy = await host.run();
  t.is(busy.status, 1);
  t.is(
    busy.stderr,
    "pbsd: tcp port 5270 is in use (stop the program that has it, or change [signalling] tls_port)\n",
  );

  chmodSync(join(host.directory, "host.key"), 0o644);
  const key = await host.run();
  t.is(key.status, 1);
  t.regex(key.stderr, /^pbsd: .*host\.key.*\n$/);
  const checked = await host.run("--check");
  t.is(checked.status, 2);
  t.is(checked.stderr, key.stderr);
  chmodSync(join(host.directory, "host.key"), 0o600);
  t.deepEqual(await host.run("--check"), { status: 0, stdout: `${host.config} is good\n`, stderr: "" });

  host.configure("[packets]\nqueue_bas = 1\n");
  const config = await host.run();
  t.is(config.status, 2);
  t.is(
    config.stderr,
    `pbsd: ${host.config}:8: packets.queue_bas: unknown field (did you mean "queue_base"?)\n`,
  );
  t.deepEqual([(await host.run("--frobnicate")).status, (await host.run("now")).status], [2, 2]);
  t.is(host.rules(), before);
});

asRoot("a start that fails closes the machine as the last start did, until a clean-up", async (t) => {
  const host = makeHost(t, "pbsd");
  const state = join(host.directory, "state");
  mkdirSync(state);
  host.environment = { STATE_DIRECTORY: state };
  const exempt = '[[exempt]]\nname = "way-in"\nprotocol = "tcp"\nports = [22]\nrate = 100000\n';
  host.configure("[packets]\nqueue_bas = 1\n");
  const before = host.rules();
  t.is((await host.run()).status, 2);
  t.is(host.rules(), before, "it never started, so nothing says how to close");

  host.configure(exempt);
  const running = new Running(t, host.spawn());
  await running.line('"msg":"ready"');
  const closed = host.rules();
  running.child.kill("SIGTERM");
  t.is(await ended(running.child), 0);
  // What a reboot does to the kernel.
  const kept = readFileSync(join(state, "started.toml"));
  t.is((await host.run("--cleanup")).status, 0);
  t.false(existsSync(join(state, "started.toml")));
  writeFileSync(join(state, "started.toml"), kept);

  host.configure("[packets]\nqueue_bas = 1\n");
  const failed = await host.run();
  t.is(failed.status, 2);
  t.regex(failed.stderr, /this machine is closed\npbsd: .*packets\.queue_bas: unknown field/);
  t.is(host.rules(), closed);
  const again = await host.run();
  t.notRegex(again.stderr, /this machine is closed/);

  host.configure("");
  t.is((await host.run("--cleanup")).status, 0);
  chmodSync(join(host.directory, "host.key"), 0o644);
  t.is((await host.run()).status, 1);
  t.is(host.rules(), before, "cleaned up is meant to be open");

  const other = kept.toString().replace("control.sock", "another.sock");
  writeFileSync(join(state, "started.toml"), other);
  t.is((await host.run("--cleanup")).status, 0);
  t.is(readFileSync(join(state, "started.toml"), "utf8"), other, "another daemon's");
  writeFileSync(join(state, "started.toml"), "[packets\n");
  const unusable = await host.run();
  t.is(unusable.status, 1);
  t.regex(unusable.stderr, /rules of the last start: .*started/);
  t.is(host.rules(), before);
});

function spawnListener(host: Host, port: number): ChildProcess {
  const program = `require("net").createServer().listen(${port}, () => console.log("listening"))`;
  return spawn("ip", ["netns", "exec", host.name, process.execPath, "-e", program], {
    stdio: ["ignore", "pipe", "pipe"],
  });
}
