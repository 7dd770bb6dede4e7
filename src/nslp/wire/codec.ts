/**
 * PBS messages to bytes and back (draft-hong-nsis-pbs-nslp-02..-04 section 9, docs/protocol.md).
 *
 * A signed message is built in two steps, because its signature covers the bytes of all that stands before it:
 * {@link encodeUnsigned}, {@link signatureInput} and {@link withSignature}. A node that passes a message on sends the
 * bytes it received; encoding it again could change what was signed.
 */
import { sessionIdBytes } from "../../gist/wire/codec.js";
import { MAX_CERTIFICATE } from "../../authorization/certificate.js";
import type { Flow } from "../../base/flow.js";
import { type Bytes, ms, bytes as toBytes } from "../../base/units.js";
import { copyForNow, ByteReader, ByteWriter } from "../../base/wire.js";
import type { TreePath } from "../../authorization/tree.js";
import type { SessionId } from "../../gist/wire/messages.js";
import { PbsWireError } from "./error.js";
import {
  type Defense,
  type HopReport,
  MESSAGE_TYPE,
  OBJECT_TYPE,
  type PbsMessage,
  type PbsNotify,
  type PbsPermission,
  type PbsQuery,
  type Ticket,
  type Unsigned,
} from "./messages.js";
import {
  decodeClaims,
  decodeGrants,
  decodeListed,
  decodePredecessor,
  decodeSupport,
  decodeTreePath,
  encodeClaims,
  encodeGrants,
  encodeListed,
  encodeTreePath,
} from "./summary.js";
import { isKnown, readObject, UNKNOWN, type WireObject, writeObject } from "./objects.js";
import {
  decodeAlgorithms,
  decodeDefense,
  decodeFlow,
  decodeEpoch,
  decodeHighWords,
  decodeInfo,
  decodeMark,
  decodeOpaque,
  decodeReport,
  decodeTicket,
  decodeU32,
  encodeAlgorithms,
  encodeDefense,
  encodeDuration,
  encodeEpoch,
  encodeFlow,
  encodeHighWords,
  encodeInfo,
  encodeMark,
  encodeReport,
  encodeTicket,
  encodeU32,
  type HighWords,
  MAX_SIGNATURE,
  reportFields,
} from "./values.js";

export { PbsWireError } from "./error.js";

/** Longest message that is read or written, in bytes. */
export const MAX_MESSAGE = 16 * 1024;

const WORD = 2 ** 32;
const SIGNATURE_CONTEXT = new TextEncoder().encode("PBS-NSLP-1\0");
const REPORT_CONTEXT = new TextEncoder().encode("PBS-HOP-1\0");

/** Reports of routers that a Query carries: those of the first so many. */
export const MAX_REPORTS = 16;

/** Tickets that a Query carries. */
export const MAX_TICKETS = 4;

/** Header and all objects before Auth-data. Throws RangeError on a value that cannot stand on the wire. */
export function encodeUnsigned(message: Unsigned<PbsQuery> | Unsigned<PbsPermission>): Uint8Array {
  return message.type === "query" ? encodeQuery(message) : encodePermission(message);
}

function encodeQuery(message: Unsigned<PbsQuery>): Uint8Array {
  const writer = start(MESSAGE_TYPE.query, message.flow);
  writeObject(writer, OBJECT_TYPE.messageSequence, encodeU32(message.sequence));
  writeObject(writer, OBJECT_TYPE.requestedVolume, lowWord(message.requestedVolume));
  writeObject(writer, OBJECT_TYPE.sentVolume, lowWord(message.sentVolume));
  writeCertificate(writer, message.certificate);
  writeHighWords(writer, [highWord(message.requestedVolume), highWord(message.sentVolume), 0]);
  if (message.algorithms !== undefined)
    writeObject(writer, OBJECT_TYPE.algorithms, encodeAlgorithms(message.algorithms));
  if (message.mark !== undefined) writeObject(writer, OBJECT_TYPE.mark, encodeMark(message.mark));
  if (message.support !== undefined) writeObject(writer, OBJECT_TYPE.pathSupport, encodeU32(message.support));
  if (message.summary !== undefined) writeObject(writer, OBJECT_TYPE.summary, encodeClaims(message.summary));
  for (const ticket of message.tickets ?? []) writeObject(writer, OBJECT_TYPE.ticket, encodeTicket(ticket));
  if (message.predecessor !== undefined)
    writeObject(writer, OBJECT_TYPE.predecessor, Buffer.from(message.predecessor, "hex"));
  return writer.finish();
}

