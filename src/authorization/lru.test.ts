import test from "ava";
import { Lru } from "./lru.js";

test("keeps the entries used last", (t) => {
  const lru = new Lru<number>(2);
  lru.set("a", 1);
  lru.set("b", 2);
  t.is(lru.get("a"), 1);
  lru.set("c", 3);
  t.deepEqual([lru.get("a"), lru.get("b"), lru.get("c"), lru.size], [1, undefined, 3, 2]);
  lru.set("c", 4);
  t.deepEqual([lru.get("c"), lru.size], [4, 2]);
});
