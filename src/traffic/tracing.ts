/** Which flows' places are counted, and under which number of the addon's: a number is given again only when no thread uses it. */
import { readdirSync, readFileSync } from "node:fs";
import { type Flow, flowKey } from "../base/flow.js";
import type { Time } from "../base/time.js";
import { bytes, type Milliseconds, seconds } from "../base/units.js";
import type { PlaceCount } from "./datapath.js";
import { PLACE_VALUES, PLACES_VALUES, TRACED_FLOWS } from "./native.js";

/** What it needs of the addon. */
export interface Tracer {
  /** As Native.trace of one flow. */
  readonly trace: (flow: Flow, number: number) => boolean;
  readonly read: (number: number, out: Float64Array) => void;
  /** A ticket of now, and whether no thread works with what was before it. */
  readonly ticket: () => number;
  readonly settled: (ticket: number) => boolean;
}

/** How long names of interfaces are believed. */
const NAMES_HOLD: Milliseconds = seconds(1);

interface Given {
  readonly number: number;
  readonly ticket: number;
}

export class Tracing {
  readonly #tracer: Tracer;
  readonly #time: Time;
  readonly #interfaces: () => ReadonlyMap<number, string>;
  #names: ReadonlyMap<number, string> = new Map();
  #readAgainAt = 0;
  readonly #numbers = new Map<string, number>();
  readonly #returned: Given[] = [];
  readonly #values = new Float64Array(PLACES_VALUES);
  #unused = 1;

  /** @param interfaces names by the lower 16 bits of their index, without those that share them */
  constructor(tracer: Tracer, time: Time, interfaces = readInterfaces) {
    this.#tracer = tracer;
    this.#time = time;
    this.#interfaces = interfaces;
  }

  start(flow: Flow): boolean {
    this.stop(flow);
    const number = this.#take();
    if (number === undefined) return false;
    if (!this.#tracer.trace(flow, number)) {
      this.#giveBack(number);
      return false;
    }
    this.#numbers.set(flowKey(flow), number);
    return true;
  }

  stop(flow: Flow): void {
    const key = flowKey(flow);
    const number = this.#numbers.get(key);
    if (number === undefined) return;
    this.#numbers.delete(key);
    this.#tracer.trace(flow, 0);
    this.#giveBack(number);
  }

  places(flow: Flow): readonly PlaceCount[] {
    const number = this.#numbers.get(flowKey(flow));
    if (number === undefined) return [];
    this.#readNames();
    this.#tracer.read(number, this.#values);
    const places: PlaceCount[] = [];
    for (let at = 0; at + PLACE_VALUES <= this.#values.length; at += PLACE_VALUES) {
      const [index = 0, address = 0, counted = 0, failed = 0] = this.#values.subarray(at);
      if (counted === 0 && failed === 0) continue;
      const name = this.#names.get(index);
      if (name === undefined) continue;
      places.push({ interface: name, address: addressText(address), bytes: bytes(counted), failed });
    }
    return places;
  }

  #readNames(): void {
    const now = this.#time.now();
    if (now < this.#readAgainAt) return;
    this.#readAgainAt = now + NAMES_HOLD;
    this.#names = this.#interfaces();
  }

  #take(): number | undefined {
    const [oldest] = this.#returned;
    if (oldest !== undefined && this.#tracer.settled(oldest.ticket)) return this.#returned.shift()?.number;
    return this.#unused <= TRACED_FLOWS ? this.#unused++ : undefined;
  }

  #giveBack(number: number): void {
    this.#returned.push({ number, ticket: this.#tracer.ticket() });
  }
}

function addressText(address: number): string {
  return address.toString(16).padStart(12, "0").match(/../g)?.join(":") ?? "";
}

const INTERFACES = "/sys/class/net";
const LOWER_BITS = 0xffff;

function readInterfaces(): Map<number, string> {
  const names = new Map<number, string>();
  const shared = new Set<number>();
  for (const name of readdirSync(INTERFACES)) {
    const index = indexOf(name) & LOWER_BITS;
    if (names.has(index)) shared.add(index);
    names.set(index, name);
  }
  for (const index of shared) names.delete(index);
  return names;
}

/** 0 for one that is gone in the meantime. */
function indexOf(name: string): number {
  try {
    return Number.parseInt(readFileSync(`${INTERFACES}/${name}/ifindex`, "utf8"), 10);
  } catch {
    return 0;
  }
}
