/**
 * The receiver's side of AH: it chooses the algorithm, makes SPI and key, and falls to the next algorithm of its list where
 * a node on the path cannot do one. An association is announced only once the packet path has it.
 */
import type { KeyObject } from "node:crypto";
import type { Algorithm } from "../base/algorithm.js";
import {
  type AuthenticationRule,
  candidates,
  isSymmetric,
  keyLength,
  signatureAlgorithmOf,
} from "../authorization/algorithm.js";
import type { Random } from "../base/random.js";
import type { Authentication } from "../traffic/datapath.js";
import { type Association, checkedBy, type Overlap } from "./demand.js";
import { canDo, codeInDefense } from "./wire/algorithms.js";
import { AUTH_ALGORITHM, type Defense, SOLUTION } from "./wire/messages.js";

/** Values below are reserved (RFC 4302 section 2.4). */
const MIN_SPI = 256;

export const NO_DEFENSE: Defense = {
  solution: SOLUTION.noAction,
  algorithm: AUTH_ALGORITHM.none,
  key: new Uint8Array(),
};

/** SPIs in use at this host: they are unique among all flows that end here. */
export class Spis {
  readonly #used = new Set<number>();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  take(): number {
    for (;;) {
      const spi = Buffer.from(this.#random.bytes(4)).readUInt32BE();
      if (spi < MIN_SPI || this.#used.has(spi)) continue;
      this.#used.add(spi);
      return spi;
    }
  }

  release(spi: number): void {
    this.#used.delete(spi);
  }
}

export class ReceiverKeys {
  readonly #random: Random;
  readonly #spis: Spis;
  readonly #senderKey: KeyObject;
  #level: AuthenticationRule["level"] = "none";
  #choices: readonly Algorithm[] = [];
  /** What the packet path is to have. */
  #wanted: Association | undefined;
  /** What it has, and what may be announced. */
  #enforced: Association | undefined;
  /** Packets of the one before pass for a while yet, so its SPI is not given away. */
  #before: number | undefined;

  constructor(random: Random, spis: Spis, senderKey: KeyObject) {
    this.#random = random;
    this.#spis = spis;
    this.#senderKey = senderKey;
  }

  get wanted(): Association | undefined {
    return this.#wanted;
  }

  get enforced(): Association | undefined {
    return this.#enforced;
  }

  get level(): AuthenticationRule["level"] {
    return this.#level;
  }

  /** A change is on its way into the packet path. */
  get changing(): boolean {
    return this.#wanted !== this.#enforced;
  }

  /**
   * Takes up a level with the best algorithm that the sender can do. false, and nothing changed, when there is none.
   * @param codes the algorithms that the sender's Query lists
   */
  demand(rule: AuthenticationRule, codes: readonly number[] | undefined): boolean {
    const own = signatureAlgorithmOf(this.#senderKey);
    const choices = candidates(rule, own, (algorithm) => canDo(codes, algorithm));
    if (rule.level !== "none" && choices.length === 0) return false;
    this.#level = rule.level;
    this.#choices = choices;
    this.renew();
    return true;
  }

  /** Somebody on the path cannot do the wanted algorithm. false when it was the last of the list. */
  fallBack(): boolean {
    if (this.#choices.length < 2) return false;
    this.#choices = this.#choices.slice(1);
    this.renew();
    return true;
  }

  /** A new SPI, and a new key where the algorithm has one. */
  renew(): void {
    if (this.changing) this.#drop(this.#wanted);
    const [algorithm] = this.#choices;
    this.#wanted = algorithm === undefined ? undefined : this.#make(algorithm);
  }

  /** As the packet path takes it, with a copy of the key. */
  authentication(overlap: Overlap): Authentication | undefined {
    if (this.#wanted === undefined) return undefined;
    return { action: "strip", association: checkedBy(this.#wanted, this.#senderKey), overlap };
  }

  /** The packet path has what is wanted. Says whether that is a change. */
  enforce(): boolean {
    const before = this.#enforced;
    if (this.#wanted === before) return false;
    this.#enforced = this.#wanted;
    if (this.#before !== undefined) this.#spis.release(this.#before);
    this.#before = before?.spi;
    before?.key.fill(0);
    return true;
  }

  defense(): Defense {
    const association = this.#enforced;
    if (association === undefined) return NO_DEFENSE;
    const { spi, algorithm, key } = association;
    const solution = isSymmetric(algorithm) ? SOLUTION.symmetricAh : SOLUTION.publicKeyAh;
    return { solution, algorithm: codeInDefense(algorithm), spi, key };
  }

  wipe(): void {
    this.#drop(this.#wanted);
    this.#drop(this.#enforced);
    if (this.#before !== undefined) this.#spis.release(this.#before);
    this.#wanted = undefined;
    this.#enforced = undefined;
    this.#before = undefined;
  }

  #make(algorithm: Algorithm): Association {
    const key = isSymmetric(algorithm) ? this.#random.bytes(keyLength(algorithm)) : new Uint8Array();
    return { spi: this.#spis.take(), algorithm, key };
  }

  #drop(association: Association | undefined): void {
    if (association === undefined) return;
    association.key.fill(0);
    this.#spis.release(association.spi);
  }
}
