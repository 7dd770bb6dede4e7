import { generateKeyPairSync } from "node:crypto";
import test from "ava";
import { type Random, seededRandom } from "../base/random.js";
import { NO_OVERLAP } from "./demand.js";
import { NO_DEFENSE, ReceiverKeys, Spis } from "./receiver-keys.js";

const { publicKey } = generateKeyPairSync("ed25519");
const RULE = { level: "hmac", algorithms: ["hmac-sha256-128", "aes-cmac-96"] } as const;

/** Gives out these SPIs. */
function scripted(...spis: readonly number[]): Random {
  const left = [...spis];
  return {
    fraction: () => 0,
    bytes: (length) => {
      const bytes = Buffer.alloc(length);
      bytes.writeUInt32BE(left.shift() ?? 0x10000);
      return bytes;
    },
  };
}

function make(): { keys: ReceiverKeys; spis: Spis } {
  const random = seededRandom(1);
  const spis = new Spis(random);
  return { keys: new ReceiverKeys(random, spis, publicKey), spis };
}

const codes = [2, 129];

test("SPIs are not reserved ones, and not given out twice", (t) => {
  const spis = new Spis(scripted(0, 255, 256, 256, 300, 256));
  t.is(spis.take(), 256);
  t.is(spis.take(), 300);
  spis.release(256);
  t.is(spis.take(), 256);
});

test("what is announced is what the packet path has", (t) => {
  const { keys } = make();
  t.true(keys.demand(RULE, codes));
  t.deepEqual(keys.defense(), NO_DEFENSE);
  t.true(keys.changing);
  t.true(keys.enforce());
  t.false(keys.enforce());
  t.false(keys.changing);
  t.is(keys.defense().spi, keys.enforced?.spi);
});

test("a key that is replaced is wiped once the new one is in place, and not before", (t) => {
  const { keys } = make();
  keys.demand(RULE, codes);
  keys.enforce();
  const before = keys.enforced;
  keys.renew();
  t.true(before?.key.some((byte) => byte !== 0));
  const skipped = keys.wanted;
  keys.renew();
  t.true(skipped?.key.every((byte) => byte === 0));
  keys.enforce();
  t.true(before?.key.every((byte) => byte === 0));
  const last = keys.enforced;
  const given = keys.authentication(NO_OVERLAP)?.association.key;
  keys.wipe();
  t.true(last?.key.every((byte) => byte === 0));
  t.true(
    given?.some((byte) => byte !== 0),
    "the packet path's copy is not",
  );
  t.deepEqual(keys.defense(), NO_DEFENSE);
});

test("falling back ends with the list", (t) => {
  const { keys } = make();
  keys.demand(RULE, codes);
  t.is(keys.wanted?.algorithm, "hmac-sha256-128");
  t.true(keys.fallBack());
  t.is(keys.wanted?.algorithm, "aes-cmac-96");
  keys.renew();
  t.is(keys.wanted?.algorithm, "aes-cmac-96");
  t.false(keys.fallBack());
});

test("a demand that cannot be met leaves everything as it was", (t) => {
  const { keys } = make();
  keys.demand(RULE, codes);
  keys.enforce();
  const { enforced } = keys;
  t.false(keys.demand({ level: "public-key" }, codes));
  t.is(keys.level, "hmac");
  t.is(keys.wanted, enforced);
  t.true(keys.demand({ level: "none" }, codes));
  t.is(keys.wanted, undefined);
});
