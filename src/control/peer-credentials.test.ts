import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { peerCredentials } from "./peer-credentials.js";

test("the kernel tells process, user and group of whoever connected", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "peer-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "s");
  const server = createServer();
  const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const client = connect(path);
  const socket = await accepted;
  t.deepEqual(peerCredentials(socket), {
    pid: process.pid,
    uid: process.getuid?.() ?? -1,
    gid: process.getgid?.() ?? -1,
  });
  client.destroy();
  socket.destroy();
  t.throws(() => peerCredentials(socket), { message: /no descriptor/ });
  server.close();
});