function encodePermission(message: Unsigned<PbsPermission>): Uint8Array {
  if (message.allowedVolume > 0 && (Math.round(message.ttl) < 1 || Math.round(message.refresh) < 1))
    throw new RangeError("a Permission that grants needs a TTL and a refresh time of 1 ms or more");
  const writer = start(MESSAGE_TYPE.permission, message.flow);
  writeObject(writer, OBJECT_TYPE.messageSequence, encodeU32(message.sequence));
  writeObject(writer, OBJECT_TYPE.allowedVolume, lowWord(message.allowedVolume));
  writeObject(writer, OBJECT_TYPE.ttl, encodeDuration(message.ttl));
  writeObject(writer, OBJECT_TYPE.refresh, encodeDuration(message.refresh));
  writeCertificate(writer, message.certificate);
  writeObject(writer, OBJECT_TYPE.defense, encodeDefense(message.defense));
  writeHighWords(writer, [0, 0, highWord(message.allowedVolume)]);
  if (message.info !== undefined) writeObject(writer, OBJECT_TYPE.info, encodeInfo(message.info));
  if (message.epoch !== undefined) writeObject(writer, OBJECT_TYPE.epoch, encodeEpoch(message.epoch));
  if (message.summary !== undefined) writeObject(writer, OBJECT_TYPE.summary, encodeGrants(message.summary));
  return writer.finish();
}

/**
 * The whole message: what was signed, then Auth-data. Throws RangeError on a signature of impossible length.
 * @param tree where the signature is that of a root: how the message leads to it
 */
export function withSignature(unsigned: Uint8Array, signature: Uint8Array, tree?: TreePath): Uint8Array {
  if (signature.length === 0 || signature.length > MAX_SIGNATURE)
    throw new RangeError(`a signature of ${signature.length} bytes is not 1 to ${MAX_SIGNATURE}`);
  const writer = new ByteWriter(unsigned.length + MAX_SIGNATURE + 4).bytes(unsigned);
  if (tree !== undefined) writeObject(writer, OBJECT_TYPE.treePath, encodeTreePath(tree));
  writeObject(writer, OBJECT_TYPE.authentication, signature);
  return writer.finish();
}

/** A Query with one more report of a router at its end; undefined where it has room for no more. */
export function withReport(query: Uint8Array, report: HopReport): Uint8Array | undefined {
  const writer = new ByteWriter(query.length + 1024).bytes(query);
  writeObject(writer, OBJECT_TYPE.hopReport, encodeReport(report));
  return writer.length > MAX_MESSAGE ? undefined : writer.finish();
}

/** The bytes that a router signs in its report: context, session, NSLP, then what it says. */
export function reportInput(
  sessionId: SessionId,
  nslpId: number,
  report: Omit<HopReport, "signature">,
): Uint8Array {
  const said = reportFields(report);
  return new ByteWriter(REPORT_CONTEXT.length + 18 + said.length)
    .bytes(REPORT_CONTEXT)
    .bytes(Buffer.from(sessionId, "hex"))
    .u16(nslpId)
    .bytes(said)
    .finish();
}

export function encodeNotify(message: PbsNotify): Uint8Array {
  const writer = start(MESSAGE_TYPE.notify, message.flow);
  writeObject(writer, OBJECT_TYPE.info, encodeInfo(message.info));
  if (message.defense !== undefined) writeObject(writer, OBJECT_TYPE.defense, encodeDefense(message.defense));
  if (message.listed !== undefined) writeObject(writer, OBJECT_TYPE.listed, encodeListed(message.listed));
  if (message.ticket !== undefined) writeObject(writer, OBJECT_TYPE.ticket, encodeTicket(message.ticket));
  return writer.finish();
}

