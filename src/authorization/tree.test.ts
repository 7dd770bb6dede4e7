import { createHash } from "node:crypto";
import test from "ava";
import fc from "fast-check";
import {
  HASH_LENGTH,
  HashTree,
  KnownTree,
  leafHash,
  MAX_LEAVES,
  pathLength,
  rootInput,
  rootOf,
} from "./tree.js";

function inputs(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => Buffer.from(`message ${i}`));
}

function treeOf(count: number): { leaves: Uint8Array[]; tree: HashTree } {
  const leaves = inputs(count).map(leafHash);
  return { leaves, tree: new HashTree(leaves) };
}

const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");

/** RFC 6962 section 2.1, word for word. */
function reference(messages: readonly Uint8Array[]): Buffer {
  const [only] = messages;
  const sha = (...parts: Uint8Array[]) => createHash("sha256").update(Buffer.concat(parts)).digest();
  if (messages.length === 1 && only !== undefined) return sha(Uint8Array.of(0), only);
  const half = 2 ** Math.ceil(Math.log2(messages.length) - 1);
  return sha(Uint8Array.of(1), reference(messages.slice(0, half)), reference(messages.slice(half)));
}

test("the root is that of RFC 6962, for every number of messages", (t) => {
  for (const count of [2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 100])
    t.is(hex(treeOf(count).tree.root), hex(reference(inputs(count))), `${count} messages`);
});

test("what is signed of a tree has these bytes", (t) => {
  const { tree } = treeOf(2);
  t.is(
    hex(rootInput(2, tree.root)),
    `${Buffer.from("PBS-TREE-1\0").toString("hex")}000234395ba0332d6deb0946ccfee223421888cf18922960d372152c7dddb588e539`,
  );
});

test("each leaf leads to the root, by a path of the length that its place says", (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 200 }), (count) => {
      const { leaves, tree } = treeOf(count);
      const known = new KnownTree(tree.root);
      for (const [i, leaf] of leaves.entries()) {
        const path = tree.path(i);
        if (path.siblings.length !== pathLength(i, count) * HASH_LENGTH) return false;
        if (hex(rootOf(leaf, path)) !== hex(tree.root) || !known.has(leaf, path)) return false;
      }
      return true;
    }),
  );
  t.pass();
});

test("another leaf, another place and another path lead elsewhere, whatever is known of the tree", (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 64 }),
      fc.nat(),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      fc.boolean(),
      (count, which, at, change, warm) => {
        const { leaves, tree } = treeOf(count);
        const index = which % count;
        const path = tree.path(index);
        const leaf = leaves[index] ?? new Uint8Array();
        const known = new KnownTree(tree.root);
        if (warm) leaves.forEach((one, i) => i !== index && known.has(one, tree.path(i)));
        const other = leafHash(Buffer.from("another"));
        const wrong = Uint8Array.from(path.siblings);
        const place = at % wrong.length;
        wrong[place] = (wrong[place] ?? 0) ^ change;
        return (
          !known.has(other, path) &&
          hex(rootOf(leaf, { ...path, siblings: wrong })) !== hex(tree.root) &&
          known.has(leaf, path)
        );
      },
    ),
  );
  t.pass();
});

test("a node is no leaf: two hashes that were joined do not pass for a message", (t) => {
  const { leaves, tree } = treeOf(4);
  const inner = Buffer.concat([leaves[0] ?? Buffer.alloc(0), leaves[1] ?? Buffer.alloc(0)]);
  const above = { leaves: 2, index: 0, siblings: tree.path(0).siblings.subarray(HASH_LENGTH) };
  t.not(hex(rootOf(leafHash(inner), above)), hex(tree.root));
});

test("trees have 2 to 4096 leaves, 12 hashes deep", (t) => {
  t.throws(() => new HashTree([leafHash(Buffer.from("one"))]), { instanceOf: RangeError });
  t.throws(() => new HashTree(Array(MAX_LEAVES + 1).fill(leafHash(Buffer.from("one")))), {
    instanceOf: RangeError,
  });
  t.is(pathLength(0, MAX_LEAVES), 12);
  t.is(pathLength(MAX_LEAVES - 1, MAX_LEAVES), 12);
  t.is(pathLength(2, 3), 1);
});
