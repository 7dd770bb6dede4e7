/**
 * Which flow a number stands for. Nothing is kept for a flow: its addresses, ports and Session-ID follow from its number
 * and its generation, so that a slot can be used again by a flow that is new to everybody.
 */
import { IpAddress } from "../base/address.js";
import { type Flow, PROTOCOL } from "../base/flow.js";
import type { SessionId } from "../gist/wire/messages.js";

/** Addresses that follow each other. */
export interface AddressBlock {
  /** Text of the first one. */
  readonly first: string;
  readonly count: number;
}

export interface FlowSpaceOptions {
  readonly flows: number;
  readonly senders: AddressBlock;
  readonly receivers: AddressBlock;
}

const FIRST_PORT = 1024;
const PORTS = 60_000;
/** Session-ID: 8 bytes that name the run, 4 the generation, 4 the flow; hexadecimal. */
const RUN_DIGITS = 16;
const PART_DIGITS = 8;
const ID = /^[0-9a-f]{32}$/;

export interface Place {
  readonly index: number;
  readonly generation: number;
}

export class FlowSpace {
  readonly flows: number;
  readonly senders: readonly IpAddress[];
  readonly receivers: readonly IpAddress[];
  readonly #perPair: number;

  constructor({ flows, senders, receivers }: FlowSpaceOptions) {
    this.flows = flows;
    this.senders = addressesOf(senders);
    this.receivers = addressesOf(receivers);
    this.#perPair = Math.ceil(flows / (this.senders.length * this.receivers.length));
  }

  senderOf(index: number): number {
    return index % this.senders.length;
  }

  receiverOf(index: number): number {
    return Math.floor(index / this.senders.length) % this.receivers.length;
  }

  /** Numbers of the flows of its pair of hosts that stand in one block of so many with it, itself among them. */
  *blockOf(index: number, size: number): Iterable<number> {
    const pairs = this.senders.length * this.receivers.length;
    const inPair = Math.floor(index / pairs);
    const first = inPair - (inPair % size);
    const end = Math.min(this.flows, (first + size) * pairs);
    for (let other = (index % pairs) + first * pairs; other < end; other += pairs) yield other;
  }

  /** Flows of one pair differ in ports; so do the generations of one number. */
  flow({ index, generation }: Place): Flow {
    const inPair = Math.floor(index / (this.senders.length * this.receivers.length));
    const number = inPair + generation * this.#perPair;
    return {
      protocol: PROTOCOL.udp,
      source: at(this.senders, this.senderOf(index)),
      destination: at(this.receivers, this.receiverOf(index)),
      sourcePort: FIRST_PORT + (Math.floor(number / PORTS) % PORTS),
      destinationPort: FIRST_PORT + (number % PORTS),
    };
  }

  /** @param run 16 hexadecimal digits */
  sessionId(run: string, { index, generation }: Place): SessionId {
    return `${run}${hex(generation)}${hex(index)}` as SessionId;
  }

  /** Undefined for an id that is none of any run. */
  placeOf(id: SessionId): Place | undefined {
    if (!ID.test(id)) return undefined;
    const generation = Number.parseInt(id.slice(RUN_DIGITS, RUN_DIGITS + PART_DIGITS), 16);
    const index = Number.parseInt(id.slice(RUN_DIGITS + PART_DIGITS), 16);
    return index < this.flows ? { index, generation } : undefined;
  }
}

function hex(value: number): string {
  return value.toString(16).padStart(PART_DIGITS, "0");
}

function at(addresses: readonly IpAddress[], index: number): IpAddress {
  const address = addresses[index];
  if (address === undefined) throw new RangeError(`there is no address number ${index}`);
  return address;
}

/** Throws RangeError where the block leaves the last two bytes of its first address. */
export function addressesOf({ first, count }: AddressBlock): IpAddress[] {
  const base = IpAddress.parse(first).bytes;
  const [high = 0, low = 0] = base.subarray(-2);
  const start = high * 256 + low;
  if (count < 1 || start + count > 65_536)
    throw new RangeError(`${count} addresses from ${first} do not fit into the block`);
  return Array.from({ length: count }, (_, i) => {
    const bytes = Uint8Array.from(base);
    bytes[base.length - 2] = (start + i) >> 8;
    bytes[base.length - 1] = (start + i) & 0xff;
    return IpAddress.fromBytes(bytes);
  });
}
