/** What the scenarios with attackers share: a stream whose end is known, and times measured from the first bad byte. */
import type { PbsEvent } from "../../src/nslp/view.js";
import type { InjectPlan } from "../attackers/injector.js";
import type { Daemon } from "../lib/daemon.js";
import type { Program } from "../lib/programs.js";
import type { Step } from "../lib/report.js";
import type { Testbed } from "../lib/testbed.js";
import { settled, until } from "../lib/wait.js";
import { eventsOf, udpListener, udpSender, wallClock } from "./common.js";

export const STREAM_PORT = 9000;
export const STREAM_SOURCE = 4000;
const QUIET_MS = 400;
const LOOK_EVERY_MS = 20;
/** Numbers of injected datagrams begin here (attackers/inject.py). */
const ATTACK = 2 ** 31;

/** Where a stream comes from and goes to; several at a time need different ones. */
export interface Ports {
  readonly source: number;
  readonly port: number;
}

const USUAL: Ports = { source: STREAM_SOURCE, port: STREAM_PORT };

/** Datagrams of a flow that a scenario watches, always from the same ports. */
export class Stream {
  readonly #testbed: Testbed;
  readonly #from: string;
  readonly #to: string;
  readonly #listener: Program;
  readonly #ports: Ports;

  private constructor(testbed: Testbed, from: string, to: string, ports: Ports, listener: Program) {
    this.#ports = ports;
    this.#testbed = testbed;
    this.#from = from;
    this.#to = to;
    this.#listener = listener;
  }

  static async listen(testbed: Testbed, from: string, to: string, ports = USUAL): Promise<Stream> {
    const listener = testbed.spawn(to, udpListener(ports.port));
    await listener.says("listening");
    return new Stream(testbed, from, to, ports, listener);
  }

  get flow(): RegExp {
    const { source, port } = this.#ports;
    return new RegExp(`:${source} > .*:${port}$`);
  }

  /** For those who forge its packets. */
  get tuple(): InjectPlan["flow"] {
    const { source: sport, port: dport } = this.#ports;
    const [source, destination] = [this.#from, this.#to].map((node) => this.#testbed.address(node, 4));
    return { protocol: 17, source: source ?? "", sport, destination: destination ?? "", dport };
  }

  /** Sends datagrams of `size` payload bytes; count 0: until it is stopped. */
  send(shape: { readonly count: number; readonly size: number; readonly rate: number }): Program {
    const to = this.#testbed.address(this.#to, 4);
    const { source: from, port } = this.#ports;
    return this.#testbed.spawn(this.#from, udpSender({ ...shape, from, to, port }));
  }

  /** Numbers of the stream's own datagrams that came to the program so far. */
  get received(): number[] {
    return this.#numbers().filter((number) => number < ATTACK);
  }

  /** Injected datagrams that came to the program so far. */
  get injected(): number {
    return this.#numbers().filter((number) => number >= ATTACK).length;
  }

  /** When the last injected datagram came to the program, milliseconds since 1970, to within 20 ms; of what comes from now on. */
  watchInjected(): { readonly stop: () => number | undefined } {
    let last: number | undefined;
    let seen = this.injected;
    const look = (): void => {
      if (this.injected === seen) return;
      seen = this.injected;
      last = wallClock();
    };
    const timer = setInterval(look, LOOK_EVERY_MS);
    return {
      stop: () => {
        clearInterval(timer);
        look();
        return last;
      },
    };
  }

  /** Waits until nothing more comes. */
  async quiet(): Promise<void> {
    await settled("the stream's end", 30_000, QUIET_MS, () => this.#listener.stdout.length);
  }

  stop(): Promise<number> {
    return this.#listener.stop();
  }

  #numbers(): number[] {
    return this.#listener.stdout.split("\n").slice(1, -1).map(Number);
  }
}

/** The first event of a type since `after` (milliseconds since 1970). */
export function eventAfter(
  daemon: Daemon,
  type: PbsEvent["type"],
  after: number,
  limit = 30_000,
  matches: (event: PbsEvent) => boolean = () => true,
): Promise<PbsEvent> {
  return until(`an event "${type}" at ${daemon.name}`, limit, async () =>
    (await eventsOf(daemon)).find((event) => event.type === type && event.time >= after && matches(event)),
  );
}

/** Findings of a daemon, but for those of Queries without an answer. */
export async function alarmsOf(daemon: Daemon, about = /^/): Promise<readonly string[]> {
  const alarms = (await eventsOf(daemon)).filter(
    ({ type, flow }) => type === "attack" && about.test(flow ?? ""),
  );
  return alarms.map(({ detail }) => detail);
}

/** Prints an event as evidence, and when it came. */
export function showEvent(step: Step, name: string, event: PbsEvent, since: number): number {
  step.measure(name, event.detail);
  return step.measure(`${name}, ms after the first bad byte`, Math.round(event.time - since));
}
