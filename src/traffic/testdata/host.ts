/**
 * A host of the engine's test, run inside a network namespace: an engine, a UDP socket and TCP on demand. Takes one
 * JSON command a line on standard input and answers each with one JSON line. Ends when standard input does.
 */
import { createSocket, type Socket } from "node:dgram";
import { connect, createServer } from "node:net";
import { type Flow, flowKey, parseFlow } from "../../base/flow.js";
import { silentLogger } from "../../base/log.js";
import { bytes, ms } from "../../base/units.js";
import { NfqueueDatapath, type NfqueueOptions } from "../nfqueue.js";
import { answerCommands } from "./commands.js";

interface Command {
  readonly do: string;
  readonly flow: string;
  readonly flows: readonly string[];
  readonly options: Partial<NfqueueOptions>;
  readonly volume: number;
  readonly notifyAt?: number;
  readonly duration: number;
  readonly count: number;
  readonly size: number;
  readonly port: number;
  readonly address: string;
  readonly path: number;
}

const PATIENCE_MS = 10_000;

const events: object[] = [];
const sockets = new Map<string, Socket>();
const received: string[] = [];
let receivedBytes = 0;
let transferring: Promise<string> | undefined;
let datapath: NfqueueDatapath | undefined;

function engine(): NfqueueDatapath {
  if (datapath === undefined) throw new Error("there is no engine here");
  return datapath;
}

function start(options: Partial<NfqueueOptions>): void {
  datapath = NfqueueDatapath.open({
    queueBase: 2700,
    capacity: 1000,
    holdPacketsPerFlow: 8,
    holdPackets: 64,
    holdTime: ms(30_000),
    refuseMark: 0x100,
    enforce: true,
    logger: silentLogger,
    ...options,
  });
  datapath.listen((batch) => events.push(...batch.map((event) => ({ ...event, flow: flowKey(event.flow) }))));
}

/** A UDP socket for each local port. */
async function socketOf(flow: Flow): Promise<Socket> {
  const key = `${flow.source}:${flow.sourcePort}`;
  const present = sockets.get(key);
  if (present !== undefined) return present;
  const socket = createSocket(flow.source.family === 4 ? "udp4" : "udp6");
  sockets.set(key, socket);
  socket.on("error", () => undefined);
  socket.on("message", (message) => received.push(message.toString("latin1", 0, 4)));
  await new Promise<void>((resolve) => socket.bind(flow.sourcePort, flow.source.toString(), resolve));
  return socket;
}

/** Datagrams of `size` bytes with IP and UDP headers, numbered in their first four bytes. */
async function send({ flow: text, count, size }: Command): Promise<void> {
  const flow = parseFlow(text);
  const socket = await socketOf(flow);
  for (let i = 0; i < count; i++) {
    const payload = Buffer.alloc(size - (flow.source.family === 4 ? 28 : 48));
    payload.write(String(i).padStart(4, "0"), "latin1");
    await new Promise<void>((resolve) =>
      socket.send(payload, flow.destinationPort, flow.destination.toString(), () => resolve()),
    );
  }
}

/** Counts the bytes that TCP connections bring. */
function serve({ address, port }: Command): Promise<void> {
  const server = createServer((connection) => {
    connection.on("data", (data) => (receivedBytes += data.length));
    connection.on("error", () => undefined);
  });
  server.unref();
  return new Promise((resolve) => server.listen(port, address, () => resolve()));
}

/** Sends `size` bytes by TCP; says how it ended. */
function transfer({ flow: text, size }: Command): Promise<string> {
  const flow = parseFlow(text);
  return new Promise((resolve) => {
    const connection = connect({
      host: flow.destination.toString(),
      port: flow.destinationPort,
      localAddress: flow.source.toString(),
      localPort: flow.sourcePort,
    });
    connection.setTimeout(PATIENCE_MS, () => resolve("nothing"));
    connection.unref();
    connection.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    connection.on("connect", () => connection.end(Buffer.alloc(size)));
    connection.on("close", () => resolve("done"));
    connection.resume();
  });
}

async function install({ flows, volume, notifyAt, duration }: Command): Promise<void> {
  await engine().install(
    flows.map((flow) => ({
      flow: parseFlow(flow),
      allowedVolume: bytes(volume),
      lifetime: ms(duration),
      ...(notifyAt === undefined ? {} : { notifyAt: bytes(notifyAt) }),
    })),
  );
}

async function perform(command: Command): Promise<unknown> {
  switch (command.do) {
    case "start":
      return start(command.options);
    case "stop":
      return engine().stop();
    case "bind":
      await socketOf(parseFlow(command.flow));
      return;
    case "send":
      return send(command);
    case "serve":
      return serve(command);
    case "transfer":
      transferring = transfer(command);
      return;
    case "transferred":
      return transferring;
    case "install":
      return install(command);
    case "remove":
      return engine().remove(command.flows.map(parseFlow));
    case "refuse":
      return engine().refuse(parseFlow(command.flow), ms(command.duration));
    case "letGo":
      return engine().letGo(parseFlow(command.flow), ms(command.duration));
    case "steer":
      return engine().steer(parseFlow(command.flow), command.path);
    case "refill":
      return engine().refillSets();
    case "read":
      return engine().read(command.flows.map(parseFlow));
    case "status":
      return engine().status();
    case "events":
      return events.splice(0);
    case "received":
      return { datagrams: received, bytes: receivedBytes };
    default:
      throw new Error(`there is no command ${command.do}`);
  }
}

await answerCommands<Command>(perform);
for (const socket of sockets.values()) socket.close();
await datapath?.stop();
