/**
 * Query-Cookies and Responder-Cookies (RFC 5971 section 8.5).
 *
 * A Responder-Cookie is what lets a node answer Queries without keeping anything: it holds, under a secret of this
 * node, all that a Confirm must still agree with. Layout: 4 bytes secret generation, 16 bytes MAC, 4 bytes the validity
 * that the Response told, 1 byte length of the name of the interface on which the Query came, the name, zeros to a whole
 * word.
 */
import { timingSafeEqual } from "node:crypto";
import type { IpAddress } from "../base/address.js";
import { hmacSha256, MAC_BYTES } from "../base/hmac.js";
import type { Random } from "../base/random.js";
import { type Generation, GENERATION_BYTES, RotatingSecret } from "../base/rotating-secret.js";
import type { Time } from "../base/time.js";
import { ByteReader, bytesText } from "../base/wire.js";
import { type Milliseconds, ms } from "../base/units.js";

const QUERY_COOKIE_BYTES = 16;
const KEPT_AT = GENERATION_BYTES + MAC_BYTES;
const VALIDITY_BYTES = 4;
const NAME_AT = KEPT_AT + VALIDITY_BYTES + 1;
const LONGEST_NAME = 64;

/** What a Responder-Cookie stands for. */
export interface CookieSubject {
  /** Peer-Identity of the querying node, in hexadecimal. */
  readonly identity: string;
  readonly interfaceAddress: IpAddress;
  /** MRI of the Query, session and NSLPID as one text. */
  readonly flow: string;
}

/** What a Responder-Cookie brings back, so that nothing has to be kept meanwhile. */
export interface Kept {
  /** On which the Query came. */
  readonly inboundInterface: string;
  /** As the Response told it: the peer refreshes by that. */
  readonly validity: Milliseconds;
}

export function newQueryCookie(random: Random): Uint8Array {
  return random.bytes(QUERY_COOKIE_BYTES);
}

export class ResponderCookies {
  readonly #secrets: RotatingSecret;

  /** @param lifetime of a secret; a cookie is good for at least as long and at most twice as long */
  constructor(time: Time, random: Random, lifetime: Milliseconds) {
    this.#secrets = new RotatingSecret(time, random, lifetime);
  }

  make(subject: CookieSubject, { inboundInterface, validity }: Kept): Uint8Array {
    const generation = this.#secrets.current;
    const name = Buffer.from(inboundInterface).subarray(0, LONGEST_NAME);
    const cookie = new Uint8Array(Math.ceil((NAME_AT + name.length) / 4) * 4);
    cookie.set(generation.id);
    for (let i = 0; i < VALIDITY_BYTES; i++) cookie[KEPT_AT + i] = validity >>> (24 - 8 * i);
    cookie[NAME_AT - 1] = name.length;
    cookie.set(name, NAME_AT);
    const kept = cookie.subarray(KEPT_AT, NAME_AT + name.length);
    cookie.set(mac(generation, subject, kept), GENERATION_BYTES);
    return cookie;
  }

  /** What it was made with, or undefined when the cookie is not one of this node's for `subject`. */
  check(cookie: Uint8Array, subject: CookieSubject): Kept | undefined {
    const generation = this.#secrets.find(cookie);
    const nameLength = cookie[NAME_AT - 1];
    if (generation === undefined || nameLength === undefined || NAME_AT + nameLength > cookie.length)
      return undefined;
    const kept = cookie.subarray(KEPT_AT, NAME_AT + nameLength);
    const given = cookie.subarray(GENERATION_BYTES, KEPT_AT);
    if (!timingSafeEqual(given, mac(generation, subject, kept))) return undefined;
    return {
      inboundInterface: bytesText(kept.subarray(NAME_AT - KEPT_AT), "utf8"),
      validity: ms(new ByteReader(kept).u32()),
    };
  }
}

function mac(generation: Generation, subject: CookieSubject, kept: Uint8Array): Uint8Array {
  // Hexadecimal, an address, and a key of bytes: no character has more than 8 bits.
  const about = `${subject.identity} ${subject.interfaceAddress} ${subject.flow} `;
  const message = Buffer.allocUnsafe(GENERATION_BYTES + about.length + kept.length);
  message.set(generation.id);
  message.write(about, GENERATION_BYTES, "latin1");
  message.set(kept, GENERATION_BYTES + about.length);
  return hmacSha256(generation.secret, message);
}

/** For cookies that a peer sends back: whether two are the same bytes. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
