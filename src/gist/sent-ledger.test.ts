import test from "ava";
import { SentLedger } from "./sent-ledger.js";
import type { SendMessage } from "./service.js";
import { words } from "./testing/network.js";
import { flowMri } from "./testing/network.js";
import type { SessionId } from "./wire/messages.js";

const message = (handle: number): SendMessage => ({
  data: words("x"),
  nslpId: 1,
  sessionId: "00" as SessionId,
  mri: flowMri("10.0.0.1", "10.0.0.2"),
  handle,
  transfer: { reliable: true, secure: false },
});
const handles = (sends: readonly SendMessage[]): (number | undefined)[] => sends.map((s) => s.handle);

function filled(count: number): SentLedger<string> {
  const ledger = new SentLedger<string>();
  for (let i = 1; i <= count; i++) ledger.add(i % 2 === 0 ? "even" : "odd", message(i));
  return ledger;
}

test("what the peer has read is forgotten, what came after stays", (t) => {
  const ledger = filled(5);
  const upTo = ledger.last;
  ledger.add("odd", message(6));
  ledger.readUpTo(upTo);
  t.deepEqual(handles(ledger.drain()), [6]);
  t.is(ledger.length, 0);
  ledger.readUpTo(100);
});

test("a user's messages are called back last first, and each once", (t) => {
  const ledger = filled(5);
  t.deepEqual(
    [1, 2, 3, 4].map(() => ledger.recall("odd")?.handle),
    [5, 3, 1, undefined],
  );
  t.deepEqual(handles(ledger.drain()), [2, 4]);
});

test("what was called back does not make later messages count as read", (t) => {
  const ledger = filled(4);
  const upTo = ledger.last;
  ledger.recall("even");
  ledger.recall("even");
  ledger.add("odd", message(7));
  ledger.readUpTo(upTo);
  t.deepEqual(handles(ledger.drain()), [7]);
});

test("the oldest make way above the bound", (t) => {
  const ledger = new SentLedger<string>();
  const kept = Array.from({ length: 1100 }, (_, i) => ledger.add("u", message(i)));
  t.is(kept.filter((k) => !k).length, 76);
  t.is(ledger.length, 1024);
  t.is(ledger.drain()[0]?.handle, 76);
});

test("what is kept is bounded in bytes as well", (t) => {
  const ledger = new SentLedger<string>();
  const large = { ...message(0), data: new Uint8Array(16_000) };
  let kept = 0;
  while (ledger.add("a", large)) kept++;
  t.true(kept * large.data.length <= 1024 * 1024 && kept > 60, `${kept}`);
  t.is(ledger.length, kept);
  ledger.readUpTo(ledger.last);
  for (let i = 0; i < kept; i++) t.true(ledger.add("a", large));
});

for (const [what, bytes, most] of [
  ["messages", 1, 1024],
  ["bytes", 10_000, 104],
] as const)
  test(`of small and of large messages alike, the peer is asked long before one has to make way: ${what}`, (t) => {
    const ledger = new SentLedger<string>();
    let unasked = 0;
    let kept = 0;
    while (ledger.add("u", { ...message(kept), data: new Uint8Array(bytes) })) {
      kept++;
      if (!ledger.wantsAnswer) unasked++;
    }
    t.is(kept, most);
    t.true(unasked < most / 3, `${unasked} of ${most}`);
  });
