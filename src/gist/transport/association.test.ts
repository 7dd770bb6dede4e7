import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import test, { type ExecutionContext } from "ava";
import { IpAddress } from "../../base/address.js";
import { silentLogger } from "../../base/log.js";
import { SystemTime } from "../../base/time.js";
import { seconds } from "../../base/units.js";
import { type AssociationLimits, Associations, type Credentials, identityOf } from "./association.js";
import { Counters } from "./counters.js";
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

async function freePort(): Promise<number> {
  const server = createServer().listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
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

  const tcpPort = await freePort();
  const open = await start(t, {}, {}, tcpPort);
  const connection = await open.associations.connect(LOOPBACK, tcpPort, "tcp", seconds(5));
  t.is(connection.peer, undefined);
  connection.send(gistMessage(2));
  await open.until(() => open.messages.length === 1);
  t.is(open.acceptedConnections[0]?.protocol, "tcp");
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
