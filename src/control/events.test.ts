import test from "ava";
import { EventLog, RING } from "./events.js";
import { FakePbs } from "./test-parts.js";

function lines(chunk: unknown): { type: string; detail?: string; missed?: number }[] {
  return String(chunk)
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { type: string; detail?: string; missed?: number });
}

test("a slow reader is told how many events it missed, and memory stays bounded", async (t) => {
  const pbs = new FakePbs();
  const log = new EventLog(pbs, () => 1234);
  const reader = log.follow();
  const sent = 20_000;
  for (let i = 0; i < sent; i++) pbs.emit(String(i));
  pbs.emit("after");
  log.close();
  const seen = [];
  for await (const chunk of reader) seen.push(...lines(chunk));
  const marker = seen.at(-1);
  t.is(marker?.type, "lagged");
  const events = seen.slice(0, -1);
  t.is(events.length + (marker?.missed ?? 0), sent + 1);
  t.deepEqual(
    events.map(({ detail }) => detail),
    events.map((_, i) => String(i)),
  );
  t.true(events.length <= RING + 1000);
});

test("after the marker the events go on", async (t) => {
  const pbs = new FakePbs();
  const log = new EventLog(pbs, () => 1234);
  const reader = log.follow();
  for (let i = 0; i < 5000; i++) pbs.emit(String(i));
  const seen = [];
  for await (const chunk of reader) {
    seen.push(...lines(chunk));
    if (seen.at(-1)?.type === "lagged") {
      pbs.emit("new");
      log.close();
    }
  }
  t.deepEqual(
    seen.slice(-2).map(({ type, detail }) => detail ?? type),
    ["lagged", "new"],
  );
});

test("followers are limited, and one that leaves makes room", async (t) => {
  const log = new EventLog(new FakePbs(), () => 0);
  const readers = Array.from({ length: 32 }, () => log.follow());
  t.throws(() => log.follow(), { message: "too many readers follow the events" });
  const closed = new Promise((resolve) => readers[0]?.once("close", resolve));
  readers[0]?.destroy();
  await closed;
  t.notThrows(() => log.follow());
});

test("a closed log hears nothing more", (t) => {
  const pbs = new FakePbs();
  new EventLog(pbs, () => 0).close();
  t.is(pbs.listeners.size, 0);
});
