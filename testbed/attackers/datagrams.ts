/**
 * Datagrams to UDP 270 that a GIST node must survive. Prints {"sent": N} when all are sent.
 * Usage: datagrams KIND TARGET SOURCE DESTINATION COUNT
 *   random     random bytes of random length
 *   magic      the magic number, then random bytes
 *   truncated  every message type, cut after each byte
 *   mutated    every message type, each byte changed in turn
 *   flood      COUNT valid Queries, each of a session and a flow of its own
 */
import { createSocket, type Socket } from "node:dgram";
import { IpAddress } from "../../src/base/address.js";
import { systemRandom } from "../../src/base/random.js";
import { seconds } from "../../src/base/units.js";
import { encodeGist, newSessionId } from "../../src/gist/wire/codec.js";
import { GIST_PORT, type GistMessage, MA_PROTOCOL, MAGIC, type Mri } from "../../src/gist/wire/messages.js";
import { PBS_NSLP_ID } from "../../src/nslp/wire/messages.js";

const MAX_RANDOM_LENGTH = 1400;
const BATCH = 64;
const CHANGES = [0x01, 0x80, 0xff];

const [kind = "", target = "", source = "", destination = "", count = "0"] = process.argv.slice(2);
const socket = createSocket("udp4");
socket.bind(GIST_PORT, () => {
  void sendAll(socket, datagrams(kind, Number(count))).then((sent) => {
    process.stdout.write(`${JSON.stringify({ sent })}\n`);
    socket.close();
  });
});

function* datagrams(wanted: string, limit: number): Generator<Uint8Array> {
  if (wanted === "random") for (let i = 0; i < limit; i++) yield randomLength();
  if (wanted === "magic") for (let i = 0; i < limit; i++) yield withMagic(randomLength());
  if (wanted === "truncated") for (const message of everyType()) yield* prefixes(message);
  if (wanted === "mutated") for (const message of everyType()) yield* mutations(message);
  if (wanted === "flood") for (let i = 0; i < limit; i++) yield withMagic(encodeGist(query(i)));
}

function* prefixes(message: Uint8Array): Generator<Uint8Array> {
  for (let length = 0; length < message.length; length++) yield message.subarray(0, length);
}

function* mutations(message: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < message.length; at++)
    for (const change of CHANGES) {
      const changed = Uint8Array.from(message);
      changed[at] = (changed[at] ?? 0) ^ change;
      yield changed;
    }
}

function everyType(): Uint8Array[] {
  const common = {
    hops: 32,
    nslpId: PBS_NSLP_ID,
    signallingSource: true,
    sessionId: newSessionId(systemRandom),
  };
  const asked = query(0);
  const { mri, nli, queryCookie, stack } = asked;
  const responderCookie = systemRandom.bytes(16);
  const messages: GistMessage[] = [
    asked,
    {
      ...common,
      type: "response",
      mri,
      nli,
      queryCookie,
      confirmRequested: true,
      responderCookie,
      ...(stack && { stack }),
    },
    { ...common, type: "confirm", mri, nli, responderCookie },
    {
      ...common,
      type: "data",
      mri,
      nli,
      queryMode: false,
      explicitlyRouted: false,
      data: new Uint8Array(64),
    },
    { ...common, nslpId: 0, type: "hello", replyRequested: true, helloId: 7 },
  ];
  return messages.map((message) => withMagic(encodeGist(message)));
}

function query(index: number): Extract<GistMessage, { type: "query" }> {
  return {
    type: "query",
    hops: 32,
    nslpId: PBS_NSLP_ID,
    signallingSource: true,
    mri: mriOf(index),
    sessionId: newSessionId(systemRandom),
    nli: {
      ipTtl: 64,
      validity: seconds(30),
      peerIdentity: systemRandom.bytes(16),
      interfaceAddress: IpAddress.parse(source),
    },
    queryCookie: systemRandom.bytes(16),
    stack: {
      proposal: [[MA_PROTOCOL.tls, MA_PROTOCOL.forwardsTcp]],
      configuration: { holdTime: seconds(30), options: [] },
    },
  };
}

function mriOf(index: number): Mri {
  return {
    method: "path-coupled",
    direction: "downstream",
    source: IpAddress.parse(source),
    destination: IpAddress.parse(destination),
    sourcePrefix: 32,
    destinationPrefix: 32,
    protocol: 17,
    sourcePort: 1024 + (index % 60_000),
    destinationPort: 1024 + (Math.floor(index / 60_000) % 60_000),
  };
}

function withMagic(message: Uint8Array): Uint8Array {
  const magic = Buffer.alloc(4);
  magic.writeUInt32BE(MAGIC);
  return Buffer.concat([magic, message]);
}

function randomLength(): Uint8Array {
  return systemRandom.bytes(Math.floor(systemRandom.fraction() * MAX_RANDOM_LENGTH));
}

/** In batches, each begun when the kernel has taken the one before. */
async function sendAll(from: Socket, all: Iterable<Uint8Array>): Promise<number> {
  let sent = 0;
  let batch: Promise<void>[] = [];
  for (const datagram of all) {
    batch.push(new Promise((resolve) => from.send(datagram, GIST_PORT, target, () => resolve())));
    sent++;
    if (batch.length < BATCH) continue;
    await Promise.all(batch);
    batch = [];
  }
  await Promise.all(batch);
  return sent;
}