/**
 * The bytes that Auth-data signs: context, session, NSLP, then the message up to Auth-data. The session binds a message
 * to where it was sent; without it an old Query could be played into a new session.
 */
export function signatureInput(sessionId: SessionId, nslpId: number, signedPart: Uint8Array): Uint8Array {
  return new ByteWriter(SIGNATURE_CONTEXT.length + 18 + signedPart.length)
    .bytes(SIGNATURE_CONTEXT)
    .bytes(sessionIdBytes(sessionId))
    .u16(nslpId)
    .bytes(signedPart)
    .view();
}

export interface DecodedPbs {
  readonly message: PbsMessage;
  /** The bytes before Auth-data as received; empty for a Notify, which nobody signs. */
  readonly signedPart: Uint8Array;
}

/**
 * Reads a whole message. What it returns does not refer to `input`, which may be used again.
 * Throws {@link PbsWireError} on anything that docs/protocol.md does not allow. Nothing is verified here but form.
 */
export function decodePbs(input: Uint8Array): DecodedPbs {
  if (input.length > MAX_MESSAGE)
    throw new PbsWireError(`a message of ${input.length} bytes is too long`, 0, 0);
  if (input.length < 4) throw new PbsWireError("the message header is cut short", 0, 0);
  const own = copyForNow(input);
  const reader = new ByteReader(own);
  const type = reader.u32() >>> 24;
  const objects = new ObjectSequence(reader);
  try {
    if (type === MESSAGE_TYPE.query) return decodeQuery(objects, own);
    if (type === MESSAGE_TYPE.permission) return decodePermission(objects, own);
    if (type === MESSAGE_TYPE.notify) return decodeNotify(objects);
  } catch (error) {
    if (error instanceof PbsWireError) error.flow = objects.flow;
    throw error;
  }
  throw new PbsWireError(`message type ${type} is not known`, 0, 0);
}

type Mutable<M> = { -readonly [K in keyof M]: M[K] };

// Optional fields are put in one by one: to spread objects costs more than to read what is in them.
function decodeQuery(objects: ObjectSequence, own: Uint8Array): DecodedPbs {
  const flow = objects.takeFlow();
  const sequence = decodeU32(objects.take(OBJECT_TYPE.messageSequence));
  const requestedLow = decodeU32(objects.take(OBJECT_TYPE.requestedVolume));
  const sentLow = decodeU32(objects.take(OBJECT_TYPE.sentVolume));
  const certificate = decodeOpaque(objects.take(OBJECT_TYPE.certificate), MAX_CERTIFICATE);
  const [requestedHigh, sentHigh] = takeHighWords(objects, ["requested", "sent"]);
  const algorithms = objects.read(OBJECT_TYPE.algorithms, decodeAlgorithms);
  const mark = objects.read(OBJECT_TYPE.mark, decodeMark);
  const support = objects.read(OBJECT_TYPE.pathSupport, decodeSupport);
  const summary = objects.read(OBJECT_TYPE.summary, decodeClaims);
  const tickets = takeTickets(objects);
  const predecessor = objects.read(OBJECT_TYPE.predecessor, decodePredecessor);
  const { signature, signedPart, reports, tree } = takeSignature(objects, own);
  const message: Mutable<PbsQuery> = {
    type: "query",
    flow,
    sequence,
    requestedVolume: joinWords(requestedHigh, requestedLow),
    sentVolume: joinWords(sentHigh, sentLow),
    certificate,
    signature,
  };
  if (algorithms !== undefined) message.algorithms = algorithms;
  if (mark !== undefined) message.mark = mark;
  if (support !== undefined) message.support = support;
  if (summary !== undefined) message.summary = summary;
  if (tickets.length > 0) message.tickets = tickets;
  if (predecessor !== undefined) message.predecessor = predecessor;
  if (tree !== undefined) message.tree = tree;
  if (reports.length > 0) message.reports = reports;
  return { message, signedPart };
}

