/** IP addresses and prefixes, parsed once at the edge. */
import { isIPv4, isIPv6, SocketAddress } from "node:net";
import { Recent } from "./recent.js";
import type { ByteReader } from "./wire.js";

export type IpFamily = 4 | 6;

export class AddressError extends Error {
  override readonly name = "AddressError";
}

const RECENT = 1024;

/** An IPv4 or IPv6 address: its bytes in network order and its canonical text. Immutable. */
export class IpAddress {
  /** Every message brings the same few again, and each has its text made once. */
  static readonly #recent = new Recent<IpAddress>(RECENT);
  static readonly #of = (bytes: Uint8Array): IpAddress => new IpAddress(bytes);
  readonly family: IpFamily;
  /** 4 or 16 bytes, network order. Not to be written to. */
  readonly bytes: Uint8Array;
  #text: string | undefined;

  private constructor(bytes: Uint8Array) {
    this.family = bytes.length === 4 ? 4 : 6;
    this.bytes = bytes;
  }

  /**
   * From 4 or 16 bytes, all or those from `start` on, which are copied. Throws {@link AddressError} on any other length, and
   * when there are not as many.
   */
  static fromBytes(bytes: Uint8Array, start = 0, length = bytes.length - start): IpAddress {
    if ((length !== 4 && length !== 16) || start + length > bytes.length)
      throw new AddressError(
        `an IP address has 4 or 16 bytes, not ${Math.min(length, bytes.length - start)}`,
      );
    return IpAddress.#recent.get(bytes, start, length, IpAddress.#of);
  }

  /** The next bytes. Throws WireError when there are not as many. */
  static read(reader: ByteReader, length: 4 | 16): IpAddress {
    return reader.make(length, fromBytes);
  }

  /** From text, without zone or prefix length. Throws {@link AddressError}. */
  static parse(text: string): IpAddress {
    if (isIPv4(text)) return new IpAddress(Uint8Array.from(text.split("."), Number));
    if (isIPv6(text) && !text.includes("%")) return new IpAddress(parseIpv6(text));
    throw new AddressError(`"${text}" is not an IP address`);
  }

  toString(): string {
    this.#text ??= this.family === 4 ? formatIpv4(this.bytes) : formatIpv6(this.bytes);
    return this.#text;
  }

  toJSON(): string {
    return this.toString();
  }

  /** 0.0.0.0 or ::. */
  get isUnspecified(): boolean {
    for (let i = 0; i < this.bytes.length; i++) if (this.bytes[i] !== 0) return false;
    return true;
  }

  equals(other: IpAddress): boolean {
    if (this === other) return true;
    if (this.family !== other.family) return false;
    for (let i = 0; i < this.bytes.length; i++) if (this.bytes[i] !== other.bytes[i]) return false;
    return true;
  }
}

/** A prefix such as 192.168.20.0/24. Host bits are zero. */
export class IpPrefix {
  readonly address: IpAddress;
  readonly length: number;

  constructor(address: IpAddress, length: number) {
    const bits = address.bytes.length * 8;
    if (!Number.isInteger(length) || length < 0 || length > bits)
      throw new AddressError(`prefix length ${length} is not between 0 and ${bits}`);
    const masked = Uint8Array.from(address.bytes, (b, i) => b & maskByte(length, i));
    this.address = IpAddress.fromBytes(masked);
    this.length = length;
  }

  /** From "10.0.0.0/8" or a bare address, which means that host alone. Throws {@link AddressError}. */
  static parse(text: string): IpPrefix {
    const [host = "", length, ...rest] = text.split("/");
    const address = IpAddress.parse(host);
    if (rest.length > 0 || (length !== undefined && !/^\d{1,3}$/.test(length)))
      throw new AddressError(`"${text}" is not a prefix`);
    return new IpPrefix(address, length === undefined ? address.bytes.length * 8 : Number(length));
  }

  contains(address: IpAddress): boolean {
    if (address.family !== this.address.family) return false;
    const own = this.address.bytes;
    for (let i = 0; 8 * i < this.length; i++)
      if (((address.bytes[i] ?? 0) & maskByte(this.length, i)) !== own[i]) return false;
    return true;
  }

  toString(): string {
    return `${this.address}/${this.length}`;
  }

  toJSON(): string {
    return this.toString();
  }
}

const fromBytes = (bytes: Uint8Array, start: number, length: number): IpAddress =>
  IpAddress.fromBytes(bytes, start, length);

function maskByte(prefixLength: number, index: number): number {
  const bits = Math.min(8, Math.max(0, prefixLength - index * 8));
  return (0xff00 >> bits) & 0xff;
}

function parseIpv6(text: string): Uint8Array {
  const [head = "", tail] = text.split("::");
  const front = ipv6Words(head);
  const back = tail === undefined ? [] : ipv6Words(tail);
  const words = [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
  return Uint8Array.from(words.flatMap((w) => [w >> 8, w & 0xff]));
}

function ipv6Words(part: string): number[] {
  if (part === "") return [];
  return part.split(":").flatMap((group) => {
    if (!group.includes(".")) return [Number.parseInt(group, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = group.split(".").map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}

function formatIpv4(bytes: Uint8Array): string {
  return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
}

function formatIpv6(bytes: Uint8Array): string {
  const words: string[] = [];
  for (let i = 0; i < 16; i += 2) words.push((((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0)).toString(16));
  return new SocketAddress({ address: words.join(":"), family: "ipv6" }).address;
}
