/**
 * Tickets: what a busy node gives to those whom it turns away, so that they are served before newcomers when they come
 * back at the time they were told, and, when it is very busy, have had to do some work for it. The node keeps nothing: a
 * ticket is its own word under a secret, bound to session, flow and time (docs/protocol.md, "A node that is busy").
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { LONGEST_RETRY } from "../../authorization/admission.js";
import { type Flow, flowKey } from "../../base/flow.js";
import type { Random } from "../../base/random.js";
import { type Generation, GENERATION_BYTES, RotatingSecret } from "../../base/rotating-secret.js";
import type { Time } from "../../base/time.js";
import { type Milliseconds, ms, seconds } from "../../base/units.js";
import type { SessionId } from "../../gist/wire/messages.js";
import type { Ticket } from "../wire/messages.js";

const MAC_BYTES = 16;
export const NONCE_BYTES = 8;
export const SEAL_BYTES = GENERATION_BYTES + MAC_BYTES;
const TICKET_CONTEXT = "PBS-TICKET-1\0";
const WORK_CONTEXT = new TextEncoder().encode("PBS-WORK-1\0");

/** How long after its time a ticket is still good; a puzzle may take that long. */
export const TICKET_VALIDITY = seconds(60);
const SECRET_LIFETIME = ms(LONGEST_RETRY + TICKET_VALIDITY);

const WORD = 2 ** 32;
const WORD_BITS = 8;

export interface TicketSubject {
  readonly id: SessionId;
  readonly flow: Flow;
}

export type TicketVerdict = "good" | "forged" | "early" | "late" | "unsolved";

export class Tickets {
  readonly #time: Time;
  readonly #random: Random;
  readonly #node: Uint8Array;
  /** Most nodes never need one. */
  #secrets: RotatingSecret | undefined;

  /** @param node this node's key identity, 16 bytes */
  constructor(time: Time, random: Random, node: Uint8Array) {
    this.#time = time;
    this.#node = node;
    this.#random = random;
  }

  /** One for coming back in `wait` from now, with a puzzle of so many bits. */
  make(subject: TicketSubject, wait: Milliseconds, bits: number): Ticket {
    const due = Math.round(this.#time.now() + wait) % WORD;
    this.#secrets ??= new RotatingSecret(this.#time, this.#random, SECRET_LIFETIME);
    const generation = this.#secrets.current;
    const seal = new Uint8Array(SEAL_BYTES);
    seal.set(generation.id);
    seal.set(mac(generation, this.#node, subject, due, bits), GENERATION_BYTES);
    return { node: this.#node, due, bits, seal, nonce: new Uint8Array(NONCE_BYTES) };
  }

  /** The one of these that this node has made, if any. */
  own(tickets: readonly Ticket[] | undefined): Ticket | undefined {
    return tickets?.find(({ node }) => Buffer.compare(node, this.#node) === 0);
  }

  check(ticket: Ticket, subject: TicketSubject): TicketVerdict {
    const generation = this.#secrets?.find(ticket.seal);
    if (generation === undefined || ticket.seal.length !== SEAL_BYTES) return "forged";
    const expected = mac(generation, this.#node, subject, ticket.due, ticket.bits);
    if (!timingSafeEqual(ticket.seal.subarray(GENERATION_BYTES), expected)) return "forged";
    // Both are the low 32 bits of this node's own clock.
    const late = (Math.round(this.#time.now()) - ticket.due) | 0;
    if (late < 0) return "early";
    if (late > TICKET_VALIDITY) return "late";
    return isSolved(ticket, ticket.nonce) ? "good" : "unsolved";
  }
}

function mac(
  { id, secret }: Generation,
  node: Uint8Array,
  subject: TicketSubject,
  due: number,
  bits: number,
): Uint8Array {
  return createHmac("sha256", secret)
    .update(TICKET_CONTEXT)
    .update(id)
    .update(node)
    .update(`${subject.id} ${flowKey(subject.flow)} ${due} ${bits}`)
    .digest()
    .subarray(0, MAC_BYTES);
}

/** Whether the hash of seal and nonce begins with as many zero bits as the ticket asks for. */
export function isSolved({ seal, bits }: Ticket, nonce: Uint8Array): boolean {
  if (bits === 0) return true;
  const hash = createHash("sha256").update(WORK_CONTEXT).update(seal).update(nonce).digest();
  return leadingZeros(hash) >= bits;
}

function leadingZeros(hash: Uint8Array): number {
  const at = hash.findIndex((byte) => byte !== 0);
  if (at === -1) return hash.length * WORD_BITS;
  return at * WORD_BITS + Math.clz32(hash[at] ?? 0) - (32 - WORD_BITS);
}
