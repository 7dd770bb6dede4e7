/**
 * Ping along a path: a signalling application of its own, that shows which nodes of a flow's path run it. It knows GIST
 * as a service on a socket, and nothing of PBS.
 *   path-ping answer --socket PATH --name NAME      answers until it is ended
 *   path-ping send --socket PATH --from ADDRESS --to ADDRESS [--count N] [--interval MS] [--wait MS] [--reliable] [--json]
 *
 * A ping goes from node to node downstream. Each node answers with "here" upstream at once, and passes the ping on; the one
 * that GIST tells that the path ends there answers with "end". Messages are JSON in whole 32-bit words.
 */
import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { IpAddress } from "../../src/base/address.js";
import { silentLogger } from "../../src/base/log.js";
import { systemRandom } from "../../src/base/random.js";
import { SystemTime } from "../../src/base/time.js";
import { GistClient } from "../../src/gist/ipc/client.js";
import type { MessageStatus, Nslp, PeerDecision, ReceivedMessage } from "../../src/gist/service.js";
import type { Direction, Mri, SessionId } from "../../src/gist/wire/messages.js";

/** Of the range for private and experimental use (RFC 5971 section 9). */
const NSLP_ID = 32705;
const MAX_HOPS = 32;
const MAX_NAME = 64;
/** Pings that were passed on and may still turn out to have reached the end. */
const MAX_PASSED = 1000;

type Message =
  | { readonly type: "ping"; readonly sequence: number; readonly hop: number }
  | {
      readonly type: "here";
      readonly sequence: number;
      readonly hop: number;
      readonly name: string;
      readonly identity: string;
      /** Clock of that node when the ping came, milliseconds since 1970. */
      readonly at: number;
    }
  | { readonly type: "end"; readonly sequence: number; readonly hop: number };

function encode(message: Message): Uint8Array {
  const text = JSON.stringify(message);
  return Buffer.from(text.padEnd(Math.ceil(Buffer.byteLength(text) / 4) * 4));
}

/** undefined for what no path-ping has made. */
function decode(data: Uint8Array): Message | undefined {
  try {
    const value = JSON.parse(Buffer.from(data).toString()) as Record<string, unknown>;
    return isMessage(value) ? (value as unknown as Message) : undefined;
  } catch {
    return undefined;
  }
}

function isMessage(value: Record<string, unknown>): boolean {
  const { type, sequence, hop, name, identity, at } = value;
  if (!isCount(sequence, 2 ** 32 - 1) || !isCount(hop, MAX_HOPS)) return false;
  if (type !== "here") return type === "ping" || type === "end";
  const texts = [name, identity].every((text) => typeof text === "string" && text.length <= MAX_NAME);
  return texts && typeof at === "number";
}

function isCount(value: unknown, max: number): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;
}

/** What both sides of the program have in common: sending along one session's path. */
abstract class PathPing implements Nslp {
  protected readonly gist: GistClient;
  readonly #reliable: boolean;
  #handle = 0;

  constructor(gist: GistClient, reliable: boolean) {
    this.gist = gist;
    this.#reliable = reliable;
  }

  recvMessage(received: ReceivedMessage): PeerDecision {
    const message = received.routingStateCheck ? undefined : decode(received.data);
    if (message !== undefined) this.received(message, received);
    return { peer: true };
  }

  messageStatus(status: MessageStatus): void {
    this.told(status);
  }

  networkNotification(): void {
    // The next ping finds the path anew.
  }

  protected abstract received(message: Message, received: ReceivedMessage): void;
  protected abstract told(status: MessageStatus): void;

  protected send(
    message: Message,
    to: { readonly sessionId: SessionId; readonly mri: Mri },
    direction: Direction,
    transfer = { reliable: this.#reliable, secure: this.#reliable },
  ): number {
    this.#handle = (this.#handle + 1) >>> 0;
    this.gist.sendMessage({
      data: encode(message),
      nslpId: NSLP_ID,
      sessionId: to.sessionId,
      mri: { ...to.mri, direction },
      transfer,
      handle: this.#handle,
    });
    return this.#handle;
  }
}

class Answerer extends PathPing {
  readonly #name: string;
  readonly #passed = new Map<number, { readonly message: Message; readonly received: ReceivedMessage }>();

  constructor(gist: GistClient, name: string) {
    super(gist, false);
    this.#name = name;
  }

