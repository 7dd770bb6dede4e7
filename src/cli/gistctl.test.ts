import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { silentLogger } from "../base/log.js";
import { FakeTime } from "../base/time.js";
import { startGistControl } from "../control/gist-server.js";
import type { RoutingStateView } from "../gist/service.js";
import { gistctl } from "./gistctl-run.js";

async function run(...args: readonly string[]) {
  let out = "";
  let err = "";
  const status = await gistctl(args, {
    write: async (text) => void (out += text),
    error: (text) => void (err += text),
  });
  return { status, out, err };
}

const ROUTE: RoutingStateView = {
  role: "responding",
  nslpId: 32705,
  sessionId: "00112233445566778899aabbccddeeff" as RoutingStateView["sessionId"],
  mri: "upstream 192.168.20.1 > 192.168.21.4",
  state: "established",
  peer: "192.168.20.1",
  peerIdentity: "aabb",
  carriedBy: "datagram",
  expiresIn: null,
};

async function fixture(t: ExecutionContext) {
  const directory = mkdtempSync(join(tmpdir(), "gistctl-"));
  const socket = join(directory, "control.sock");
  const server = await startGistControl(
    {
      facts: { version: "1.2.3", config: "/etc/gistd/gistd.toml", service: "/run/gistd/gist.sock" },
      time: new FakeTime(),
      gist: () => ({
        identity: "00ff",
        associations: [],
        routingStates: { querying: 3, responding: 4 },
        counters: { "received.query": 7, "error.sent.no-routing-state": 1, silent: 0 },
        service: null,
      }),
      routingStates: () => [ROUTE, ROUTE],
      clients: () => [{ name: "pbsd a\u001b[31m", nslpIds: [32704] }],
    },
    { socket, group: null },
    silentLogger,
  );
  t.teardown(async () => {
    await server.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return (...args: readonly string[]) => run("--socket", socket, ...args);
}

test("status: who uses gistd, and counters by message and error", async (t) => {
  const ctl = await fixture(t);
  const { status, out } = await ctl("status");
  t.is(status, 0);
  t.regex(out, /^client +pbsd a\?\[31m: NSLPID 32704$/m);
  t.regex(out, /^routing states +3 towards receivers, 4 towards senders$/m);
  t.regex(out, /^received\.query +7$/m);
  t.regex(out, /^error\.sent\.no-routing-state +1$/m);
  t.false(out.includes("silent"));
  t.like(JSON.parse((await ctl("--json", "status")).out), {
    identity: "00ff",
    clients: [{ nslpIds: [32704] }],
    counters: { "received.query": 7 },
  });
});

test("peers and routes", async (t) => {
  const ctl = await fixture(t);
  t.regex((await ctl("peers")).out, /^no associations\n/);
  t.regex((await ctl("routes")).out, /^responding +32705 .* 192\.168\.20\.1 +aabb +datagram +-$/m);
  t.regex((await ctl("routes", "--limit", "1")).out, /there are more/);
  t.like(JSON.parse((await ctl("--json", "routes")).out), { more: false, routes: [ROUTE, ROUTE] });
});

test("usage and errors name gistctl and gistd", async (t) => {
  t.deepEqual(await run("flows"), {
    status: 2,
    out: "",
    err: 'gistctl: unknown command "flows"; "gistctl --help" lists the commands\n',
  });
  t.is(
    (await run("status", "--socket", "/nonexistent/s")).err,
    "gistctl: gistd does not answer on /nonexistent/s (start gistd, or name its socket with --socket)\n",
  );
  t.regex((await run("--help")).out, /^gistctl \[--socket PATH\]/);
});
