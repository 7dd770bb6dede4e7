import { execFileSync } from "node:child_process";
import test, { type ExecutionContext } from "ava";

const rootTest = process.getuid?.() === 0 ? test.serial : test.skip;

const SCRIPT = `
  import { createServer, connect } from "node:net";
  import { once } from "node:events";
  import { parseFlow } from "./src/base/flow.js";
  import { silentLogger } from "./src/base/log.js";
  import { Connections } from "./src/traffic/connections.js";
  const host = process.argv[1], inFlow = host.includes(":") ? "[" + host + "]" : host;
  const warnings = [];
  const connections = new Connections({ ...silentLogger, warn: (_about, text) => warnings.push(text) });
  const server = createServer((socket) => socket.on("error", () => undefined));
  server.listen(80, "::");
  await once(server, "listening");
  const open = async () => {
    const client = connect(80, host);
    client.on("error", () => undefined);
    await once(client, "connect");
    return client;
  };
  const [one, other] = [await open(), await open()];
  const flow = (port) => parseFlow("tcp " + inFlow + ":" + port + " > " + inFlow + ":80");
  const failed = new Promise((resolve) => one.once("error", ({ code }) => resolve(code)));
  const first = flow(one.localPort);
  const said = [await connections.end(first), await failed, await connections.end(first)];
  // The listening socket would be the next best.
  said.push(await connections.end(parseFlow("tcp " + inFlow + ":80 > " + inFlow + ":9")));
  said.push(await connections.end(parseFlow("udp " + inFlow + ":80 > " + inFlow + ":9")));
  (await open()).write("again");
  other.write("still");
  await new Promise((resolve) => setImmediate(resolve));
  said.push((await Connections.probe()) ?? "able");
  console.log(JSON.stringify([...said, other.destroyed, server.listening, warnings]));
  process.exit(0);`;

function inNamespace(t: ExecutionContext, label: string, host: string): unknown {
  const name = `pbs-connections-${process.pid}-${label}`;
  execFileSync("ip", ["netns", "add", name]);
  t.teardown(() => execFileSync("ip", ["netns", "del", name]));
  execFileSync("ip", ["-n", name, "link", "set", "lo", "up"]);
  const node = [process.execPath, "--import", "tsx", "--input-type=module", "-e", SCRIPT, "--", host];
  return JSON.parse(execFileSync("ip", ["netns", "exec", name, ...node], { encoding: "utf8" }));
}

for (const [label, host] of [
  ["4", "127.0.0.1"],
  ["6", "::1"],
] as const)
  rootTest(`IPv${label}: one connection ends at once, others and who listens stay`, (t) => {
    t.deepEqual(inNamespace(t, label, host), [
      "ended",
      "ECONNABORTED",
      "absent",
      "absent",
      "absent",
      "able",
      false,
      true,
      [],
    ]);
  });
