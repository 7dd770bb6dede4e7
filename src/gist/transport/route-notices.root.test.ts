import { execFile } from "node:child_process";
import { promisify } from "node:util";
import test from "ava";
import { parseNotices } from "./route-notices.js";

const rootTest = process.getuid?.() === 0 ? test.serial : test.skip;
const run = promisify(execFile);

rootTest(
  "more notices than the socket keeps: it is told that some were lost, and the next ones come",
  async (t) => {
    const program = new URL("root-test-notices.ts", import.meta.url).pathname;
    const command = ["-n", process.execPath, "--import", "tsx", program];
    const { stdout } = await run("unshare", command, { timeout: 60_000 });
    const { told, lost } = JSON.parse(stdout) as { told: number; lost: number };
    t.true(told > 0);
    t.true(lost > 0);
  },
);

test("messages of a datagram are read one by one, and what is cut short is left out", (t) => {
  const datagram = Buffer.from(
    "18000000" +
      "1800" +
      "0000" +
      "00000000" +
      "07000000" +
      "0102030405060708" + // 24 bytes, RTM_NEWROUTE, port 7
      "11000000" +
      "1900" +
      "0000" +
      "00000000" +
      "00000000" +
      "09000000" + // 17 bytes and padding
      "ff000000" +
      "1800" +
      "0000" +
      "00000000" +
      "00000000", // says 255 bytes
    "hex",
  );
  t.deepEqual(
    parseNotices(datagram).map(({ type, port, data }) => [type, port, data.toString("hex")]),
    [
      [24, 7, "0102030405060708"],
      [25, 0, "09"],
    ],
  );
  t.deepEqual(parseNotices(datagram.subarray(0, 15)), []);
});
