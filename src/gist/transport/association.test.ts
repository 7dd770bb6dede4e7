import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, createServer, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import test, { type ExecutionContext } from "ava";
import { IpAddress } from "../../base/address.js";
import { silentLogger } from "../../base/log.js";
import { SystemTime } from "../../base/time.js";
import { seconds } from "../../base/units.js";
import { type AssociationLimits, Associations, type Credentials } from "./association.js";
import { Counters } from "./counters.js";
import { dnsNamesIn, identityOf } from "./peer.js";
import { DEFAULT_LIMITS } from "./system.js";
import { issue, makeAuthority } from "./test-certificates.js";
import type { Connection, TransportHandler } from "./transport.js";

const LOOPBACK = IpAddress.parse("127.0.0.1");
const authority = makeAuthority("test authority");
const stranger = makeAuthority("another authority");
const alice = issue(authority, "alice");
const bob = issue(authority, "bob");

/** A node that remembers what happened to it and lets a test wait for more. */
class Node implements TransportHandler {
  readonly counters = new Counters();
  readonly associations: Associations;
  readonly acceptedConnections: Connection[] = [];
  readonly messages: string[] = [];
  readonly reasons: string[] = [];
  drains = 0;
  answer: ((connection: Connection, message: Uint8Array) => void) | undefined;
  #waiting: (() => void)[] = [];

  constructor(credentials: Partial<Credentials>, limits: Partial<AssociationLimits> = {}, tcpPort?: number) {
    this.associations = new Associations({
      credentials: { ...alice, authorities: [authority.pem], ...credentials },
      tlsPort: 0,
      tcpPort,
      addresses: ["127.0.0.1"],
      limits: { ...DEFAULT_LIMITS, ...limits },
      time: new SystemTime(),
      logger: silentLogger,
      counters: this.counters,
    });
  }

  routesChanged(): void {}

  datagram(): "drop" {
    return "drop";
  }

  accepted(connection: Connection): void {
    this.acceptedConnections.push(connection);
    this.#wake();
  }

  message(connection: Connection, message: Uint8Array): void {
    this.messages.push(Buffer.from(message).toString("hex"));
    this.answer?.(connection, message);
    this.#wake();
  }

  drained(): void {
    this.drains++;
    this.#wake();
  }