function decodePermission(objects: ObjectSequence, own: Uint8Array): DecodedPbs {
  const flow = objects.takeFlow();
  const sequence = decodeU32(objects.take(OBJECT_TYPE.messageSequence));
  const allowedLow = decodeU32(objects.take(OBJECT_TYPE.allowedVolume));
  const ttl = objects.take(OBJECT_TYPE.ttl);
  const refresh = objects.take(OBJECT_TYPE.refresh);
  const certificate = decodeOpaque(objects.take(OBJECT_TYPE.certificate), MAX_CERTIFICATE);
  const defense = decodeDefense(objects.take(OBJECT_TYPE.defense));
  const [, , allowedHigh] = takeHighWords(objects, ["allowed"]);
  const info = objects.read(OBJECT_TYPE.info, decodeInfo);
  const epoch = objects.read(OBJECT_TYPE.epoch, decodeEpoch);
  const summary = objects.read(OBJECT_TYPE.summary, decodeGrants);
  const { signature, signedPart, tree } = takeSignature(objects, own);
  const allowedVolume = joinWords(allowedHigh, allowedLow);
  const message: Mutable<PbsPermission> = {
    type: "permission",
    flow,
    sequence,
    certificate,
    signature,
    allowedVolume,
    ttl: decodeDuration(ttl, allowedVolume),
    refresh: decodeDuration(refresh, allowedVolume),
    defense,
  };
  if (info !== undefined) message.info = info;
  if (epoch !== undefined) message.epoch = epoch;
  if (summary !== undefined) message.summary = summary;
  if (tree !== undefined) message.tree = tree;
  return { message, signedPart };
}

function decodeNotify(objects: ObjectSequence): DecodedPbs {
  const flow = objects.takeFlow();
  const info = decodeInfo(objects.take(OBJECT_TYPE.info));
  const refused = objects.takeOptional(OBJECT_TYPE.defense);
  const defense = refused === undefined ? {} : { defense: decodeRefused(refused) };
  const named = objects.takeOptional(OBJECT_TYPE.listed);
  const listed = named === undefined ? {} : { listed: decodeListed(named) };
  const given = objects.takeOptional(OBJECT_TYPE.ticket);
  const ticket = given === undefined ? {} : { ticket: decodeTicket(given) };
  objects.expectEnd();
  return {
    message: { type: "notify", flow, info, ...defense, ...listed, ...ticket },
    signedPart: new Uint8Array(),
  };
}

function takeTickets(objects: ObjectSequence): readonly Ticket[] {
  const tickets: Ticket[] = [];
  for (;;) {
    const object = objects.takeOptional(OBJECT_TYPE.ticket);
    if (object === undefined) return tickets;
    if (tickets.length === MAX_TICKETS)
      throw new PbsWireError(`there are more than ${MAX_TICKETS} tickets`, object.start, object.type);
    tickets.push(decodeTicket(object));
  }
}

/** Nobody has a reason to send a key back. */
function decodeRefused(object: WireObject): Defense {
  const defense = decodeDefense(object);
  if (defense.key.length > 0)
    throw new PbsWireError("a Notify carries no key", object.valueStart, object.type);
  return defense;
}

function decodeDuration(object: WireObject, allowed: Bytes) {
  const value = decodeU32(object);
  if (value === 0 && allowed > 0)
    throw new PbsWireError(`object ${object.type} of a grant is 0`, object.valueStart, object.type);
  return ms(value);
}

function takeSignature(objects: ObjectSequence, own: Uint8Array) {
  const way = objects.takeOptional(OBJECT_TYPE.treePath);
  const tree = way === undefined ? undefined : decodeTreePath(way);
  const object = objects.take(OBJECT_TYPE.authentication);
  const signature = decodeOpaque(object, MAX_SIGNATURE);
  const reports = objects.takeReports();
  return { signature, signedPart: own.subarray(0, (way ?? object).start), reports, tree };
}

type Volume = "requested" | "sent" | "allowed";
const VOLUMES: readonly Volume[] = ["requested", "sent", "allowed"];

