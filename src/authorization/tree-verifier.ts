/** Verifies messages of hash trees: the signature of a root once, then by hashes alone. */
import { bytesText } from "../base/wire.js";
import { verifySignature } from "./signing.js";
import { KnownTree, leafHash, rootInput, rootOf, type TreePath } from "./tree.js";
import type { TrustedCertificate } from "./trust.js";

/** Leaves of all trees that are kept: each costs up to two hashes. The oldest tree gives way. */
const MAX_KEPT_LEAVES = 65_536;

interface Kept {
  readonly tree: KnownTree;
  readonly leaves: number;
}

export type TreeSigner = Pick<TrustedCertificate, "publicKey" | "keyType" | "keyId">;

export class TreeVerifier {
  /** By key, number of leaves and signature: what is here has been verified. */
  readonly #kept = new Map<string, Kept>();
  #keptLeaves = 0;
  /** Roots whose signatures are being checked, so that messages that come together cost one check. */
  readonly #checking = new Map<string, Promise<boolean>>();
  /** Signatures of roots that were checked. */
  checked = 0;

  /** Leaves of the trees that are kept. */
  get size(): number {
    return this.#keptLeaves;
  }

  /**
   * Whether `signature` is that of the certificate's key over the root that the path leads to from this input. At once
   * where the root is known. Rejects with BusyError as {@link verifySignature} does.
   */
  verify(
    certificate: TreeSigner,
    input: Uint8Array,
    path: TreePath,
    signature: Uint8Array,
  ): boolean | Promise<boolean> {
    const leaf = leafHash(input);
    const name = nameOf(certificate, path, signature);
    // Who has another path than the rest of a known tree is not in it, and pays for a check of its own.
    if (this.#kept.get(name)?.tree.has(leaf, path) === true) return true;
    return this.#check(certificate, name, rootOf(leaf, path), leaf, path, signature);
  }

  async #check(
    certificate: TreeSigner,
    name: string,
    root: Uint8Array,
    leaf: Uint8Array,
    path: TreePath,
    signature: Uint8Array,
  ): Promise<boolean> {
    const checking = name + text(root);
    let good = this.#checking.get(checking);
    if (good === undefined) {
      this.checked++;
      good = verifySignature(certificate, rootInput(path.leaves, root), signature);
      this.#checking.set(checking, good);
      const done = (): unknown => this.#checking.delete(checking);
      good.then(done, done);
    }
    if (!(await good)) return false;
    this.#keep(name, root, path.leaves).has(leaf, path);
    return true;
  }

  #keep(name: string, root: Uint8Array, leaves: number): KnownTree {
    const before = this.#kept.get(name);
    if (before !== undefined) return before.tree;
    const tree = new KnownTree(root);
    this.#kept.set(name, { tree, leaves });
    this.#keptLeaves += leaves;
    for (const [oldest, { leaves: freed }] of this.#kept) {
      if (this.#keptLeaves <= MAX_KEPT_LEAVES) break;
      this.#kept.delete(oldest);
      this.#keptLeaves -= freed;
    }
    return tree;
  }
}

function nameOf({ keyId }: TreeSigner, { leaves }: TreePath, signature: Uint8Array): string {
  return `${keyId} ${leaves} ${text(signature)}`;
}

function text(bytes: Uint8Array): string {
  return bytesText(bytes, "latin1");
}
