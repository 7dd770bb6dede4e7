import { generateKeyPairSync, sign } from "node:crypto";
import test from "ava";
import { HashTree, leafHash, rootInput, type TreePath } from "./tree.js";
import { type TreeSigner, TreeVerifier } from "./tree-verifier.js";

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const certificate: TreeSigner = { publicKey, keyType: "ed25519", keyId: "a" };

interface Signed {
  readonly input: Uint8Array;
  readonly path: TreePath;
  readonly signature: Uint8Array;
}

function batch(count: number, name = "message"): Signed[] {
  const messages = Array.from({ length: count }, (_, i) => Buffer.from(`${name} ${i}`));
  const tree = new HashTree(messages.map(leafHash));
  const signature = sign(null, rootInput(count, tree.root), privateKey);
  return messages.map((input, i) => ({ input, path: tree.path(i), signature }));
}

const check = (verifier: TreeVerifier, { input, path, signature }: Signed, by = certificate) =>
  verifier.verify(by, input, path, signature);

test("messages that come together, and those after them, cost one check of a signature", async (t) => {
  const verifier = new TreeVerifier();
  const messages = batch(100);
  const first = await Promise.all(messages.slice(0, 50).map(async (one) => check(verifier, one)));
  t.true(first.every((good) => good));
  // Of a known tree the answer is there at once.
  for (const one of messages.slice(50)) t.is(check(verifier, one), true);
  t.is(verifier.checked, 1);
});

test("each message verifies alone, at a node that has seen no other", async (t) => {
  for (const one of batch(5)) t.true(await check(new TreeVerifier(), one));
});

test("forged ones among good ones are refused and cost nobody else anything", async (t) => {
  const verifier = new TreeVerifier();
  const [good, other, third] = batch(4);
  if (good === undefined || other === undefined || third === undefined) return t.fail();
  const forged = { ...good, input: Buffer.from("forged") };
  const misplaced = { ...other, path: good.path };
  const results = await Promise.all([forged, misplaced, good].map(async (one) => check(verifier, one)));
  t.deepEqual(results, [false, false, true]);
  t.false(await check(verifier, forged));
  t.true(check(verifier, third));
  t.false(await check(verifier, { ...third, signature: Uint8Array.from(third.signature).fill(1, 0, 1) }));
});

test("a root is believed of the key that signed it, and of no other", async (t) => {
  const verifier = new TreeVerifier();
  const [good] = batch(2);
  if (good === undefined) return t.fail();
  t.true(await check(verifier, good));
  const stranger = {
    publicKey: generateKeyPairSync("ed25519").publicKey,
    keyType: "ed25519",
    keyId: "b",
  } as const;
  t.false(await check(verifier, good, stranger));
});

test("what is kept is bounded, and what was forgotten is verified again", async (t) => {
  const verifier = new TreeVerifier();
  const trees = Array.from({ length: 17 }, (_, i) => batch(4096, `tree ${i}`)[0]);
  for (const one of trees) if (one !== undefined) t.true(await check(verifier, one));
  t.is(verifier.size, 65_536);
  const [oldest] = trees;
  if (oldest !== undefined) t.true(await check(verifier, oldest));
  t.is(verifier.checked, 18);
});
