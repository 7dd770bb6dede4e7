/** Values of the objects that save signatures: Path-support, Summary, Tree-path, Listed (docs/protocol.md). */
import { HASH_LENGTH, MAX_LEAVES, pathLength, type TreePath } from "../../authorization/tree.js";
import { bytes, ms } from "../../base/units.js";
import { bytesText, ByteReader, ByteWriter } from "../../base/wire.js";
import type { SessionId } from "../../gist/wire/messages.js";
import { PbsWireError } from "./error.js";
import { type SummaryClaim, type SummaryGrant, TREE_ALGORITHM } from "./messages.js";
import type { WireObject } from "./objects.js";
import { decodeU32, encodeDuration, putVolume, takeVolume } from "./values.js";

/** Flows that one Query or Permission lists beside its own: with the longest certificate it still fits a message. */
export const MAX_LISTED = 256;

/** Flows that a Notify names: those of a message and its own. */
export const MAX_NAMED = MAX_LISTED + 1;

const SESSION_LENGTH = 16;
const CLAIM_LENGTH = SESSION_LENGTH + 4 + 8 + 4 + 4;
const GRANT_LENGTH = SESSION_LENGTH + 4 + 8 + 4 + 4 + 4;
const TREE_FIXED = 8;

export function decodeSupport(object: WireObject): number {
  const support = decodeU32(object);
  if (support === 0)
    throw new PbsWireError("a Path-support asks for nothing", object.valueStart, object.type);
  return support;
}

/** Session-ID, Message-Seq, Send-vol as high and low word, epoch, Message-Seq heard; for each flow. */
export function encodeClaims(claims: readonly SummaryClaim[]): Uint8Array {
  const writer = new ByteWriter(checked(claims.length) * CLAIM_LENGTH);
  for (const { id, sequence, sentVolume, epoch, heard } of claims) {
    putVolume(writer.bytes(Buffer.from(id, "hex")).u32(sequence), sentVolume);
    writer.u32(epoch).u32(heard);
  }
  return writer.finish();
}

export function decodeClaims(object: WireObject): readonly SummaryClaim[] {
  return decodeEach(object, CLAIM_LENGTH, (reader) => ({
    id: takeSession(reader),
    sequence: reader.u32(),
    sentVolume: takeVolume(reader),
    epoch: reader.u32(),
    heard: reader.u32(),
  }));
}

/** Session-ID, Message-Seq, Allow-vol as high and low word, TTL and refresh time in ms, epoch; for each flow. */
export function encodeGrants(grants: readonly SummaryGrant[]): Uint8Array {
  const writer = new ByteWriter(checked(grants.length) * GRANT_LENGTH);
  for (const { id, sequence, allowedVolume, ttl, refresh, epoch } of grants) {
    if (!(allowedVolume > 0) || Math.round(ttl) < 1 || Math.round(refresh) < 1)
      throw new RangeError("a summary only grants, for 1 ms or more");
    putVolume(writer.bytes(Buffer.from(id, "hex")).u32(sequence), allowedVolume);
    writer.bytes(encodeDuration(ttl)).bytes(encodeDuration(refresh)).u32(epoch);
  }
  return writer.finish();
}

export function decodeGrants(object: WireObject): readonly SummaryGrant[] {
  return decodeEach(object, GRANT_LENGTH, (reader) => {
    const at = reader.offset;
    const grant = {
      id: takeSession(reader),
      sequence: reader.u32(),
      allowedVolume: takeVolume(reader),
      ttl: ms(reader.u32()),
      refresh: ms(reader.u32()),
      epoch: reader.u32(),
    };
    if (grant.allowedVolume === bytes(0) || grant.ttl === 0 || grant.refresh === 0)
      throw new PbsWireError("a Summary grants nothing, or for no time", at, object.type);
    return grant;
  });
}

export function encodeListed(ids: readonly SessionId[]): Uint8Array {
  const writer = new ByteWriter(checked(ids.length, MAX_NAMED) * SESSION_LENGTH);
  for (const id of ids) writer.bytes(Buffer.from(id, "hex"));
  return writer.finish();
}

/** One session. */
export function decodePredecessor({ value, valueStart, start, type }: WireObject): SessionId {
  if (value.length !== SESSION_LENGTH)
    throw new PbsWireError(`a session has ${SESSION_LENGTH} bytes, not ${value.length}`, start, type);
  return takeSession(new ByteReader(value, valueStart));
}

export function decodeListed(object: WireObject): readonly SessionId[] {
  return decodeEach(object, SESSION_LENGTH, takeSession, MAX_NAMED);
}

/** Algorithm, three zeros, number of leaves, number of this leaf, then the hashes beside the way, lowest first. */
export function encodeTreePath({ leaves, index, siblings }: TreePath): Uint8Array {
  if (siblings.length !== pathLength(index, leaves) * HASH_LENGTH)
    throw new RangeError(`leaf ${index} of ${leaves} has another way to the root`);
  const writer = new ByteWriter(TREE_FIXED + siblings.length).u8(TREE_ALGORITHM).zeros(3);
  return writer.u16(leaves).u16(index).bytes(siblings).finish();
}

/** Its length follows from the number of leaves, so that nothing is hashed in vain. */
export function decodeTreePath(object: WireObject): TreePath {
  const { value, valueStart, start, type } = object;
  if (value.length < TREE_FIXED)
    throw new PbsWireError(`a Tree-path has ${value.length} bytes, fewer than 8`, start, type);
  const reader = new ByteReader(value, valueStart);
  const algorithm = reader.u8();
  if (algorithm !== TREE_ALGORITHM)
    throw new PbsWireError(`hash tree algorithm ${algorithm} is not known`, valueStart, type);
  reader.skip(3);
  const leaves = reader.u16();
  const index = reader.u16();
  if (leaves < 2 || leaves > MAX_LEAVES || index >= leaves)
    throw new PbsWireError(`there is no leaf ${index} in a tree of ${leaves}`, valueStart, type);
  const siblings = reader.bytes(reader.remaining);
  if (siblings.length !== pathLength(index, leaves) * HASH_LENGTH)
    throw new PbsWireError(`leaf ${index} of ${leaves} has another way to the root`, valueStart, type);
  return { leaves, index, siblings };
}

function checked(count: number, most = MAX_LISTED): number {
  if (count === 0 || count > most) throw new RangeError(`a list of ${count} flows is not 1 to ${most}`);
  return count;
}

function decodeEach<T>(
  object: WireObject,
  length: number,
  one: (reader: ByteReader) => T,
  most = MAX_LISTED,
): readonly T[] {
  const { value, valueStart, start, type } = object;
  const count = value.length / length;
  if (!Number.isInteger(count) || count === 0 || count > most)
    throw new PbsWireError(`object ${type} of ${value.length} bytes is not 1 to ${most} flows`, start, type);
  const reader = new ByteReader(value, valueStart);
  return Array.from({ length: count }, () => one(reader));
}

function takeSession(reader: ByteReader): SessionId {
  const id = reader.bytes(SESSION_LENGTH);
  return bytesText(id, "hex") as SessionId;
}
