import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import test from "ava";
import { HandshakeGate } from "./handshake-gate.js";

const TOTAL = 256;
const PER_SOURCE = 16;
let lastPort = 1024;

function connectionFrom(remoteAddress: string): Socket {
  const ends = { remoteAddress, remotePort: lastPort++, localAddress: "10.0.0.1", localPort: 270 };
  return Object.assign(new EventEmitter(), ends) as unknown as Socket;
}

const stranger = (number: number): string => `192.0.${number >> 8}.${number & 255}`;

/** Lets a source have all that it can get. */
function fillFrom(gate: HandshakeGate, address: string): number {
  let entered = 0;
  while (gate.enter(connectionFrom(address))) entered++;
  return entered;
}

test("a source gets no more than its share, and that again when it leaves", (t) => {
  const gate = new HandshakeGate(TOTAL, 2);
  const first = connectionFrom(stranger(1));
  t.true(gate.enter(first));
  t.is(fillFrom(gate, stranger(1)), 1);
  t.is(fillFrom(gate, stranger(2)), 2);
  gate.leave(first);
  t.is(gate.waiting, 3);
  t.is(fillFrom(gate, stranger(1)), 1);
});

test("few strangers cannot take all places", (t) => {
  const gate = new HandshakeGate(TOTAL, PER_SOURCE);
  for (let i = 0; i < 30; i++) fillFrom(gate, stranger(i));
  t.true(gate.enter(connectionFrom(stranger(1000))));
});

test("many strangers leave places to those who showed a certificate", (t) => {
  const gate = new HandshakeGate(TOTAL, PER_SOURCE);
  const known = connectionFrom("198.51.100.1");
  t.true(gate.enter(known));
  gate.authenticated(known);
  t.is(gate.waiting, 0);
  for (let i = 0; i < 1000; i++) fillFrom(gate, stranger(i));
  t.is(gate.waiting, (TOTAL / 4) * 3);
  t.is(fillFrom(gate, "198.51.100.1"), PER_SOURCE);
});

test("who only spoke is no known peer", (t) => {
  const gate = new HandshakeGate(TOTAL, PER_SOURCE);
  const spoke = connectionFrom("198.51.100.1");
  t.true(gate.enter(spoke));
  gate.leave(spoke);
  for (let i = 0; i < 1000; i++) fillFrom(gate, stranger(i));
  t.is(fillFrom(gate, "198.51.100.1"), 0);
});

test("a connection that closes gives its place back", (t) => {
  const gate = new HandshakeGate(TOTAL, 1);
  const one = connectionFrom(stranger(1));
  t.true(gate.enter(one));
  t.false(gate.enter(connectionFrom(stranger(1))));
  one.emit("close");
  t.true(gate.enter(connectionFrom(stranger(1))));
});
