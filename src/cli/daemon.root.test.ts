/** pbsd as a process, in a network namespace of its own. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test, { type ExecutionContext } from "ava";
import { issueCertificate, makeAuthority, makeHostKey } from "../authorization/keys.js";
import { IpAddress } from "../base/address.js";
import type { DoctorReport } from "../control/doctor/report.js";
import type { StatusView } from "../control/status.js";
import { Client } from "./client.js";

const asRoot = process.getuid?.() === 0 ? test.serial : test.skip;

interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

class Host {
  readonly name = `pbsd-test-${process.pid}`;
  readonly directory = mkdtempSync(join(tmpdir(), "pbsd-"));
  readonly socket = join(this.directory, "control.sock");
  readonly config = join(this.directory, "pbsd.toml");

  constructor() {
    execFileSync("ip", ["netns", "add", this.name]);
    this.exec("ip", "link", "set", "lo", "up");
    const ca = join(this.directory, "ca");
    makeAuthority({ directory: ca, name: "test" });
    const prefix = join(this.directory, "host");
    makeHostKey({ prefix, commonName: "test", addresses: [IpAddress.parse("192.0.2.1")] });
    issueCertificate({ authorityDirectory: ca, csrFile: `${prefix}.csr`, outFile: `${prefix}.crt` });
    this.configure("");
  }

  configure(more: string): void {
    const identity = '[identity]\ncertificate = "host.crt"\nkey = "host.key"\nauthorities = ["ca/ca.pem"]\n';
    writeFileSync(this.config, `${identity}[control]\nsocket = "control.sock"\n${more}`);
  }

  exec(...command: readonly string[]): string {
    return execFileSync("ip", ["netns", "exec", this.name, ...command], { encoding: "utf8" });
  }

  spawn(...args: readonly string[]): ChildProcess {
    const program = [
      process.execPath,
      "--import",
      "tsx",
      "src/cli/pbsd.ts",
      "--config",
      this.config,
      ...args,
    ];
    return spawn("ip", ["netns", "exec", this.name, ...program], { stdio: ["ignore", "pipe", "pipe"] });
  }

  async run(...args: readonly string[]): Promise<Result> {
    const child = this.spawn(...args);
    const [stdout, stderr, status] = await Promise.all([all(child.stdout), all(child.stderr), ended(child)]);
    return { status, stdout, stderr };
  }

  rules(): string {
    const saved = ["iptables-save", "ip6tables-save"].map((tool) => this.exec(tool));
    return [...saved, this.exec("ipset", "list", "-n")]
      .join("")
      .replace(/^#.*\n/gm, "")
      .replace(/\[\d+:\d+\]/g, "");
  }

  remove(): void {
    execFileSync("ip", ["netns", "del", this.name]);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

async function all(stream: NodeJS.ReadableStream | null): Promise<string> {
  let text = "";
  for await (const chunk of stream ?? []) text += String(chunk);
  return text;
}

function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => child.once("exit", resolve));
}

/** The daemon's log, line by line. */
class Running {
  readonly child: ChildProcess;
  readonly #lines: string[] = [];
  #heard: () => void = () => undefined;

  constructor(t: ExecutionContext, child: ChildProcess) {
    this.child = child;
    t.teardown(async () => {
      child.kill("SIGKILL");
      await ended(child);
    });
    for (const stream of [child.stdout, child.stderr])
      if (stream !== null)
        createInterface({ input: stream }).on("line", (line) => {
          this.#lines.push(line);
          this.#heard();
        });
    child.once("exit", () => this.#heard());
  }

  /** The first line from now or before with this in it. */
  async line(text: string): Promise<string> {
    for (;;) {
      const found = this.#lines.find((line) => line.includes(text));
      if (found !== undefined) return found;
      if (this.child.exitCode !== null)
        throw new Error(`pbsd ended without "${text}": ${this.#lines.join("\n")}`);
      await new Promise<void>((resolve) => (this.#heard = resolve));
    }
  }
}

function makeHost(t: ExecutionContext): Host {
  const host = new Host();
  t.teardown(() => host.remove());
  return host;
}

asRoot("start, status, reload, end, clean-up", async (t) => {
  const host = makeHost(t);
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
  const host = makeHost(t);
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

function spawnListener(host: Host, port: number): ChildProcess {
  const program = `require("net").createServer().listen(${port}, () => console.log("listening"))`;
  return spawn("ip", ["netns", "exec", host.name, process.execPath, "-e", program], {
    stdio: ["ignore", "pipe", "pipe"],
  });
}
