/**
 * Query-Cookies and Responder-Cookies (RFC 5971 section 8.5).
 *
 * A Responder-Cookie is what lets a node answer Queries without keeping anything: it holds, under a secret of this
 * node, all that a Confirm must still agree with. Layout: 4 bytes secret generation, 16 bytes MAC, 1 byte length of
 * the name of the interface on which the Query came, the name, zeros to a whole word.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { IpAddress } from "../base/address.js";
import type { Random } from "../base/random.js";
import type { Time } from "../base/time.js";
import type { Milliseconds } from "../base/units.js";

const QUERY_COOKIE_BYTES = 16;
const GENERATION_BYTES = 4;
const MAC_BYTES = 16;
const NAME_AT = GENERATION_BYTES + MAC_BYTES + 1;
const LONGEST_NAME = 64;

/** What a Responder-Cookie stands for. */
export interface CookieSubject {
  /** Peer-Identity of the querying node, in hexadecimal. */
  readonly identity: string;
  readonly interfaceAddress: IpAddress;
  /** MRI of the Query, session and NSLPID as one text. */
  readonly flow: string;
}

interface Generation {
  /** Random, not a counter or a time: liveness must not be guessable. */
  readonly id: Uint8Array;
  readonly secret: Uint8Array;
  readonly born: Milliseconds;
}

export function newQueryCookie(random: Random): Uint8Array {
  return random.bytes(QUERY_COOKIE_BYTES);
}

export class ResponderCookies {
  readonly #time: Time;
  readonly #random: Random;
  readonly #lifetime: Milliseconds;
  #current: Generation;
  #previous: Generation | undefined;

  /** @param lifetime of a secret; a cookie is good for at least as long and at most twice as long */
  constructor(time: Time, random: Random, lifetime: Milliseconds) {
    this.#time = time;
    this.#random = random;
    this.#lifetime = lifetime;
    this.#current = this.#newGeneration();
  }

  make(subject: CookieSubject, inboundInterface: string): Uint8Array {
    this.#turnOver();
    const name = Buffer.from(inboundInterface).subarray(0, LONGEST_NAME);
    const cookie = new Uint8Array(Math.ceil((NAME_AT + name.length) / 4) * 4);
    cookie.set(this.#current.id);
    cookie[NAME_AT - 1] = name.length;
    cookie.set(name, NAME_AT);
    cookie.set(mac(this.#current, subject, name), GENERATION_BYTES);
    return cookie;
  }

  /** The interface on which the Query came, or undefined when the cookie is not one of this node's for `subject`. */
  check(cookie: Uint8Array, subject: CookieSubject): string | undefined {
    this.#turnOver();
    const generation = [this.#current, this.#previous].find(
      (g) => g !== undefined && startsWith(cookie, g.id),
    );
    const nameLength = cookie[NAME_AT - 1];
    if (generation === undefined || nameLength === undefined || NAME_AT + nameLength > cookie.length)
      return undefined;
    const name = cookie.subarray(NAME_AT, NAME_AT + nameLength);
    const given = cookie.subarray(GENERATION_BYTES, GENERATION_BYTES + MAC_BYTES);
    if (!timingSafeEqual(given, mac(generation, subject, name))) return undefined;
    return Buffer.from(name).toString();
  }

  #turnOver(): void {
    const age = this.#time.now() - this.#current.born;
    if (age < this.#lifetime) return;
    this.#previous = age < 2 * this.#lifetime ? this.#current : undefined;
    this.#current = this.#newGeneration();
  }

  #newGeneration(): Generation {
    return {
      id: this.#random.bytes(GENERATION_BYTES),
      secret: this.#random.bytes(32),
      born: this.#time.now(),
    };
  }
}

function mac(generation: Generation, subject: CookieSubject, interfaceName: Uint8Array): Uint8Array {
  return createHmac("sha256", generation.secret)
    .update(generation.id)
    .update(`${subject.identity} ${subject.interfaceAddress} ${subject.flow} `)
    .update(interfaceName)
    .digest()
    .subarray(0, MAC_BYTES);
}

function startsWith(bytes: Uint8Array, beginning: Uint8Array): boolean {
  return bytes.length >= beginning.length && beginning.every((b, i) => b === bytes[i]);
}

/** For cookies that a peer sends back: whether two are the same bytes. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