/** High words of the volumes that this message carries; the others have to be 0. */
function takeHighWords(objects: ObjectSequence, carried: readonly Volume[]): HighWords {
  const object = objects.takeOptional(OBJECT_TYPE.volumeHigh);
  if (object === undefined) return [0, 0, 0];
  const words = decodeHighWords(object);
  const stray = VOLUMES.find((volume, i) => words[i] !== 0 && !carried.includes(volume));
  if (stray !== undefined)
    throw new PbsWireError(
      `there is a high word for the ${stray} volume, which this message has not`,
      object.valueStart,
      object.type,
    );
  return words;
}

function start(type: number, flow: Flow): ByteWriter {
  const writer = new ByteWriter(2048).u8(type).zeros(3);
  writeObject(writer, OBJECT_TYPE.flow, encodeFlow(flow));
  return writer;
}

function writeCertificate(writer: ByteWriter, certificate: Uint8Array): void {
  if (certificate.length === 0 || certificate.length > MAX_CERTIFICATE)
    throw new RangeError(`a certificate of ${certificate.length} bytes is not 1 to ${MAX_CERTIFICATE}`);
  writeObject(writer, OBJECT_TYPE.certificate, certificate);
}

function writeHighWords(writer: ByteWriter, words: HighWords): void {
  if (words.some((word) => word !== 0)) writeObject(writer, OBJECT_TYPE.volumeHigh, encodeHighWords(words));
}

function lowWord(volume: Bytes): Uint8Array {
  return encodeU32(volume % WORD);
}

function highWord(volume: Bytes): number {
  return Math.floor(volume / WORD);
}

function joinWords(high: number, low: number): Bytes {
  return toBytes(high * WORD + low);
}

/** Walks the objects of a message in their one right order, past those that may be ignored. */
class ObjectSequence {
  /** Known once its FID was read. */
  flow: Flow | undefined;
  readonly #reader: ByteReader;
  #ahead: WireObject | undefined;

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  takeFlow(): Flow {
    this.flow = decodeFlow(this.take(OBJECT_TYPE.flow));
    return this.flow;
  }

  /** The next known object, which must be of this type. */
  take(type: number): WireObject {
    const object = this.#peek();
    if (object === undefined) throw new PbsWireError(`object ${type} is missing`, this.#reader.offset, type);
    if (object.type !== type)
      throw new PbsWireError(
        `object ${object.type} stands where object ${type} belongs`,
        object.start,
        object.type,
      );
    this.#ahead = undefined;
    return object;
  }

  takeOptional(type: number): WireObject | undefined {
    return this.#peek()?.type === type ? this.take(type) : undefined;
  }

  /** Reports of routers, after Auth-data. One that cannot be read is passed over, and so are those above the limit. */
  takeReports(): HopReport[] {
    const reports: HopReport[] = [];
    this.#rest((object) => {
      if (object.type !== OBJECT_TYPE.hopReport) return false;
      const report = reports.length < MAX_REPORTS ? decodeReport(object) : undefined;
      if (report !== undefined) reports.push(report);
      return true;
    });
    return reports;
  }

  /** The value of the next known object if it is of this type. */
  read<T>(type: number, decode: (object: WireObject) => T): T | undefined {
    const object = this.takeOptional(type);
    return object === undefined ? undefined : decode(object);
  }

  expectEnd(): void {
    this.#rest(() => false);
  }

  /** After the last object only what any node may delete can follow: the message's signature does not cover it. */
  #rest(takes: (object: WireObject) => boolean): void {
    while (this.#ahead !== undefined || this.#reader.remaining > 0) {
      const object = this.#ahead ?? readObject(this.#reader);
      this.#ahead = undefined;
      if (takes(object)) continue;
      if (isKnown(object.type) || object.action !== UNKNOWN.drop)
        throw new PbsWireError(
          `object ${object.type} stands after the end of the message`,
          object.start,
          object.type,
        );
    }
  }

  #peek(): WireObject | undefined {
    while (this.#ahead === undefined && this.#reader.remaining > 0) {
      const object = readObject(this.#reader);
      if (isKnown(object.type)) this.#ahead = object;
    }
    return this.#ahead;
  }
}
