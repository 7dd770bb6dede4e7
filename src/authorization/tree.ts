/**
 * A hash tree over messages, so that one signature stands for all of them and each can be verified alone: the Merkle tree
 * of RFC 6962 section 2.1 with SHA-256. Leaves and nodes are hashed with different first bytes, so that none passes for
 * the other; a last node without a neighbour goes up as it is.
 */
import { hash } from "node:crypto";

export const HASH_LENGTH = 32;

/** Leaves of one tree: 12 hashes lead from one of them to the root. */
export const MAX_LEAVES = 4096;

const LEAF = 0;
const NODE = 1;
const ROOT_CONTEXT = Buffer.from("PBS-TREE-1\0");

/** How one message leads to the root of its tree. */
export interface TreePath {
  /** 2 to {@link MAX_LEAVES}. */
  readonly leaves: number;
  /** Place of the message among them, from 0. */
  readonly index: number;
  /** Hashes beside the way, lowest first, {@link HASH_LENGTH} bytes each. */
  readonly siblings: Uint8Array;
}

/** How many hashes stand beside the way from this leaf to the root. */
export function pathLength(index: number, leaves: number): number {
  let length = 0;
  for (let place = index, last = leaves - 1; last > 0; place >>= 1, last >>= 1)
    if (place % 2 === 1 || place < last) length++;
  return length;
}

/** @param input what would be signed of the message if it were signed alone */
export function leafHash(input: Uint8Array): Uint8Array {
  const prefixed = Buffer.allocUnsafe(1 + input.length);
  prefixed[0] = LEAF;
  prefixed.set(input, 1);
  return sha256(prefixed);
}

const both = Buffer.alloc(1 + 2 * HASH_LENGTH, NODE);

export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  both.set(left, 1);
  both.set(right, 1 + HASH_LENGTH);
  return sha256(both);
}

/** What is signed of a tree. */
export function rootInput(leaves: number, root: Uint8Array): Uint8Array {
  const input = Buffer.alloc(ROOT_CONTEXT.length + 2 + HASH_LENGTH);
  input.set(ROOT_CONTEXT);
  input.writeUInt16BE(leaves, ROOT_CONTEXT.length);
  input.set(root, ROOT_CONTEXT.length + 2);
  return input;
}

/** One step up: which of the hashes beside the way is taken, on which side, and where it stands. */
interface Step {
  readonly level: number;
  readonly place: number;
  readonly sibling: Uint8Array;
}

/** The levels of a whole tree, leaves first, root last. */
export class HashTree {
  readonly #levels: (readonly Uint8Array[])[];

  /** @param leaves {@link leafHash} of 2 to {@link MAX_LEAVES} messages */
  constructor(leaves: readonly Uint8Array[]) {
    if (leaves.length < 2 || leaves.length > MAX_LEAVES)
      throw new RangeError(`a tree of ${leaves.length} leaves is not 2 to ${MAX_LEAVES}`);
    this.#levels = [leaves];
    for (let level = leaves; level.length > 1; this.#levels.push(level)) level = levelAbove(level);
  }

  get root(): Uint8Array {
    return this.#levels.at(-1)?.[0] ?? new Uint8Array();
  }

  path(index: number): TreePath {
    const siblings: Uint8Array[] = [];
    let place = index;
    for (const level of this.#levels) {
      const sibling = level[place ^ 1];
      if (sibling !== undefined) siblings.push(sibling);
      place >>= 1;
    }
    return { leaves: this.#levels[0]?.length ?? 0, index, siblings: Buffer.concat(siblings) };
  }
}

function levelAbove(level: readonly Uint8Array[]): Uint8Array[] {
  const above: Uint8Array[] = [];
  for (let i = 0; i < level.length; i += 2) {
    const [left, right] = [level[i], level[i + 1]];
    if (left !== undefined) above.push(right === undefined ? left : nodeHash(left, right));
  }
  return above;
}

/** The root that a leaf leads to. The path has the right length for its place, which whoever read it has checked. */
export function rootOf(leaf: Uint8Array, path: TreePath): Uint8Array {
  let reached = leaf;
  for (const { place, sibling } of stepsOf(path))
    reached = place % 2 === 1 ? nodeHash(sibling, reached) : nodeHash(reached, sibling);
  return reached;
}

/** One at a time: in a known tree the first or second is the last that is looked at. */
function* stepsOf({ leaves, index, siblings }: TreePath): Generator<Step> {
  let taken = 0;
  for (let level = 0, place = index, last = leaves - 1; last > 0; level++, place >>= 1, last >>= 1) {
    if (place % 2 === 0 && place === last) continue;
    yield { level, place, sibling: siblings.subarray(taken, taken + HASH_LENGTH) };
    taken += HASH_LENGTH;
  }
}

/** Of a tree whose root is believed: the hashes that follow from it, as far as paths have shown them. */
export class KnownTree {
  readonly #known = new Map<number, Uint8Array>();
  readonly #root: Uint8Array;

  constructor(root: Uint8Array) {
    this.#root = root;
  }

  /** Whether the leaf is in the tree. Hashes only up to the first place that is known. */
  has(leaf: Uint8Array, path: TreePath): boolean {
    const shown: [number, Uint8Array][] = [];
    let reached = leaf;
    for (const { level, place, sibling } of stepsOf(path)) {
      const known = this.#known.get(keyOf(level, place));
      if (known !== undefined) return sameHash(known, reached) && this.#show(shown);
      // A copy: the path would hold the memory of its whole message.
      shown.push([keyOf(level, place), reached], [keyOf(level, place ^ 1), Uint8Array.from(sibling)]);
      reached = place % 2 === 1 ? nodeHash(sibling, reached) : nodeHash(reached, sibling);
    }
    return sameHash(reached, this.#root) && this.#show(shown);
  }

  #show(shown: readonly [number, Uint8Array][]): true {
    for (const [key, value] of shown) this.#known.set(key, value);
    return true;
  }
}

function keyOf(level: number, place: number): number {
  return level * MAX_LEAVES + place;
}

function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function sha256(input: Buffer): Uint8Array {
  return hash("sha256", input, "buffer");
}