  closed(_connection: Connection, reason: string): void {
    this.reasons.push(reason);
    this.#wake();
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((wake) => this.#waiting.push(wake));
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

async function start(t: ExecutionContext, ...options: ConstructorParameters<typeof Node>): Promise<Node> {
  const node = new Node(...options);
  await node.associations.start(node);
  t.teardown(() => node.associations.stop());
  return node;
}

function dial(from: Node, to: Node): Promise<Connection> {
  return from.associations.connect(LOOPBACK, to.associations.tlsPort, "tls", seconds(5));
}

/** A TLS client of the test's own, which can send any bytes. */
async function rawClient(t: ExecutionContext, to: Node, credentials: object = bob): Promise<TLSSocket> {
  const { key, certificate } = credentials as Partial<typeof bob>;
  const socket = connectTls({
    host: "127.0.0.1",
    port: to.associations.tlsPort,
    rejectUnauthorized: false,
    ...(key === undefined || certificate === undefined ? {} : { key, cert: certificate }),
  });
  socket.on("error", () => {});
  t.teardown(() => socket.destroy());
  await once(socket, "secureConnect");
  return socket;
}

async function closes(socket: Socket): Promise<void> {
  socket.resume();
  if (!socket.destroyed) await new Promise((closed) => socket.once("close", closed));
}

function dialTcp(from: Node, to: Node): Promise<Connection> {
  return from.associations.connect(LOOPBACK, to.associations.tcpPort ?? 0, "tcp", seconds(5));
}

function gistMessage(words: number, fill = 0): Buffer {
  const message = Buffer.alloc(8 + 4 * words, fill);
  message.writeUInt8(1, 0);
  message.writeUInt16BE(words, 2);
  return message;
}

test("two nodes of one authority talk, each knowing whom it talks to", async (t) => {
  const server = await start(t, { ...alice });
  const client = await start(t, { ...bob });
  server.answer = (connection, message) => connection.send(message);
  const connection = await dial(client, server);
  t.is(connection.protocol, "tls");
  t.true(connection.initiator);
  t.is(connection.peer?.subject, "alice");
  t.deepEqual(connection.peer?.identity, identityOf(new X509Certificate(alice.certificate)));
  t.is(connection.peer?.identity.length, 16);

  const sent = [gistMessage(0), gistMessage(3, 7), gistMessage(16382, 9)];
  for (const message of sent) connection.send(message);
  await client.until(() => client.messages.length === 3);
  t.deepEqual(
    client.messages,
    sent.map((message) => message.toString("hex")),
  );
  const [accepted] = server.acceptedConnections;
  t.false(accepted?.initiator);
  t.is(accepted?.peer?.subject, "bob");
  t.true(accepted?.remoteAddress.equals(LOOPBACK));

  connection.close();
  await Promise.all([
    client.until(() => client.reasons.length > 0),
    server.until(() => server.reasons.length > 0),
  ]);
  t.deepEqual(client.reasons, ["closed by this node"]);
  t.deepEqual(server.reasons, ["the peer closed the association"]);
});

test("messages come out whole however the stream is cut", async (t) => {
  const server = await start(t, {});
  const socket = await rawClient(t, server);
  socket.setNoDelay(true);
  const stream = Buffer.concat([gistMessage(1, 1), gistMessage(5, 2), gistMessage(0), gistMessage(40, 3)]);
  for (let at = 0; at < stream.length; at += 3) {
    await new Promise<void>((written) => socket.write(stream.subarray(at, at + 3), () => written()));
  }
  socket.write(Buffer.concat([stream, stream]));
  await server.until(() => server.messages.length === 12);
  t.is(server.messages.join(""), Buffer.concat([stream, stream, stream]).toString("hex"));
});

test("too long a message ends the association with the reason", async (t) => {
  const server = await start(t, {}, { messageBytes: 100 });
  const socket = await rawClient(t, server);
  socket.write(Buffer.concat([gistMessage(1), gistMessage(24).subarray(0, 8)]));
  await server.until(() => server.reasons.length > 0);
  t.is(server.messages.length, 1);
  t.regex(server.reasons[0] ?? "", /message of 104 bytes is above the limit of 100/);
  await closes(socket);
});

test("a server of another authority is refused", async (t) => {
  const server = await start(t, {
    ...issue(stranger, "mallory"),
    authorities: [stranger.pem, authority.pem],
  });
  const client = await start(t, { ...bob });
  await t.throwsAsync(dial(client, server), { message: /certificate|issuer/ });
  t.is(client.counters.get("association.connect-failed"), 1);
});

test("an expired server is refused", async (t) => {
  const server = await start(t, { ...issue(authority, "old", -1000) });
  const client = await start(t, { ...bob });
  await t.throwsAsync(dial(client, server), { message: /expired/ });
});

for (const [name, credentials] of [
  ["no certificate", {}],
  ["a certificate of another authority", issue(stranger, "mallory")],
  ["an expired certificate", issue(authority, "old", -1000)],
] as const)
  test(`a client with ${name} is refused`, async (t) => {
    const server = await start(t, {});
    const socket = await rawClient(t, server, credentials);
    socket.write(gistMessage(1));
    await closes(socket);
    t.deepEqual(server.acceptedConnections, []);
    t.deepEqual(server.messages, []);
    t.is(server.counters.get("association.handshake-failed"), 1);
  });

test("a client without TLS is refused", async (t) => {
  const server = await start(t, {});
  const socket = connectTcp({ host: "127.0.0.1", port: server.associations.tlsPort });
  socket.on("error", () => {});
  socket.write(gistMessage(1));
  await closes(socket);
  t.deepEqual(server.messages, []);
});

test("silent connections are bounded for each source and end by themselves", async (t) => {
  const server = await start(t, {}, { handshakesPerSource: 2, handshakeTimeout: seconds(0.2) });
  const sockets: Socket[] = [];
  for (let i = 0; i < 3; i++) {
    const socket = connectTcp({ host: "127.0.0.1", port: server.associations.tlsPort });
    socket.on("error", () => {});
    sockets.push(socket);
    await once(socket, "connect");
  }
  await closes(sockets[2] as Socket);
  t.is(server.counters.get("association.turned-away"), 1);
  await Promise.all(sockets.map(closes));
  const client = await start(t, { ...bob });
  await t.notThrowsAsync(dial(client, server));
});

test("associations that are authenticated do not count as silent ones", async (t) => {
  const server = await start(t, {}, { handshakesPerSource: 1 });
  const client = await start(t, { ...bob });
  for (let i = 0; i < 3; i++) {
    await dial(client, server);
    await server.until(() => server.acceptedConnections.length === i + 1);
  }
  t.is(server.acceptedConnections.length, 3);
});

test("a slow peer is told, waited for, and given up when it never takes what is queued", async (t) => {
  const server = await start(t, {}, { slowBytes: 100_000, queueBytes: 20_000_000 });
  const socket = await rawClient(t, server);
  socket.pause();
  await server.until(() => server.acceptedConnections.length === 1);
  const connection = server.acceptedConnections[0] as Connection;
  const big = gistMessage(16000);
  let sent = 0;
  while (connection.send(big)) sent++;
  t.true(sent > 0 && connection.queued > 100_000);
  socket.resume();
  await server.until(() => server.drains === 1);
  t.is(connection.queued, 0);

  socket.pause();
  while (server.counters.get("association.failed") === 0) connection.send(big);
  await server.until(() => server.reasons.length > 0);
  t.deepEqual(server.reasons, ["the peer does not take what is sent to it"]);
  t.false(connection.send(big));
});

test("a peer that cannot be reached or does not answer is reported", async (t) => {
  const client = await start(t, { ...bob });
  const server = await start(t, {});
  const port = server.associations.tlsPort;
  await server.associations.stop();
  await t.throwsAsync(client.associations.connect(LOOPBACK, port, "tls", seconds(5)), {
    message: /ECONNREFUSED/,
  });
  await t.throwsAsync(client.associations.connect(LOOPBACK, 0, "tls", seconds(5)), { message: /not a port/ });
});

test("plain TCP is there only where it is asked for", async (t) => {
  const strict = await start(t, {});
  const port = strict.associations.tlsPort;
  await t.throwsAsync(strict.associations.connect(LOOPBACK, port, "tcp", seconds(1)), {
    message: /not allowed/,
  });

  const open = await start(t, {}, {}, 0);
  const connection = await dialTcp(open, open);
  t.is(connection.peer, undefined);
  t.is(strict.associations.tcpPort, undefined);
  connection.send(gistMessage(2));
  await open.until(() => open.messages.length === 1);
  t.is(open.acceptedConnections[0]?.protocol, "tcp");
  t.is(open.counters.get("association.accepted-tcp"), 1);
  t.is(open.counters.get("association.opened-tcp"), 1);
});

test("credentials that cannot work are refused at the start", async (t) => {
  const failing = async (credentials: Partial<Credentials>): Promise<void> => {
    const node = new Node(credentials);
    await node.associations.start(node);
  };
  await t.throwsAsync(failing({ authorities: [] }), { message: /no authority is trusted/ });
  await t.throwsAsync(failing({ key: bob.key }), { message: /cannot be used for TLS/ });
  await t.throwsAsync(failing({ certificate: "nonsense" }), { message: /cannot be used for TLS/ });
});

test("stopping sends what is queued and closes everything", async (t) => {
  const server = await start(t, {});
  const client = await start(t, { ...bob });
  const connection = await dial(client, server);
  connection.send(gistMessage(4, 4));
  await client.associations.stop();
  await server.until(() => server.reasons.length === 1);
  t.is(server.messages.length, 1);
  t.deepEqual(client.reasons, ["closed by this node"]);
  await t.throwsAsync(dial(client, server), { message: /not running/ });
});

test("without TLS who says nothing is bounded like an open handshake, and ends by itself", async (t) => {
  const server = await start(t, {}, { handshakesPerSource: 2, handshakeTimeout: seconds(0.2) }, 0);
  const talking = await dialTcp(server, server);
  talking.send(gistMessage(1));
  await server.until(() => server.messages.length === 1);
  const silent = [await dialTcp(server, server), await dialTcp(server, server)];
  t.is(server.counters.get("association.turned-away"), 0, "one that has spoken counts no longer");
  const third = connectTcp({ host: "127.0.0.1", port: server.associations.tcpPort ?? 0 });
  third.on("error", () => {});
  await closes(third);
  t.is(server.counters.get("association.turned-away"), 1);
  // Each end of both tells.
  await server.until(() => server.reasons.length === 2 * silent.length);
  t.true(server.reasons.includes("no message came"));
  t.true(talking.send(gistMessage(1)));
  await server.until(() => server.messages.length === 2);
});

test("one peer has a bounded number of associations, others are not in its way", async (t) => {
  const server = await start(t, {}, { acceptedPerPeer: 2 });
  const [client, other] = [await start(t, { ...bob }), await start(t, { ...issue(authority, "carol") })];
  const first = await dial(client, server);
  await dial(client, server);
  await server.until(() => server.acceptedConnections.length === 2);
  await dial(client, server);
  await client.until(() => client.reasons.length === 1);
  t.is(server.counters.get("association.peer-limit"), 1);
  t.is(server.acceptedConnections.length, 2);
  t.deepEqual(server.reasons, [], "the refused one was never told of");

  await dial(other, server);
  await server.until(() => server.acceptedConnections.length === 3);
  first.close();
  await server.until(() => server.reasons.length === 1);
  await dial(client, server);
  await server.until(() => server.acceptedConnections.length === 4);
  t.is(server.counters.get("association.peer-limit"), 1);
});

test("a peer has the dNSNames of its certificate, else its common name", async (t) => {
  const names = ["router.example.net", "*.example.org"];
  const server = await start(t, { ...issue(authority, "alice", undefined, names) });
  const client = await start(t, { ...bob });
  const connection = await dial(client, server);
  t.is(connection.peer?.subject, "alice");
  t.deepEqual(connection.peer?.names, names);
  await server.until(() => server.acceptedConnections.length === 1);
  t.deepEqual(server.acceptedConnections[0]?.peer?.names, ["bob"]);
});

test("names are read out of the text of a subject alternative name, and none can be smuggled in", (t) => {
  t.deepEqual(dnsNamesIn(""), []);
  t.deepEqual(dnsNamesIn("DNS:a.example, IP Address:10.0.0.1, DNS:b.example"), ["a.example", "b.example"]);
  t.deepEqual(dnsNamesIn('URI:"http://x/, DNS:evil.example", DNS:a.example'), ["a.example"]);
  t.deepEqual(dnsNamesIn('DNS:"a.example, DNS:evil.example"'), []);
  t.deepEqual(dnsNamesIn('DNS:"a\\", DNS:evil.example'), []);
  t.is(dnsNamesIn(Array.from({ length: 100 }, (_, i) => `DNS:n${i}`).join(", ")).length, 64);
});

test("other credentials hold from the next association on, and those that stand keep", async (t) => {
  const server = await start(t, { ...alice });
  const client = await start(t, { ...bob, authorities: [authority.pem, stranger.pem] });
  const before = await dial(client, server);
  server.associations.setCredentials({
    ...issue(stranger, "alice the second"),
    authorities: [authority.pem],
  });
  const after = await dial(client, server);
  t.is(before.peer?.subject, "alice");
  t.is(after.peer?.subject, "alice the second");
  before.send(gistMessage(1));
  await server.until(() => server.messages.length === 1);
  t.deepEqual(server.reasons, []);

  // What the node opens itself shows the new ones too; bob trusts the stranger.
  await server.associations.connect(LOOPBACK, client.associations.tlsPort, "tls", seconds(5));
  await client.until(() => client.acceptedConnections.length === 1);
  t.is(client.acceptedConnections[0]?.peer?.subject, "alice the second");

  server.associations.setCredentials({ ...alice, authorities: [stranger.pem] });
  await dial(client, server).catch(() => undefined);
  // With TLS 1.3 the refusal comes after the client's part is done.
  await client.until(() => client.reasons.length === 1);
  t.is(server.counters.get("association.handshake-failed"), 1);
});

test("credentials that cannot work change nothing", async (t) => {
  const server = await start(t, { ...alice });
  const client = await start(t, { ...bob });
  for (const bad of [
    { ...alice, key: bob.key, authorities: [authority.pem] },
    { ...alice, certificate: "nonsense", authorities: [authority.pem] },
    { ...alice, authorities: ["nonsense"] },
    { ...alice, authorities: [] },
  ])
    t.throws(() => server.associations.setCredentials(bad), {
      message: /cannot be used for TLS|no authority is trusted/,
    });
  t.is((await dial(client, server)).peer?.subject, "alice");
});

test("credentials can be changed before the start", async (t) => {
  const server = new Node({ ...alice });
  server.associations.setCredentials({ ...issue(authority, "dora"), authorities: [authority.pem] });
  await server.associations.start(server);
  t.teardown(() => server.associations.stop());
  t.is((await dial(await start(t, { ...bob }), server)).peer?.subject, "dora");
});

/** Tries a handshake; resolves with the socket, or with undefined when it failed. */
async function handshake(to: Node, options: ConnectionOptions): Promise<TLSSocket | undefined> {
  const { port, host } = { port: to.associations.tlsPort, host: "127.0.0.1" };
  const own = { key: bob.key, cert: bob.certificate, rejectUnauthorized: false };
  const socket = connectTls({ host, port, ...own, ...options });
  return new Promise((done) => {
    socket.on("error", () => done(undefined));
    socket.on("secureConnect", () => done(socket));
  });
}

test("TLS 1.3 is preferred, 1.2 taken, older is refused", async (t) => {
  const server = await start(t, {});
  const newest = await handshake(server, {});
  const older = await handshake(server, { maxVersion: "TLSv1.2" });
  t.deepEqual([newest?.getProtocol(), older?.getProtocol()], ["TLSv1.3", "TLSv1.2"]);
  await server.until(() => server.acceptedConnections.length === 2);
  const weak = { ciphers: "DEFAULT@SECLEVEL=0" };
  t.is(await handshake(server, { ...weak, minVersion: "TLSv1", maxVersion: "TLSv1.1" }), undefined);
  t.is(
    await handshake(server, { ciphers: "AES128-SHA", maxVersion: "TLSv1.2" }),
    undefined,
    "no forward secrecy",
  );
  t.is(server.counters.get("association.handshake-failed"), 2);
  t.is(server.acceptedConnections.length, 2);
  newest?.destroy();
  older?.destroy();
});

for (const version of ["TLSv1.2", "TLSv1.3"] as const)
  test(`no ${version} session is resumed, so each association shows its certificate`, async (t) => {
    const server = await start(t, {});
    const first = await handshake(server, { maxVersion: version });
    t.truthy(first);
    const sessions: Buffer[] = [];
    first?.on("session", (session) => sessions.push(session));
    await server.until(() => server.acceptedConnections.length === 1);
    // What follows the handshake, a session to resume for one, comes before this.
    server.acceptedConnections[0]?.send(gistMessage(1));
    if (first !== undefined) await once(first, "data");
    const session = sessions[0] ?? first?.getSession();
    const again = await handshake(server, { maxVersion: version, ...(session && { session }) });
    t.false(again?.isSessionReused());
    await server.until(() => server.acceptedConnections.length === 2);
    t.is(server.acceptedConnections[1]?.peer?.subject, "bob");
    first?.destroy();
    again?.destroy();
  });

test("a link-local peer is refused with the reason", async (t) => {
  const client = await start(t, { ...bob });
  const peer = IpAddress.parse("fe80::1");
  await t.throwsAsync(client.associations.connect(peer, 5270, "tls", seconds(5)), { message: /link-local/ });
  t.is(client.counters.get("association.link-local"), 1);
});

test("what is being opened when the transport stops is given up at once", async (t) => {
  const silent = createServer();
  await new Promise<void>((done) => silent.listen(0, "127.0.0.1", done));
  t.teardown(() => silent.close());
  const { port } = silent.address() as { port: number };
  const client = await start(t, { ...bob });
  const opening = client.associations.connect(LOOPBACK, port, "tls", seconds(600));
  await Promise.all([t.throwsAsync(opening), client.associations.stop()]);
});
