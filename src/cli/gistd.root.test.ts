/** gistd as a process, in a network namespace of its own. */
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { silentLogger } from "../base/log.js";
import { systemRandom } from "../base/random.js";
import { SystemTime } from "../base/time.js";
import type { GistdStatus } from "../control/gist-server.js";
import type { PeersView } from "../control/peers.js";
import { GistClient } from "../gist/ipc/client.js";
import { encodeClientFrame } from "../gist/ipc/codec.js";
import { PROTOCOL_VERSION } from "../gist/ipc/frames.js";
import { framed } from "../gist/ipc/framing.js";
import type { Nslp } from "../gist/service.js";
import { Client } from "./client.js";
import { ended, type Host, makeHost, Running } from "./root-test-host.js";

const asRoot = process.getuid?.() === 0 ? test.serial : test.skip;

const NSLP_ID = 32705;
const NOBODY = 65534;
const nslp: Nslp = {
  recvMessage: () => ({ peer: true }),
  messageStatus: () => undefined,
  networkNotification: () => undefined,
};

function serviceOf(host: Host): string {
  return join(host.directory, "gist.sock");
}

function configure(host: Host, more = ""): void {
  host.configure(`[service]\nsocket = "gist.sock"\ngroup = "${NOBODY}"\n${more}`);
}

function clientOf(t: ExecutionContext, host: Host): GistClient {
  const parts = { time: new SystemTime(), random: systemRandom, log: silentLogger };
  const client = new GistClient({ path: serviceOf(host), name: "test", ...parts });
  t.teardown(() => client.close());
  client.register(NSLP_ID, nslp);
  client.start();
  return client;
}

asRoot("start, service, status, reload, end, start again", async (t) => {
  const host = makeHost(t, "gistd");
  configure(host);
  t.deepEqual(await host.run("--check"), { status: 0, stdout: `${host.config} is good\n`, stderr: "" });
  const running = new Running(t, host.spawn());
  await running.line('"msg":"ready"');
  t.is(statSync(serviceOf(host)).mode & 0o777, 0o660);

  const client = clientOf(t, host);
  await client.whenReady();
  const control = new Client(host.socket, "gistd");
  const status = await control.get<GistdStatus>("/v1/status");
  t.deepEqual(status.clients, [{ name: "test", nslpIds: [NSLP_ID] }]);
  t.is(status.identity, client.view().identity);
  t.deepEqual(await control.get("/v1/routes"), { routes: [], more: false });
  t.like(await control.get("/v1/peers"), { associations: [], service: null });

  configure(host, '[[peer]]\nname = "no such name!"\n');
  running.child.kill("SIGHUP");
  t.regex(await running.line("the old one stays in force"), /peer\[0\]\.name/);
  configure(host, '[signalling]\ntls_port = 5271\n[[peer]]\nname = "*.example"\n');
  running.child.kill("SIGHUP");
  t.regex(await running.line("needs a restart"), /"\[signalling\]"/);

  const second = await host.run();
  t.is(second.status, 1);
  t.regex(second.stderr, /^gistd: another gistd answers on /);

  running.child.kill("SIGTERM");
  t.is(await ended(running.child), 0);
  t.false(existsSync(serviceOf(host)) || existsSync(host.socket));
  const again = new Running(t, host.spawn());
  await again.line("an NSLP is registered through the service");
  again.child.kill("SIGTERM");
  t.is(await ended(again.child), 0);
});

/** What the service says to a user who may open the socket by its group. */
function asNobody(host: Host): string {
  const hello = framed(encodeClientFrame({ type: "hello", version: PROTOCOL_VERSION, name: "nobody" }));
  const program = `const s = require("net").connect(${JSON.stringify(serviceOf(host))});
    s.write(Buffer.from("${Buffer.from(hello).toString("hex")}", "hex"));
    s.on("data", (d) => { process.stdout.write(d); s.end(); });`;
  return execFileSync(process.execPath, ["-e", program], {
    uid: NOBODY,
    gid: NOBODY,
    encoding: "utf8",
    timeout: 20_000,
  });
}

asRoot("the socket's group opens it; who is not in uids or gids is told so", async (t) => {
  const host = makeHost(t, "gistd");
  chmodSync(host.directory, 0o755);
  configure(host);
  const running = new Running(t, host.spawn());
  await running.line('"msg":"ready"');
  t.regex(asNobody(host), /user 65534 of group 65534 is not in \[service\] uids or gids/);
  running.child.kill("SIGTERM");
  await ended(running.child);

  configure(host, `gids = [${NOBODY}]\n`);
  const open = new Running(t, host.spawn());
  await open.line('"msg":"ready"');
  const identity = (await new Client(host.socket).get<GistdStatus>("/v1/status")).identity;
  t.true(asNobody(host).includes(identity));
});

/** The commands that the documentation gives for a router with gistd alone. */
function documentedRules(): string {
  const [, after = ""] = readFileSync("docs/gist-service.md", "utf8").split(
    "## Who puts Queries into the queue",
  );
  const [section = ""] = after.split("\n## ");
  return [...section.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, commands]) => commands).join("");
}

asRoot("the documented packet rules put Queries into gistd's queue, and nothing else", async (t) => {
  const host = makeHost(t, "gistd");
  configure(host);
  const neighbour = `${host.name}-n`;
  execFileSync("ip", ["netns", "add", neighbour]);
  t.teardown(() => execFileSync("ip", ["netns", "del", neighbour]));
  const ip = (...args: string[]): Buffer => execFileSync("ip", args);
  ip("-n", host.name, "link", "add", "left", "type", "veth", "peer", "name", "right", "netns", neighbour);
  for (const [at, link, end] of [
    [host.name, "left", 1],
    [neighbour, "right", 2],
  ] as const) {
    ip("-n", at, "address", "add", `192.0.2.${end}/24`, "dev", link);
    ip("-n", at, "address", "add", `2001:db8::${end}/64`, "dev", link, "nodad");
    ip("-n", at, "link", "set", link, "up");
  }
  host.exec("sh", "-e", "-c", documentedRules());
  const running = new Running(t, host.spawn());
  await running.line('"msg":"ready"');

  const message = Buffer.from("4e04bda50109000080008000", "hex");
  const other = Buffer.from("4e04bda50109000080000080", "hex");
  for (const [address, port, payload] of [
    ["192.0.2.1", 270, message],
    ["2001:db8::1", 270, message],
    ["192.0.2.1", 270, other],
    ["192.0.2.1", 271, message],
  ] as const) {
    const program = `const s = require("dgram").createSocket("udp${address.includes(":") ? 6 : 4}");
      s.send(Buffer.from("${payload.toString("hex")}", "hex"), ${port}, "${address}", () => s.close());`;
    ip("netns", "exec", neighbour, process.execPath, "-e", program);
  }
  for (const tool of ["iptables", "ip6tables"])
    t.regex(
      host.exec(tool, "-t", "mangle", "-nvxL", "GIST-INTERCEPT"),
      /^ +1 +\d+ NFQUEUE/m,
      `${tool}: one packet was queued`,
    );
  const control = new Client(host.socket, "gistd");
  let taken = 0;
  for (let tries = 0; tries < 2000 && taken < 2; tries++) {
    const { counters } = await control.get<PeersView>("/v1/peers");
    taken = Object.entries(counters)
      .filter(([name]) => /^intercept\.(?!waited)/.test(name))
      .reduce((sum, [, count]) => sum + count, 0);
  }
  t.is(taken, 2);
  running.child.kill("SIGTERM");
  t.is(await ended(running.child), 0);
});