  protected received(message: Message, received: ReceivedMessage): void {
    const { reliable, secure } = received.transfer;
    const transfer = { reliable, secure };
    if (message.type !== "ping") return void this.send(message, received, "upstream", transfer);
    const { sequence, hop } = message;
    const { identity } = this.gist.view();
    const here = { type: "here", sequence, hop, name: this.#name, identity, at: Date.now() } as const;
    this.send(here, received, "upstream", transfer);
    if (hop >= MAX_HOPS) return;
    const handle = this.send({ type: "ping", sequence, hop: hop + 1 }, received, "downstream", transfer);
    this.#remember(handle, message, received);
  }

  protected told({ handle = -1, error }: MessageStatus): void {
    const passed = this.#passed.get(handle);
    this.#passed.delete(handle);
    if (passed === undefined || error !== "endpoint-found") return;
    const { sequence, hop } = passed.message;
    const { reliable, secure } = passed.received.transfer;
    this.send({ type: "end", sequence, hop }, passed.received, "upstream", { reliable, secure });
  }

  #remember(handle: number, message: Message, received: ReceivedMessage): void {
    this.#passed.set(handle, { message, received });
    const [oldest] = this.#passed.keys();
    if (this.#passed.size > MAX_PASSED && oldest !== undefined) this.#passed.delete(oldest);
  }
}

interface Hop {
  readonly name: string;
  readonly identity: string;
  /** Milliseconds, by sequence number. */
  readonly roundTrips: number[];
  readonly at: number;
}

class Asker extends PathPing {
  readonly #target: { readonly sessionId: SessionId; readonly mri: Mri };
  readonly #sent = new Map<number, number>();
  readonly hops: Hop[] = [];
  readonly failures = new Set<string>();
  /** Hops that the path has, once a ping has reached its end. */
  ended: number | undefined;

  constructor(gist: GistClient, mri: Mri, reliable: boolean) {
    super(gist, reliable);
    this.#target = { sessionId: randomBytes(16).toString("hex") as SessionId, mri };
  }

  ping(sequence: number): void {
    this.#sent.set(sequence, performance.now());
    this.send({ type: "ping", sequence, hop: 0 }, this.#target, "downstream");
  }

  /** Whether every hop has answered every ping. */
  complete(count: number): boolean {
    return (
      this.ended !== undefined &&
      this.hops.length >= this.ended &&
      this.hops.every(({ roundTrips }) => roundTrips.filter((time) => time >= 0).length === count)
    );
  }

  protected received(message: Message, { sessionId }: ReceivedMessage): void {
    const sent = this.#sent.get(message.sequence);
    if (sent === undefined || sessionId !== this.#target.sessionId || message.type === "ping") return;
    if (message.type === "end") {
      this.ended = message.hop + 1;
      return;
    }
    const { name, identity, at } = message;
    const hop = (this.hops[message.hop] ??= { name, identity, at, roundTrips: [] });
    hop.roundTrips[message.sequence] ??= Math.round((performance.now() - sent) * 1000) / 1000;
  }

  protected told({ error, detail }: MessageStatus): void {
    if (error !== "no-error") this.failures.add(`${error}: ${detail}`);
  }
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    socket: { type: "string", default: "/run/gistd/gist.sock" },
    name: { type: "string", default: "" },
    from: { type: "string" },
    to: { type: "string" },
    count: { type: "string", default: "3" },
    interval: { type: "string", default: "200" },
    wait: { type: "string", default: "10000" },
    reliable: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

const gist = new GistClient({
  path: values.socket,
  name: `path-ping ${process.pid}`,
  time: new SystemTime(),
  random: systemRandom,
  log: silentLogger,
});
// The clock of the client does not keep a process alive.
const alive = setInterval(() => undefined, 1000);

if (positionals[0] === "answer") await answer();
else if (positionals[0] === "send") process.exitCode = await ask();
else throw new Error("path-ping answer or path-ping send");

async function answer(): Promise<void> {
  gist.register(NSLP_ID, new Answerer(gist, values.name.slice(0, MAX_NAME)));
  gist.start();
  await gist.whenReady();
  process.stdout.write("ready\n");
}

async function ask(): Promise<number> {
  const [source, destination] = [values.from ?? "", values.to ?? ""].map((text) => IpAddress.parse(text));
  if (source === undefined || destination === undefined) return 2;
  const bits = source.bytes.length * 8;
  const ends = { source, destination, sourcePrefix: bits, destinationPrefix: bits };
  const asker = new Asker(
    gist,
    { method: "path-coupled", direction: "downstream", ...ends },
    values.reliable,
  );
  gist.register(NSLP_ID, asker);
  gist.start();
  await gist.whenReady();
  await pingAll(asker, Number(values.count));
  report(asker);
  clearInterval(alive);
  gist.close();
  return asker.ended === undefined ? 1 : 0;
}

/** Sends all, and waits for all answers or for the time that is given. */
async function pingAll(asker: Asker, count: number): Promise<void> {
  const end = performance.now() + Number(values.wait);
  for (let sequence = 0; sequence < count; sequence++) {
    asker.ping(sequence);
    await pause(Number(values.interval));
  }
  while (!asker.complete(count) && performance.now() < end) await pause(10);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function report({ hops, ended, failures }: Asker): void {
  if (values.json) {
    const document = {
      from: values.from,
      to: values.to,
      complete: ended !== undefined,
      hops,
      failures: [...failures],
    };
    process.stdout.write(`${JSON.stringify(document)}\n`);
    return;
  }
  hops.forEach(({ name, identity, roundTrips }, index) => {
    const times = roundTrips.map((time) => `${time.toFixed(1)} ms`).join("  ");
    process.stdout.write(`${index + 1}  ${name}  ${identity.slice(0, 16)}  ${times}\n`);
  });
  for (const failure of failures) process.stdout.write(`${failure}\n`);
}
