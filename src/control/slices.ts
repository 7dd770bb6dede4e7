/** Long lists without a long silence: after a few milliseconds of work the event loop gets its turn. */
import { setImmediate } from "node:timers/promises";

const SLICE = 5;

/** The items of `source`, with pauses for others. Of a Map that changes meanwhile it gives what is there when it comes by. */
export async function* inSlices<T>(source: Iterable<T>): AsyncGenerator<T> {
  let end = performance.now() + SLICE;
  for (const item of source) {
    yield item;
    if (performance.now() < end) continue;
    await setImmediate();
    end = performance.now() + SLICE;
  }
}
